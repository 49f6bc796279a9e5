package refresh

import (
	"context"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// watchEvery is how often a worker asks whether Redis is still the one it was.
const watchEvery = time.Second

// Watch drains what the fences of another history vouched for: at start, and
// whenever Redis was restarted, failed over or replaced, which it notices
// within a second of Redis being reachable. It returns when ctx ends.
func (w *Worker) Watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for seen := ""; ; {
		seen = w.check(ctx, seen)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// check drains if the history is another than seen, and returns what has been
// dealt with: seen again if it could not be, so that the next check does it.
func (w *Worker) check(ctx context.Context, seen string) string {
	now, err := w.Store.History(ctx)
	if now == "" {
		now = "unnamed" // a stand-in
	}
	if err != nil {
		if !Outage(err) || strings.Contains(err.Error(), "NOPERM") { // while Redis is away, changes say so
			w.Log.WarnContext(ctx, "redis cannot be watched", "error", err)
		}
		return seen
	}
	if now == seen {
		return seen
	}
	if seen != "" {
		w.Log.WarnContext(ctx, "redis is another than before", "was", seen, "is", now)
		w.Metrics.redisChanged()
	} else {
		w.Log.InfoContext(ctx, "redis is watched", "is", now)
	}
	err = w.Store.Recover(ctx, func(h events.Home, in fence.Invalidated) {
		w.Metrics.drained(h.Provider, len(in.Alive))
		w.Log.WarnContext(ctx, "tenant drained", "provider", h.Provider, "tenant", h.Tenant,
			"reason", in.Why, "alive", len(in.Alive))
		w.asking.Go(func() {
			w.enqueue(context.WithoutCancel(ctx), in.Alive, stream.Task{}, func(fence.Alive) string { return "redis changed" })
		})
	})
	if err != nil {
		if ctx.Err() == nil {
			w.Log.WarnContext(ctx, "drain after redis changed", "error", err)
		}
		return seen
	}
	return now
}
