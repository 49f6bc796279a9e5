package renew

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// metrics are listed in the package's manual. They have no tenant, so the gauge
// counts.
type metrics struct {
	provider string
	active   *prometheus.GaugeVec
	renewals *prometheus.CounterVec
	gaps     *prometheus.CounterVec
	seconds  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, p events.Provider) (*metrics, error) {
	active := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "rescind_subscription_active", Help: "Subscriptions that deliver, one for each tenant.",
	}, []string{"provider"})
	renewals := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rescind_renewals_total", Help: "What was done for subscriptions.",
	}, []string{"provider", "outcome"})
	active, err := shared(r, active)
	if err != nil {
		return nil, err
	}
	renewals, err = shared(r, renewals)
	if err != nil {
		return nil, err
	}
	gaps, err := shared(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rescind_gaps_total", Help: "Times in which changes may have been missed.",
	}, []string{"provider", "mended"}))
	if err != nil {
		return nil, err
	}
	seconds, err := shared(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rescind_gap_seconds_total", Help: "How long they were, together.",
	}, []string{"provider"}))
	if err != nil {
		return nil, err
	}
	m := &metrics{provider: string(p), active: active, renewals: renewals, gaps: gaps, seconds: seconds}
	for _, how := range []subscriptions.Mending{subscriptions.Swept, subscriptions.Followed} {
		m.gaps.WithLabelValues(m.provider, string(how))
	}
	m.seconds.WithLabelValues(m.provider)
	m.active.WithLabelValues(m.provider)
	for _, o := range []string{"created", "renewed", "removed", "later", "misconfigured", "failed"} {
		m.renewals.WithLabelValues(m.provider, o)
	}
	return m, nil
}

// shared registers a collector, or returns the one that another Keeper has
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

func (m *metrics) count(outcome string) { m.renewals.WithLabelValues(m.provider, outcome).Inc() }

// activate counts a tenant as one whose registrations deliver, or not; was is what
// it counted as.
func (m *metrics) activate(was *bool, active bool) {
	if *was == active {
		return
	}
	*was = active
	if active {
		m.active.WithLabelValues(m.provider).Inc()
	} else {
		m.active.WithLabelValues(m.provider).Dec()
	}
}

func (m *metrics) gap(g subscriptions.Gap) {
	m.gaps.WithLabelValues(m.provider, string(g.Mended)).Inc()
	m.seconds.WithLabelValues(m.provider).Add(max(0, g.To.Sub(g.From).Seconds()))
}
