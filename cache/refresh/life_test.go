package refresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// lives is a filler that decides on lives in this way.
func (w *world) lives(c refresh.Config) *refresh.Filler {
	w.t.Helper()
	c.Redis, c.Store, c.Readers, c.Log = w.db, w.store, w.readers, w.log.logger()
	f, err := refresh.NewFiller(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(f.Close)
	return f
}

// wanting answers with something that wants to live for so long.
func (w *world) wanting(life time.Duration) {
	w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
		a := grants("*")
		a.Life = life
		return a, nil
	})
}

func TestAnEntryLivesAsLongAsTheLimitsWant(t *testing.T) {
	doubtful := func(events.Home, time.Duration) time.Duration { return cache.MinLife }
	upTo := func(longest time.Duration) func(events.Home, time.Duration) time.Duration {
		return func(_ events.Home, wants time.Duration) time.Duration {
			return max(time.Minute, min(wants, longest))
		}
	}
	cases := map[string]struct {
		config      refresh.Config
		wants, want time.Duration
	}{
		"nothing wanted":           {refresh.Config{Life: time.Minute}, 0, time.Minute},
		"less than usual":          {refresh.Config{Life: time.Minute}, 20 * time.Second, time.Minute},
		"more than usual":          {refresh.Config{Life: time.Minute}, 100 * time.Second, 100 * time.Second},
		"over the ceiling":         {refresh.Config{Life: time.Minute}, 400 * time.Second, cache.Ceiling},
		"doubtful feed":            {refresh.Config{Lives: doubtful}, 100 * time.Second, cache.MinLife},
		"more, within bounds":      {refresh.Config{Lives: upTo(cache.Ceiling)}, 100 * time.Second, 100 * time.Second},
		"stretching is off":        {refresh.Config{Lives: upTo(time.Minute)}, 100 * time.Second, time.Minute},
		"a decision out of bounds": {refresh.Config{Lives: upTo(time.Hour)}, time.Hour, cache.Ceiling},
	}
	each(t, func(w *world) {
		for name, tc := range cases {
			w.wanting(tc.wants)
			registry := prometheus.NewPedanticRegistry()
			tc.config.Metrics = refresh.NewMetrics(registry)
			w.get(w.lives(tc.config), name)
			e, ok := w.entry(ref(name))
			if got := e.Until.Sub(e.AsOf); !ok || got != tc.want {
				w.t.Errorf("%s: a life of %s, usable %v; want %s", name, got, ok, tc.want)
			}
			if n := testutil.CollectAndCount(registry, "rescind_refresh_life_seconds"); n != 1 {
				w.t.Errorf("%s: %d lives are counted, want 1", name, n)
			}
		}
	})
}

func TestAChangeStretchesNoLife(t *testing.T) {
	each(t, func(w *world) {
		w.wanting(100 * time.Second)
		registry := prometheus.NewPedanticRegistry()
		f := w.lives(refresh.Config{Life: time.Minute, Metrics: refresh.NewMetrics(registry)})
		worker := &refresh.Worker{Store: w.store, Filler: f, Queue: &notebook{}, Log: w.log.logger()}
		deadline := time.Now().Add(20 * time.Second).Truncate(time.Millisecond)
		worker.Refresh(w.ctx, stream.Task{Ref: ref("42"), Until: deadline, Asked: time.Now()})
		if e, ok := w.entry(ref("42")); !ok || !e.Until.Equal(deadline) {
			w.t.Errorf("it lives until %s, usable %v; want %s", e.Until, ok, deadline)
		}
		if n := testutil.CollectAndCount(registry, "rescind_refresh_life_seconds"); n != 0 {
			w.t.Errorf("%d lives are counted, want none", n)
		}
	})
}
