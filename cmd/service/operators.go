package service

import (
	"slices"

	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

var _ ask.Operator = (*refresh.Filler)(nil)

// cost is how many calls it takes at most to read one entry of a tenant again. Where
// its basis is not known, or not listed, it is the dearest of its kind of provider.
func (w *Worker) cost(h events.Home, basis string) int {
	at := slices.IndexFunc(w.cfg.Providers, func(p config.Provider) bool { return p.Name == string(h.Provider) })
	if at < 0 {
		return 0
	}
	for _, p := range providers.All() {
		if p.Kind == w.cfg.Providers[at].Kind {
			return costOf(p.Costs(), basis)
		}
	}
	return 0
}

func costOf(costs []subscriptions.Cost, basis string) int {
	known := slices.ContainsFunc(costs, func(c subscriptions.Cost) bool { return c.Basis == basis })
	most := 0
	for _, c := range costs {
		if known && c.Basis != basis {
			continue
		}
		n := 0
		for _, g := range c.Calls {
			n += g.Calls
		}
		most = max(most, n)
	}
	return most
}
