package budget

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/subscriptions"
)

// Metrics of a budget. No label holds an identity. A nil *Metrics counts
// nothing.
type Metrics struct {
	calls *prometheus.CounterVec
	used  *prometheus.HistogramVec
}

// NewMetrics registers the metrics of a budget.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rescind_budget_calls_total", Help: "Calls asked for, by outcome: granted, postponed, penalty.",
		}, []string{"provider", "group", "outcome"}),
		used: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rescind_budget_used_ratio", Help: "Share of a lane's window in use when a call was asked for.",
			Buckets: []float64{.1, .25, .5, .75, .9, .95, .99, 1},
		}, []string{"provider", "group"}),
	}
	r.MustRegister(m.calls, m.used)
	return m
}

// outcomes gives the scripts' words those of the metrics.
var outcomes = map[string]string{"granted": "granted", "full": "postponed", "closed": "penalty"}

func (m *Metrics) taken(l subscriptions.Lane, word, used, limit string) {
	if m == nil {
		return
	}
	m.calls.WithLabelValues(string(l.Provider), l.Group, outcomes[word]).Inc()
	n, err := strconv.ParseFloat(used, 64)
	of, err2 := strconv.ParseFloat(limit, 64)
	if err == nil && err2 == nil && of > 0 {
		m.used.WithLabelValues(string(l.Provider), l.Group).Observe(n / of)
	}
}
