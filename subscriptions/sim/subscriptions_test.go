package sim_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

const (
	listFilter = "/account/~/extension"
	year10     = 315360000
)

func TestCreateSubscription(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	tok := w.login(t).Access
	const reminder = v1 + "/subscription/~?threshold=86400&interval=3600"
	x := w.subscribed(t, tok, subscribe(h.url, 0, listFilter, "/account/~/extension/~", reminder))
	const list = v1 + "/account/" + account + "/extension"
	want := []string{list, list + "/" + admin, reminder}
	if diff := cmp.Diff(want, x.EventFilters); diff != "" {
		t.Errorf("~ expanded but in the reminder (-want +got):\n%s", diff)
	}
	if x.ExpiresIn != 604799 || x.Status != "Active" || len(x.ID) != 36 {
		t.Errorf("got %+v", x)
	}
	a := w.get(t, tok, "/subscription/"+x.ID).want(t, 200, "")
	if strings.Contains(string(a.raw), "hook-secret") {
		t.Errorf("the verification token is shown: %s", a.raw)
	}
	if got := w.Subscriptions(); len(got) != 1 || got[0].Owner != admin || got[0].Address != h.url {
		t.Errorf("got %+v", got)
	}
}

func TestLifeIsCutDown(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	x := w.subscribed(t, w.as(t, admin), subscribe(h.url, 2*year10, listFilter))
	if x.ExpiresIn != year10-1 {
		t.Errorf("got %d", x.ExpiresIn)
	}
}

func TestHandshake(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Validation-Token", r.Header.Get("Validation-Token"))
	}
	but := func(change func(http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			echo(w, r)
			change(w)
		}
	}
	set := func(name, value string) http.HandlerFunc {
		return but(func(w http.ResponseWriter) { w.Header().Set(name, value) })
	}
	redirect := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusTemporaryRedirect) }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		code    string
	}{
		"a refusal":         {but(func(w http.ResponseWriter) { w.WriteHeader(500) }), "SUB-522"},
		"202 is no success": {but(func(w http.ResponseWriter) { w.WriteHeader(202) }), "SUB-522"},
		"no token":          {but(func(w http.ResponseWriter) { w.Header().Del("Validation-Token") }), "SUB-520"},
		"another token":     {set("Validation-Token", "x"), "SUB-520"},
		"no JSON":           {set("Content-Type", "text/plain"), "SUB-525"},
		"too large a body":  {but(func(w http.ResponseWriter) { w.Write(make([]byte, 1000)) }), "SUB-525"},
		"too large a header": {func(w http.ResponseWriter, r *http.Request) {
			echo(w, r)
			w.Header().Set("X", strings.Repeat("x", 1000))
		}, "SUB-525"},
		"too slow":             {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "SUB-521"},
		"a redirect not taken": {redirect, "SUB-522"},
		"a good one":           {echo, ""},
		"with a charset as well": {but(func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free(), DeliveryTimeout: 300 * time.Millisecond})
			h := listen(t, c.handler)
			status := 400
			if c.code == "" {
				status = 200
			}
			body := subscribe(h.url, 0, listFilter)
			w.call(t, w.as(t, admin), "POST", v1+"/subscription", body).want(t, status, c.code)
			if got := len(w.Subscriptions()); (got == 1) != (c.code == "") {
				t.Errorf("%d subscriptions", got)
			}
		})
	}
}

func TestHandshakeTransport(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, admin)
	w.call(t, tok, "POST", v1+"/subscription", subscribe(gone.URL, 0, listFilter)).want(t, 400, "SUB-521")

	h := &hook{notices: make(chan notice, 10)}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(h.accept))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	w.call(t, tok, "POST", v1+"/subscription", subscribe(secure.URL, 0, listFilter)).want(t, 400, "SUB-524")

	roots := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	w = start(t, sim.Options{Limits: free(), RequireHTTPS: true, Transport: trusting})
	tok = w.as(t, admin)
	w.call(t, tok, "POST", v1+"/subscription", subscribe(gone.URL, 0, listFilter)).want(t, 400, "SUB-523")
	w.subscribed(t, tok, subscribe(secure.URL, 0, listFilter))
}

func TestSubscriptionRefusals(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	tok := w.as(t, admin)
	pubnub := subscribe(h.url, 0, listFilter)
	pubnub["deliveryMode"] = map[string]any{"transportType": "PubNub"}
	negative := subscribe(h.url, 0, listFilter)
	negative["expiresIn"] = -1
	reminder := func(query string) string { return "/subscription/~?" + query }
	reminded := func(life int, query string) any { return subscribe(h.url, life, listFilter, reminder(query)) }
	for name, c := range map[string]struct {
		body   any
		status int
		code   string
	}{
		"no JSON":                      {"{", 400, "CMN-100"},
		"no filter":                    {subscribe(h.url, 0), 400, "CMN-101"},
		"another transport":            {pubnub, 400, "CMN-101"},
		"no address":                   {subscribe("", 0, listFilter), 400, "CMN-101"},
		"a negative life":              {negative, 400, "CMN-101"},
		"an unknown filter":            {subscribe(h.url, 0, "/account/~/nonsense"), 400, "SUB-508"},
		"an unknown extension event":   {subscribe(h.url, 0, "/account/~/extension/~/nonsense"), 400, "SUB-508"},
		"another account":              {subscribe(h.url, 0, "/account/1/extension"), 403, "SUB-406"},
		"an unknown extension":         {subscribe(h.url, 0, "/account/~/extension/1"), 403, "SUB-408"},
		"nothing but a reminder":       {subscribe(h.url, 0, reminder("threshold=60&interval=15")), 400, "SUB-515"},
		"threshold over half the life": {reminded(100, "threshold=60&interval=15"), 400, "SUB-516"},
		"interval over half threshold": {reminded(0, "threshold=60&interval=31"), 400, "SUB-516"},
	} {
		t.Run(name, func(t *testing.T) {
			w.call(t, tok, "POST", v1+"/subscription", c.body).want(t, c.status, c.code)
		})
	}
	t.Run("an app without the permission", func(t *testing.T) {
		tok := w.IssueToken(admin, []string{"ReadAccounts"})
		w.call(t, tok, "POST", v1+"/subscription", subscribe(h.url, 0, listFilter)).want(t, 403, "CMN-401")
	})
	if got := len(w.Subscriptions()); got != 0 {
		t.Errorf("%d subscriptions were made", got)
	}
}

func TestDisabledFilters(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	if err := w.AssignRoles(user, "5"); err != nil { // a mailbox without HUD
		t.Fatal(err)
	}
	presence := "/account/~/extension/" + other + "/presence/line"
	x := w.subscribed(t, w.as(t, user), subscribe(h.url, 0, listFilter, presence))
	if len(x.EventFilters) != 1 || len(x.DisabledFilters) != 1 || x.DisabledFilters[0].Reason != "SUB-412" {
		t.Errorf("got %+v", x)
	}
	tok := w.IssueToken(admin, []string{"SubscriptionWebhook"})
	x = w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
	if len(x.EventFilters) != 0 || len(x.DisabledFilters) != 1 {
		t.Errorf("without ReadAccounts: got %+v", x)
	}
}

func TestSubscriptionLimit(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), MaxSubscriptions: 3})
	h := listen(t, nil)
	tok := w.as(t, admin)
	var last subscription
	for range 3 {
		last = w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
	}
	w.call(t, tok, "POST", v1+"/subscription", subscribe(h.url, 0, listFilter)).want(t, 403, "SUB-505")
	w.subscribed(t, w.as(t, user), subscribe(h.url, 0, listFilter)) // another user has room of its own
	w.call(t, tok, "DELETE", v1+"/subscription/"+last.ID, nil).want(t, 204, "")
	w.get(t, tok, "/subscription/"+last.ID).want(t, 404, "CMN-102")
	w.subscribed(t, tok, subscribe(h.url, 0, listFilter))
	var list struct{ Records []subscription }
	w.get(t, tok, "/subscription").want(t, 200, "").into(t, &list)
	if len(list.Records) != 3 {
		t.Errorf("the list has %d", len(list.Records))
	}
	w.get(t, w.as(t, other), "/subscription/"+list.Records[0].ID).want(t, 404, "CMN-102")
}

func TestSilentExpiry(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), Speed: 1000}) // 600 s are 0.6 s
	h := listen(t, nil)
	tok := w.as(t, admin)
	x := w.subscribed(t, tok, subscribe(h.url, 600, listFilter))
	w.get(t, tok, "/subscription/"+x.ID).want(t, 200, "")
	eventually(t, "404 CMN-102", func() bool {
		a := w.get(t, tok, "/subscription/"+x.ID)
		return a.status == 404 && a.errorCode(t) == "CMN-102"
	})
	w.call(t, tok, "PUT", v1+"/subscription/"+x.ID, nil).want(t, 404, "CMN-102")
	w.call(t, tok, "POST", v1+"/subscription/"+x.ID+"/renew", nil).want(t, 404, "CMN-102")
	w.EmitChanges(sim.ExtensionChange{ExtensionID: user, EventType: "Update"})
	h.quiet(t)
}

func TestUpdateAndRenew(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	tok := w.as(t, admin)
	x := w.subscribed(t, tok, subscribe(h.url, 1000, listFilter))
	path := v1 + "/subscription/" + x.ID

	put := func(body any) (got subscription) {
		t.Helper()
		w.call(t, tok, "PUT", path, body).want(t, 200, "").into(t, &got)
		return got
	}
	got := put(map[string]any{"eventFilters": filters("/account/~/extension/" + user), "expiresIn": 5000})
	want := []string{v1 + "/account/" + account + "/extension/" + user}
	if diff := cmp.Diff(want, got.EventFilters); diff != "" {
		t.Errorf("filters are replaced (-want +got):\n%s", diff)
	}
	if got.ExpiresIn != 4999 {
		t.Errorf("PUT with a life: %d", got.ExpiresIn)
	}
	var again, renewed subscription
	eventually(t, "an empty PUT renews", func() bool { // more than a millisecond later
		again = put(nil)
		return again.ExpirationTime > got.ExpirationTime
	})
	if again.ExpiresIn != 4999 || len(again.EventFilters) != 1 {
		t.Errorf("an empty PUT changed more: %+v after %+v", again, got)
	}
	eventually(t, "renew renews", func() bool {
		w.call(t, tok, "POST", path+"/renew", nil).want(t, 200, "").into(t, &renewed)
		return renewed.ExpirationTime > again.ExpirationTime && renewed.ExpiresIn == 4999
	})
	w.call(t, tok, "PUT", path, map[string]any{}).want(t, 400, "CMN-101")
}

func TestReminders(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), Speed: 1000})
	h := listen(t, nil)
	tok := w.as(t, admin)
	const reminder = v1 + "/subscription/~?threshold=1500&interval=500"
	x := w.subscribed(t, tok, subscribe(h.url, 3000, listFilter, reminder))
	begin := time.Now()
	n := h.next(t)
	if n.json.Event != reminder || n.json.SubscriptionID != x.ID || n.json.Body["expiresIn"] == nil {
		t.Errorf("got %s", n.raw)
	}
	if waited := time.Since(begin); waited < time.Second {
		t.Errorf("reminded after %v, before the threshold", waited)
	}
	h.next(t)
	w.call(t, tok, "POST", v1+"/subscription/"+x.ID+"/renew", nil).want(t, 200, "")
	renewed := time.Now()
	for n := h.next(t); ; n = h.next(t) { // one may have been on its way
		if waited := time.Since(renewed); waited > time.Second {
			if n.json.Event != reminder {
				t.Errorf("got %s", n.raw)
			}
			return
		}
	}
}
