package renew_test

import (
	"context"
	"errors"
	"fmt"
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

func TestASubscriptionIsMadeAndRenewedADayBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		synctest.Wait()
		wantCalls(t, f, "create")
		wantLife(t, f, "1")
		later(week - 25*time.Hour)
		wantCalls(t, f)
		later(time.Hour + time.Second)
		wantCalls(t, f, "renew 1")
		later(30 * 24 * time.Hour)
		if calls := f.done(); len(calls) != 5 { // every six days
			t.Errorf("in 30 days: %v", calls)
		}
		wantMetrics(t, k, 1, map[string]int{"created": 1, "renewed": 6})
		if f.notes(t).Gaps != nil || f.sweeps != nil {
			t.Errorf("gaps %+v", f.notes(t).Gaps)
		}
		k.stop()
		wantMetrics(t, k, 0, map[string]int{"created": 1, "renewed": 6})
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
	err := testutil.GatherAndCompare(k.metrics, strings.NewReader(want), "rescind_renewals_total",
		"rescind_subscription_active")
	if err != nil {
		t.Error(err)
	}
}

// A life far shorter than the check is kept by the timer of its end.
func TestAShortLifeIsRenewedWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(30 * time.Second)
		run(t, f)
		synctest.Wait()
		for range 600 {
			later(time.Second)
			if e := f.notes(t).Entries; len(e) != 1 || !e[0].Expires.After(time.Now()) {
				t.Fatalf("not active: %+v", e)
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
		f.subs = []subscriptions.Subscription{sub("5", "account", appAt, 48*time.Hour),
			sub("6", "", "https://other.example", -time.Hour), sub("7", "account", appAt, 36*time.Hour)}
		run(t, f)
		synctest.Wait()
		wantCalls(t, f)
		later(59 * time.Second)
		wantCalls(t, f)
		later(2 * time.Second)
		wantCalls(t, f, "delete 7")
		wantLife(t, f, "5")
		later(48 * time.Hour)
		if calls := f.done(); !slices.Equal(calls, []string{"renew 5"}) {
			t.Errorf("calls %v", calls)
		}
	})
}

func TestALostSubscriptionIsMadeAnew(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(*fake)
		want []string
	}{
		"removed by somebody":  {func(f *fake) { f.subs = nil }, []string{"create"}},
		"blacklisted":          {func(f *fake) { f.subs[0].Active = false }, []string{"delete 1", "create"}},
		"expired early":        {func(f *fake) { f.subs[0].Expires = time.Now() }, []string{"delete 1", "create"}},
		"expired and off list": {func(f *fake) { f.subs[0].Expires = time.Now(); f.subs = nil }, []string{"create"}},
		"gone when it is renewed": {func(f *fake) {
			f.subs[0].Expires = time.Now().Add(time.Hour)
			f.fail["renew"] = fmt.Errorf("renew: %w", subscriptions.ErrGone)
		}, []string{"renew 1", "create"}},
		"dead and cannot be removed": {func(f *fake) {
			f.subs[0].Active = false
			f.fail["delete"] = errors.New("no")
		}, []string{"delete 1", "create"}},
	} {
		for _, f := range []*fake{newFake(week), own(week)} {
			t.Run(fmt.Sprint(name, ", own secret: ", f.terms.OwnSecret), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					run(t, f)
					synctest.Wait()
					wantCalls(t, f, "create")
					f.with(c.lose)
					later(time.Hour)
					if calls := f.done(); len(calls) < len(c.want) || !slices.Equal(calls[:len(c.want)], c.want) {
						t.Errorf("calls %v, want %v", calls, c.want)
					}
					if l := f.notes(t); len(f.sweeps) != 1 || len(l.Gaps) != 1 || l.Gaps[0].Mended != subscriptions.Swept {
						t.Errorf("swept %+v, noted %+v: want one gap", f.sweeps, l.Gaps)
					}
					if f.made != 2 {
						t.Errorf("made %d", f.made)
					}
					wantLife(t, f, "2")
				})
			})
		}
	}
}

func TestARateLimitIsObeyed(t *testing.T) {
	for _, verb := range []string{"list", "delete", "create", "renew"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				f.subs = []subscriptions.Subscription{sub("8", "account", appAt, time.Hour),
					{ID: "9", Want: "account", Address: appAt}, {ID: "10", Want: "account", Address: appAt}}
				if verb == "create" {
					f.subs = nil
				}
				began := time.Now()
				f.fail[verb] = fmt.Errorf("call: %w", &subscriptions.Later{Until: began.Add(50 * time.Minute), Group: "light"})
				k := run(t, f)
				synctest.Wait()
				if _, err := k.Obey(t.Context(), renew.Order{Do: renew.DoMourn, ID: "x"}); err != nil {
					t.Error(err)
				}
				later(49 * time.Minute)
				words := strings.Join(f.words(), ", ")
				if i := strings.Index(words, verb); i < 0 || strings.Contains(words[i:], ",") {
					t.Errorf("not the last call: %s", words)
				}
				for i, at := range f.times(began) {
					if at != 0 {
						t.Errorf("call %d after %s", i, at)
					}
				}
				f.with(func(f *fake) { clear(f.fail) })
				later(time.Minute + 3*time.Second)
				if l := f.notes(t); l.Problem != "" || l.Fault != "" {
					t.Errorf("problem %q, fault %q", l.Problem, l.Fault)
				}
				want := "8"
				if verb == "create" {
					want = "1"
				}
				wantLife(t, f, want)
			})
		})
	}
}

func TestAMisconfigurationIsToldOnceAndTriedSlowly(t *testing.T) {
	for _, verb := range []string{"list", "create", "renew"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				if verb == "renew" {
					f.subs = []subscriptions.Subscription{sub("8", "account", appAt, 20*time.Hour)}
					f.subs[0].Created = time.Now().Add(-100 * time.Hour)
				}
				f.fail[verb] = fmt.Errorf("post to %s: %w: SUB-521", address, subscriptions.ErrMisconfigured)
				k := run(t, f)
				later(time.Hour)
				if n := len(f.at); n < 10 || n > 28 {
					t.Errorf("%d calls in an hour, want a look in 5 min", n)
				}
				if n := k.log.count(`subscription cannot be kept`); n != 1 {
					t.Errorf("logged %d times, want once", n)
				}
				if got, want := f.notes(t).Problem, "post to [address]: misconfigured: SUB-521"; got != want {
					t.Errorf("problem %q, want %q", got, want)
				}
				f.with(func(f *fake) { f.fail[verb] = fmt.Errorf("%w: %s", subscriptions.ErrMisconfigured, part) })
				later(time.Hour)
				if n := k.log.count(`subscription cannot be kept`); n != 2 {
					t.Errorf("logged %d times, want once for each text", n)
				}
				f.with(func(f *fake) { clear(f.fail) })
				later(6 * time.Minute)
				if l := f.notes(t); l.Problem != "" || len(l.Entries) != 1 || !l.Entries[0].Active {
					t.Errorf("after it was mended: %+v", l)
				}
			})
		})
	}
}

func TestFaultsAreToldApart(t *testing.T) {
	both := func(err error) error { return fmt.Errorf("%w: %w", subscriptions.ErrMisconfigured, err) }
	for name, c := range map[string]struct {
		err  error
		want subscriptions.Fault
	}{
		"right":   {subscriptions.ErrMisconfigured, subscriptions.FaultRight},
		"address": {both(subscriptions.ErrUnreachable), subscriptions.FaultAddress},
		"full":    {both(subscriptions.ErrFull), subscriptions.FaultFull},
		"later":   {&subscriptions.Later{Until: time.Now().Add(100 * 365 * 24 * time.Hour)}, subscriptions.FaultLater},
		"other":   {errors.New("500"), subscriptions.FaultOther},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := own(week)
				f.fail["create"] = c.err
				run(t, f)
				synctest.Wait()
				if l := f.notes(t); l.Fault != c.want || l.Died.IsZero() || l.Problem == "" {
					t.Errorf("fault %q, want %q; died %s: %q", l.Fault, c.want, l.Died, l.Problem)
				}
			})
		})
	}
}

func TestTheLimitIsReached(t *testing.T) {
	for name, c := range map[string]struct {
		f     *fake
		takes string // what another's is for
	}{"of its own secret": {own(week), "f1"}, "the app's": {newFake(week), "another's"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.f
				f.terms.Most, f.wanted = 2, []string{"f1", "f2", "f3"}
				f.subs = []subscriptions.Subscription{sub("x", c.takes, "https://other.example", week)}
				k := run(t, f)
				later(10 * time.Minute)
				wantCalls(t, f, "create f1")
				l := f.notes(t)
				if l.Fault != subscriptions.FaultFull || !strings.Contains(l.Problem, "f2: ") ||
					!strings.Contains(l.Problem, "allows 2 for this app and user, 1 of them are not ours") {
					t.Errorf("fault %q: %s", l.Fault, l.Problem)
				}
				if n := k.log.count("subscription cannot be kept"); n != 1 {
					t.Errorf("told %d times", n)
				}
				f.with(func(f *fake) { f.subs, f.terms.Most = f.subs[1:], 3 })
				later(6 * time.Minute)
				wantCalls(t, f, "create f2", "create f3")
				wantLife(t, f, "1 2 3")
			})
		})
	}
}

func TestOtherErrorsAreTriedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.fail["list"] = errors.New("connection refused")
		began := time.Now()
		run(t, f)
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
		wantTold(t, f) // nothing is known
		f.with(func(f *fake) { clear(f.fail) })
		later(4 * time.Minute)
		wantLife(t, f, "1")
	})
}

// While the provider does not answer, what was active is so until its end.
func TestAnOutageLeavesItActiveUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Hour)
		k := run(t, f)
		synctest.Wait()
		wantTold(t, f, "alive")
		f.with(func(f *fake) { f.fail["list"] = errors.New("down") })
		later(59 * time.Minute)
		if l := f.notes(t); !l.Died.IsZero() || l.Problem != "down" || l.Fault != subscriptions.FaultOther {
			t.Errorf("before its end: %+v", l)
		}
		wantGauge(t, k, 1)
		later(5 * time.Minute)
		wantGauge(t, k, 0)
		if told := f.heard(); len(told) < 2 || told[0] != "dead down" || told[1] != "swept down" {
			t.Errorf("told %q", told)
		}
		f.with(func(f *fake) { clear(f.fail); f.subs = nil })
		later(4 * time.Minute)
		if told := f.heard(); !slices.Equal(told[max(0, len(told)-2):], []string{"swept it was dead", "alive"}) {
			t.Errorf("told %q", told)
		}
		wantLife(t, f, "2")
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

func TestADisabledFilterIsReportedOnceAndAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		run(t, f)
		synctest.Wait()
		f.with(func(f *fake) { f.disabled = []string{"/extension: SUB-412"}; f.subs[0].Disabled = f.disabled })
		f.heard()
		f.done()
		const why = "account: not served: /extension: SUB-412"
		later(50 * time.Minute)
		told := f.heard()
		if len(told) < 3 || told[0] != "doubt "+why || told[1] != "swept "+why ||
			slices.ContainsFunc(told[2:], func(s string) bool { return s != "doubt "+why }) {
			t.Errorf("told %q", told)
		}
		wantCalls(t, f)
		if l := f.notes(t); l.Fault != subscriptions.FaultFilters || !strings.Contains(l.Problem, "SUB-412") {
			t.Errorf("fault %q, problem %q", l.Fault, l.Problem)
		}
		later(16 * time.Minute)
		wantCalls(t, f, "renew 1")
		f.with(func(f *fake) { f.disabled = nil })
		f.heard()
		later(66 * time.Minute)
		wantCalls(t, f, "renew 1")
		told = slices.DeleteFunc(f.heard(), func(s string) bool { return s == "doubt "+why })
		if len(told) < 2 || told[0] != "swept a subscription was gone, or did not serve all" || told[1] != "alive" {
			t.Errorf("told %q", told)
		}
	})
}

func TestOneThatIsMadeButDoesNotDeliverIsNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(-time.Second)
		run(t, f)
		later(10 * time.Minute)
		if l := f.notes(t); l.Died.IsZero() || !strings.Contains(l.Problem, "not active") {
			t.Errorf("ledger %+v", l)
		}
		if n := len(f.done()); n > 60 {
			t.Errorf("%d calls in 10 min", n)
		}
	})
}

// A dead one that cannot be removed costs no more than a try now and then.
func TestWhatCannotBeRemovedIsNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		f.subs = []subscriptions.Subscription{{ID: "dead", Want: "account", Address: address + "/5"}}
		f.fail["delete"] = errors.New("no")
		run(t, f)
		later(24 * time.Hour)
		if f.made != 1 || len(f.sweeps) > 1 {
			t.Errorf("made %d, swept %+v", f.made, f.sweeps)
		}
	})
}

func TestRunningTwiceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := run(t, newFake(week))
		synctest.Wait()
		if err := k.Run(t.Context(), nil); err == nil {
			t.Error("ran twice")
		}
	})
}

func TestNewRefusesWhatIsMissing(t *testing.T) {
	f := newFake(0)
	for name, change := range map[string]func(*renew.Config){
		"no home":         func(c *renew.Config) { c.Home.Tenant = "" },
		"no registrar":    func(c *renew.Config) { c.Registrar = nil },
		"no address":      func(c *renew.Config) { c.Address = "" },
		"no ledgers":      func(c *renew.Config) { c.Ledgers = nil },
		"no secret":       func(c *renew.Config) { c.Secret = nil },
		"no sweep":        func(c *renew.Config) { c.Sweep = nil },
		"no log":          func(c *renew.Config) { c.Log = nil },
		"negative check":  func(c *renew.Config) { c.Check = -1 },
		"negative rotate": func(c *renew.Config) { c.Rotate = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(f, f)
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
		f := newFake(0)
		c := config(f, f)
		c.Home.Tenant, c.Registerer = tenant, r
		if _, err := renew.New(c); err != nil {
			t.Errorf("tenant %s: %v", tenant, err)
		}
	}
}

func TestEachThatIsWantedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.made, f.wanted = 9, []string{"folder:1", "folder:2"}
		f.subs = []subscriptions.Subscription{
			{ID: "1", Want: "folder:1", Address: appAt, Active: true},
			{ID: "2", Want: "folder:9", Address: appAt, Active: true}, // watched no longer
			{ID: "3", Want: "folder:9", Address: "https://other.example", Active: true},
			{ID: "4", Want: "folder:2", Address: appAt},                 // dead
			{ID: "5", Want: "folder:2", Address: address, Active: true}, // made by hand
		}
		run(t, f)
		synctest.Wait()
		wantCalls(t, f, "delete 2", "delete 4", "create folder:2")
		wantLife(t, f, "1 10")
		f.with(func(f *fake) {
			f.fail["create"] = errors.New("down")
			f.subs = slices.DeleteFunc(f.subs, func(s subscriptions.Subscription) bool { return s.Want == "folder:2" })
		})
		later(renew.DefaultCheck * 2)
		if l := f.notes(t); l.Died.IsZero() || l.Problem != "down" {
			t.Errorf("one of two is gone: %+v", l)
		}
	})
}

// A provider that takes one of a kind gives the one it has.
func TestCreateMayTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		synctest.Wait()
		k.stop()
		f.done()
		f.adopts = "1"
		f.subs[0].Address = address + "/earlier"
		start(t, config(f, f), nil)
		synctest.Wait()
		wantCalls(t, f, "create")
		wantLife(t, f, "1")
	})
}

// More than a look may do is done in several, and what fails takes no turns away.
func TestManyAreMadeInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.wanted, f.terms.Most = nil, 1000
		for i := range 350 {
			f.wanted = append(f.wanted, fmt.Sprintf("f%d", i))
		}
		bad := bad{f, 150}
		start(t, config(f, bad), nil)
		later(5 * time.Second)
		if n := len(f.subs); n != 200 {
			t.Errorf("%d are made, want all that can be", n)
		}
		f.done()
		later(10 * time.Minute)
		if n := len(f.done()); n > 24*150 { // 24 looks
			t.Errorf("%d calls in 10 min for what cannot be made", n)
		}
	})
}

// bad makes none of the first so many.
type bad struct {
	*fake
	first int
}

func (b bad) Create(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	if slices.Index(b.wanted, o.Want) < b.first {
		return subscriptions.Subscription{}, errors.Join(b.call(ctx, "refused"), errors.New("500"))
	}
	return b.fake.Create(ctx, o)
}

func TestAPanicIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.before = func(call string) {
			if call == "list" {
				panic("index out of range at " + address)
			}
		}
		k := run(t, f)
		later(time.Minute)
		if n := len(f.words()); n < 3 || n > 20 || k.log.count("panic: index out of range") == 0 {
			t.Errorf("%d calls", n)
		}
		if r := obey(t, k, renew.Order{Do: renew.DoPlan}); !strings.HasPrefix(r.Error, "panic: ") {
			t.Errorf("report %+v", r)
		}
		f.with(func(f *fake) { f.before = nil })
		later(3 * time.Minute)
		wantLife(t, f, "1")
	})
}

// A provider that never answers is told of.
func TestAProviderThatHangsIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		start(t, config(f, hangs{f}), nil)
		later(3 * time.Minute)
		if l := f.notes(t); !strings.Contains(l.Problem, "deadline") {
			t.Errorf("ledger %+v", l)
		}
	})
}

type hangs struct{ *fake }

func (h hangs) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("list: %w", ctx.Err())
}

// After a restart nothing is done but to look.
func TestARestartChangesNothing(t *testing.T) {
	for _, f := range []*fake{newFake(week), own(week)} {
		synctest.Test(t, func(t *testing.T) {
			k := run(t, f)
			synctest.Wait()
			k.stop()
			was := f.notes(t).Entries
			f.done()
			f.heard()
			time.Sleep(time.Minute)
			run(t, f)
			synctest.Wait()
			if diff := cmp.Diff([]string{"list"}, f.words()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			wantTold(t, f, "alive")
			if diff := cmp.Diff(was, f.notes(t).Entries); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}
