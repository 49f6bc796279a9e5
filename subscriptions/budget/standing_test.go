package budget_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

func TestStandings(t *testing.T) {
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		b := another(t, db)
		odd := subscriptions.Lane{Provider: "ringcentral", Identity: "1:{ö}*:s", Group: "a:b}:l"}
		for l, usual := range map[subscriptions.Lane]subscriptions.Window{
			odd: {}, {Provider: "ringcentral-2", Identity: "1", Group: "light"}: perMinute(1), lane: perMinute(3),
		} {
			ctx := cache.WithCaller(t.Context(), "one")
			if _, err := b.Take(cache.WithPurpose(ctx, cache.ForUpkeep), l, usual); err != nil {
				t.Fatal(err)
			}
		}
		end(granted(t, b, cache.ForReader, perMinute(3), 1), subscriptions.Said{Limit: 2})
		refused(t, b, cache.ForReader, perMinute(3))
		refused(t, b, cache.ForSweep, perMinute(3))
		askAs(t.Context(), t, b, cache.ForSweep, perMinute(3))
		got, err := b.Standings(t.Context(), "ringcentral")
		want := []budget.Standing{
			{Lane: odd, Used: 1, Busy: 1},
			{Lane: lane, Window: perMinute(2), Used: 2, Waiting: [4]int{1, 0, 0, 2}, Busy: 2, Life: 75 * time.Second},
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if got, err := b.Standings(t.Context(), "box"); len(got) != 0 || err != nil {
			t.Errorf("of another provider: %v, %v", got, err)
		}
	})
}

func TestStandingOfAClosedLane(t *testing.T) {
	b := newBench(t)
	end(granted(t, b, cache.ForReader, perMinute(3), 1), subscriptions.Said{Penalty: 5 * minute})
	b.pass(minute)
	all, err := b.Standings(t.Context(), lane.Provider)
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	about(t, "it opens", time.Until(all[0].Closed), 4*minute-10*time.Second)
	b.pass(4 * minute)
	if all, err = b.Standings(t.Context(), lane.Provider); err != nil || !all[0].Closed.IsZero() {
		t.Errorf("after the penalty %v, %v", all, err)
	}
}

func TestStandingsAreBounded(t *testing.T) {
	b := drivenBench(t)
	for i := range budget.MaxStandings + 50 {
		key := fmt.Sprintf("budget:{ringcentral:%d}:light:s", i)
		if err := b.HSet(t.Context(), key, "calls", 7).Err(); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.Standings(t.Context(), lane.Provider)
	if len(all) != budget.MaxStandings || err != nil || all[7].Window.Calls != 7 {
		t.Errorf("%d standings, %v", len(all), err)
	}
}

func TestStandingsWhileRedisIsAway(t *testing.T) {
	b := newBench(t)
	b.Mini.SetError("LOADING it is away")
	if all, err := b.Standings(t.Context(), lane.Provider); err == nil {
		t.Errorf("%v without an error", all)
	}
}
