package budget_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

var (
	lane   = subscriptions.Lane{Provider: "ringcentral", Identity: "37439510:256440016", Group: "light"}
	minute = time.Minute
)

func perMinute(n int) subscriptions.Window { return subscriptions.Window{Calls: n, Length: minute} }

// bench is a budget on a Redis whose clock the test drives.
type bench struct {
	*budget.Shared
	cachetest.DB
	t    testing.TB
	now  time.Time // the Redis's
	open func() *budget.Shared
}

// start is what the clock of a bench says at first.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newBench is a bench on a stand-in.
func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{DB: cachetest.StandIn(t), t: t, now: start}
	b.open = func() *budget.Shared { return another(t, b.DB) }
	b.pass(0)
	b.Shared = b.open()
	return b
}

// drivenBench is a bench on a real Redis, where the clock is a key.
func drivenBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{DB: cachetest.Redis(t), t: t, now: start}
	b.open = func() *budget.Shared { return driven(t, b.UniversalClient) }
	b.pass(0)
	b.Shared = b.open()
	return b
}

// another is the budget of another process.
func another(t testing.TB, db cachetest.DB) *budget.Shared {
	t.Helper()
	b, err := budget.Open(t.Context(), db.UniversalClient, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// driven is another's, whose clock is a key.
func driven(t testing.TB, rdb redis.UniversalClient) *budget.Shared {
	t.Helper()
	b, err := budget.OpenDriven(t.Context(), rdb, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// setClock sets the clock of a driven Redis.
func setClock(ctx context.Context, rdb redis.UniversalClient, now time.Time) error {
	us := now.UnixMicro()
	_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, budget.Clock)
		p.RPush(ctx, budget.Clock, us/1e6, us%1e6)
		return nil
	})
	return err
}

// pass lets time pass; back in time no key grows younger.
func (b *bench) pass(d time.Duration) {
	b.now = b.now.Add(d)
	if b.Mini == nil {
		if err := setClock(b.t.Context(), b, b.now); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	b.Mini.SetTime(b.now)
	if d > 0 {
		b.Mini.FastForward(d)
	}
}

// ask takes a call for a purpose, always as the same caller; wait is how long
// until its turn.
func ask(
	t testing.TB, b subscriptions.Budget, p cache.Purpose, usual subscriptions.Window,
) (c subscriptions.Call, wait time.Duration) {
	t.Helper()
	return askAs(cache.WithCaller(t.Context(), "somebody"), t, b, p, usual)
}

// askAs takes a call as the caller that ctx names, if any.
func askAs(
	ctx context.Context, t testing.TB, b subscriptions.Budget, p cache.Purpose, usual subscriptions.Window,
) (c subscriptions.Call, wait time.Duration) {
	t.Helper()
	before := time.Now()
	c, err := b.Take(cache.WithPurpose(ctx, p), lane, usual)
	var later *subscriptions.Later
	switch {
	case errors.As(err, &later) && c == nil && later.Group == lane.Group:
		return nil, later.Until.Sub(before)
	case err != nil:
		t.Fatal(err)
	}
	return c, 0
}

// granted takes n calls that must be granted.
func granted(t testing.TB, b subscriptions.Budget, p cache.Purpose, usual subscriptions.Window, n int) (
	all []subscriptions.Call,
) {
	t.Helper()
	for i := range n {
		c, wait := ask(t, b, p, usual)
		if c == nil {
			t.Fatalf("call %d of %d must wait %s", i+1, n, wait)
		}
		all = append(all, c)
	}
	return all
}

// refused asks for a call that must not be granted, and returns how long it is
// until the caller's turn.
func refused(
	t testing.TB, b subscriptions.Budget, p cache.Purpose, usual subscriptions.Window,
) time.Duration {
	t.Helper()
	c, wait := ask(t, b, p, usual)
	if c != nil {
		t.Fatal("granted")
	}
	return wait
}

func end(calls []subscriptions.Call, said subscriptions.Said) {
	for _, c := range calls {
		c.Done(context.Background(), said)
	}
}

// about compares times one of which is by the wall's clock.
func about(t testing.TB, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+10*time.Second {
		t.Errorf("%s: in %s, want in %s", what, got, want)
	}
}
