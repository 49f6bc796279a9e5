package fence_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
)

// length is how many steps a run has.
const length = 80

// runs is how many random runs a test does; RESCIND_RUNS raises it.
func runs(t *testing.T, usual int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("RESCIND_RUNS")); err == nil {
		return max(n, usual)
	}
	return usual
}

func randomDraw(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return r.IntN
}

// bounded gives runs in turn a chunk of 2, a cap of 12, both, and neither.
func bounded(s *fence.Store, run uint64) *fence.Store {
	chunk, members := fence.Chunk, 200_000
	if run%2 == 0 {
		chunk = 2
	}
	if run%4 > 1 {
		members = 12
	}
	return s.Bounded(chunk, members)
}

func enough(t *testing.T, c tally) {
	t.Helper()
	t.Log(c)
	if c.stored < c.steps/200 {
		t.Error("too few entries were stored to prove anything")
	}
}

// holds runs the machine on a site and expects no stale read.
func holds(t *testing.T, s *site, n int) tally {
	t.Helper()
	store := openStore(t, s.DB)
	var sum tally
	for seed := range uint64(n) {
		m := newMachine(t.Context(), s, bounded(store, seed), randomDraw(seed))
		err := m.run(length)
		sum.add(m.count)
		if err != nil {
			t.Fatalf("seed %d after %s: %v", seed, sum, err)
		}
	}
	enough(t, sum)
	return sum
}

// TestNoStaleRead drives the machine by rapid, which shrinks what it finds.
func TestNoStaleRead(t *testing.T) {
	t.Parallel()
	s := twin(t)
	store := openStore(t, s.DB)
	var sum tally
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }
		m := newMachine(t.Context(), s, bounded(store, uint64(draw(4))), draw)
		if err := m.run(30); err != nil {
			rt.Fatal(err)
		}
		sum.add(m.count)
	})
	enough(t, sum)
}

// TestNoStaleReadAtRandom draws evenly, and leaves failovers out: clocks and
// losses come the more.
func TestNoStaleReadAtRandom(t *testing.T) {
	t.Parallel()
	holds(t, alone(t), runs(t, 25))
}

// TestNoStaleReadOnRedis does the same on a real server, whose clock goes its
// own way.
func TestNoStaleReadOnRedis(t *testing.T) {
	t.Parallel()
	holds(t, newSite(cachetest.Redis(t), nil), runs(t, 40))
}

// TestNoStaleReadAfterFailovers promotes a copy that lags, again and again. A
// real failover costs 50 ms and more, so of those there are few.
func TestNoStaleReadAfterFailovers(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		open func(*testing.T) *site
		runs int
	}{"stand-in": {twin, runs(t, 25)}, "redis": {openDuo, max(24, runs(t, 0)/20)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sum := holds(t, one.open(t), one.runs)
			if sum.failovers < one.runs/4 || sum.inherited < one.runs/8 {
				t.Error("too few failovers to prove anything")
			}
		})
	}
}
