package tail

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
)

// metrics are listed in the package's manual. They have no tenant.
type metrics struct {
	home    events.Home
	polls   *prometheus.CounterVec
	changes prometheus.Counter
	ages    *ages
}

func newMetrics(r prometheus.Registerer, h events.Home) (*metrics, error) {
	polls, err := shared(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rescind_tail_polls_total", Help: "Polls for what providers send no notice of.",
	}, []string{"provider", "outcome"}))
	if err != nil {
		return nil, err
	}
	changes, err := shared(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rescind_tail_changes_total", Help: "Changes that polls found.",
	}, []string{"provider"}))
	if err != nil {
		return nil, err
	}
	all, err := shared(r, newAges())
	if err != nil {
		return nil, err
	}
	all.know(h.Provider)
	m := &metrics{home: h, polls: polls, changes: changes.WithLabelValues(string(h.Provider)), ages: all}
	for _, o := range []string{"changed", "unchanged", "later", "misconfigured", "failed", "lost"} {
		m.polls.WithLabelValues(string(h.Provider), o)
	}
	return m, nil
}

// shared registers a collector, or returns the one that another Loop has
// registered.
func shared[C prometheus.Collector](r prometheus.Registerer, c C) (C, error) {
	if r == nil {
		return c, nil
	}
	err := r.Register(c)
	if err == nil {
		return c, nil
	}
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if old, ok := there.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, fmt.Errorf("register metrics: %w", err)
}

func (m *metrics) count(outcome string) {
	m.polls.WithLabelValues(string(m.home.Provider), outcome).Inc()
}

func (m *metrics) good(published int) {
	m.ages.set(m.home, time.Now())
	if published > 0 {
		m.count("changed")
	} else {
		m.count("unchanged")
	}
}

func (m *metrics) hold()  { m.ages.set(m.home, time.Now()) }
func (m *metrics) leave() { m.ages.drop(m.home) }

// ages is the gauge of how long ago the last good poll was. It is a collector
// because time goes on when nothing else does.
type ages struct {
	desc *prometheus.Desc

	mu        sync.Mutex
	providers map[events.Provider]bool
	good      map[events.Home]time.Time // of the tails that are held
}

func newAges() *ages {
	return &ages{
		desc: prometheus.NewDesc("rescind_tail_age_seconds",
			"Since the last good poll: the oldest of the tails that this process holds.", []string{"provider"}, nil),
		providers: map[events.Provider]bool{}, good: map[events.Home]time.Time{},
	}
}

// Describe and Collect make it a collector.
func (a *ages) Describe(to chan<- *prometheus.Desc) { to <- a.desc }

// Collect tells the ages as of now.
func (a *ages) Collect(to chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	oldest := map[events.Provider]time.Duration{}
	for p := range a.providers {
		oldest[p] = 0
	}
	for h, at := range a.good {
		oldest[h.Provider] = max(oldest[h.Provider], time.Since(at))
	}
	for p, age := range oldest {
		to <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, age.Seconds(), string(p))
	}
}

func (a *ages) know(p events.Provider) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.providers[p] = true
}

func (a *ages) set(h events.Home, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.good[h] = at
}

func (a *ages) drop(h events.Home) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.good, h)
}
