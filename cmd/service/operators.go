package service

import (
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

var _ ask.Operator = (*refresh.Filler)(nil)

// cost is how many calls it takes at most to read one entry of a tenant again, and how
// long the usual limits need for that. Where its basis is not known, or not listed, it
// is the dearest of its kind of provider.
func (w *Worker) cost(h events.Home, basis string) (calls int, takes time.Duration) {
	at := slices.IndexFunc(w.cfg.Providers, func(p config.Provider) bool { return p.Name == string(h.Provider) })
	if at < 0 {
		return 0, 0
	}
	for _, p := range providers.All() {
		if p.Kind == w.cfg.Providers[at].Kind {
			return costOf(p.Costs(), basis)
		}
	}
	return 0, 0
}

func costOf(costs []subscriptions.Cost, basis string) (calls int, takes time.Duration) {
	known := slices.ContainsFunc(costs, func(c subscriptions.Cost) bool { return c.Basis == basis })
	for _, c := range costs {
		if known && c.Basis != basis {
			continue
		}
		n := 0
		for _, g := range c.Calls {
			n += g.Calls
			if c.As == subscriptions.ServiceToken && g.Window.Calls > 0 { // a token of its own has limits of its own
				takes = max(takes, g.Window.Length*time.Duration(g.Calls)/time.Duration(g.Window.Calls))
			}
		}
		calls = max(calls, n)
	}
	return calls, takes
}
