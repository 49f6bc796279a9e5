package budget_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

// TestOnEveryRedis runs what does not need a driven clock on all of them.
func TestOnEveryRedis(t *testing.T) {
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		one, two := another(t, db), another(t, db)
		calls := granted(t, one, cache.ForReader, perMinute(5), 3)
		calls = append(calls, granted(t, two, cache.ForReader, perMinute(5), 2)...)
		about(t, "the sixth call", refused(t, one, cache.ForReader, perMinute(5)), minute-time.Millisecond)
		other := lane
		other.Group = "medium"
		if _, err := one.Take(t.Context(), other, perMinute(1)); err != nil {
			t.Errorf("another group: %v", err)
		}
		end(calls[:1], subscriptions.Said{Limit: 7})
		more := granted(t, two, cache.ForReader, perMinute(5), 2)
		end(more, subscriptions.Said{Unsent: true})
		more = granted(t, one, cache.ForReader, perMinute(5), 2)
		end(more[:1], subscriptions.Said{Penalty: 3 * minute})
		wait := refused(t, two, cache.ForReader, perMinute(5))
		about(t, "a call during the penalty", wait, 3*minute-5*time.Second)
		keys, err := db.Keys(t.Context(), "*").Result()
		if err != nil || len(keys) == 0 {
			t.Fatalf("keys %v, %v", keys, err)
		}
		for _, k := range keys {
			ttl, err := db.PTTL(t.Context(), k).Result()
			ours := strings.HasPrefix(k, "budget:{ringcentral:37439510%3A256440016}:")
			if err != nil || ttl <= 0 || ttl > 25*time.Hour || !ours {
				t.Errorf("key %s expires in %s, %v", k, ttl, err)
			}
		}
	})
}

func TestASlotIsTakenUntilAWindowAfterTheReply(t *testing.T) {
	b := newBench(t)
	calls := granted(t, b, cache.ForReader, perMinute(2), 1)
	b.pass(10 * time.Second)
	calls = append(calls, granted(t, b, cache.ForReader, perMinute(2), 1)...)
	end(calls, subscriptions.Said{})
	b.pass(minute - time.Microsecond)
	refused(t, b, cache.ForReader, perMinute(2))
	b.pass(time.Microsecond)
	granted(t, b, cache.ForReader, perMinute(2), 2)
	refused(t, b, cache.ForReader, perMinute(2))
}

// TestTheVendorCountsUntilTheReply: a call may be counted when its reply is on
// the way, so its slot frees a window after the reply and not after the asking.
func TestTheVendorCountsUntilTheReply(t *testing.T) {
	b := newBench(t)
	v := &vendor{limit: perMinute(1)}
	calls := granted(t, b, cache.ForReader, perMinute(1), 1)
	b.pass(29 * time.Second)
	said := v.arrive(29 * time.Second)
	b.pass(time.Second)
	end(calls, said)
	for now := 30 * time.Second; v.calls < 2 && now < 3*minute; now += time.Second {
		if c, _ := ask(t, b, cache.ForReader, perMinute(1)); c != nil {
			if said := v.arrive(now); said.Penalty > 0 || now != 90*time.Second {
				t.Errorf("granted at %s, the vendor says %+v", now, said)
			}
		}
		b.pass(time.Second)
	}
	if v.calls != 2 || v.refused > 0 {
		t.Errorf("%d calls counted, %d refused", v.calls, v.refused)
	}
}

func TestACallThatNeverComesBack(t *testing.T) {
	b := newBench(t)
	granted(t, b, cache.ForReader, perMinute(1), 1)
	b.pass(budget.Longest + minute - time.Microsecond)
	refused(t, b, cache.ForReader, perMinute(1))
	b.pass(time.Microsecond)
	late := granted(t, b, cache.ForReader, perMinute(1), 1)
	end(late, subscriptions.Said{})
	b.pass(minute)
	granted(t, b, cache.ForReader, perMinute(1), 1)
}

func TestLimitsAreLearned(t *testing.T) {
	t.Run("more and shorter", func(t *testing.T) {
		b := newBench(t)
		calls := granted(t, b, cache.ForReader, perMinute(2), 2)
		end(calls, subscriptions.Said{Limit: 3, Window: 10 * time.Second, Remaining: 1, Told: true})
		granted(t, b, cache.ForReader, perMinute(2), 1)
		refused(t, b, cache.ForReader, perMinute(2))
		b.pass(10 * time.Second)
		granted(t, b, cache.ForReader, perMinute(2), 2)
	})
	t.Run("fewer and longer", func(t *testing.T) {
		b := newBench(t)
		calls := granted(t, b, cache.ForReader, perMinute(9), 4)
		end(calls, subscriptions.Said{Limit: 5, Window: 2 * minute, Remaining: 1, Told: true})
		b.pass(minute)
		granted(t, b, cache.ForReader, perMinute(9), 1)
		refused(t, b, cache.ForReader, perMinute(9))
		b.pass(minute)
		granted(t, b, cache.ForReader, perMinute(9), 4)
	})
	t.Run("none until one is told", func(t *testing.T) {
		b := newBench(t)
		calls := granted(t, b, cache.ForSweep, subscriptions.Window{}, 200)
		end(calls[:1], subscriptions.Said{Limit: 200, Window: minute})
		refused(t, b, cache.ForReader, subscriptions.Window{})
	})
}

func TestSomebodyElseUsesTheIdentity(t *testing.T) {
	b := newBench(t)
	calls := granted(t, b, cache.ForReader, perMinute(10), 3)
	end(calls[:1], subscriptions.Said{Remaining: 2, Told: true}) // 8 are counted, 3 at most are ours
	end(calls[1:], subscriptions.Said{Remaining: 9, Told: true}) // not believed
	b.pass(minute / 2)
	end(granted(t, b, cache.ForReader, perMinute(10), 2), subscriptions.Said{Told: true})
	refused(t, b, cache.ForReader, perMinute(10))
	b.pass(minute / 2)
	granted(t, b, cache.ForReader, perMinute(10), 8)
	refused(t, b, cache.ForReader, perMinute(10))
}

func TestSomebodyElseUsesVeryMuch(t *testing.T) {
	b := newBench(t)
	end(granted(t, b, cache.ForReader, perMinute(1e6), 1), subscriptions.Said{Told: true})
	about(t, "the next", refused(t, b, cache.ForReader, perMinute(1e6)), minute)
	b.pass(minute)
	granted(t, b, cache.ForReader, perMinute(1e6), 100)
}

func TestAPenaltyIsForAll(t *testing.T) {
	b := newBench(t)
	calls := granted(t, b, cache.ForReader, perMinute(10), 3)
	end(calls[:1], subscriptions.Said{Penalty: 2 * minute})
	end(calls[1:2], subscriptions.Said{Penalty: minute}) // never shortened
	end(calls[2:], subscriptions.Said{})
	b.pass(2*minute - time.Second)
	wait := refused(t, another(t, b.DB), cache.ForReader, perMinute(10))
	about(t, "during the penalty", wait, time.Second)
	b.pass(time.Second)
	granted(t, b, cache.ForReader, perMinute(10), 10)
}

func TestReadersHaveAShare(t *testing.T) {
	for _, c := range []struct{ limit, share int }{{1, 0}, {2, 1}, {5, 1}, {40, 2}, {100, 5}} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			b := newBench(t)
			granted(t, b, cache.ForChange, perMinute(c.limit), c.limit-c.share)
			refused(t, b, cache.ForChange, perMinute(c.limit))
			granted(t, b, cache.ForReader, perMinute(c.limit), c.share)
			refused(t, b, cache.ForReader, perMinute(c.limit))
		})
	}
}

// TestOrder: one slot after the other frees; whoever comes, those of the
// highest purpose that waits go first.
func TestOrder(t *testing.T) {
	b := newBench(t)
	for range 10 {
		end(granted(t, b, cache.ForReader, perMinute(10), 1), subscriptions.Said{})
		b.pass(time.Second)
	}
	waits := map[cache.Purpose]time.Duration{}
	for p := cache.ForSweep; p >= cache.ForReader; p-- {
		waits[p] = refused(t, b, p, perMinute(10))
	}
	about(t, "the reader", waits[cache.ForReader], 50*time.Second)
	about(t, "the change, after one for readers", waits[cache.ForChange], 51*time.Second)
	b.pass(52 * time.Second) // three have freed, and one is for readers
	refused(t, b, cache.ForSweep, perMinute(10))
	refused(t, b, cache.ForUpkeep, perMinute(10))
	granted(t, b, cache.ForReader, perMinute(10), 1)
	granted(t, b, cache.ForChange, perMinute(10), 1)
	b.pass(2 * time.Second)
	granted(t, b, cache.ForUpkeep, perMinute(10), 1)
}

func TestAWaiterThatDoesNotComeIsForgotten(t *testing.T) {
	b := newBench(t)
	end(granted(t, b, cache.ForReader, perMinute(3), 3), subscriptions.Said{})
	for range 3 { // without a name: nobody can come back
		askAs(t.Context(), t, b, cache.ForReader, perMinute(3))
	}
	b.pass(minute) // it is the readers' turn
	refused(t, b, cache.ForChange, perMinute(3))
	b.pass(minute/20 + time.Microsecond)
	granted(t, b, cache.ForChange, perMinute(3), 2)
}

func TestTurnsAreOneAfterTheOther(t *testing.T) {
	b := drivenBench(t)
	for range 3 {
		end(granted(t, b, cache.ForReader, perMinute(3), 1), subscriptions.Said{})
		b.pass(10 * time.Second)
	}
	for i, want := range []time.Duration{30, 40, 50, 90, 100, 110, 150} {
		_, wait := askAs(t.Context(), t, b, cache.ForReader, perMinute(3))
		if got := wait.Truncate(time.Second); got != want*time.Second {
			t.Errorf("turn %d in %s, want %s", i, got, want*time.Second)
		}
	}
	for range 1000 {
		if _, wait := askAs(t.Context(), t, b, cache.ForReader, perMinute(3)); wait > 10*minute+time.Second {
			t.Fatalf("turn in %s", wait)
		}
	}
}

func TestAClockThatGoesBack(t *testing.T) {
	b := newBench(t)
	calls := granted(t, b, cache.ForReader, perMinute(3), 3)
	end(calls[:2], subscriptions.Said{})
	refused(t, b, cache.ForReader, perMinute(3))
	b.pass(-time.Hour)
	refused(t, b, cache.ForReader, perMinute(3))
	end(calls[2:], subscriptions.Said{Penalty: 5 * minute})
	b.pass(-time.Hour)
	about(t, "the penalty", refused(t, b, cache.ForReader, perMinute(3)), 5*minute-time.Second)
	b.pass(5 * minute)
	granted(t, b, cache.ForReader, perMinute(3), 3)
}

func TestRedisAwayIsAnOutage(t *testing.T) {
	b := newBench(t)
	calls := granted(t, b, cache.ForReader, perMinute(3), 1)
	b.Mini.SetError("LOADING it is away")
	_, err := b.Take(t.Context(), lane, perMinute(3))
	var later *subscriptions.Later
	if err == nil || errors.As(err, &later) || !strings.Contains(err.Error(), "LOADING") {
		t.Errorf("error %v", err)
	}
	end(calls, subscriptions.Said{})
	b.Mini.SetError("")
	granted(t, b, cache.ForReader, perMinute(3), 2)
}

func TestDoneAfterTheCallersEnd(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := b.Take(ctx, lane, perMinute(1))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	c.Done(ctx, subscriptions.Said{Unsent: true})
	granted(t, b, cache.ForReader, perMinute(1), 1)
}

func TestScriptsAreLoadedAgain(t *testing.T) {
	db := cachetest.Redis(t)
	b := another(t, db)
	if err := db.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	end(granted(t, b, cache.ForReader, perMinute(1), 1), subscriptions.Said{Unsent: true})
	granted(t, b, cache.ForReader, perMinute(1), 1)
}

func TestMetrics(t *testing.T) {
	db := cachetest.StandIn(t)
	r := prometheus.NewPedanticRegistry()
	b, err := budget.Open(t.Context(), db.UniversalClient, budget.NewMetrics(r), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	calls := granted(t, b, cache.ForReader, perMinute(2), 2)
	refused(t, b, cache.ForReader, perMinute(2))
	end(calls, subscriptions.Said{Penalty: minute})
	refused(t, b, cache.ForReader, perMinute(2))
	want := `
# HELP rescind_budget_calls_total Calls asked for, by outcome: granted, postponed, penalty.
# TYPE rescind_budget_calls_total counter
rescind_budget_calls_total{group="light",outcome="granted",provider="ringcentral"} 2
rescind_budget_calls_total{group="light",outcome="penalty",provider="ringcentral"} 1
rescind_budget_calls_total{group="light",outcome="postponed",provider="ringcentral"} 1
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "rescind_budget_calls_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(r, "rescind_budget_used_ratio"); n != 1 || err != nil {
		t.Errorf("%d series of the used share, %v", n, err)
	}
}
