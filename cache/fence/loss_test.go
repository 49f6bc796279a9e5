package fence_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// What is lost, of a wrong type, or left half done must not hide an entry from
// a change.

func TestFenceLost(t *testing.T) {
	each(t, func(w *world) {
		w.store("41")
		l := w.lease(cache.EntryName(ref("42")))
		w.del(w.keys.Fence(home))
		if o := w.commit(l, fill()); o.Refused != "fence" {
			w.t.Errorf("no fence: %+v", o)
		}
		b := w.begin(cache.EntryName(ref("43")), fence.Want{})
		if !b.Drained || w.alive("41") {
			w.t.Errorf("the tenant was not drained: %+v", b)
		}
		if b.Lease == nil {
			w.t.Fatalf("no lease: %+v", b)
		}
		if o := w.commit(b.Lease, fill()); !o.Stored {
			w.t.Errorf("after the drain: %+v", o)
		}

		w.store("41")
		w.del(w.keys.Fence(home))
		in := w.invalidate(events.SubjectTag("nobody"))
		if !in.Drained || w.alive("41") || w.alive("43") {
			w.t.Errorf("invalidation over a lost fence: %+v", in)
		}
	})
}

func TestFenceMadeAnew(t *testing.T) {
	each(t, func(w *world) {
		l := w.lease(cache.EntryName(ref("42")))
		w.del(w.keys.Fence(home))
		w.invalidate(events.SubjectTag("nobody")) // makes another
		if o := w.commit(l, fill()); o.Refused != "fence" {
			w.t.Errorf("a lease of the old fence: %+v", o)
		}
		l = w.lease(cache.EntryName(ref("42")))
		f := fill()
		stamp := cache.Stamp{Number: l.Stamp.Number, Fence: l.Stamp.Fence + 1}
		f.Used = []fence.Used{{Name: "token:x", Stamp: stamp}}
		if o := w.commit(l, f); o.Refused != "fence" || o.Thing != "token:x" {
			w.t.Errorf("a part of another fence: %+v", o)
		}
	})
}

func TestFencePruned(t *testing.T) {
	db := cachetest.StandIn(t)
	w := open(t, db)
	start := time.Now()
	at := func(d time.Duration) { db.Mini.SetTime(start.Add(d)) }
	at(0)
	old := w.lease("e:42")
	w.invalidate(events.RoleTag("7"))
	w.invalidate(events.RoleTag("8"))
	at(fence.Window + time.Minute)
	w.invalidate(events.RoleTag("9")) // prunes 7 and 8
	members, err := db.ZRange(t.Context(), w.keys.Fence(home), 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(members, "t:role:7") || !slices.Contains(members, "t:role:9") {
		t.Errorf("fence holds %q", members)
	}
	// The stamp that would have refused it is forgotten; the floor is not.
	if o := w.commit(old, fill(events.RoleTag("7"))); o.Refused != "floor" {
		t.Errorf("got %+v", o)
	}
	f := fill()
	l := w.lease("e:42")
	f.Used = []fence.Used{{Name: "role:7", Stamp: old.Stamp}}
	if o := w.commit(l, f); o.Refused != "floor" || o.Thing != "role:7" {
		t.Errorf("a part below the floor: %+v", o)
	}
}

func TestIndexLost(t *testing.T) {
	each(t, func(w *world) {
		for _, lost := range []events.Tag{events.RoleTag("7"), events.SubjectTag("42"), events.TenantTag} {
			w.store("42", events.RoleTag("7"))
			w.store("43")
			w.del(w.keys.Index(home, lost))
			if in := w.invalidate(lost); !in.Drained || w.alive("42") {
				w.t.Errorf("%s: %+v, alive %v", lost, in, w.alive("42"))
			}
			w.store("42", events.RoleTag("7"))

			// A commit notices too: what the lost index listed must not hide
			// behind the new one.
			w.store("43", lost)
			w.del(w.keys.Index(home, lost))
			o := w.commit(w.lease(cache.EntryName(ref("44"))), fill(lost))
			if o.Refused != "index "+lost.String() || w.alive("42") {
				w.t.Errorf("%s: commit over a lost index: %+v", lost, o)
			}
			w.store("44", lost)
		}
	})
}

func (w *world) clobber(key string) {
	w.t.Helper()
	w.del(key)
	if err := w.db.Set(w.ctx, key, "not ours", 0).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func TestKeysOfAWrongTypeCountAsLost(t *testing.T) {
	role := events.RoleTag("7")
	each(t, func(w *world) {
		for name, key := range map[string]string{
			"an index":           w.keys.Index(home, role),
			"the fence":          w.keys.Fence(home),
			"the tenant's index": w.keys.Index(home, events.TenantTag),
		} {
			w.store("42", role)
			w.clobber(key)
			w.invalidate(role)
			w.invalidate(events.TenantTag)
			if w.alive("42") {
				w.t.Errorf("%s: the entry survived", name)
			}
			w.store("42", role)
		}
	})
}

// A commit that was refused for an index of a wrong type leaves the entry that
// stands as it was listed, or takes it away.
func TestARefusedCommitHidesNothing(t *testing.T) {
	db := cachetest.StandIn(t)
	w := open(t, db)
	start := time.Now()
	db.Mini.SetTime(start)
	name := cache.EntryName(ref("42"))
	long := fill(events.SubjectTag("42"), events.RoleTag("7"))
	long.Life = cache.Ceiling
	if o := w.commit(w.lease(name), long); !o.Stored {
		t.Fatal(o)
	}
	w.clobber(w.keys.Index(home, events.RoleTag("8")))
	short := fill(events.SubjectTag("42"), events.RoleTag("7"), events.RoleTag("8"))
	short.Life = cache.MinLife
	if o := w.commit(w.lease(name), short); o.Stored {
		t.Fatalf("stored over an index of a wrong type: %+v", o)
	}
	db.Mini.SetTime(start.Add(2 * cache.MinLife))
	w.store("43", events.RoleTag("7")) // prunes what is listed as dead
	w.invalidate(events.RoleTag("7"))
	if w.alive("42") {
		t.Error("the entry survived the change of its role")
	}
}

func TestIndexLostWhileTheClockWasAhead(t *testing.T) {
	for _, entries := range []int{1, 12, 150} {
		t.Run(fmt.Sprint(entries), func(t *testing.T) {
			db := cachetest.StandIn(t)
			w := open(t, db)
			start := time.Now()
			db.Mini.SetTime(start)
			for i := range entries {
				w.store(fmt.Sprint(i), events.RoleTag("7"))
			}
			w.del(w.keys.Index(home, events.RoleTag("7")))
			db.Mini.SetTime(start.Add(10 * time.Minute))
			w.store("other") // tidies up by that clock
			db.Mini.SetTime(start.Add(time.Second))
			w.invalidate(events.RoleTag("7"))
			for i := range entries {
				if w.alive(fmt.Sprint(i)) {
					t.Fatalf("entry %d survived", i)
				}
			}
		})
	}
}

var errCrashed = errors.New("crashed")

// crash lets one script through and fails all that follow, until it is off.
type crash struct{ left int }

func (*crash) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*crash) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *crash) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		if c.left--; c.left == -1 {
			cmd.SetErr(errCrashed)
			return errCrashed
		}
		return next(ctx, cmd)
	}
}

// before does something before one of the scripts that a client runs.
type before struct {
	redis.Hook
	script int
	do     func()
	ran    int
}

func (*before) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			if b.ran++; b.ran == b.script {
				b.do()
			}
		}
		return next(ctx, cmd)
	}
}

// interrupted opens a store of its own, whose scripts another comes between.
func interrupted(t *testing.T, addr string, by *before) *fence.Store {
	t.Helper()
	one := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { one.Close() })
	one.AddHook(by)
	return openStore(t, cachetest.DB{UniversalClient: one})
}

// The worker that made a new fence dies before it has drained the tenant: the
// next to come does it.
func TestADrainThatIsOwedIsDoneByTheNext(t *testing.T) {
	each(t, func(w *world) {
		w.store("42", events.RoleTag("7"))
		w.del(w.keys.Fence(home))
		dying := &crash{left: 1}
		switch db := w.db.UniversalClient.(type) {
		case *redis.Client:
			db.AddHook(dying)
		case *redis.ClusterClient:
			db.AddHook(dying)
		}
		if _, err := w.Begin(w.ctx, home, "e:1", fence.Want{}); !errors.Is(err, errCrashed) {
			w.t.Fatalf("no crash: %v", err)
		}
		w.invalidate(events.SubjectTag("nobody"))
		if w.alive("42") {
			w.t.Error("what the lost fence had vouched for is still there")
		}
	})
}

func TestATagNamedTwiceIsOne(t *testing.T) {
	each(t, func(w *world) {
		w.store("42", events.RoleTag("7"))
		w.store("43")
		if in := w.invalidate(events.RoleTag("7"), events.RoleTag("7")); in.Drained || !w.alive("43") {
			w.t.Errorf("drained: %s", in.Why)
		}
	})
}

func TestEntryThatNamesNoTag(t *testing.T) {
	each(t, func(w *world) {
		if o := w.commit(w.lease(cache.EntryName(ref("42"))), fill()); !o.Stored {
			w.t.Fatal(o)
		}
		w.del(w.keys.Index(home, events.TenantTag))
		if in := w.invalidate(events.TenantTag); w.alive("42") {
			w.t.Errorf("the entry survived: %+v", in)
		}
	})
}
