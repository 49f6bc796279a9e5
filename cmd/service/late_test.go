package service_test

import (
	"context"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// TestTheProviderIsLate has the provider answer with the old state for some
// seconds after its own notice: every entry ends right, and is confirmed.
func TestTheProviderIsLate(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than half a minute")
	}
	for late, settles := range map[time.Duration]time.Duration{
		time.Second: cache.Soon, 5 * time.Second: cache.Settled, 20 * time.Second: cache.Settled,
	} {
		t.Run(late.String(), func(t *testing.T) {
			t.Parallel()
			w := startWorld(t, options{exchange: true})
			w.expect(bea, cache.Granted, abroad)
			if err := w.sim.Fault(sim.Fault{Kind: sim.Stale, Delay: late}); err != nil {
				t.Fatal(err)
			}
			revoked := time.Now()
			w.assign(bea, lesserRole)
			w.applied()
			applied := time.Now()
			reads, wrong, lastWrong := w.watchAfter(bea, settles+3*time.Second)
			t.Logf("late by %-4s: dropped after %s; %d of %d reads wrong, the last %s after the change",
				late, applied.Sub(revoked).Round(time.Millisecond), wrong, reads,
				lastWrong.Sub(revoked).Round(100*time.Millisecond))
			if wrong == 0 {
				t.Error("the provider was not late")
			}
			if still := lastWrong.Sub(revoked); still > settles+time.Second {
				t.Errorf("wrong for %s, want %s at most", still, settles+time.Second)
			}
			w.expect(bea, cache.Denied, abroad)
			if calls := w.sim.Calls("readAuthorizationProfile"); calls > 5 {
				t.Errorf("%d reads of the profile: one before, at most three after each of one change and its correction", calls)
			}
		})
	}
}

// watchAfter reads an entry every 50 ms, as an application does.
func (w *world) watchAfter(subject string, d time.Duration) (reads, wrong int, last time.Time) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		v, err := w.rdb.HGet(context.Background(), cache.Keys{}.Entry(ref(subject)), string(abroad)).Result()
		reads++
		if err == nil && v != "" {
			wrong, last = wrong+1, time.Now()
		}
	}
	return reads, wrong, last
}
