package budget_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// TestTheVendorNeverSeesMoreThanItsLimit: random limits, latencies, losses and
// clocks that go back, and a vendor that counts exactly.
func TestTheVendorNeverSeesMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	seeds := uint64(50)
	if testing.Short() {
		seeds = 5
	}
	calls, b := 0, drivenBench(t)
	for seed := range seeds {
		if err := b.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		b.pass(0) // the clock too was flushed
		calls += schedule(b, seed)
	}
	t.Logf("%d schedules, %d calls, none over the limit", seeds, calls)
}

func FuzzSchedules(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { schedule(newBench(t), seed) })
}

// schedule runs one random schedule and returns how many calls there were.
func schedule(b *bench, seed uint64) int {
	b.t.Helper()
	w := newWorld(b, seed, 1+int(seed%4))
	v := &vendor{limit: subscriptions.Window{
		Calls: 1 + w.rng.IntN(20), Length: time.Second + w.upTo(2*time.Minute),
	}}
	usual := v.limit
	if w.rng.IntN(2) == 0 { // what is believed at first may be too little
		usual.Calls = 1 + w.rng.IntN(v.limit.Calls)
	}
	latency := time.Millisecond + w.upTo(29*time.Second)
	for range 1 + w.rng.IntN(4*v.limit.Calls) {
		c := &caller{w: w, v: v, lane: lane, usual: usual, purpose: cache.Purpose(w.rng.IntN(4)),
			latency: latency, lost: .02, unsent: .02}
		w.in(w.upTo(v.limit.Length), c.ask)
	}
	for range w.rng.IntN(4) {
		w.in(w.upTo(5*v.limit.Length), func() { w.pass(-w.upTo(10 * time.Minute)) })
	}
	w.run(6 * v.limit.Length)
	if v.refused > 0 || v.calls == 0 {
		b.t.Errorf("seed %d, limit %d in %s, usual %d: %d of %d calls refused", seed, v.limit.Calls,
			v.limit.Length, usual.Calls, v.refused, v.calls)
	}
	return v.calls
}

// TestTenMinutesOfTenTimesTheDemand: four processes, several tenants, on
// simulated time.
func TestTenMinutesOfTenTimesTheDemand(t *testing.T) {
	t.Parallel()
	const span = 10 * time.Minute
	w := newWorld(drivenBench(t), 1, 4)
	limits := []int{50, 75, 30}
	vendors := make([]*vendor, len(limits))
	callers := make([][]*caller, len(limits))
	for i, limit := range limits {
		v := &vendor{limit: perMinute(limit)}
		l := subscriptions.Lane{Provider: "ringcentral", Identity: fmt.Sprint("tenant-", i), Group: "light"}
		vendors[i] = v
		first := &caller{w: w, v: v, lane: l, usual: perMinute(20), latency: 300 * time.Millisecond}
		callers[i] = append(callers[i], first)
		w.in(0, first.ask)
		for n := range 10 * limit { // the first limit was learned by then
			c := *first
			c.purpose = []cache.Purpose{cache.ForReader, cache.ForChange, cache.ForUpkeep, cache.ForSweep}[n%4]
			callers[i] = append(callers[i], &c)
			w.in(time.Second+w.upTo(time.Second), c.ask)
		}
	}
	w.run(span)
	for i, v := range vendors {
		judge(t, fmt.Sprintf("tenant %d", i), v, callers[i], span)
	}
}

// judge prints what a tenant got and holds it against the promises.
func judge(t *testing.T, name string, v *vendor, callers []*caller, span time.Duration) {
	t.Helper()
	var by [4]int
	fewest := v.calls
	for _, c := range callers {
		by[c.purpose] += c.granted
		if c.purpose == cache.ForReader {
			fewest = min(fewest, c.granted)
		}
	}
	share := float64(v.calls) / (float64(v.limit.Calls) * span.Minutes())
	t.Logf("%s: limit %d, %d calls, %d answered 429, %.1f %% of the budget; readers, changes, upkeep, sweeps: "+
		"%v; the least lucky reader got %d", name, v.limit.Calls, v.calls, v.refused, 100*share, by, fewest)
	if v.refused > 0 || share < .95 {
		t.Errorf("%s: %d calls answered 429, %.1f %% used", name, v.refused, 100*share)
	}
	if fewest == 0 {
		t.Errorf("%s: a reader got nothing", name)
	}
	if by[cache.ForReader] < v.calls*8/10 { // all but what the first window gave to whoever came
		t.Errorf("%s: not by purpose: %v", name, by)
	}
}
