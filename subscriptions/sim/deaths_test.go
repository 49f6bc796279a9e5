package sim_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions/sim"
)

const realFilter = v1 + "/account/" + account + "/extension"

// carry is a network of one server, so that time can be simulated.
type carry struct{ http.Handler }

func (c carry) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	c.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// simulated is a world without a network, for a bubble of testing/synctest; all webhooks are one handler.
func simulated(t testing.TB, opts sim.Options, hook http.HandlerFunc) *world {
	t.Helper()
	opts.Transport, opts.BaseURL = carry{hook}, "https://rc.example"
	s := sim.NewRingCentral(opts)
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &world{s, opts.BaseURL, loadVendor(t), &http.Client{Transport: carry{s}}}
}

// TestDeathsInSimulatedTime: an outage of nine minutes is forgiven, one of ten is not; and after a week all is
// over. Nothing is said of either, and nothing that was missed comes later.
func TestDeathsInSimulatedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{notices: make(chan notice, 100)}
		broken := false
		w := simulated(t, sim.Options{Limits: free(), RequireHTTPS: true}, func(rw http.ResponseWriter, r *http.Request) {
			if broken {
				rw.WriteHeader(http.StatusBadGateway)
				return
			}
			h.accept(rw, r)
		})
		body := subscribe("https://listener.example/hook", 0, listFilter)
		made := w.subscribed(t, w.as(t, admin), body)
		for _, minutes := range []int{9, 10} {
			broken = true
			for range minutes {
				w.tell()
				<-time.After(time.Minute)
			}
			if got := w.read(t, made.ID); got.Status != "Active" {
				t.Fatalf("after %d minutes: %+v", minutes, got)
			}
			broken = minutes == 10
			w.tell()
		}
		h.next(t) // between the outages
		got := w.read(t, made.ID)
		const reason = "Webhook responses with code: [502], reason: [Bad Gateway]"
		if got.Status != "Blacklisted" || got.BlacklistedData == nil || got.BlacklistedData.Reason != reason ||
			got.BlacklistedData.BlacklistedAt != time.Now().UTC().Format("2006-01-02T15:04:05.000Z") {
			t.Errorf("got %+v", got)
		}
		broken = false
		w.tell()
		h.quiet(t)
		second := w.subscribed(t, w.as(t, admin), body)
		w.tell()
		if n := h.next(t); n.json.SubscriptionID != second.ID {
			t.Errorf("got %s", n.raw)
		}
		w.ends(t, h, second, body)
		w.get(t, w.as(t, admin), "/subscription/"+made.ID).want(t, 404, "CMN-102")
	})
}

// ends sees a new subscription through its week.
func (w *world) ends(t *testing.T, h *hook, x subscription, body any) {
	t.Helper()
	<-time.After(7*24*time.Hour - time.Second)
	if got := w.read(t, x.ID); got.Status != "Active" || got.ExpiresIn != 1 {
		t.Errorf("a second before its end: %+v", got)
	}
	<-time.After(time.Second)
	w.tell()
	h.quiet(t)
	w.get(t, w.as(t, admin), "/subscription/"+x.ID).want(t, 404, "CMN-102")
	w.call(t, w.as(t, admin), "PUT", v1+"/subscription/"+x.ID, body).want(t, 404, "CMN-102")
}

// tell emits a notice, and waits until it has gone out.
func (w *world) tell() {
	w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"})
	synctest.Wait()
}

func (w *world) read(t *testing.T, id string) (x subscription) {
	t.Helper()
	w.get(t, w.as(t, admin), "/subscription/"+id).want(t, 200, "").into(t, &x)
	return x
}

func TestLoseSubscription(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	tok := w.as(t, admin)
	for name, lose := range map[string]func(id string) bool{
		"by a call": func(id string) bool { return w.LoseSubscription(id) == nil },
		"over HTTP": func(id string) bool { return w.call(t, "", "DELETE", "/sim/subscriptions/"+id, nil).status == 204 },
	} {
		t.Run(name, func(t *testing.T) {
			lost := w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
			kept := w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
			if !lose(lost.ID) || lose(lost.ID) || lose("4711") {
				t.Error("not lost, or lost twice")
			}
			w.call(t, tok, "PUT", v1+"/subscription/"+lost.ID, nil).want(t, 404, "CMN-102")
			w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"})
			if n := h.next(t); n.json.SubscriptionID != kept.ID {
				t.Errorf("got %s", n.raw)
			}
			if !lose(kept.ID) {
				t.Error("not lost")
			}
			h.quiet(t)
		})
	}
}

// TestDisableFilter: a filter that is set aside is told, and not served; an update has it again once that is
// over, and not before.
func TestDisableFilter(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	tok := w.as(t, admin)
	body := subscribe(h.url, 0, listFilter, "/account/~/extension/"+other)
	x := w.subscribed(t, tok, body)
	put := func() (got subscription) {
		t.Helper()
		w.call(t, tok, "PUT", v1+"/subscription/"+x.ID, body).want(t, 200, "").into(t, &got)
		return got
	}
	want := func(got subscription, filters, disabled []string) {
		t.Helper()
		var refused []string
		for _, d := range got.DisabledFilters {
			refused = append(refused, d.Filter+" "+d.Reason)
		}
		if !slices.Equal(got.EventFilters, filters) || !slices.Equal(refused, disabled) || got.Status != "Active" {
			t.Errorf("got %+v, want %q and not %q", got, filters, disabled)
		}
	}
	one, reason := []string{realFilter + "/" + other}, []string{realFilter + " SUB-412"}
	w.DisableFilter(realFilter, "SUB-412")
	var got subscription
	w.get(t, tok, "/subscription/"+x.ID).want(t, 200, "").into(t, &got)
	want(got, one, reason)
	want(put(), one, reason)
	want(w.subscribed(t, w.as(t, user), subscribe(h.url, 0, listFilter)), []string{}, reason)
	w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"},
		sim.ExtensionChange{ExtensionID: other, EventType: "Update"})
	if n := h.next(t); n.json.Event != one[0] {
		t.Errorf("got %s", n.raw)
	}
	h.quiet(t)

	if a := w.call(t, "", "POST", "/sim/filters", `{"filter":"`+realFilter+`"}`); a.status != 204 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	for _, bad := range []string{"{", "{}"} {
		if a := w.call(t, "", "POST", "/sim/filters", bad); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	want(put(), []string{realFilter, one[0]}, nil)
}

// TestRemindersEnd: with their filter, and with the subscription.
func TestRemindersEnd(t *testing.T) {
	const reminder = v1 + "/subscription/~?threshold=60&interval=20"
	for name, end := range map[string]func(w *world, id string) error{
		"disabled": func(w *world, _ string) error {
			w.DisableFilter(reminder, "SUB-412")
			return nil
		},
		"lost": func(w *world, id string) error { return w.LoseSubscription(id) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hook{notices: make(chan notice, 100)}
				w := simulated(t, sim.Options{Limits: free()}, h.accept)
				x := w.subscribed(t, w.as(t, admin), subscribe("https://a.example", 120, listFilter, reminder))
				<-time.After(70 * time.Second)
				if n := h.next(t); n.json.Event != reminder {
					t.Errorf("got %s", n.raw)
				}
				if err := end(w, x.ID); err != nil {
					t.Fatal(err)
				}
				<-time.After(45 * time.Second)
				h.quiet(t)
			})
		})
	}
}

// TestRefusedOnRequest: each answer is as the vendor describes refusals, and has no effect.
func TestRefusedOnRequest(t *testing.T) {
	for code, status := range map[string]int{
		"SUB-405": 403, "SUB-406": 403, "SUB-505": 403, "SUB-507": 404, "SUB-508": 400, "SUB-516": 400,
		"SUB-520": 400, "SUB-521": 400, "SUB-522": 400, "SUB-523": 400, "SUB-524": 400, "SUB-525": 400,
		"CMN-102": 404, "CMN-401": 403, "CMN-408": 403, "OAU-236": 400,
	} {
		t.Run(code, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free()})
			h := listen(t, nil)
			tok := w.as(t, admin)
			x := w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
			for _, c := range []struct{ operation, method, path string }{
				{"createSubscription", "POST", "/subscription"},
				{"updateSubscription", "PUT", "/subscription/" + x.ID},
				{"deleteSubscription", "DELETE", "/subscription/" + x.ID},
			} {
				fault := fmt.Sprintf(`{"operation":%q,"kind":"refuse","code":%q,"count":1}`, c.operation, code)
				if a := w.call(t, "", "POST", "/sim/faults", fault); a.status != 204 {
					t.Fatalf("%d %s", a.status, a.raw)
				}
				w.call(t, tok, c.method, v1+c.path, subscribe(h.url, 0, listFilter)).want(t, status, code)
			}
			if got := w.Subscriptions(); len(got) != 1 || got[0].ID != x.ID {
				t.Errorf("it had an effect: %+v", got)
			}
			w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
		})
	}
}

// TestTwoOfOneAddress: each delivers, with its own secret.
func TestTwoOfOneAddress(t *testing.T) {
	for name, shared := range map[string]bool{"a uuid for each": false, "one uuid": true} {
		t.Run(name, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free(), Quirks: sim.Quirks{SharedUUID: shared}})
			h := listen(t, nil)
			tok, secrets := w.as(t, admin), map[string]string{}
			for _, secret := range []string{"first-hunter2", "second-hunter2"} {
				body := subscribe(h.url, 0, listFilter)
				body["deliveryMode"].(map[string]any)["verificationToken"] = secret
				secrets[w.subscribed(t, tok, body).ID] = secret
			}
			uuids := map[string]int{}
			for range 2 { // of the same
				w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"})
				senders := map[string]string{}
				for range 2 {
					n := h.next(t)
					senders[n.json.SubscriptionID] = n.head.Get("Verification-Token")
					uuids[n.json.UUID]++
				}
				if diff := cmp.Diff(secrets, senders); diff != "" {
					t.Errorf("senders (-want +got):\n%s", diff)
				}
			}
			if want := map[bool]int{false: 4, true: 2}[shared]; len(uuids) != want {
				t.Errorf("uuids %v, want %d", uuids, want)
			}
		})
	}
}

// TestRenewalHandshake: where a renewal asks the webhook again, a deaf one is not renewed.
func TestRenewalHandshake(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), Quirks: sim.Quirks{RenewalHandshake: true}})
	good := &hook{notices: make(chan notice, 1)}
	var asked, deaf atomic.Int64
	h := listen(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if deaf.Load() == 0 {
			good.accept(rw, r)
		}
	})
	tok, body := w.as(t, admin), subscribe(h.url, 0, listFilter)
	x := w.subscribed(t, tok, body)
	put, renew := v1+"/subscription/"+x.ID, v1+"/subscription/"+x.ID+"/renew"
	w.call(t, tok, "PUT", put, body).want(t, 200, "")
	w.call(t, tok, "POST", renew, nil).want(t, 200, "")
	deaf.Store(1)
	w.call(t, tok, "PUT", put, body).want(t, 400, "SUB-520")
	w.call(t, tok, "POST", renew, nil).want(t, 400, "SUB-520")
	if n := asked.Load(); n != 5 {
		t.Errorf("asked %d times", n)
	}
}

// TestVendorsLimits: 20 unless told otherwise, and 30 as the vendor's description says today.
func TestVendorsLimits(t *testing.T) {
	for most, limit := range map[int]int{20: 0, 30: 30} {
		w := start(t, sim.Options{Limits: free(), MaxSubscriptions: limit})
		h := listen(t, nil)
		tok := w.as(t, admin)
		for range most {
			w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
		}
		w.call(t, tok, "POST", v1+"/subscription", subscribe(h.url, 0, listFilter)).want(t, 403, "SUB-505")
	}
}

// TestOutageOfTheAPI: no call has an effect, and deliveries go on.
func TestOutageOfTheAPI(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	tok := w.as(t, admin)
	x := w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
	for status, code := range map[int]string{500: "CMN-203", 503: "CMN-201", 429: "CMN-301"} {
		if err := w.Fault(sim.Fault{Kind: sim.Status, Status: status}); err != nil {
			t.Fatal(err)
		}
		w.get(t, tok, "/subscription").want(t, status, code)
		w.call(t, tok, "POST", v1+"/subscription", subscribe(h.url, 0, listFilter)).want(t, status, code)
		w.call(t, tok, "PUT", v1+"/subscription/"+x.ID, nil).want(t, status, code)
		a := w.call(t, tok, "DELETE", v1+"/subscription/"+x.ID, nil).want(t, status, code)
		if after := a.head.Get("Retry-After"); (after != "") != (status == 429) {
			t.Errorf("%d: Retry-After %q", status, after)
		}
		w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"})
		h.next(t)
		w.ClearFaults()
	}
	if got := w.Subscriptions(); len(got) != 1 || got[0].ID != x.ID {
		t.Errorf("got %+v", got)
	}
}
