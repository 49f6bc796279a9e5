package service_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// ask asks a worker, as an application does.
func (w *world) ask(
	worker *running[*service.Worker], subject string, need ...cache.Grant,
) (lookup.Decision, error) {
	w.t.Helper()
	c, err := lookup.NewHTTP(lookup.HTTPOptions{
		URL: "http://" + worker.it.Addr(), Token: askToken, Client: w.client, Timeout: limit,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return c.Ask(ctx, ref(subject), need...)
}

// expect asks and wants a state.
func (w *world) expect(subject string, want cache.State, need ...cache.Grant) lookup.Decision {
	w.t.Helper()
	d, err := w.ask(w.worker, subject, need...)
	if err != nil || d.State != want {
		w.t.Fatalf("%v for %s: %s (%q), %v; want %s", need, subject, d.State, d.Message, err, want)
	}
	return d
}

// await polls until the condition holds.
func (w *world) await(what string, holds func() bool) {
	w.t.Helper()
	await(w.t, what, holds)
}

func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// info is the state of the streams.
func (w *world) info() stream.Info {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	info, err := w.stream.Info(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

// applied waits until every change in the stream has been.
func (w *world) applied() {
	w.t.Helper()
	w.await("all changes applied", w.nothingPends())
}

// tell puts a change into the stream, as a tail or the application would.
func (w *world) tell(id string, tags ...events.Tag) {
	w.t.Helper()
	_, err := w.stream.Publish(context.Background(), events.Change{
		ID: id, Home: home, Tags: tags, Source: events.Application, Received: time.Now(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// asOf is when the fetch of the entry in Redis began; zero if there is none.
func (w *world) asOf(subject string) time.Time {
	w.t.Helper()
	ms, err := w.rdb.HGet(context.Background(), cache.Keys{}.Entry(ref(subject)), cache.FieldAsOf).Int64()
	if errors.Is(err, redis.Nil) {
		return time.Time{}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return time.UnixMilli(ms)
}

// refreshed waits until the entry is there from a later fetch. Its version may
// be the same: that is the number of the oldest thing which went into it.
func (w *world) refreshed(subject string, before lookup.Decision) {
	w.t.Helper()
	w.await(subject+" refreshed", func() bool { return w.asOf(subject).After(before.AsOf) })
}

// nothingPends says whether every change was applied. It asks no more than
// fifty times a second, so as not to be a load itself.
func (w *world) nothingPends() func() bool {
	var last time.Time
	return func() bool {
		if time.Since(last) < 20*time.Millisecond {
			return false
		}
		i := w.info()
		last = time.Now()
		return i.Pending == 0 && i.InFlight == 0 && i.Settled == i.LastSeq
	}
}

func (w *world) assign(subject, role string) {
	w.t.Helper()
	if err := w.sim.AssignRoles(subject, role); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) fault(f sim.Fault) {
	w.t.Helper()
	if err := w.sim.Fault(f); err != nil {
		w.t.Fatal(err)
	}
}
