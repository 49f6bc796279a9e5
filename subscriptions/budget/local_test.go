package budget_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

func TestLocal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		said []subscriptions.Said // of the calls before, made at once, one by one; the limit is 3 a minute
		want []time.Duration      // how long until each of the next calls
	}{
		"nothing said":   {make([]subscriptions.Said, 2), []time.Duration{0, minute, minute}},
		"never sent":     {[]subscriptions.Said{{Unsent: true}, {Unsent: true}}, []time.Duration{0, 0, 0, minute}},
		"more":           {[]subscriptions.Said{{}, {Limit: 4}}, []time.Duration{0, 0, minute}},
		"fewer":          {[]subscriptions.Said{{}, {Limit: 1}}, []time.Duration{minute}},
		"a short window": {[]subscriptions.Said{{}, {}, {Window: time.Second}}, []time.Duration{time.Second}},
		"a long window":  {[]subscriptions.Said{{}, {}, {Window: time.Hour}}, []time.Duration{time.Hour}},
		"others":         {[]subscriptions.Said{{Remaining: 1, Told: true}}, []time.Duration{0, minute}},
		"fewer others":   {[]subscriptions.Said{{Remaining: 3, Told: true}}, []time.Duration{0, 0, minute}},
		"a penalty":      {[]subscriptions.Said{{Penalty: 9 * minute}}, []time.Duration{9 * minute}},
		"the longer of two penalties": {
			[]subscriptions.Said{{Limit: 9}, {Penalty: time.Second}}, []time.Duration{time.Second},
		},
		"very many others": {[]subscriptions.Said{{Limit: 1e9, Told: true}}, []time.Duration{minute}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := budget.NewLocal()
				for _, said := range c.said {
					end(granted(t, b, cache.ForSweep, perMinute(3), 1), said)
				}
				var got []time.Duration
				for range c.want {
					_, wait := ask(t, b, cache.ForSweep, perMinute(3))
					got = append(got, wait)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestLocalFreesAWindowAfterTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.NewLocal()
		calls := granted(t, b, cache.ForReader, perMinute(1), 1)
		time.Sleep(time.Hour) // simulated
		if wait := refused(t, b, cache.ForReader, perMinute(1)); wait != minute {
			t.Errorf("while it is under way: in %s", wait)
		}
		end(calls, subscriptions.Said{})
		time.Sleep(minute - time.Nanosecond) // simulated
		if wait := refused(t, b, cache.ForReader, perMinute(1)); wait != time.Nanosecond {
			t.Errorf("afterwards: in %s", wait)
		}
		time.Sleep(time.Nanosecond) // simulated
		granted(t, b, cache.ForReader, perMinute(1), 1)
	})
}

// TestLocalKeepsWhatItMust: with many lanes the closed one is not forgotten.
func TestLocalKeepsWhatItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.NewLocal()
		end(granted(t, b, cache.ForReader, perMinute(9), 1), subscriptions.Said{Penalty: time.Hour})
		for i := range 5000 {
			other := lane
			other.Identity = strconv.Itoa(i)
			c, err := b.Take(t.Context(), other, perMinute(9))
			if err != nil {
				t.Fatal(err)
			}
			end([]subscriptions.Call{c}, subscriptions.Said{Unsent: true})
		}
		_, err := b.Take(t.Context(), lane, perMinute(9))
		var later *subscriptions.Later
		if !errors.As(err, &later) {
			t.Errorf("error %v", err)
		}
	})
}
