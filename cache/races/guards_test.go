package races_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/rescindhq/rescind/cache/races"
)

// without returns an edit that takes a guard out of the scripts, and fails the
// test at its end if a text that it replaces was in none of them.
func without(t *testing.T, oldNew []string) func(string) string {
	t.Helper()
	var mu sync.Mutex
	found := make([]bool, len(oldNew))
	t.Cleanup(func() {
		for i := 0; i < len(oldNew); i += 2 {
			if !found[i] {
				t.Errorf("no script has %q", oldNew[i])
			}
		}
	})
	return func(script string) string {
		mu.Lock()
		defer mu.Unlock()
		for i := 0; i < len(oldNew); i += 2 {
			if strings.Contains(script, oldNew[i]) {
				found[i] = true
			}
			script = strings.ReplaceAll(script, oldNew[i], oldNew[i+1])
		}
		return script
	}
}

// The schedules are hard enough to need the fence's guards: without one of
// them something stale gets through. The seeds have found it before, among
// thousands, so that the usual run is short.
func TestWithoutAGuard(t *testing.T) {
	t.Parallel()
	guards := []struct {
		name   string
		seed   uint64
		oldNew []string
	}{
		{"the tags' numbers", 7, []string{"if stamp > tag.number then", "if false then"}},
		{"the lease's nonce", 3060, []string{"held[1] ~= nonce", "not held[1]"}},
		{"the fence's nonce", 6181, []string{"h.nonce ~= held[3]", "false", "made_by ~= h.nonce", "false"}},
		{"the floor", 1095, []string{
			"own < h.floor", "false", "number < h.floor then return refuse", "false then return refuse",
			"number >= h.floor", "true", "or nil) or h.floor", "or nil) or 0",
		}},
		{"the replication id", 13703, []string{"tonumber(s[5]) ~= -history()", "false"}},
	}
	for _, g := range guards {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			o := races.Options{Seed: g.seed, Cases: 1, Strategies: []string{"d"}}
			if r, err := races.Run(t.Context(), o); err != nil || r.Stale("d") {
				t.Errorf("with the guard: %v\n%s", err, r)
			}
			r, err := races.Run(t.Context(), o.Edited(without(t, g.oldNew)))
			if err != nil || !r.Stale("d") {
				t.Errorf("without it nothing stale: %v\n%s", err, r)
			}
		})
	}
}
