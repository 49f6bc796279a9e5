package fence_test

import (
	"errors"
	"testing"

	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
)

// guard is a way to take one out of the scripts, and where its lack shows.
type guard struct {
	oldNew []string
	open   func(*testing.T) *site
	usual  int
	// from is a seed near one that has found it before, so that the usual run
	// is short.
	from uint64
}

func alone(t *testing.T) *site { return newSite(cachetest.StandIn(t), nil) }

// TestGuardsAreNeeded takes each guard away and expects a stale read: a guard
// that could go unnoticed would not be one.
func TestGuardsAreNeeded(t *testing.T) {
	t.Parallel()
	history := []string{"tonumber(s[5]) ~= -history()", "false"}
	for name, g := range map[string]guard{
		"the lease's nonce": {oldNew: []string{
			"held[1] ~= nonce", "not held[1]",
		}, open: alone, usual: 5000, from: 14},
		"the floor": {oldNew: []string{
			"own < h.floor", "false", "number < h.floor then return refuse", "false then return refuse",
			"number >= h.floor", "true", "or nil) or h.floor", "or nil) or 0",
		}, open: alone, usual: 5000, from: 180},
		"the fence's nonce": {oldNew: []string{
			"h.nonce ~= held[3]", "false", "made_by ~= h.nonce", "false", "f[4] == h.nonce", "true",
		}, open: alone, usual: 5000, from: 347},
		"the index's watch": {oldNew: []string{
			"kind ~= 'zset' and (kind ~= 'none' or tag.listed > 0)", "false", "or not listed then", "or true then",
		}, open: alone, usual: 5000, from: 32},
		"the history":                {oldNew: history, open: twin, usual: 5000, from: 145},
		"the history, on real redis": {oldNew: history, open: openDuo, usual: 1000, from: 12},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := g.open(t)
			store, err := openStore(t, s.DB).Without(g.oldNew...)
			if err != nil {
				t.Fatal(err)
			}
			missed(t, s, store, g)
		})
	}
}

// missed runs the machine until a stale read shows that the guard is missed.
func missed(t *testing.T, s *site, store *fence.Store, g guard) {
	t.Helper()
	var sum tally
	for i := range uint64(runs(t, g.usual)) {
		seed := i + g.from
		m := newMachine(t.Context(), s, bounded(store, seed), randomDraw(seed))
		err := m.run(length)
		sum.add(m.count)
		if errors.Is(err, errStale) {
			t.Logf("seed %d: a stale read after %d runs, %d steps", seed, i+1, sum.steps)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("no stale read in %d steps", sum.steps)
}
