package renew_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

const week = 7 * 24 * time.Hour

// later lets simulated time pass, and what follows from it happen.
func later(d time.Duration) {
	time.Sleep(d) // simulated
	synctest.Wait()
}

func wantCalls(t *testing.T, f *fake, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.done()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestASubscriptionIsMadeAndRenewedADayBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f, address)
		defer k.stop()
		if err := k.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCalls(t, f, "create")
		want := renew.State{Active: true, ID: "1", Expires: time.Now().Add(week)}
		if diff := cmp.Diff(want, k.State()); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}
		later(week - 25*time.Hour)
		wantCalls(t, f)
		later(time.Hour + time.Second)
		wantCalls(t, f, "renew 1")
		later(30 * 24 * time.Hour)
		if calls := f.done(); len(calls) != 5 { // every six days
			t.Errorf("in 30 days: %v", calls)
		}
		wantMetrics(t, k, 1, map[string]int{"created": 1, "renewed": 6})
	})
}

func wantMetrics(t *testing.T, k *kept, active int, outcomes map[string]int) {
	t.Helper()
	var b strings.Builder
	for _, o := range []string{"created", "failed", "later", "misconfigured", "removed", "renewed"} {
		fmt.Fprintf(&b, "rescind_renewals_total{outcome=%q,provider=\"ringcentral\"} %d\n", o, outcomes[o])
	}
	want := "# HELP rescind_renewals_total What was done for subscriptions.\n" +
		"# TYPE rescind_renewals_total counter\n" + b.String() +
		"# HELP rescind_subscription_active Subscriptions that deliver, one for each tenant.\n" +
		"# TYPE rescind_subscription_active gauge\n" +
		fmt.Sprintf("rescind_subscription_active{provider=\"ringcentral\"} %d\n", active)
	if err := testutil.GatherAndCompare(k.metrics, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// A life far shorter than the check is kept by the timer of its end.
func TestAShortLifeIsRenewedWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(30 * time.Second)
		k := run(t, f, address)
		defer k.stop()
		if err := k.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 600 {
			later(time.Second)
			if !k.State().Active {
				t.Fatalf("not active: %+v", k.State())
			}
		}
		if n := len(f.done()); n < 25 || n > 35 { // every 20 s
			t.Errorf("%d calls in 10 min", n)
		}
	})
}

func TestOneThatIsThereIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.made = 7
		f.subs = []subscriptions.Subscription{
			{ID: "5", Want: "account", Address: address, Active: true, Expires: time.Now().Add(48 * time.Hour)},
			{ID: "6", Address: "https://other.example", Expires: time.Now().Add(-time.Hour)},
			{ID: "7", Want: "account", Address: address, Active: true, Expires: time.Now().Add(36 * time.Hour)},
		}
		k := run(t, f, address)
		defer k.stop()
		synctest.Wait()
		wantCalls(t, f, "delete 7")
		if s := k.State(); s.ID != "5" || !s.Active {
			t.Errorf("state %+v", s)
		}
		later(33 * time.Hour)
		wantCalls(t, f, "renew 5")
	})
}

func TestALostSubscriptionIsMadeAnew(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(*fake)
		want []string
	}{
		"removed by somebody": {func(f *fake) { f.subs = nil }, []string{"create"}},
		"blacklisted": {func(f *fake) { f.subs[0].Active = false },
			[]string{"delete 1", "create"}},
		"expired early": {func(f *fake) { f.subs[0].Expires = time.Now() },
			[]string{"delete 1", "create"}},
		"gone when it is renewed": {func(f *fake) {
			f.subs[0].Expires = time.Now().Add(time.Hour)
			f.fail["renew"] = fmt.Errorf("renew: %w", subscriptions.ErrGone)
		}, []string{"renew 1", "create"}},
		"dead and cannot be removed": {func(f *fake) {
			f.subs[0].Active = false
			f.fail["delete"] = errors.New("no")
		}, []string{"delete 1", "create"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				k := run(t, f, address)
				defer k.stop()
				synctest.Wait()
				wantCalls(t, f, "create")
				f.with(c.lose)
				later(6 * time.Minute)
				if calls := f.done(); len(calls) < len(c.want) || !slices.Equal(calls[:len(c.want)], c.want) {
					t.Errorf("calls %v, want %v", calls, c.want)
				}
				if s := k.State(); !s.Active || s.ID != "2" {
					t.Errorf("state %+v", s)
				}
			})
		})
	}
}

func TestARateLimitIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, verb := range []string{"list", "delete", "create", "renew"} {
			f := newFake(week)
			f.subs = []subscriptions.Subscription{
				{ID: "8", Want: "account", Address: address, Active: true, Expires: time.Now().Add(time.Hour)},
				{ID: "9", Want: "account", Address: address}, {ID: "10", Want: "account", Address: address},
			}
			if verb == "create" {
				f.subs = nil
			}
			began := time.Now()
			f.fail[verb] = fmt.Errorf("call: %w", &subscriptions.Later{Until: began.Add(time.Hour), Group: "light"})
			k := run(t, f, address)
			later(59 * time.Minute)
			words := strings.Join(f.words(), ", ")
			if i := strings.Index(words, verb); i < 0 || strings.Contains(words[i:], ",") {
				t.Errorf("%s: not the last call: %s", verb, words)
			}
			for i, at := range f.times(began) {
				if at != 0 {
					t.Errorf("%s: call %d after %s", verb, i, at)
				}
			}
			f.with(func(f *fake) { clear(f.fail) })
			later(time.Minute + 3*time.Second)
			if !k.State().Active || k.State().LastError != "" {
				t.Errorf("%s: state %+v", verb, k.State())
			}
			k.stop()
		}
	})
}

func TestAMisconfigurationIsToldOnceAndTriedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.fail["create"] = fmt.Errorf("create at %s: %w: SUB-521", address, subscriptions.ErrMisconfigured)
		k := run(t, f, address)
		defer k.stop()
		later(time.Hour)
		if n := len(f.done()); n < 10 || n > 14 {
			t.Errorf("%d calls in an hour, want one in 5 min", n)
		}
		if n := k.log.count(`"level":"ERROR"`); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
		if got, want := k.State().LastError, "create at [address]: misconfigured: SUB-521"; got != want {
			t.Errorf("last error %q, want %q", got, want)
		}
		f.with(func(f *fake) { f.fail["create"] = fmt.Errorf("%w: SUB-524", subscriptions.ErrMisconfigured) })
		later(time.Hour)
		if n := k.log.count(`"level":"ERROR"`); n != 2 {
			t.Errorf("logged %d times, want once for each text", n)
		}
		f.with(func(f *fake) { clear(f.fail) })
		later(6 * time.Minute)
		if s := k.State(); !s.Active || s.LastError != "" {
			t.Errorf("state after it was mended: %+v", s)
		}
	})
}

func TestOtherErrorsAreTriedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.fail["list"] = errors.New("connection refused")
		began := time.Now()
		k := run(t, f, address)
		defer k.stop()
		later(10 * time.Minute)
		at := f.times(began)
		if len(at) < 8 || len(at) > 24 {
			t.Errorf("%d calls in 10 min: %v", len(at), at)
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 500*time.Millisecond || gap > 3*time.Minute {
				t.Errorf("gap %d is %s", i, gap)
			}
		}
		if gap := at[1] - at[0]; gap > 2*time.Second {
			t.Errorf("the first gap is %s", gap)
		}
		f.with(func(f *fake) { clear(f.fail) })
		later(4 * time.Minute)
		if !k.State().Active {
			t.Errorf("state %+v", k.State())
		}
	})
}

// While the provider does not answer, what was active is so until its end.
func TestAnOutageLeavesItActiveUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Hour)
		k := run(t, f, address)
		defer k.stop()
		synctest.Wait()
		f.with(func(f *fake) { f.fail["list"] = errors.New("down") })
		later(59 * time.Minute)
		if s := k.State(); !s.Active || s.LastError != "down" {
			t.Errorf("before its end: %+v", s)
		}
		later(4 * time.Minute)
		if s := k.State(); s.Active {
			t.Errorf("after its end: %+v", s)
		}
		if got, err := testutil.GatherAndCount(k.metrics, "rescind_subscription_active"); got != 1 || err != nil {
			t.Errorf("%d gauges, %v", got, err)
		}
		wantGauge(t, k, 0)
	})
}

func wantGauge(t *testing.T, k *kept, want float64) {
	t.Helper()
	families, err := k.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families {
		if m.GetName() == "rescind_subscription_active" && m.GetMetric()[0].GetGauge().GetValue() != want {
			t.Errorf("gauge %v, want %v", m.GetMetric()[0].GetGauge().GetValue(), want)
		}
	}
}

func TestADisabledFilterIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.disabled = []string{"/extension: SUB-412"}
		k := run(t, f, address)
		defer k.stop()
		later(time.Hour)
		if diff := cmp.Diff(f.disabled, k.State().Disabled); diff != "" {
			t.Errorf("disabled (-want +got):\n%s", diff)
		}
		if n := k.log.count("SUB-412"); n != 1 {
			t.Errorf("warned %d times", n)
		}
	})
}

func TestOneThatIsMadeButDoesNotDeliverIsNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(-time.Second)
		k := run(t, f, address)
		defer k.stop()
		later(10 * time.Minute)
		if s := k.State(); s.Active || !strings.Contains(s.LastError, "not active") {
			t.Errorf("state %+v", s)
		}
		if n := len(f.done()); n > 60 {
			t.Errorf("%d calls in 10 min", n)
		}
	})
}

func TestWaitTellsWhyThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.fail["list"] = errors.New("connection refused")
		k := run(t, f, address)
		defer k.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := k.Wait(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error %v", err)
		}
	})
}

func TestRunningTwiceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := run(t, newFake(week), address)
		defer k.stop()
		synctest.Wait()
		if err := k.Run(t.Context()); err == nil {
			t.Error("ran twice")
		}
	})
}

func TestNewRefusesWhatIsMissing(t *testing.T) {
	good := renew.Config{Home: home, Registrar: newFake(0), Address: address, Log: slog.New(slog.DiscardHandler)}
	for name, change := range map[string]func(*renew.Config){
		"no home":        func(c *renew.Config) { c.Home.Tenant = "" },
		"no registrar":   func(c *renew.Config) { c.Registrar = nil },
		"no address":     func(c *renew.Config) { c.Address = "" },
		"no log":         func(c *renew.Config) { c.Log = nil },
		"negative check": func(c *renew.Config) { c.Check = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := renew.New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestKeepersShareARegistry(t *testing.T) {
	r := prometheus.NewRegistry()
	for _, tenant := range []events.Tenant{"1", "2"} {
		c := renew.Config{Home: home, Registrar: newFake(0), Address: address, Registerer: r,
			Log: slog.New(slog.DiscardHandler)}
		c.Home.Tenant = tenant
		if _, err := renew.New(c); err != nil {
			t.Errorf("tenant %s: %v", tenant, err)
		}
	}
}

// several is a provider that wants more than one.
type several struct {
	*fake
	wanted []string
}

func (s several) Wanted() []string { return s.wanted }

func TestEachThatIsWantedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.made = 9
		f.subs = []subscriptions.Subscription{
			{ID: "1", Want: "folder:1", Address: address, Active: true},
			{ID: "2", Want: "folder:9", Address: address, Active: true}, // watched no longer
			{ID: "3", Want: "folder:9", Address: "https://other.example", Active: true},
			{ID: "4", Want: "folder:2", Address: address}, // dead
		}
		k := run(t, several{f, []string{"folder:1", "folder:2"}}, address)
		defer k.stop()
		synctest.Wait()
		wantCalls(t, f, "delete 2", "delete 4", "create")
		if s := k.State(); !s.Active || s.ID != "1" {
			t.Errorf("state %+v", s)
		}
		f.with(func(f *fake) {
			f.fail["create"] = errors.New("down")
			f.subs = slices.DeleteFunc(f.subs, func(s subscriptions.Subscription) bool { return s.Want == "folder:2" })
		})
		time.Sleep(renew.DefaultCheck * 2)
		synctest.Wait()
		if s := k.State(); s.Active || s.LastError != "down" {
			t.Errorf("one of two is gone: state %+v", s)
		}
	})
}
