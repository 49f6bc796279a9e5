package tail_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

// gaps wants the times between polls to lie within bounds.
func gaps(t *testing.T, at []time.Time, least, most time.Duration) {
	t.Helper()
	if len(at) < 2 {
		t.Fatalf("%d polls", len(at))
	}
	for i := range len(at) - 1 {
		if d := at[i+1].Sub(at[i]); d < least || d > most {
			t.Errorf("gap %d is %s, want %s to %s", i, d, least, most)
		}
	}
}

func TestItPollsPublishesAndThenSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed()
		stop := b.start(t, nil)
		time.Sleep(150 * time.Second)
		stop()
		gaps(t, b.polls, 54*time.Second, 66*time.Second)
		var got []string
		for _, s := range b.steps {
			if s != "renew" {
				got = append(got, s)
			}
		}
		want := []string{"acquire", "poll", "publish 1", "save", "poll", "publish 2", "save",
			"poll", "publish 3", "save", "release"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		if b.purpose != cache.ForUpkeep {
			t.Errorf("polled with purpose %d", b.purpose)
		}
		gaps(t, b.renewed, life/3, life/3)
	})
}

// What the stream has not acknowledged is looked for again.
func TestNothingIsSavedBeforeItIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed()
		b.breaks("publish 1", errors.New("no acknowledgement"))
		b.start(t, nil)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if b.count("publish 1") < 3 || b.count("save") != 0 || b.cursor != "" {
			t.Errorf("published %d times, saved %d times", b.count("publish 1"), b.count("save"))
		}
		b.breaks("publish 1", nil)
		for range 60 { // of simulated time: the longest pause so far is less
			if b.count("save") > 0 {
				break
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if b.count("save") != 1 || b.cursor != "x" {
			t.Errorf("saved %d times, cursor %q", b.count("save"), b.cursor)
		}
	})
}

func TestHowLongAFaultIsWaitedOut(t *testing.T) {
	const soon, late = 500 * time.Millisecond, 3 * time.Minute
	for name, c := range map[string]struct {
		err         error
		step        string
		least, most time.Duration
		logged      int
	}{
		"a rate limit is obeyed": {
			&subscriptions.Later{Until: time.Now().Add(100 * 365 * 24 * time.Hour), Group: "medium"},
			"poll", 24 * time.Hour, 24 * time.Hour, 1},
		"what a person must mend is told once": {
			subscriptions.ErrMisconfigured, "poll", 270 * time.Second, 330 * time.Second, 1},
		"a passing fault":                 {errors.New("status 500"), "poll", soon, late, 0},
		"a vault's conflict is no loss":   {events.ErrConflict, "poll", soon, late, 0},
		"the cursor cannot be read":       {errors.New("no server"), "load", 0, 0, 0},
		"the cursor cannot be written":    {errors.New("no server"), "save", soon, late, 0},
		"the stream does not acknowledge": {errors.New("no ack"), "publish 1", soon, late, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed()
				b.breaks(c.step, c.err)
				stop := b.start(t, nil)
				time.Sleep(24 * time.Hour)
				stop()
				switch {
				case c.least == 24*time.Hour && len(b.polls) != 1:
					t.Errorf("%d polls during the penalty", len(b.polls))
				case c.step == "load" && len(b.polls) != 0:
					t.Errorf("%d polls without a cursor", len(b.polls))
				case c.step != "load" && c.least < 24*time.Hour:
					gaps(t, b.polls, c.least, c.most)
				}
				if n := b.logged(c.err.Error()); c.logged > 0 && n != c.logged || n == 0 {
					t.Errorf("told %d times", n)
				}
				if n := b.count("acquire"); n != 1 {
					t.Errorf("the lease was taken %d times", n)
				}
			})
		})
	}
}

func TestTheLeaseIsKeptThroughASlowPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed()
		b.slow = 4 * life
		b.start(t, nil)
		time.Sleep(4*life + time.Second)
		synctest.Wait()
		if b.count("renew") < 11 || b.count("save") != 1 {
			t.Errorf("renewed %d times, saved %d times", b.count("renew"), b.count("save"))
		}
	})
}

// Whoever has lost the lease stops at once, and competes again.
func TestALostLease(t *testing.T) {
	for name, step := range map[string]string{"seen by a renewal": "renew", "seen by a save": "save"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed()
				b.breaks(step, events.ErrConflict)
				b.slow = 2 * time.Second
				b.start(t, nil)
				time.Sleep(life / 3)
				b.breaks("acquire", events.ErrConflict)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if b.held || b.count("acquire") < 100 || b.count("poll") > 2 || b.logged("lease lost") == 0 {
					t.Errorf("asked for it %d times, %d polls", b.count("acquire"), b.count("poll"))
				}
				b.breaks("acquire", nil)
				b.breaks(step, nil)
				was := b.count("poll")
				time.Sleep(life)
				synctest.Wait()
				if b.count("poll") == was || !b.held {
					t.Error("it does not go on")
				}
			})
		})
	}
}

// A lease that cannot be renewed is another's after its life.
func TestALeaseThatCannotBeRenewedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed()
		b.breaks("renew", errors.New("no server"))
		b.start(t, nil)
		time.Sleep(life - time.Second)
		synctest.Wait()
		if b.count("release") != 0 {
			t.Error("given up too early")
		}
		b.breaks("acquire", errors.New("no server"))
		time.Sleep(life)
		synctest.Wait()
		if b.count("release") != 1 || b.held || b.logged("cannot be asked for") == 0 {
			t.Errorf("given up %d times", b.count("release"))
		}
	})
}

func TestItStopsInTheMiddleOfAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed()
		b.slow = time.Minute
		stop := b.start(t, nil)
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("stopped after %s", took)
		}
		if b.count("save") != 0 || b.count("release") != 1 {
			t.Errorf("steps %q", b.steps)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewPedanticRegistry()
		b, other := newBed(), newBed()
		b.start(t, r)
		other.breaks("acquire", events.ErrConflict)
		other.start(t, r)
		time.Sleep(time.Second)
		b.mu.Lock()
		b.nothing = true
		b.mu.Unlock()
		time.Sleep(70 * time.Second)
		b.breaks("poll", subscriptions.ErrMisconfigured)
		time.Sleep(66 * time.Second)
		synctest.Wait()
		last := b.polls[1]
		want := `
# HELP rescind_tail_changes_total Changes that polls found.
# TYPE rescind_tail_changes_total counter
rescind_tail_changes_total{provider="ringcentral"} 1
# HELP rescind_tail_polls_total Polls for what providers send no notice of.
# TYPE rescind_tail_polls_total counter
rescind_tail_polls_total{outcome="changed",provider="ringcentral"} 1
rescind_tail_polls_total{outcome="failed",provider="ringcentral"} 0
rescind_tail_polls_total{outcome="later",provider="ringcentral"} 0
rescind_tail_polls_total{outcome="lost",provider="ringcentral"} 0
rescind_tail_polls_total{outcome="misconfigured",provider="ringcentral"} 1
rescind_tail_polls_total{outcome="unchanged",provider="ringcentral"} 1
`
		err := testutil.GatherAndCompare(r, strings.NewReader(want),
			"rescind_tail_changes_total", "rescind_tail_polls_total")
		if err != nil {
			t.Error(err)
		}
		if got := gauge(t, r, "rescind_tail_age_seconds"); got != time.Since(last).Seconds() {
			t.Errorf("age %v s, the last good poll was %s ago", got, time.Since(last))
		}
	})
}

func gauge(t *testing.T, r prometheus.Gatherer, name string) float64 {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no single %s", name)
	return 0
}

func TestNewRefuses(t *testing.T) {
	b, log := newBed(), slog.New(slog.DiscardHandler)
	whole := tail.Config{Home: home, Tail: b, Lease: b, Publish: b.publish, Log: log}
	for name, change := range map[string]func(*tail.Config){
		"no home":     func(c *tail.Config) { c.Home = events.Home{} },
		"no tail":     func(c *tail.Config) { c.Tail = nil },
		"no lease":    func(c *tail.Config) { c.Lease = nil },
		"no publish":  func(c *tail.Config) { c.Publish = nil },
		"no log":      func(c *tail.Config) { c.Log = nil },
		"no interval": func(c *tail.Config) { c.Interval = -1 },
	} {
		c := whole
		change(&c)
		if _, err := tail.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := tail.New(whole); err != nil {
		t.Error(err)
	}
}

func TestItRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed()
		l, err := tail.New(tail.Config{Home: home, Tail: b, Lease: b, Publish: b.publish,
			Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		if err := l.Run(ctx); err == nil {
			t.Error("ran twice at the same time")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
