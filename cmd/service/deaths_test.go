package service_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// TestEveryWayToDie lets the registrations of a tenant die in each way that is known,
// takes a right away meanwhile, and prints how long it took until that was noticed,
// until the provider delivered again, until what was kept was swept, until the feed
// was told to be alive, and how long a reader could still read the right.
func TestEveryWayToDie(t *testing.T) {
	slowTest(t)
	table := &deaths{}
	t.Cleanup(func() { t.Logf("\n%s", table) })
	for name, die := range map[string]func(*testing.T, *deaths){
		"expiry while no listener runs":   expiryOvernight,
		"expiry while renewal is refused": expiryRefused,
		"blacklisted after an outage":     blacklisted,
		"deleted without a word":          lostSilently,
		"deleted, and looked for seldom":  lostForLong,
		"a filter is disabled":            filterDisabled,
		"no listener runs for a while":    lapse,
		"what the provider says no to":    refusals,
		"two fight for the lease":         fight,
		"the holder dies in mid-apply":    holderKilled,
		"NATS is away at a renewal":       natsAwayRenewing,
		"NATS is away for deliveries":     natsAwayDelivering,
		"rotation under load":             rotation,
		"deleted without a word by Box":   boxLost,
		"Box says that it is over":        boxObituaries,
		"a tenant is taken out":           tenantRemoved,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			die(t, table)
		})
	}
}

var (
	beasCalls = whose{ref(bea), abroad} // the right that is taken away
	cemsCalls = whose{ref(cem), abroad} // and one that stays
)

// listFilter is the filter that tells of all changes.
const listFilter = "/restapi/v1.0/account/" + account + "/extension"

// startMortal starts a world whose subscriptions are looked at often, but no listener.
func startMortal(t *testing.T, o options) *world {
	t.Helper()
	return startMortalEvery(t, deathCheck, o)
}

func startMortalEvery(t *testing.T, check time.Duration, o options) *world {
	t.Helper()
	o.idle = true
	edit := o.edit
	o.edit = func(c *config.Config) {
		c.Log.Level = "info"
		if edit != nil {
			edit(c)
		}
	}
	w := startWorld(t, o)
	it, err := service.NewWorkerChecking(context.Background(), w.cfg, w.logger("worker"), check)
	if err != nil {
		t.Fatal(err)
	}
	w.worker = run(t, it)
	return w
}

// hours makes a day's life short: an hour takes as long as that.
func hours(each time.Duration) options {
	return options{sim: sim.Options{Speed: float64(time.Hour) / float64(each)}}
}

// minutes are the shortest lives of subscriptions there may be, 2 min, that take as
// long as that. Tokens outlive the test.
func minutes(both time.Duration) options {
	return options{sim: sim.Options{Speed: float64(2*time.Minute) / float64(both)}, edit: func(c *config.Config) {
		c.Providers[0].Plain["subscription_life"] = "2m"
	}}
}

// listens starts another listener, with a configuration of its own.
func (w *world) listens(name string, cfg *config.Config, check time.Duration) *running[*service.Listener] {
	w.t.Helper()
	it, err := service.NewListenerChecking(context.Background(), cfg, w.logger(name), check)
	if err != nil {
		w.t.Fatal(err)
	}
	return run(w.t, it)
}

// live starts the listener, and waits until the provider delivers.
func (w *world) live() {
	w.t.Helper()
	w.listener = w.listens("listener", w.cfg, deathCheck)
	w.subscribed()
}

// elsewhere is the configuration for another listener.
func (w *world) elsewhere() *config.Config {
	w.t.Helper()
	c := *w.cfg
	c.Listener.Addr = freeAddr(w.t)
	return &c
}

// delivering says whether the simulator has a registration that would deliver.
func (w *world) delivering() bool {
	for _, s := range w.sim.Subscriptions() {
		for _, f := range s.Filters {
			if s.Status == "Active" && f == listFilter {
				return true
			}
		}
	}
	return false
}

// takeAway takes bea's right away.
func (w *world) takeAway() {
	if err := w.sim.AssignRoles(bea, lesserRole); err != nil {
		w.t.Error(err)
	}
}

// only wants one registration, and returns it.
func (w *world) only() sim.Subscription {
	w.t.Helper()
	all := w.sim.Subscriptions()
	if len(all) != 1 {
		w.t.Fatalf("%d registrations, want 1: %+v", len(all), all)
	}
	return all[0]
}

// order has whoever keeps the subscriptions do something.
func (w *world) order(h events.Home, do renew.Do) service.Ordered {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return service.Subscriptions{Ledgers: w.stream.Ledgers(), Calls: w.stream.Calls()}.Order(ctx, h, do)
}

// The listener is down when its registration ends, and comes back in the morning.
func expiryOvernight(t *testing.T, table *deaths) {
	w := startMortal(t, minutes(3*time.Second))
	w.live()
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	w.listener.stop(t)
	w.awaitLong("expired", func() bool { return len(w.sim.Subscriptions()) == 0 })
	v.die(func() {})
	v.revoke(w.takeAway)
	w.await("doubtful", func() bool { return v.state() == events.FeedDoubtful })
	w.live()
	f := v.healed()
	w.only()
	table.add(t, deathRow{1, "expiry while no listener runs", f, "doubtful 12.5 min after the last proof; " +
		"until then an entry ends by its own deadline: 60 s, 5 min at most; healed and swept as a listener starts"},
		cache.Ceiling)
}

// Renewal is refused until the registration has ended, and so is making another.
func expiryRefused(t *testing.T, table *deaths) {
	w := startMortal(t, minutes(3*time.Second))
	w.live()
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	for _, op := range []string{"updateSubscription", "renewSubscription", "createSubscription"} {
		w.fault(sim.Fault{Operation: op, Kind: sim.Status, Status: 500})
	}
	w.awaitLong("expired", func() bool { return len(w.sim.Subscriptions()) == 0 })
	v.die(func() {})
	v.revoke(w.takeAway)
	w.awaitLong("dead", func() bool { return v.is(events.FeedDead) })
	w.notReady(subscriptions.FaultOther, v, "status 500")
	w.sim.ClearFaults()
	f := v.healed()
	w.only()
	table.add(t, deathRow{2, "expiry while renewals are refused (500)", f, "noticed as it ends, or when the call " +
		"that is under way gives up, within 15 s; healed by the next try, within 3 min"}, 20*time.Second)
}

// Deliveries fail for ten of the vendor's minutes.
func blacklisted(t *testing.T, table *deaths) {
	w := startMortal(t, hours(12*time.Second)) // ten minutes are 2 s
	w.live()
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	v.die(func() { w.listener.stop(t) })
	v.revoke(w.takeAway)
	roles, n := []string{usualRole, lesserRole}, 0
	w.awaitLong("blacklisted", func() bool {
		n++
		w.assign(cem, roles[n%2])
		return w.only().Status == "Blacklisted"
	})
	w.assign(cem, usualRole)
	dead := w.only().ID
	w.live()
	f := v.healed()
	if w.only().ID == dead {
		t.Error("the one that was blacklisted is there still")
	}
	table.add(t, deathRow{3, "blacklisted after an outage of the listener", f,
		"as 1; with the listener up again on time, 5.5 min at most"}, cache.Ceiling)
}

func lostSilently(t *testing.T, table *deaths) {
	w := startMortal(t, options{})
	w.live()
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	v.die(func() { w.lose() })
	v.revoke(w.takeAway)
	f := v.healed()
	w.only()
	table.add(t, deathRow{4, "deleted at RingCentral without a word", f, "5.5 min at most until noticed, then at " +
		"once; an entry ends by its own deadline: 60 s, 5 min at most"}, 10*time.Second)
}

// The same with looks as in production, until no reader reads the right any more.
func lostForLong(t *testing.T, table *deaths) {
	if !thorough() {
		t.Skip("takes a minute: RESCIND_RUNS=2 runs it")
	}
	w := startMortalEvery(t, renew.DefaultCheck, options{})
	w.listener = w.listens("listener", w.cfg, renew.DefaultCheck)
	w.subscribed()
	v := w.inquireEvery(renew.DefaultCheck, beasCalls, cemsCalls, w.delivering)
	v.die(w.lose)
	v.revoke(w.takeAway)
	beat(int(cache.Ceiling/time.Second), func() bool { return w.plain(bea, abroad).State == cache.Denied })
	w.await("denied", func() bool { return w.plain(bea, abroad).State == cache.Denied })
	table.add(t, deathRow{4, "and looked for every 5 min: until it was denied", v.findings(),
		"this is it: the entry's deadline, with lives of 60 s"}, cache.DefaultLife)
}

// lose has the only registration deleted without a word.
func (w *world) lose() {
	if err := w.sim.LoseSubscription(w.only().ID); err != nil {
		w.t.Error(err)
	}
}

// The filter that tells of everything is not served for a while.
func filterDisabled(t *testing.T, table *deaths) {
	w := startMortal(t, minutes(6*time.Second))
	w.live()
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	was := w.only().ID
	v.die(func() { w.sim.DisableFilter(listFilter, "SUB-412") })
	v.revoke(w.takeAway)
	w.await("doubtful", func() bool { return v.is(events.FeedDoubtful) })
	w.notReady(subscriptions.FaultFilters, v, "SUB-412")
	w.sim.DisableFilter(listFilter, "")
	f := v.healed()
	if got := w.only().ID; got != was {
		t.Errorf("%s was made, want %s renewed", got, was)
	}
	table.add(t, deathRow{7, "its filter is disabled, and served again later", f, "5.5 min at most until noticed, " +
		"doubtful from then on; asked for again every hour, or by rescind subscriptions renew"},
		cache.Ceiling)
}

// Nobody listens for a while; the provider sends once.
func lapse(t *testing.T, table *deaths) {
	w := startMortal(t, options{})
	w.live()
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	was := w.only()
	v.die(func() { w.listener.stop(t) })
	v.revoke(w.takeAway)
	w.await("it was sent, and lost", func() bool { return w.only().Failed > was.Failed })
	w.await("doubtful", func() bool { return v.is(events.FeedDoubtful) })
	w.live()
	f := v.healed()
	if got := w.only().ID; got != was.ID {
		t.Errorf("%s was made, want %s kept", got, was.ID)
	}
	table.add(t, deathRow{14, "no listener ran for a while", f, "doubtful after 12.5 min, swept as a listener " +
		"starts; an entry ends by its own deadline: 60 s, 5 min at most"}, cache.Ceiling)
}

// notReady wants a listener that says why, and a ledger that does.
func (w *world) notReady(fault subscriptions.Fault, v *inquest, says string) {
	w.t.Helper()
	w.await(fmt.Sprintf("not ready: %s (%s)", fault, says), func() bool {
		l, err := v.ledger(), w.listener.it.Ready(context.Background())
		return err != nil && strings.Contains(err.Error(), v.target.Home.String()) &&
			strings.Contains(err.Error(), says) && l.Fault == fault && strings.Contains(l.Problem, says)
	})
}

// refusals are what a provider says no to when a registration is to be made anew.
func refusals(t *testing.T, table *deaths) {
	w := startMortal(t, options{})
	w.live()
	for _, c := range []struct {
		way, says  string
		fault      sim.Fault
		want       subscriptions.Fault
		itself     bool // it heals without an order
		production string
	}{
		{"no permission (403 CMN-401)", "CMN-401", sim.Fault{Kind: sim.Refuse, Code: "CMN-401"},
			subscriptions.FaultRight, false, "dead at once when noticed; tried again every 5.5 min, or by apply"},
		{"address not reachable (SUB-521)", "SUB-521", sim.Fault{Kind: sim.Refuse, Code: "SUB-521"},
			subscriptions.FaultAddress, false, "likewise"},
		{"limit reached (SUB-505)", "SUB-505", sim.Fault{Kind: sim.Refuse, Code: "SUB-505"},
			subscriptions.FaultFull, false, "likewise"},
		{"rate limited (429)", "rate limited",
			sim.Fault{Kind: sim.Status, Status: 429, Delay: 3 * time.Second, Count: 1},
			subscriptions.FaultLater, true, "as long as the provider says"},
	} {
		w.assign(bea, usualRole)
		v := w.inquire(beasCalls, cemsCalls, w.delivering)
		c.fault.Operation = "createSubscription"
		w.fault(c.fault)
		v.die(w.lose)
		v.revoke(w.takeAway)
		w.awaitLong("dead", func() bool { return v.is(events.FeedDead) })
		w.notReady(c.want, v, c.says)
		if !c.itself {
			w.sim.ClearFaults()
			if o := w.order(home, renew.DoApply); o.Error != "" {
				t.Errorf("%s: apply: %s", c.way, o.Error)
			}
		}
		f := v.healed()
		v.close()
		w.only()
		table.add(t, deathRow{15, c.way, f, c.production}, 10*time.Second)
	}
}
