package fence_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// A copy of the data that may not have seen all changes vouches for nothing.

// pair is a primary with a replica that has caught up.
func pair(t *testing.T) (primary, replica *world) {
	t.Helper()
	p := cachetest.Redis(t, "--repl-diskless-sync-delay", "0")
	host, port, err := net.SplitHostPort(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r := cachetest.Redis(t, "--repl-diskless-sync-delay", "0", "--replicaof", host+" "+port)
	if err := p.Set(t.Context(), "caught-up", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first write at the replica", func() bool {
		return r.Get(t.Context(), "caught-up").Err() == nil
	})
	return open(t, p), &world{t: t, db: r, ctx: t.Context()}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := within(ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// within waits until ok, at most 10 s.
func within(ok func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			return errors.New("not within 10 s")
		}
	}
	return nil
}

// promote makes a replica a primary, which what follows at the old one does
// not reach, and opens it.
func (w *world) promote() {
	w.t.Helper()
	if err := w.db.Do(w.ctx, "replicaof", "no", "one").Err(); err != nil {
		w.t.Fatal(err)
	}
	*w = *open(w.t, w.db)
}

func TestFailoverToACopyThatLags(t *testing.T) {
	t.Parallel()
	p, r := pair(t)
	p.store("41")
	p.store("42", events.RoleTag("7"))
	under := p.lease(cache.EntryName(ref("43")))
	token := p.lease(cache.EntryName(ref("44"))).Stamp
	eventually(t, "the replica's copy", func() bool {
		return r.alive("42") && r.exists(r.keys.Lease(home, "e:44"))
	})
	r.promote()
	p.invalidate(events.RoleTag("7"), events.SubjectTag("43"), events.AppTag) // the copy never sees it

	if o := r.commit(under, fill()); o.Refused != "fence" {
		t.Errorf("a fetch from before the failover: %+v", o)
	}
	l := r.lease(cache.EntryName(ref("45")))
	if r.alive("41") || r.alive("42") {
		t.Error("what the old primary vouched for is still there")
	}
	f := fill()
	f.Used = []fence.Used{{Name: "token:x", Stamp: token, Tags: []events.Tag{events.AppTag}}}
	if o := r.commit(l, f); o.Refused != "fence" || o.Thing != "token:x" {
		t.Errorf("a token from before the failover: %+v", o)
	}
	if r.store("42"); !r.alive("42") {
		t.Error("the new primary stores nothing")
	}
	if o := r.store("41"); o.Version <= under.Stamp.Number {
		t.Errorf("numbers went back: %d after %d", o.Version, under.Stamp.Number)
	}
}

func TestRecoverAfterFailover(t *testing.T) {
	t.Parallel()
	p, r := pair(t)
	p.store("41")
	p.store("42")
	was, err := p.History(p.ctx)
	if err != nil || was == "" {
		t.Fatalf("history %q, %v", was, err)
	}
	eventually(t, "the replica's copy", func() bool { return r.alive("41") && r.alive("42") })
	r.promote()
	if is, err := r.History(r.ctx); err != nil || is == was {
		t.Errorf("history %q, %v; it was %q", is, err, was)
	}
	drained := map[events.Home]int{}
	count := func(h events.Home, in fence.Invalidated) { drained[h] = len(in.Alive) }
	if err := r.Recover(r.ctx, count); err != nil {
		t.Fatal(err)
	}
	if len(drained) != 1 || drained[home] != 2 || r.alive("41") || r.alive("42") {
		t.Errorf("drained %v", drained)
	}
	r.store("42")
	clear(drained)
	if err := r.Recover(r.ctx, count); err != nil || len(drained) != 0 || !r.alive("42") {
		t.Errorf("a second time: %v, %v", drained, err)
	}
}

// What is of this very server stays.
func TestRecoverDropsNothingWithoutNeed(t *testing.T) {
	each(t, func(w *world) {
		w.store("41")
		err := w.Recover(w.ctx, func(h events.Home, in fence.Invalidated) { w.t.Errorf("drained %s: %+v", h, in) })
		if err != nil || !w.alive("41") {
			w.t.Errorf("%v, alive %v", err, w.alive("41"))
		}
		w.del(w.keys.Fence(home))
		w.lease(cache.EntryName(ref("42"))) // makes the fence anew, and drains
		if err := w.Recover(w.ctx, nil); err != nil {
			w.t.Error(err)
		}
	})
}

func TestInvalidateWaitsForReplicas(t *testing.T) {
	t.Parallel()
	p, r := pair(t)
	p.Replicas, p.ReplicaWait = 1, 5*time.Second
	p.store("42")
	eventually(t, "the replica's copy", func() bool { return r.alive("42") })
	p.invalidate(events.SubjectTag("42"))
	if r.alive("42") {
		t.Error("the replica still shows it")
	}
	p.store("42")
	if err := r.db.Server.Kill(); err != nil {
		t.Fatal(err)
	}
	p.ReplicaWait = 20 * time.Millisecond
	in, err := p.Invalidate(p.ctx, home, events.SubjectTag("42"))
	if !errors.Is(err, fence.ErrReplicas) || len(in.Alive) != 1 || p.alive("42") {
		t.Errorf("without the replica: %+v, %v, alive %v", in, err, p.alive("42"))
	}
}

func TestOneNodeHasNoReplicas(t *testing.T) {
	each(t, func(w *world) {
		w.Replicas, w.ReplicaWait = 1, 10*time.Millisecond
		_, err := w.Invalidate(w.ctx, home, events.SubjectTag("42"))
		if w.db.Kind == "stand-in" {
			if err == nil {
				w.t.Error("a stand-in cannot wait, and says nothing")
			}
			return
		}
		if !errors.Is(err, fence.ErrReplicas) {
			w.t.Errorf("got %v", err)
		}
	})
}

// Whoever fetches under a lease from before the failover cannot store: nobody
// waits for it.
func TestLeaseFromBeforeAFailoverHoldsNobody(t *testing.T) {
	t.Parallel()
	p, r := pair(t)
	p.lease(cache.EntryName(ref("42")))
	eventually(t, "the replica's copy", func() bool { return r.exists(r.keys.Lease(home, "e:42")) })
	r.promote()
	r.lease(cache.EntryName(ref("42")))
}
