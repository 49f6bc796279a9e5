package fence_test

import (
	"context"
	"errors"
	"fmt"
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

func (w *world) clobber(key string) {
	w.t.Helper()
	w.del(key)
	if err := w.db.Set(w.ctx, key, "not ours", 0).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func TestKeysOfAWrongTypeCountAsLost(t *testing.T) {
	role := events.RoleTag("7")
	for name, key := range map[string]func(w *world) string{
		"an index":           func(w *world) string { return w.keys.Index(home, role) },
		"the fence":          func(w *world) string { return w.keys.Fence(home) },
		"the tenant's index": func(w *world) string { return w.keys.Index(home, events.TenantTag) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) {
				w.store("42", role)
				w.clobber(key(w))
				w.invalidate(role)
				w.invalidate(events.TenantTag)
				if w.alive("42") {
					w.t.Error("the entry survived")
				}
				w.store("42", role)
			})
		})
	}
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
