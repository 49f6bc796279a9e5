package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

func (w *world) fault(t *testing.T, f sim.Fault) {
	t.Helper()
	if err := w.Fault(f); err != nil {
		t.Fatal(err)
	}
}

const ownExtension = "/account/~/extension/~"

func TestStatusFaults(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, user)
	for status, code := range map[int]string{429: "CMN-301", 503: "CMN-201", 500: "CMN-203", 401: "OAU-213"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w.fault(t, sim.Fault{Operation: "readExtension", Kind: sim.Status, Status: status, Count: 2})
			for range 2 {
				a := w.get(t, tok, ownExtension).want(t, status, code)
				if got := a.head.Get("Retry-After"); (got != "") != (status == 429) {
					t.Errorf("Retry-After: %q", got)
				}
				w.get(t, tok, ownExtension+"/features").want(t, 200, "") // another operation
			}
			w.get(t, tok, ownExtension).want(t, 200, "")
		})
	}
	if got := w.Calls("readExtension"); got != 12 {
		t.Errorf("counted %d calls, want 12", got)
	}
}

func TestPenaltyOfAFault(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	w.fault(t, sim.Fault{Kind: sim.Status, Status: 429, Count: 1, Delay: 2 * time.Second})
	a := w.get(t, w.as(t, user), ownExtension).want(t, 429, "CMN-301")
	if got := a.head.Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After: %q, want 2", got)
	}
}

func TestFaultsLastUntilCleared(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, user)
	w.fault(t, sim.Fault{Kind: sim.Status, Status: 503})
	for range 10 {
		w.get(t, tok, ownExtension).want(t, 503, "CMN-201")
	}
	w.ClearFaults()
	w.get(t, tok, ownExtension).want(t, 200, "")
}

func TestDelayedReply(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, user)
	w.fault(t, sim.Fault{Operation: "readExtension", Kind: sim.Delay, Delay: 100 * time.Millisecond, Count: 1})
	begin := time.Now()
	w.get(t, tok, ownExtension).want(t, 200, "")
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestTruncatedReply(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	w.fault(t, sim.Fault{Operation: "readExtension", Kind: sim.Truncate, Count: 1})
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.url+v1+ownExtension, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.as(t, user))
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if body, err := io.ReadAll(reply.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 {
		t.Errorf("got %v after %q", err, body)
	}
}

func TestStaleReads(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	const age = 300 * time.Millisecond
	w.fault(t, sim.Fault{Operation: "readAuthorizationProfile", Kind: sim.Stale, Delay: age})
	w.fault(t, sim.Fault{Operation: "readUserRole", Kind: sim.Stale, Delay: age})
	tok, boss := w.as(t, user), w.as(t, admin)
	calls := func() bool {
		p := w.profile(t, tok, ownExtension+"/authz-profile")
		return p.scopes()["InternationalCalls"] != nil
	}
	role := func() int {
		var r struct{ Permissions []any }
		w.get(t, boss, "/account/~/user-role/5").want(t, 200, "").into(t, &r)
		return len(r.Permissions)
	}
	if !calls() || role() != 2 {
		t.Fatalf("before the change: %v, %d", calls(), role())
	}
	changed := time.Now()
	if err := w.AssignRoles(user, "4"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutRole(sim.Role{ID: "5", DisplayName: "Mailbox"}); err != nil {
		t.Fatal(err)
	}
	if old := calls(); !old && time.Since(changed) < age {
		t.Error("the new answer came at once")
	}
	if old := role(); old != 2 && time.Since(changed) < age {
		t.Error("the new role came at once")
	}
	var list struct{ Records []struct{ ID string } }
	w.get(t, tok, ownExtension+"/assigned-role").want(t, 200, "").into(t, &list)
	if list.Records[0].ID != "4" {
		t.Errorf("an operation without the fault is stale: %v", list)
	}
	eventually(t, "the new answers", func() bool { return !calls() && role() == 0 })
	if took := time.Since(changed); took < age {
		t.Errorf("new after %v", took)
	}
}

// numbered subscribes and returns a function that emits an event with a number.
func (w *world) numbered(t *testing.T, h *hook) func(int) {
	t.Helper()
	w.subscribed(t, w.as(t, admin), subscribe(h.url, 0, listFilter))
	return func(n int) { w.Emit(v1+"/account/"+account+"/extension", map[string]any{"n": n}) }
}

func TestDeliveryFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault sim.Fault
		want  []float64
	}{
		"none":      {sim.Fault{Operation: "readExtension", Kind: sim.Delay}, []float64{1, 2, 3}},
		"drop":      {sim.Fault{Kind: sim.Drop, Count: 1}, []float64{2, 3}},
		"duplicate": {sim.Fault{Kind: sim.Duplicate, Count: 1}, []float64{1, 1, 2, 3}},
		"reorder":   {sim.Fault{Kind: sim.Reorder, Count: 1}, []float64{2, 1, 3}},
		"delay":     {sim.Fault{Kind: sim.Delay, Delay: 200 * time.Millisecond, Count: 1}, []float64{2, 3, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free(), Senders: 1})
			h := listen(t, nil)
			emit := w.numbered(t, h)
			if c.fault.Operation == "" {
				c.fault.Operation = sim.Deliveries
			}
			w.fault(t, c.fault)
			for n := range 3 {
				emit(n + 1)
			}
			var got []float64
			uuids := map[string]float64{}
			for range c.want {
				n := h.next(t)
				number, _ := n.json.Body["n"].(float64)
				if earlier, seen := uuids[n.json.UUID]; seen && earlier != number {
					t.Errorf("uuid %s belongs to %v and %v", n.json.UUID, earlier, number)
				}
				uuids[n.json.UUID] = number
				got = append(got, number)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(uuids) > 3 {
				t.Errorf("a duplicate has a uuid of its own: %v", uuids)
			}
			h.quiet(t)
		})
	}
}

func TestClearingSendsWhatWasHeld(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	emit := w.numbered(t, h)
	w.fault(t, sim.Fault{Operation: sim.Deliveries, Kind: sim.Reorder})
	emit(1)
	w.ClearFaults()
	if n := h.next(t); n.json.Body["n"] != 1.0 {
		t.Errorf("got %s", n.raw)
	}
}

func TestImpossibleFaults(t *testing.T) {
	w := start(t, sim.Options{})
	for name, f := range map[string]sim.Fault{
		"no kind":                 {},
		"an unknown operation":    {Operation: "readExtensoin", Kind: sim.Delay},
		"a call cannot be lost":   {Operation: "readExtension", Kind: sim.Drop},
		"a delivery has no reply": {Operation: sim.Deliveries, Kind: sim.Truncate},
		"200 is no refusal":       {Kind: sim.Status, Status: 200},
		"an unknown code":         {Operation: "createSubscription", Kind: sim.Refuse, Code: "SUB-999"},
		"a delivery has no code":  {Operation: sim.Deliveries, Kind: sim.Refuse, Code: "SUB-505"},
		"a negative count":        {Kind: sim.Truncate, Count: -1},
	} {
		if err := w.Fault(f); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := w.Faults(); len(got) != 0 {
		t.Errorf("in force: %v", got)
	}
}

func TestControlEndpoints(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	const fault = `{"operation":"readExtension","kind":"delay","count":3,"delay":"1.5s"}`
	if a := w.call(t, "", "POST", "/sim/faults", fault); a.status != 204 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	want := []sim.Fault{{Operation: "readExtension", Kind: sim.Delay, Count: 3, Delay: 1500 * time.Millisecond}}
	if diff := cmp.Diff(want, w.Faults()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var shown []sim.Fault
	w.call(t, "", "GET", "/sim/faults", nil).into(t, &shown)
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"{", `{"kind":"x"}`, `{"kind":"delay","delay":"soon"}`} {
		if a := w.call(t, "", "POST", "/sim/faults", bad); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	if a := w.call(t, "", "DELETE", "/sim/faults", nil); a.status != 204 || len(w.Faults()) != 0 {
		t.Errorf("%d, left %v", a.status, w.Faults())
	}
}

func TestWorldShowsNoSecrets(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	tok := w.login(t)
	w.subscribed(t, tok.Access, subscribe(h.url, 0, listFilter))
	a := w.call(t, "", "GET", "/sim/world", nil)
	for _, part := range []string{account, "Ada Admin", "Super Admin", "service of " + admin, "rescind-dev"} {
		if !strings.Contains(string(a.raw), part) {
			t.Errorf("lacks %q", part)
		}
	}
	for _, secret := range []string{tok.Access, tok.Refresh, "rescind-dev-secret", "sim-service-jwt",
		"hook-secret", h.url} {
		if strings.Contains(string(a.raw), secret) {
			t.Errorf("shows %q", secret)
		}
	}
}

func TestCloseWaitsForDeliveries(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	arrived, release := make(chan bool), make(chan bool)
	good := &hook{notices: make(chan notice, 1)}
	h := listen(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Validation-Token") == "" {
			arrived <- true
			<-release
		}
		good.accept(rw, r)
	})
	w.numbered(t, h)(1)
	<-arrived
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	closed := make(chan error)
	go func() { closed <- w.Close(short) }()
	select {
	case err := <-closed:
		t.Fatalf("closed with a delivery in flight: %v", err)
	case release <- true:
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	good.next(t)
	w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Delete"}) // lost, not a panic
}

func TestCloseCutsOffAfterItsContext(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	arrived := make(chan bool, 1)
	good := &hook{notices: make(chan notice, 1)}
	h := listen(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Validation-Token") == "" {
			_, _ = io.Copy(io.Discard, r.Body)
			arrived <- true
			<-r.Context().Done()
			return
		}
		good.accept(rw, r)
	})
	w.numbered(t, h)(1)
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
