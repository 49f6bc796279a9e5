package sim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// described checks a notification against a schema of the vendor's description.
func (w *world) described(t *testing.T, schema string, n notice) {
	t.Helper()
	var v any
	if err := json.Unmarshal(n.raw, &v); err != nil {
		t.Fatal(err)
	}
	if err := w.vendor.doc.Components.Schemas[schema].Value.VisitJSON(v); err != nil {
		t.Errorf("%s: %v\n%s", schema, err, n.raw)
	}
}

func TestAssigningRolesSendsHints(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	lists, infos := listen(t, nil), listen(t, nil)
	tok := w.as(t, admin)
	x := w.subscribed(t, tok, subscribe(lists.url, 0, listFilter))
	w.subscribed(t, tok, subscribe(infos.url, 0, "/account/~/extension/"+user, "/account/~/extension/"+other))
	change := map[string]any{"extensionId": user, "eventType": "Update",
		"hints": []any{"Permissions", "Features"}}

	for name, assign := range map[string]func() error{
		"in Go": func() error { return w.AssignRoles(user, "4") },
		"through the API": func() error {
			w.call(t, tok, "PUT", v1+"/account/~/extension/"+user+"/assigned-role",
				map[string]any{"records": []any{map[string]any{"id": "5"}}}).want(t, 200, "")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := assign(); err != nil {
				t.Fatal(err)
			}
			n := lists.next(t)
			if diff := cmp.Diff(map[string]any{"extensions": []any{change}}, n.json.Body); diff != "" {
				t.Errorf("batch (-want +got):\n%s", diff)
			}
			if n.json.OwnerID != admin || n.json.SubscriptionID != x.ID || len(n.json.UUID) != 36 ||
				n.json.Event != v1+"/account/"+account+"/extension" {
				t.Errorf("envelope: %s", n.raw)
			}
			if _, err := time.Parse(time.RFC3339, n.json.Timestamp); err != nil {
				t.Error(err)
			}
			if got := n.head.Get("Verification-Token"); got != "hook-secret" {
				t.Errorf("Verification-Token: %q", got)
			}
			n = infos.next(t)
			if diff := cmp.Diff(change, n.json.Body); diff != "" {
				t.Errorf("single (-want +got):\n%s", diff)
			}
			w.described(t, "ExtensionInfoEvent", n)
			lists.quiet(t)
			infos.quiet(t)
		})
	}
}

func TestWhatSendsWhichEvent(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	w.subscribed(t, w.as(t, admin), subscribe(h.url, 0, listFilter))
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"added", func() error {
			return w.AddExtensions(sim.Extension{ID: "7001", Name: "N"}, sim.Extension{ID: "7002", Name: "M"})
		}, `[{"extensionId":"7001","eventType":"Create"},{"extensionId":"7002","eventType":"Create"}]`},
		{"disabled", func() error { return w.SetStatus("7001", "Disabled") },
			`[{"extensionId":"7001","eventType":"Update","hints":["ExtensionInfo"]}]`},
		{"feature", func() error { return w.SetFeature("7001", sim.Feature{ID: "Archiver", Available: true}) },
			`[{"extensionId":"7001","eventType":"Update","hints":["Features"]}]`},
		{"removed", func() error { return w.RemoveExtension("7001") },
			`[{"extensionId":"7001","eventType":"Delete"}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			if n := h.next(t); !strings.Contains(string(n.raw), `"extensions":`+c.want) {
				t.Errorf("got %s, want %s", n.raw, c.want)
			}
		})
	}
	w.get(t, w.as(t, admin), "/account/~/extension/7001").want(t, 404, "CMN-102")
}

func TestEventQuirks(t *testing.T) {
	changes := []sim.ExtensionChange{{ExtensionID: user, EventType: "Update", Hints: []string{"Permissions"}},
		{ExtensionID: other, EventType: "Delete"}}
	for name, c := range map[string]struct {
		quirks sim.Quirks
		count  int
		check  func(notice) bool
	}{
		"flat": {sim.Quirks{FlatListEvents: true}, 2, func(n notice) bool {
			return n.json.Body["extensions"] == nil && n.json.Body["extensionId"] != nil
		}},
		"old timestamps": {sim.Quirks{OldTimestamps: true}, 1, func(n notice) bool {
			return strings.HasSuffix(n.json.Timestamp, "+0000")
		}},
		"owner inside": {sim.Quirks{OwnerInBody: true}, 1, func(n notice) bool {
			return n.json.OwnerID == "" && n.json.Body["ownerId"] == admin && n.json.Body["extensions"] != nil
		}},
		"tilde": {sim.Quirks{TildeEvents: true}, 1, func(n notice) bool {
			return n.json.Event == v1+"/account/~/extension"
		}},
		"the other header": {sim.Quirks{ValidationHeader: true}, 1, func(n notice) bool {
			return n.head.Get("Validation-Token") == "hook-secret" && n.head.Get("Verification-Token") == ""
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free(), Quirks: c.quirks})
			h := listen(t, nil)
			w.subscribed(t, w.as(t, admin), subscribe(h.url, 0, listFilter))
			w.EmitChanges(changes...)
			for range c.count {
				if n := h.next(t); !c.check(n) {
					t.Errorf("got %v %s", n.head, n.raw)
				}
			}
			h.quiet(t)
		})
	}
}

func TestRoleEditsSendNothingByDefault(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	w.subscribed(t, w.as(t, admin), subscribe(h.url, 0, listFilter))
	r, err := w.Role("3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutRole(r); err != nil {
		t.Fatal(err)
	}
	w.Emit(v1+"/account/"+account+"/extension", map[string]any{"marker": true})
	if n := h.next(t); n.json.Body["marker"] != true {
		t.Errorf("an edited role sent %s", n.raw)
	}
	w.SetQuirks(sim.Quirks{RoleEditHints: true})
	if _, err := w.PutRole(r); err != nil {
		t.Fatal(err)
	}
	n := h.next(t)
	list, _ := n.json.Body["extensions"].([]any)
	want := map[string]any{"extensionId": user, "eventType": "Update", "hints": []any{"Permissions"}}
	if len(list) != 2 || !cmp.Equal(list[0], any(want)) {
		t.Errorf("holders: got %s", n.raw)
	}
}

// TestBlacklisting: one attempt for each event; after ten minutes in which all fail the subscription is
// blacklisted.
func TestBlacklisting(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		reason string
	}{
		"404":               {404, "Webhook responses with code: [404], reason: [Not Found]"},
		"202 is no success": {202, "Webhook responses with code: [202], reason: [Accepted]"},
		"no answer in time": {0, "I/O operation is failed. Details: [Read timed out]"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free(), Speed: 6000, DeliveryTimeout: 50 * time.Millisecond}) // 100 ms
			var attempts atomic.Int64
			h := &hook{notices: make(chan notice, 1)}
			server := listen(t, func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Validation-Token") != "" {
					h.accept(rw, r)
					return
				}
				attempts.Add(1)
				if c.status == 0 {
					_, _ = io.Copy(io.Discard, r.Body) // a server sees the client leave only after that
					<-r.Context().Done()
					return
				}
				rw.WriteHeader(c.status)
			})
			tok := w.as(t, admin)
			x := w.subscribed(t, tok, subscribe(server.url, 1000000, listFilter))
			begin, sent := time.Now(), int64(0)
			read := func() (got subscription) {
				w.get(t, tok, "/subscription/"+x.ID).want(t, 200, "").into(t, &got)
				return got
			}
			eventually(t, "blacklisted", func() bool {
				w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"})
				sent++
				eventually(t, "an attempt", func() bool { return attempts.Load() >= sent || read().Status != "Active" })
				return read().Status == "Blacklisted"
			})
			if waited := time.Since(begin); waited < 100*time.Millisecond {
				t.Errorf("blacklisted after %v only", waited)
			}
			if got := read(); got.BlacklistedData == nil || got.BlacklistedData.Reason != c.reason {
				t.Errorf("got %+v", got.BlacklistedData)
			}
			if n := attempts.Load(); n > sent {
				t.Errorf("%d attempts for %d events", n, sent)
			}
			w.call(t, tok, "POST", v1+"/subscription/"+x.ID+"/renew", nil).want(t, 200, "")
			if got := read().Status; got != "Blacklisted" {
				t.Errorf("a renewal made it %s", got)
			}
		})
	}
}

func TestSelfHealing(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), Speed: 6000, Quirks: sim.Quirks{AutoRecover: true}})
	var broken atomic.Bool
	good := &hook{notices: make(chan notice, 100)}
	h := listen(t, func(rw http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			rw.WriteHeader(500)
			return
		}
		good.accept(rw, r)
	})
	w.subscribed(t, w.as(t, admin), subscribe(h.url, 1000000, listFilter))
	broken.Store(true)
	status := func() string { return w.Subscriptions()[0].Status }
	eventually(t, "blacklisted", func() bool {
		w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"})
		return status() == "Blacklisted"
	})
	broken.Store(false)
	eventually(t, "active again", func() bool { return status() == "Active" })
	w.EmitChanges(sim.ExtensionChange{ExtensionID: other, EventType: "Delete"})
	for { // before it come those that were still on their way
		if n := good.next(t); strings.Contains(string(n.raw), other) {
			return
		}
	}
}

func TestOneFailureIsForgotten(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), Senders: 1})
	var fail atomic.Bool
	good := &hook{notices: make(chan notice, 100)}
	h := listen(t, func(rw http.ResponseWriter, r *http.Request) {
		if fail.CompareAndSwap(true, false) {
			rw.WriteHeader(503)
			return
		}
		good.accept(rw, r)
	})
	w.subscribed(t, w.as(t, admin), subscribe(h.url, 0, listFilter))
	fail.Store(true)
	for n := range 2 {
		w.Emit(v1+"/account/"+account+"/extension", map[string]any{"n": fmt.Sprint(n)})
	}
	if n := good.next(t); n.json.Body["n"] != "1" {
		t.Errorf("the failed one was repeated: %s", n.raw)
	}
	eventually(t, "one delivered, one failed", func() bool {
		x := w.Subscriptions()[0]
		return x.Delivered == 1 && x.Failed == 1 && x.Status == "Active"
	})
	good.quiet(t)
}
