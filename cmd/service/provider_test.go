package service_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

const rolesCall = "listUserAssignedRoles"

func TestTheProviderLimitsOurRate(t *testing.T) {
	w := startWorld(t, options{exchange: true, sim: sim.Options{
		Speed: 100, // five minutes take three seconds
		Limits: map[string]sim.Limit{
			"light":  {Calls: 10, Window: time.Minute, Penalty: 5 * time.Minute},
			"medium": {Calls: -1}, "heavy": {Calls: -1}, "auth": {Calls: -1},
		},
	}})
	before := w.expect(bea, cache.Granted, abroad)
	w.exhaust(bea)
	dropped := w.watch()
	start := time.Now()
	w.assign(bea, lesserRole)
	<-dropped
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the revocation took %s: it must not wait for the provider", took)
	}
	w.await("the provider has refused", func() bool { // by then the worker knows
		d, err := w.ask(w.worker, bea, abroad)
		return err == nil && d.State == cache.Unknown && strings.Contains(d.Message, "limits our rate")
	})
	told, asked := w.sim.Calls(rolesCall), 0
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); asked++ {
		if d := w.expect(bea, cache.Unknown, abroad); !strings.Contains(d.Message, "limits our rate") {
			t.Fatalf("message %q", d.Message)
		}
	}
	if got := w.sim.Calls(rolesCall); got != told {
		t.Errorf("%d calls during the penalty, while %d asked; each prolongs it", got-told, asked)
	}
	w.expect(cem, cache.Granted, abroad) // limits are each identity's own
	w.refreshed(bea, before)
	w.expect(bea, cache.Denied, abroad)
}

// exhaust makes calls as the subject until the provider refuses.
func (w *world) exhaust(subject string) {
	w.t.Helper()
	token := w.sim.IssueToken(subject, []string{"ReadAccounts"})
	url := w.cfg.Providers[0].Plain["base_url"] + "/restapi/v1.0/account/" + account +
		"/extension/" + subject + "/assigned-role"
	w.await("429", func() bool {
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

func TestABrokenProviderIsNeverADenial(t *testing.T) {
	for name, f := range map[string]sim.Fault{
		"500":         {Kind: sim.Status, Status: 500},
		"503":         {Kind: sim.Status, Status: 503},
		"401":         {Kind: sim.Status, Status: 401},
		"cut replies": {Kind: sim.Truncate},
		"slow":        {Kind: sim.Delay, Delay: 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for mode, o := range modes {
				t.Run(mode, func(t *testing.T) {
					t.Parallel()
					w := startWorld(t, o)
					fault := f // the modes run side by side
					fault.Operation = rolesCall
					w.fault(fault)
					if d := w.expect(bea, cache.Unknown, abroad); d.Message == "" {
						t.Error("an unknown answer without a message")
					}
					if !w.asOf(bea).IsZero() {
						t.Error("something was stored")
					}
					w.sim.ClearFaults()
					w.await("granted", func() bool {
						d, err := w.ask(w.worker, bea, abroad)
						if err == nil && d.State == cache.Denied {
							t.Fatalf("denied: %+v", d)
						}
						return err == nil && d.State == cache.Granted
					})
				})
			}
		})
	}
}

func TestTwoWorkersShareOneToken(t *testing.T) {
	w := startWorld(t, options{idle: true})
	var list []sim.Extension
	for _, id := range []string{"5001", "5002", "5003", "5004", "5005", "5006", "5007", "5008"} {
		list = append(list, sim.Extension{ID: id, Number: id, Name: "Extension " + id})
	}
	if err := w.sim.AddExtensions(list...); err != nil {
		t.Fatal(err)
	}
	workers := []*running[*service.Worker]{w.startWorker(), w.startWorker()}
	w.tell("first", events.AppTag) // a fence made later would refuse what was minted just before
	w.applied()
	// The poll of the roles has a token of its own, which no reader may use.
	w.await("the first look at the roles", func() bool { return w.sim.Calls(listRolesCall) > 0 })
	minted := w.sim.Calls("getToken")
	var group sync.WaitGroup
	for i, e := range list {
		group.Go(func() {
			d, err := w.ask(workers[i%2], e.ID, abroad)
			if err != nil || d.State != cache.Granted {
				t.Errorf("%s: %s (%q), %v; want granted", e.ID, d.State, d.Message, err)
			}
		})
	}
	group.Wait()
	if got := w.sim.Calls("getToken") - minted; got != 1 {
		t.Errorf("%d tokens were minted, want 1", got)
	}
}

func TestManyReadersOfOneMissingEntryAreOneCall(t *testing.T) {
	w := startWorld(t, options{quiet: true})
	w.fault(sim.Fault{Operation: rolesCall, Kind: sim.Delay, Delay: 200 * time.Millisecond})
	other := w.startWorker()
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			d, err := w.ask([]*running[*service.Worker]{w.worker, other}[i%2], bea, abroad)
			if err != nil || d.State != cache.Granted {
				t.Errorf("%s (%q), %v; want granted", d.State, d.Message, err)
			}
		})
	}
	group.Wait()
	if got := w.sim.Calls(rolesCall); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}
}

// A worker that stops in the middle of a fetch leaves no lease behind that
// would keep the others waiting.
func TestAWorkerIsStoppedInMidFetch(t *testing.T) {
	w := startWorld(t, options{edit: func(c *config.Config) { c.Log.Level = "info" }})
	before := w.expect(bea, cache.Granted, abroad)
	w.fault(sim.Fault{Operation: rolesCall, Kind: sim.Delay, Delay: 6 * time.Second, Count: 1})
	w.assign(bea, lesserRole)
	w.await("a fetch is under way", func() bool {
		return len(w.sim.Faults()) == 0 && len(w.keys("l:*")) > 0 // the fault is used up
	})
	start := time.Now()
	w.worker.stop(t)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if left := w.keys("l:*"); len(left) > 0 {
		t.Errorf("leases are left: %q", left)
	}
	w.worker = w.startWorker()
	start = time.Now()
	d := w.expect(bea, cache.Denied, abroad)
	if took := time.Since(start); took > 5*time.Second || !d.AsOf.After(before.AsOf) {
		t.Errorf("the next one had the answer after %s, as of %s", took, d.AsOf)
	}
}

// keys are those of the tenant.
func (w *world) keys(pattern string) []string {
	w.t.Helper()
	keys, err := w.rdb.Keys(context.Background(), cache.Keys{}.Base(home)+pattern).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

func TestTheListenerIsReadyOnceItsSubscriptionIsActive(t *testing.T) {
	w := startWorld(t, options{idle: true})
	w.fault(sim.Fault{Operation: "createSubscription", Kind: sim.Status, Status: 500})
	w.listener = w.startListener()
	w.await("not ready, and why", func() bool {
		err := w.listener.it.Ready(context.Background())
		return err != nil && strings.Contains(err.Error(), home.String()) &&
			strings.Contains(err.Error(), "status 500")
	})
	w.sim.ClearFaults()
	w.subscribed()
	if err := w.listener.it.Ready(context.Background()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if got := w.sim.Subscriptions(); len(got) != 1 ||
		!strings.HasPrefix(got[0].Address, w.listener.it.Addresses()[0]+"/") {
		t.Errorf("subscriptions: %+v", got)
	}
}

// A restart takes over the subscription that is there.
func TestARestartedListenerKeepsItsSubscription(t *testing.T) {
	w := startWorld(t, options{})
	was := w.sim.Subscriptions()[0].ID
	w.listener.stop(t)
	w.listener = w.startListener()
	w.subscribed()
	if got := w.sim.Subscriptions(); len(got) != 1 || got[0].ID != was {
		t.Errorf("subscriptions: %+v, want only %s", got, was)
	}
	if got := w.sim.Calls("createSubscription"); got != 1 {
		t.Errorf("%d were created, want 1", got)
	}
}
