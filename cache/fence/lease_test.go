package fence_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
)

func TestLease(t *testing.T) {
	name := cache.EntryName(ref("42"))
	each(t, func(w *world) {
		first := w.lease(name)
		if b := w.begin(name, fence.Want{}); b.Lease != nil || b.Live != nil || !b.Other.Equal(first.AsOf) {
			w.t.Errorf("a second begin got %+v", b)
		}
		key := w.keys.Lease(home, name)

		w.del(key) // lost
		if o := w.commit(first, fill()); o.Refused != "lease" {
			w.t.Errorf("lost lease: %+v", o)
		}
		second := w.lease(name) // taken over
		if o := w.commit(first, fill()); o.Refused != "lease" {
			w.t.Errorf("lease taken over: %+v", o)
		}
		if o := w.commit(second, fill()); !o.Stored {
			w.t.Errorf("the new holder: %+v", o)
		}
		if o := w.commit(second, fill()); o.Refused != "lease" {
			w.t.Errorf("the same lease twice: %+v", o)
		}
		third := w.lease(name) // void: more life left than a lease has
		w.db.PExpire(w.ctx, key, time.Hour)
		if o := w.commit(third, fill()); o.Refused != "lease" {
			w.t.Errorf("void lease: %+v", o)
		}
		w.lease(name)
		w.db.PExpire(w.ctx, key, time.Hour)
		w.lease(name) // a void one hinders nobody
		w.del(key)

		if err := w.Release(w.ctx, w.lease(name)); err != nil {
			w.t.Error(err)
		}
		if w.exists(key) {
			w.t.Error("released, and still there")
		}
		fourth := w.lease(name)
		if err := w.Release(w.ctx, third); err != nil || !w.exists(key) {
			w.t.Errorf("released another's lease (%v)", err)
		}
		_ = fourth
	})
}

// A begin that is sent again because its reply was lost gets its own lease.
func TestLeaseOfARepeatedBegin(t *testing.T) {
	each(t, func(w *world) {
		repeat := &repeater{}
		switch db := w.db.UniversalClient.(type) {
		case *redis.Client:
			db.AddHook(repeat)
		case *redis.ClusterClient:
			db.AddHook(repeat)
		}
		w.store("41") // the fence's making is repeated too
		l := w.lease("e:42")
		if repeat.n == 0 {
			w.t.Fatal("nothing was repeated")
		}
		if o := w.commit(l, fill()); !o.Stored {
			w.t.Errorf("got %+v", o)
		}
	})
}

// A begin that is called off while its reply is under way leaves no lease.
func TestNoLeaseOfABeginThatIsCalledOff(t *testing.T) {
	each(t, func(w *world) {
		w.store("41") // so that there is a fence
		ctx, cancel := context.WithCancel(w.ctx)
		off := &callOff{cancel: cancel}
		switch db := w.db.UniversalClient.(type) {
		case *redis.Client:
			db.AddHook(off)
		case *redis.ClusterClient:
			db.AddHook(off)
		}
		b, err := w.Begin(ctx, home, "e:42", fence.Want{})
		if !errors.Is(err, context.Canceled) {
			w.t.Errorf("got %+v, %v", b, err)
		}
		if off.n == 0 {
			w.t.Fatal("nothing was called off")
		}
		if w.exists(w.keys.Lease(home, "e:42")) {
			w.t.Error("its lease is left")
		}
	})
}

// callOff calls the first begin off after the server has run it.
type callOff struct {
	redis.Hook
	cancel context.CancelFunc
	n      int
}

func (*callOff) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*callOff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *callOff) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(context.WithoutCancel(ctx), cmd)
		if args := cmd.Args(); args[0] == "evalsha" && args[2] == 3 && c.n == 0 {
			c.n++
			c.cancel()
			if ctx.Err() != nil {
				cmd.SetErr(ctx.Err()) // the client stopped listening
				return ctx.Err()
			}
		}
		return err
	}
}

// repeater sends every script that takes three keys, hence every begin, twice.
type repeater struct {
	redis.Hook
	n int
}

func (r *repeater) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *repeater) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *repeater) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "evalsha" && args[2] == 3 && r.n < 2 {
			r.n++
			if err := next(ctx, redis.NewCmd(ctx, args...)); err != nil {
				return err
			}
		}
		return next(ctx, cmd)
	}
}

func TestLeaseExpires(t *testing.T) {
	db := cachetest.StandIn(t)
	w := open(t, db)
	l := w.lease("e:42")
	db.Mini.FastForward(fence.LeaseLife + time.Millisecond)
	if o := w.commit(l, fill()); o.Refused != "lease" {
		t.Errorf("got %+v", o)
	}
	w.lease("e:42")
}

func TestLevels(t *testing.T) {
	each(t, func(w *world) {
		name := cache.EntryName(ref("42"))
		o := w.store("42")
		if b := w.begin(name, fence.Want{}); b.Live == nil {
			w.t.Errorf("a live entry did not satisfy: %+v", b)
		}
		if b := w.begin(name, fence.Want{Version: o.Version}); b.Live == nil {
			w.t.Errorf("its own version did not satisfy: %+v", b)
		}
		if b := w.begin(name, fence.Want{After: o.AsOf.Add(-time.Millisecond)}); b.Live == nil {
			w.t.Errorf("an older as-of did not satisfy: %+v", b)
		}
		for what, want := range map[string]fence.Want{
			"now": {Now: true}, "as-of": {After: o.AsOf}, "a version to come": {Version: o.Version + 1e12},
		} {
			b := w.begin(name, want)
			if b.Lease == nil {
				w.t.Fatalf("%s: satisfied by an entry that is too old: %+v", what, b)
			}
			if err := w.Release(w.ctx, b.Lease); err != nil {
				w.t.Fatal(err)
			}
		}
	})
}
