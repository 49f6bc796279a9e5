package tail

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// Delays collects
//
//	rescind_tail_delay_seconds{provider}  how late a poll may tell of a change that
//	                                      nothing else tells of, the longest of all tenants
type Delays map[events.Home]subscriptions.Tail

var delay = prometheus.NewDesc("rescind_tail_delay_seconds",
	"How late a poll may tell of a change that nothing else tells of, the longest of all tenants.",
	[]string{"provider"}, nil)

// Describe is for the registry.
func (Delays) Describe(descs chan<- *prometheus.Desc) { descs <- delay }

// Collect is for the registry.
func (d Delays) Collect(metrics chan<- prometheus.Metric) {
	longest := map[events.Provider]time.Duration{}
	for h, t := range d {
		longest[h.Provider] = max(longest[h.Provider], t.Delay())
	}
	for p, by := range longest {
		metrics <- prometheus.MustNewConstMetric(delay, prometheus.GaugeValue, by.Seconds(), string(p))
	}
}
