package service_test

import (
	"context"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/cmd/config"
)

func shortLives(c *config.Config) { c.Worker.Life = cache.MinLife }

// A subject that is asked for again and again waits for the provider once.
// RESCIND_RUNS=2 makes it ten lives.
func TestWhoReadsEverySecondMissesOnce(t *testing.T) {
	slowTest(t)
	lives := 2
	if thorough() {
		lives = 10
	}
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.edit = shortLives
			w := startWorld(t, o)
			r := w.readEverySecond(bea, lives*int(cache.MinLife/time.Second)+1)
			t.Logf("%d lives of %s: %d reads, %d misses, %d fetches, the oldest answer %s old",
				lives, cache.MinLife, r.reads, r.misses, r.fetches, r.oldest.Round(time.Millisecond))
			if r.misses > 1 {
				t.Errorf("%d misses, want the first alone", r.misses)
			}
			if r.other > 0 {
				t.Errorf("%d answers were not granted", r.other)
			}
			if r.fetches <= lives {
				t.Errorf("%d fetches in %d lives: it was not renewed", r.fetches, lives)
			}
			if r.fetches > 2*lives+2 {
				t.Errorf("%d fetches in %d lives, want one or two each", r.fetches, lives)
			}
		})
	}
}

// readings are what a reader has seen.
type readings struct {
	reads, misses, other, fetches int
	oldest                        time.Duration
}

func (w *world) readEverySecond(subject string, times int) (r readings) {
	w.t.Helper()
	app := w.application()
	before := w.sim.Calls(rolesCall) // every fetch makes it once
	beat(times, func() bool {
		d, err := app.Check(context.Background(), ref(subject), calls)
		r.reads++
		if err != nil || d.State != cache.Granted {
			r.other++
			w.t.Logf("read %d: %s (%q), %v", r.reads, d.State, d.Message, err)
		}
		if d.Source != lookup.FromCache {
			r.misses++
		}
		r.oldest = max(r.oldest, d.Age(time.Now()))
		return false
	})
	r.fetches = w.sim.Calls(rolesCall) - before
	return r
}

// What is read once costs the provider one errand, and ends.
func TestAThousandReadOnceAreFetchedOnce(t *testing.T) {
	slowTest(t)
	t.Parallel()
	const n = 1000
	w := startWorld(t, options{exchange: true, quiet: true, idle: true, edit: shortLives})
	subjects := names(0, n)
	w.settled(subjects, usualRole)
	w.opens()
	app := w.application()
	w.each(subjects, 16, func(subject string) error {
		for _, want := range []lookup.Source{lookup.FromWorker, lookup.FromCache} { // a miss, then a hit
			d, err := app.Check(context.Background(), ref(subject), abroad)
			if err != nil || d.State != cache.Granted || d.Source != want {
				t.Errorf("%s: %s by the %s (%q), %v; want granted by the %s",
					subject, d.State, d.Source, d.Message, err, want)
			}
		}
		return nil
	})
	w.await("all are over", func() bool { return len(w.keys("e:*")) == 0 })
	looks := w.metric(`rescind_upkeep_total{outcome="unread"`)
	t.Logf("%d looks found an entry that nobody had read since", int(looks))
	for _, op := range []string{profileCall, featuresCall, rolesCall} {
		if got := w.sim.Calls(op); got != n {
			t.Errorf("%s: %d calls, want %d", op, got, n)
		}
	}
	if stored := w.metric(`rescind_fills_total{outcome="stored"`); stored != n {
		t.Errorf("%.0f entries were stored, want %d", stored, n)
	}
	if all := w.metric("rescind_upkeep_total"); all != looks || looks == 0 {
		t.Errorf("%.0f looks, of which %.0f found it unread; want all, and some", all, looks)
	}
}
