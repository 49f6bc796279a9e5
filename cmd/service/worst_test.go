package service_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/subscriptions/sim"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

// How the worst case is made short: the vendor's minute takes 10 s, the roles
// are looked at as often as may be configured, and lives are the shortest,
// which they are by themselves while the feed is dead. The lateness is real.
const (
	worstLate  = 20 * time.Second
	worstPoll  = 10 * time.Second
	worstSpeed = 6
	worstMore  = 15 // seconds after its bound, in which it must be over
)

const administrator = "256440016" // whose token the service has

// worst is one way in which all goes wrong.
type worst struct {
	own   bool // the subject's own token reads
	blind bool // the roles cannot be looked at either
	long  bool // for RESCIND_RUNS=2: takes minutes
}

var worsts = map[string]worst{
	"with the subject's token":              {own: true},
	"with the subject's token, and no poll": {own: true, blind: true},
	"with the service token":                {},
	"with the service token, and no poll":   {blind: true, long: true},
}

// TestTheWorstCaseSecondBySecond edits a role while all that can be wrong is:
// no notice comes (nor would one), the provider answers with the old state for
// some time, and somebody else has used up the calls. A reader asks every second.
func TestTheWorstCaseSecondBySecond(t *testing.T) {
	slowTest(t)
	for name, c := range worsts {
		t.Run(name, func(t *testing.T) {
			if c.long && !thorough() {
				t.Skip("takes minutes: RESCIND_RUNS=2 runs it")
			}
			t.Parallel()
			w, x := c.world(t)
			owner := administrator
			if c.own {
				owner = bea
			}
			edited := time.Now()
			w.removeFromRole(usualRole, "InternationalCalls", "PremiumDestinations")
			w.spend(owner, x.target)
			seen := w.watchWorst(edited, c)
			t.Logf("%s\n%s\n%s", name, seen, c.bounds())
			seen.judge(t, c)
			if n := x.statuses()[http.StatusTooManyRequests]; n > 4 {
				t.Errorf("%d of our calls were refused, want one of each kind under way at most", n)
			}
		})
	}
}

// world is one in which the entry is there, and nobody tells of what comes.
func (c worst) world(t *testing.T) (*world, *wire) {
	t.Helper()
	o := options{exchange: c.own, idle: true,
		sim:  sim.Options{Speed: worstSpeed, Limits: map[string]sim.Limit{}}, // the vendor's
		edit: func(cfg *config.Config) { cfg.Providers[0].Plain["role_poll"] = worstPoll.String() }}
	x := tap(t, &o)
	w := startWorld(t, o)
	w.worker = w.startWorker() // and no listener: the feed is dead
	w.expect(bea, cache.Granted, abroad)
	w.await("the roles were looked at", func() bool { return w.metric("rescind_tail_polls_total{") > 0 })
	if c.long { // once a fence is 30 s old all that rests on it is read again; not later
		beat(2*int(cache.Settled/time.Second), func() bool {
			w.expect(bea, cache.Granted, abroad)
			return w.sim.Calls(roleCall) > 1
		})
	}
	if c.blind {
		w.fault(sim.Fault{Operation: listRolesCall, Kind: sim.Status, Status: http.StatusServiceUnavailable})
	}
	w.fault(sim.Fault{Kind: sim.Stale, Delay: worstLate})
	return w, x
}

// bound is when the wrong grant ends at the latest.
func (c worst) bound() time.Duration {
	switch {
	case c.own:
		return worstLate + cache.MinLife // an entry of just before the new answer
	case c.blind:
		return worstLate + 3*cache.MinLife // and a role's definition of two lives
	}
	return worstLate + worstPoll*11/10
}

// bounds tells how that is computed, here and as configured by default, for a
// provider that is late by L.
func (c worst) bounds() string {
	lives, how := time.Duration(1), "L + life"
	if !c.own { // a definition is fetched again once it is two lives old
		lives, how = 3, "L + two lives, for which a role's definition is kept, + life"
	}
	return fmt.Sprintf("Here: %s at the latest.\n"+
		"By default the first of: L + 1.1 x role_poll = %s, and the wait for its call;\n"+
		"  %s = %s; once the feed is known to be dead %s; with lives stretched to the ceiling %s.",
		c.bound(), worstLate+tail.DefaultInterval*11/10, how,
		worstLate+lives*cache.DefaultLife, worstLate+lives*cache.MinLife, worstLate+cache.Ceiling)
}

// spend uses up somebody's calls of both groups, as another program with the
// same identity does.
func (w *world) spend(owner, base string) {
	w.t.Helper()
	token := w.sim.IssueToken(owner, []string{"ReadAccounts"})
	for _, path := range []string{"/dictionary/permission", "/account/" + account + "/extension"} {
		w.await("429 for "+path, func() bool {
			url := base + "/restapi/v1.0" + path
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
			if err != nil {
				w.t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			resp, err := w.client.Do(r)
			if err != nil {
				w.t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				w.t.Fatal(err)
			}
			return resp.StatusCode == http.StatusTooManyRequests
		})
	}
}

// second is what a reader saw in one of them.
type second struct {
	at            time.Duration // since the edit
	redis, worker lookup.Decision
	found         int // edits that the poll has published
	now           time.Time
}

type story []second

// watchWorst reads every second, from Redis and from the worker, until both
// have said the new thing for a while.
func (w *world) watchWorst(edited time.Time, c worst) (s story) {
	w.t.Helper()
	settled := 0
	beat(int(c.bound()/time.Second)+worstMore, func() bool {
		one := second{now: time.Now()}
		one.at = one.now.Sub(edited)
		one.redis = w.plain(bea, abroad)
		d, err := w.ask(w.worker, bea, abroad)
		if err != nil {
			w.t.Errorf("second %.0f: %v", one.at.Seconds(), err)
		}
		one.worker, one.found = d, int(w.metric("rescind_tail_changes_total{"))
		s = append(s, one)
		settled++
		if one.redis.State != cache.Denied || one.worker.State != cache.Denied || one.found == 0 && !c.blind {
			settled = 0
		}
		return settled == 3
	})
	return s
}

// judge holds the bars: what the promises give, and no more.
func (s story) judge(t *testing.T, c worst) {
	t.Helper()
	latest, found := c.bound(), false
	saw := map[cache.State]int{}
	for _, one := range s {
		if one.found > 0 && !found {
			found, latest = true, min(latest, one.at)
		}
		for who, d := range map[string]lookup.Decision{"redis": one.redis, "the worker": one.worker} {
			saw[d.State]++
			one.judge(t, who, d, latest)
		}
	}
	last := s[len(s)-1]
	if last.redis.State != cache.Denied || last.worker.State != cache.Denied {
		t.Errorf("ended with %s in Redis and %s by the worker", last.redis.State, last.worker.State)
	}
	if saw[cache.Granted] == 0 || saw[cache.Unknown] == 0 || found == c.blind {
		t.Errorf("not the worst case: saw %v; the poll has found the edit: %t", saw, found)
	}
}

// judge judges one reading; latest is when a grant that is not right any more
// ends by its bound, or when the poll has found the edit.
func (one second) judge(t *testing.T, who string, d lookup.Decision, latest time.Duration) {
	t.Helper()
	const slack = time.Second // the readings of one row are one after another
	switch {
	case d.State == cache.Denied && one.at < worstLate-slack:
		t.Errorf("second %.1f: denied by %s before the provider said so", one.at.Seconds(), who)
	case d.State == cache.Granted && one.at > latest+slack:
		t.Errorf("second %.1f: granted by %s, later than %s", one.at.Seconds(), who, latest)
	}
	if left := d.Until.Sub(one.now); left > cache.MinLife+slack {
		t.Errorf("second %.1f: %s keeps it for %s while the feed is dead", one.at.Seconds(), who, left)
	}
}

// String is the table.
func (s story) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6s  %-9s %7s %7s  %-9s %-14s  %s\n",
		"second", "in redis", "age", "left", "worker", "basis", "what")
	for _, one := range s {
		what := one.worker.Message
		if what == "" && one.redis.AsOf.IsZero() {
			what = "asked the provider"
		}
		if one.found > 0 {
			what += " (the poll has found it)"
		}
		age, left := "-", "-"
		if !one.redis.AsOf.IsZero() {
			age = fmt.Sprintf("%.1f s", one.redis.Age(one.now).Seconds())
			left = fmt.Sprintf("%.1f s", one.redis.Until.Sub(one.now).Seconds())
		}
		fmt.Fprintf(&b, "%6.1f  %-9s %7s %7s  %-9s %-14s  %s\n", one.at.Seconds(), one.redis.State, age, left,
			one.worker.State, one.worker.Basis, what)
	}
	return b.String()
}
