package sim_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

func TestDefaultLimits(t *testing.T) {
	w := start(t, sim.Options{})
	tok := w.as(t, admin)
	for _, c := range []struct {
		path, group, limit string
	}{
		{"/account/~/extension/~", "light", "50"},
		{"/account/~/extension", "medium", "40"},
	} {
		a := w.get(t, tok, c.path).want(t, 200, "")
		got := []string{a.head.Get("X-Rate-Limit-Group"), a.head.Get("X-Rate-Limit-Limit"),
			a.head.Get("X-Rate-Limit-Window")}
		if diff := cmp.Diff([]string{c.group, c.limit, "60"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
	}
	for n := range 5 {
		a := w.grant(t, jwtGrant()).want(t, 200, "")
		if got := a.head.Get("X-Rate-Limit-Remaining"); got != strconv.Itoa(4-n) {
			t.Errorf("call %d: remaining %s", n, got)
		}
	}
	a := w.grant(t, jwtGrant()).want(t, 429, "CMN-301")
	if got := a.head.Get("Retry-After"); got != "60" {
		t.Errorf("Retry-After: got %q, want 60", got)
	}
}

func TestBucketsAreApart(t *testing.T) {
	w := start(t, sim.Options{Limits: map[string]sim.Limit{"light": {Calls: 2}, "medium": {Calls: 1}}})
	w.AddApp(sim.App{ClientID: "second", Secret: "s", Scopes: []string{"ReadAccounts"}})
	var second token
	w.form(t, "/restapi/oauth/token", "second", "s", jwtGrant()).want(t, 200, "").into(t, &second)
	tok := w.as(t, admin)
	const light, medium = "/account/~/extension/~", "/account/~/extension"
	w.get(t, tok, light).want(t, 200, "")
	w.get(t, tok, light).want(t, 200, "")
	a := w.get(t, tok, light).want(t, 429, "CMN-301")
	for _, name := range []string{"Group", "Limit", "Remaining", "Window"} {
		if a.head.Get("X-Rate-Limit-"+name) == "" {
			t.Errorf("429 without X-Rate-Limit-%s", name)
		}
	}
	w.get(t, tok, medium).want(t, 200, "")
	w.get(t, w.as(t, user), light).want(t, 200, "")
	w.get(t, second.Access, light).want(t, 200, "")
	// A second token of the same user and app has the same bucket.
	w.get(t, w.as(t, admin), light).want(t, 429, "CMN-301")
}

func TestEachCallDuringThePenaltyRestartsIt(t *testing.T) {
	limit := sim.Limit{Calls: 1, Window: 20 * time.Millisecond, Penalty: 400 * time.Millisecond}
	w := start(t, sim.Options{Limits: map[string]sim.Limit{"light": limit}})
	tok := w.as(t, user)
	const path = "/account/~/extension/~"
	w.get(t, tok, path).want(t, 200, "")
	begin := time.Now()
	for time.Since(begin) < 3*limit.Penalty/2 { // a caller that does not wait is never served
		if a := w.get(t, tok, path); a.status != 429 && time.Since(begin) > limit.Window {
			t.Fatalf("served %v after the limit, while calling on", time.Since(begin))
		}
	}
	last := time.Now()
	timer := time.NewTimer(limit.Penalty + 20*time.Millisecond)
	defer timer.Stop()
	<-timer.C
	if a := w.get(t, tok, path); a.status != 200 {
		t.Errorf("still %d, %v after the last call", a.status, time.Since(last))
	}
}

func TestWindowSlidesAndSpeedDivides(t *testing.T) {
	w := start(t, sim.Options{Speed: 120, Limits: map[string]sim.Limit{"light": {Calls: 1000}}})
	a := w.get(t, w.as(t, user), "/account/~/extension/~").want(t, 200, "")
	if got := a.head.Get("X-Rate-Limit-Window"); got != "1" { // half a second, rounded up
		t.Errorf("window told: %s", got)
	}
	tok := w.as(t, admin)
	for n := range 3 {
		a := w.get(t, tok, "/account/~/extension/~").want(t, 200, "")
		if got, want := a.head.Get("X-Rate-Limit-Remaining"), strconv.Itoa(999-n); got != want {
			t.Errorf("remaining %s, want %s", got, want)
		}
	}
	timer := time.NewTimer(600 * time.Millisecond) // asking meanwhile would count
	defer timer.Stop()
	<-timer.C
	a = w.get(t, tok, "/account/~/extension/~").want(t, 200, "")
	if got := a.head.Get("X-Rate-Limit-Remaining"); got != "999" {
		t.Errorf("remaining after the window: %s", got)
	}
}

func TestNoRetryAfter(t *testing.T) {
	w := start(t, sim.Options{Quirks: sim.Quirks{NoRetryAfter: true},
		Limits: map[string]sim.Limit{"light": {Calls: 1}}})
	tok := w.as(t, user)
	w.get(t, tok, "/account/~/extension/~").want(t, 200, "")
	a := w.get(t, tok, "/account/~/extension/~").want(t, http.StatusTooManyRequests, "CMN-301")
	if got := a.head.Get("Retry-After"); got != "" {
		t.Errorf("Retry-After: %s", got)
	}
}

func TestErrorShapes(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	hoisted := w.get(t, w.as(t, user), "/account/~/user-role").want(t, 403, "CMN-408")
	if hoisted.errorCode(t); hoisted.json["errorCode"] != "CMN-408" ||
		hoisted.json["permissionName"] != "ReadUserRoles" || hoisted.json["message"] == nil {
		t.Errorf("not hoisted: %s", hoisted.raw)
	}
	w.SetQuirks(sim.Quirks{BareErrors: true})
	bare := w.get(t, w.as(t, user), "/account/~/user-role").want(t, 403, "CMN-408")
	if bare.errorCode(t); len(bare.json) != 1 {
		t.Errorf("not bare: %s", bare.raw)
	}
	w.get(t, w.as(t, user), "/nowhere").want(t, 404, "CMN-120")
	w.get(t, w.as(t, user), "/account/1/extension/~").want(t, 404, "CMN-102")
}
