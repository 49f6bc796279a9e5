package listen

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are listed in the package's manual.
type metrics struct {
	deliveries  *prometheus.CounterVec
	answering   *prometheus.HistogramVec
	publishing  prometheus.Histogram
	connections prometheus.Gauge
}

// newMetrics makes every series of the doors, so that each is there at zero.
func newMetrics(r prometheus.Registerer, doors []Door) (*metrics, error) {
	// Seconds; the bounds that matter are 5 ms (goal) and 3 s (RingCentral's patience).
	buckets := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.5, 3, 10}
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rescind_deliveries_total", Help: "Deliveries by what became of them.",
		}, []string{"provider", "outcome"}),
		answering: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rescind_delivery_seconds", Help: "Time until a delivery was answered.", Buckets: buckets,
		}, []string{"provider"}),
		publishing: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rescind_publish_seconds", Help: "Time until the stream acknowledged.", Buckets: buckets,
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rescind_listener_connections", Help: "Open connections of the listener.",
		}),
	}
	m.deliveries.WithLabelValues("", string(unknown))
	for _, d := range doors {
		m.answering.WithLabelValues(string(d.Home.Provider))
		for _, o := range outcomes() {
			m.deliveries.WithLabelValues(string(d.Home.Provider), string(o))
		}
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.deliveries, m.answering, m.publishing, m.connections} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// note counts a delivery. The provider is the door's, never the path's.
func (m *metrics) note(v *visit, took time.Duration) {
	provider := string(v.door.Home.Provider)
	m.deliveries.WithLabelValues(provider, string(v.outcome)).Inc()
	if v.outcome != unknown {
		m.answering.WithLabelValues(provider).Observe(took.Seconds())
	}
}

// ConnState counts connections; give it to [http.Server.ConnState].
func (h *Handler) ConnState(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		h.metrics.connections.Inc()
	case http.StateClosed, http.StateHijacked:
		h.metrics.connections.Dec()
	}
}
