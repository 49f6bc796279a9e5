package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

// epoch is a time in which the provider's word is settled: every notice of an
// earlier change has been applied, and no later one has begun.
type epoch struct{ state cache.State }

// watcher reads all the time, and complains about what is not the truth of the
// epoch in which it was both asked and answered.
type watcher struct {
	w       *world
	now     atomic.Pointer[epoch]
	known   atomic.Int64 // answers that said something
	checked atomic.Int64 // of these, within an epoch
	stop    context.CancelFunc
	group   sync.WaitGroup
}

// watchTruth starts readers of Redis and askers of the worker.
func (w *world) watchTruth() *watcher {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	v := &watcher{w: w, stop: cancel}
	plain, err := lookup.New(w.rdb, lookup.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	asking, err := lookup.NewHTTP(lookup.HTTPOptions{
		URL: "http://" + w.worker.it.Addr(), Token: askToken, Client: w.client,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	v.group.Go(func() { v.read(ctx, "redis", plain.Check) })
	for range 2 {
		v.group.Go(func() { v.read(ctx, "worker", asking.Ask) })
	}
	w.t.Cleanup(v.end)
	return v
}

func (v *watcher) end() {
	v.stop()
	v.group.Wait()
}

type reading func(ctx context.Context, r events.Ref, need ...cache.Grant) (lookup.Decision, error)

func (v *watcher) read(ctx context.Context, who string, ask reading) {
	var last time.Time
	pause := time.NewTicker(200 * time.Microsecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		before := v.now.Load()
		d, err := ask(ctx, ref(bea), abroad)
		if err == nil && d.State != cache.Unknown {
			v.known.Add(1)
			v.judge(who, before, d)
			if who == "redis" && d.AsOf.Before(last) {
				v.w.t.Errorf("redis: as of %s after %s: an older fact has replaced a newer one", d.AsOf, last)
			}
			last = d.AsOf
		}
		<-pause.C
	}
}

func (v *watcher) judge(who string, before *epoch, d lookup.Decision) {
	if before == nil || before != v.now.Load() {
		return
	}
	v.checked.Add(1)
	if d.State != before.state {
		v.w.t.Errorf("%s: stale: %s as of %s, version %s; the truth is %s",
			who, d.State, d.AsOf, d.Version, before.state)
	}
}

// turn changes the role and lets the notice be applied; meanwhile happens in
// between. Then everybody must know.
func (v *watcher) turn(n int, meanwhile func()) {
	v.w.t.Helper()
	v.now.Store(nil)
	e := &epoch{cache.Denied}
	role := lesserRole
	if n%2 == 1 {
		e.state, role = cache.Granted, usualRole
	}
	v.w.assign(bea, role)
	v.w.deliver(notice(fmt.Sprint("turn-", n), "s-1", bea))
	if meanwhile != nil {
		meanwhile()
	}
	v.w.applied()
	v.now.Store(e)
	was := v.checked.Load()
	v.w.await("some answers in this epoch", func() bool { return v.checked.Load() > was+3 })
}

func TestRedisIsStoppedFlushedAndStarted(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			o.quiet = true
			w := startWorld(t, o)
			v := w.watchTruth()
			for n := range 10 {
				v.turn(n, nil)
			}
			v.turn(10, func() { w.bounceRedis() })
			for n := range 10 {
				v.turn(11+n, nil)
				if err := w.rdb.FlushAll(context.Background()).Err(); err != nil {
					t.Fatal(err)
				}
				v.turn(11+n, func() {
					if err := w.rdb.FlushAll(context.Background()).Err(); err != nil {
						t.Error(err)
					}
				})
			}
			v.end()
			t.Logf("%d answers, %d of them judged", v.known.Load(), v.checked.Load())
			if got := w.info().Dead; got > 0 {
				t.Errorf("%d changes are dead", got)
			}
		})
	}
}

// bounceRedis kills Redis, and starts an empty one on the same port once the
// worker has noticed.
func (w *world) bounceRedis() {
	w.t.Helper()
	addr := w.redis.Addr
	if err := w.redis.Kill(); err != nil {
		w.t.Fatal(err)
	}
	w.await("the worker is not ready", func() bool {
		err := w.worker.it.Ready(context.Background())
		return err != nil && strings.Contains(err.Error(), "redis")
	})
	w.deliver(notice("while-redis-is-away", "s-1", cem))
	if i := w.info(); i.Pending+i.InFlight == 0 {
		w.t.Error("changes were settled without Redis")
	}
	w.startRedis(addr)
	w.await("the worker is ready", func() bool { return w.worker.it.Ready(context.Background()) == nil })
}
