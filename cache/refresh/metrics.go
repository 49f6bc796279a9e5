package refresh

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// Metrics of a worker. No label holds a tenant or a subject. A nil *Metrics
// counts nothing.
type Metrics struct {
	changes, fills, commits, refreshes, queued *prometheus.CounterVec
	dropped                                    *prometheus.CounterVec
	changeAge, fillTime, lag                   *prometheus.HistogramVec
	invalidateTime                             prometheus.Histogram
	upkeep                                     *prometheus.CounterVec
	lateness, life                             *prometheus.HistogramVec
	histories                                  prometheus.Counter
	renewal                                    prometheus.Gauge
}

var quick = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}

// NewMetrics registers the metrics of a worker.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: quick}, labels)
		r.MustRegister(h)
		return h
	}
	m := &Metrics{
		changes: counter("rescind_changes_total", "Changes by outcome: applied, retried, unreplicated, dead.", "provider", "outcome"),
		dropped: counter("rescind_entries_dropped_total", "Entries that were alive when a change, or a drain, dropped them.", "provider"),
		fills: counter("rescind_fills_total",
			"Fills by outcome: stored, shared, unstored, rate_limited, failed.", "provider", "outcome"),
		commits: counter("rescind_commits_total",
			"What the fence said: stored, late, refused.", "provider", "outcome"),
		refreshes: counter("rescind_refreshes_total",
			"Refreshes by outcome: stored, shared, unstored, again, expired, given_up, dead.", "provider", "outcome"),
		queued:    counter("rescind_refreshes_queued_total", "Refreshes asked for: accepted, or pending already.", "outcome"),
		changeAge: histogram("rescind_change_age_seconds", "From received to entries unusable.", "provider"),
		fillTime:  histogram("rescind_fill_seconds", "Time of a fill, the provider's included.", "provider"),
		lag:       histogram("rescind_refresh_lag_seconds", "From entries unusable to the entry fresh.", "provider"),
		invalidateTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rescind_invalidate_seconds", Help: "Time of the invalidation of one tenant's batch.", Buckets: quick,
		}),
	}
	m.upkeep = counter("rescind_upkeep_total",
		"Looks at standing entries: confirmed, corrected, renewed, unread.", "provider", "outcome")
	m.lateness = histogram("rescind_provider_late_seconds",
		"For how long after a change a provider still gave the old answer, at most.", "provider")
	m.life = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rescind_refresh_life_seconds", Help: "The life of entries that began a new one.",
		Buckets: []float64{5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300},
	}, []string{"provider"})
	m.renewal = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rescind_renewal_active", Help: "1 while Redis tells which entries are read, so that these are renewed.",
	})
	m.renewal.Set(1)
	m.histories = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rescind_redis_changed_total", Help: "How often Redis was found restarted, failed over or replaced.",
	})
	r.MustRegister(m.invalidateTime, m.histories, m.renewal, m.life)
	return m
}

func (m *Metrics) applied(c events.Change, now time.Time) {
	if m == nil {
		return
	}
	m.changes.WithLabelValues(string(c.Provider), "applied").Inc()
	m.changeAge.WithLabelValues(string(c.Provider)).Observe(now.Sub(c.Received).Seconds())
}

func (m *Metrics) retried(p events.Provider) { m.change(p, "retried") }

func (m *Metrics) unreplicated(p events.Provider) { m.change(p, "unreplicated") }

func (m *Metrics) buried(p events.Provider) { m.change(p, "dead") }

func (m *Metrics) change(p events.Provider, outcome string) {
	if m != nil {
		m.changes.WithLabelValues(string(p), outcome).Inc()
	}
}

func (m *Metrics) invalidated(p events.Provider, alive int, took time.Duration) {
	if m == nil {
		return
	}
	m.dropped.WithLabelValues(string(p)).Add(float64(alive))
	m.invalidateTime.Observe(took.Seconds())
}

func (m *Metrics) upkept(p events.Provider, outcome string) {
	if m != nil {
		m.upkeep.WithLabelValues(string(p), outcome).Inc()
	}
}

func (m *Metrics) late(p events.Provider, by time.Duration) {
	if m != nil {
		m.lateness.WithLabelValues(string(p)).Observe(by.Seconds())
	}
}

// lives notes the life that an entry has begun.
func (m *Metrics) lives(p events.Provider, life time.Duration) {
	if m != nil {
		m.life.WithLabelValues(string(p)).Observe(life.Seconds())
	}
}

func (m *Metrics) renewing(on bool) {
	if m != nil && !on {
		m.renewal.Set(0)
	}
}

func (m *Metrics) redisChanged() {
	if m != nil {
		m.histories.Inc()
	}
}

func (m *Metrics) drained(p events.Provider, alive int) {
	if m != nil {
		m.dropped.WithLabelValues(string(p)).Add(float64(alive))
	}
}

func (m *Metrics) filled(p events.Provider, r Result, err error, took time.Duration) {
	if m == nil {
		return
	}
	m.fills.WithLabelValues(string(p), outcomeOf(r, err)).Inc()
	m.fillTime.WithLabelValues(string(p)).Observe(took.Seconds())
}

func (m *Metrics) committed(p events.Provider, o fence.Outcome) {
	if m == nil {
		return
	}
	word := "stored"
	switch {
	case o.Refused != "":
		word = "refused"
	case o.Late:
		word = "late"
	}
	m.commits.WithLabelValues(string(p), word).Inc()
}

func (m *Metrics) refreshed(p events.Provider, outcome string) {
	if m != nil {
		m.refreshes.WithLabelValues(string(p), outcome).Inc()
	}
}

func (m *Metrics) refreshLag(p events.Provider, d time.Duration) {
	if m != nil {
		m.lag.WithLabelValues(string(p)).Observe(d.Seconds())
	}
}

func (m *Metrics) enqueued(accepted, pending int) {
	if m == nil {
		return
	}
	m.queued.WithLabelValues("accepted").Add(float64(accepted))
	m.queued.WithLabelValues("pending").Add(float64(pending))
}

// outcomeOf is one word for how a fill ended.
func outcomeOf(r Result, err error) string {
	switch {
	case err == nil && !r.Fetched:
		return "shared"
	case err == nil && r.Stored:
		return "stored"
	case err == nil:
		return "unstored"
	case !retryAt(err).IsZero():
		return "rate_limited"
	}
	return "failed"
}

// retryAt is when the provider may be asked again; zero if it did not say.
func retryAt(err error) time.Time {
	var later interface{ RetryAt() time.Time }
	if errors.As(err, &later) {
		return later.RetryAt()
	}
	return time.Time{}
}
