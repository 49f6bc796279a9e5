package renew

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
)

// metrics are listed in the package's manual. They have no tenant, so the gauge
// counts.
type metrics struct {
	provider string
	active   *prometheus.GaugeVec
	renewals *prometheus.CounterVec
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
	m := &metrics{provider: string(p), active: active, renewals: renewals}
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

func (m *metrics) activate(active bool) {
	if active {
		m.active.WithLabelValues(m.provider).Inc()
	} else {
		m.active.WithLabelValues(m.provider).Dec()
	}
}
