package ringcentral_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
)

const renewAt = "PUT /subscription/sub-1"

func subscriptionJSON(status string) string {
	return fmt.Sprintf(`{"id":"sub-1","status":%q,"creationTime":"2026-03-18T01:45:30.573Z",
		"expirationTime":"2026-03-25T01:45:30.573Z","expiresIn":604799,
		"eventFilters":["/restapi/v1.0/account/37439510/extension"],
		"deliveryMode":{"transportType":"WebHook","encryption":false,"address":"https://a.example/x"}}`, status)
}

func wantSubscription() subscriptions.Subscription {
	return subscriptions.Subscription{
		ID: "sub-1", Want: "account", Address: "https://a.example/x", Active: true, Status: "Active",
		Created: time.Date(2026, 3, 18, 1, 45, 30, 573e6, time.UTC),
		Expires: time.Date(2026, 3, 25, 1, 45, 30, 573e6, time.UTC),
		Filters: []string{"/restapi/v1.0/account/37439510/extension"},
	}
}

func TestCreateAndRenew(t *testing.T) {
	w := open(t, testConfig())
	var bodies []map[string]any
	take := func(rw http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		bodies = append(bodies, body)
		reply(rw, 200, subscriptionJSON("Active"))
	}
	w.vendor.on("POST /subscription", take)
	w.vendor.on(renewAt, take)
	created, err1 := w.Create(t.Context(), order())
	renewed, err2 := w.Renew(t.Context(), "sub-1")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	filters := []any{"/restapi/v1.0/account/~/extension",
		"/restapi/v1.0/subscription/~?threshold=86400&interval=3600"}
	want := []map[string]any{
		{"eventFilters": filters, "expiresIn": 604800., "deliveryMode": map[string]any{
			"transportType": "WebHook", "address": "https://a.example/x", "verificationToken": ownSecret}},
		{"eventFilters": filters, "expiresIn": 604800.},
	}
	if diff := cmp.Diff(want, bodies); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for _, got := range []subscriptions.Subscription{created, renewed} {
		if diff := cmp.Diff(wantSubscription(), got); diff != "" {
			t.Errorf("subscription (-want +got):\n%s", diff)
		}
	}
}

func TestRemindersFitShortLives(t *testing.T) {
	for life, want := range map[time.Duration]string{
		2 * time.Minute:     "threshold=60&interval=15",
		time.Hour:           "threshold=1800&interval=75",
		30 * 24 * time.Hour: "threshold=86400&interval=3600",
	} {
		cfg := testConfig()
		cfg.SubscriptionLife = life
		w := open(t, cfg)
		w.vendor.on(renewAt, func(rw http.ResponseWriter, r *http.Request) {
			var body struct{ EventFilters []string }
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.EventFilters) != 2 ||
				!strings.HasSuffix(body.EventFilters[1], want) {
				t.Errorf("life %s: filters %v, want %s; %v", life, body.EventFilters, want, err)
			}
			reply(rw, 200, subscriptionJSON("Active"))
		})
		if _, err := w.Renew(t.Context(), "sub-1"); err != nil {
			t.Error(err)
		}
	}
}

// An order without a secret reaches nobody: the registration could not be told
// from a forgery.
func TestCreateNeedsASecret(t *testing.T) {
	w := open(t, testConfig())
	o := order()
	o.Secret = subscriptions.Secret{}
	if got, err := w.Create(t.Context(), o); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("got %+v, %v", got, err)
	}
	if len(w.vendor.calls) != 0 {
		t.Errorf("calls %q", w.vendor.calls)
	}
}

func TestTerms(t *testing.T) {
	w := open(t, testConfig())
	want := subscriptions.Terms{Most: 20, OwnSecret: true}
	if got := w.Terms(); got != want || !slices.Equal(w.Wanted(), []string{"account"}) {
		t.Errorf("got %+v, want %+v; wanted %q", got, want, w.Wanted())
	}
}

func TestList(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says(listAt, 200, `{"records":[`+subscriptionJSON("Active")+`,
		{"id":"sub-2","status":"Active","expirationTime":"2026-03-25T01:45:30Z",
		 "deliveryMode":{"transportType":"WebSocket"}},
		{"id":"sub-3","status":"Blacklisted","expirationTime":"2026-03-25T01:45:30Z",
		 "eventFilters":["/restapi/v1.0/account/~/extension"],
		 "blacklistedData":{"reason":"I/O operation is failed. Details: [Read timed out]"},
		 "deliveryMode":{"transportType":"WebHook","address":"https://b.example/"}}]}`)
	got, err := w.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []subscriptions.Subscription{
		wantSubscription(),
		{ID: "sub-3", Want: "account", Address: "https://b.example/",
			Expires: time.Date(2026, 3, 25, 1, 45, 30, 0, time.UTC),
			Filters: []string{"/restapi/v1.0/account/~/extension"},
			Status:  "Blacklisted: I/O operation is failed. Details: [Read timed out]"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
}

// What is not granted is told as disabled, whether the vendor says so or not.
func TestDisabledFilters(t *testing.T) {
	const (
		missing = "/restapi/v1.0/account/~/extension: not granted"
		line    = "/restapi/v1.0/account/1234567890/extension/12345678901/presence/line"
	)
	long := "/restapi/v1.0/account/~/" + strings.Repeat("x", 200)
	for name, c := range map[string]struct {
		granted, disabled string
		filters, want     []string
	}{
		"all granted": {granted: `"/restapi/v1.0/account/37439510/extension"`,
			filters: []string{"/restapi/v1.0/account/37439510/extension"}},
		"with ~": {granted: `"/restapi/v1.0/account/~/extension"`,
			filters: []string{"/restapi/v1.0/account/~/extension"}},
		"nothing told": {want: []string{missing}},
		"another's account": {granted: `"/restapi/v1.0/account/1/extension"`,
			filters: []string{"/restapi/v1.0/account/1/extension"}, want: []string{missing}},
		"ours is disabled": {granted: `"` + line + `"`, filters: []string{line},
			disabled: `{"filter":"/restapi/v1.0/account/37439510/extension","reason":"SUB-411","message":"x"}`,
			want:     []string{"/restapi/v1.0/account/37439510/extension: SUB-411"}},
		"another is disabled": {granted: `"/restapi/v1.0/account/~/extension"`,
			disabled: `{"filter":"` + line + `","reason":"SUB-412","message":"HUD is missing"}`,
			filters:  []string{"/restapi/v1.0/account/~/extension"}, want: []string{line + ": SUB-412"}},
		"an endless one": {granted: `"/restapi/v1.0/account/~/extension","` + long + `"`,
			filters: []string{"/restapi/v1.0/account/~/extension", "?"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			one := `{"id":"s","status":"Active","expirationTime":"2026-03-25T01:45:30Z","eventFilters":[` + c.granted +
				`],"disabledFilters":[` + c.disabled + `],"deliveryMode":{"transportType":"WebHook"}}`
			w.vendor.says(listAt, 200, `{"records":[`+one+`]}`)
			w.vendor.says(renewAt, 200, one)
			list, err1 := w.List(t.Context())
			renewed, err2 := w.Renew(t.Context(), "sub-1")
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			for _, got := range append(list, renewed) {
				if !slices.Equal(got.Filters, c.filters) || !slices.Equal(got.Disabled, c.want) || !got.Active {
					t.Errorf("got %+v, want %q and disabled %q", got, c.filters, c.want)
				}
			}
		})
	}
}

func TestListRefusesWhatHasNoEnd(t *testing.T) {
	for name, body := range map[string]string{
		"no records": `{}`,
		"no expiry":  `{"records":[{"id":"1","status":"Active","deliveryMode":{"transportType":"WebHook"}}]}`,
		"no id": `{"records":[{"expirationTime":"2026-03-25T01:45:30Z",
			"deliveryMode":{"transportType":"WebHook"}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			w.vendor.says(listAt, 200, body)
			if got, err := w.List(t.Context()); err == nil {
				t.Errorf("got %v", got)
			}
		})
	}
}

// refusals are those of the vendor's table, and what each is to us.
var refusals = map[string]struct {
	status      int
	code, extra string
	fault       subscriptions.Fault
	says        string
}{
	"not found":                  {404, "CMN-102", "", "", ""},
	"expired":                    {404, "SUB-507", "", "", ""},
	"the app lacks a right":      {403, "CMN-401", "", subscriptions.FaultRight, "SubscriptionWebhook"},
	"not an administrator":       {403, "CMN-402", "", subscriptions.FaultRight, "administrator"},
	"the user lacks a right":     {403, "CMN-408", "", subscriptions.FaultRight, "role"},
	"a right that is too narrow": {403, "CMN-419", "", subscriptions.FaultRight, "scope"},
	"a right, by its alias":      {403, "InsufficientPermissions", "", subscriptions.FaultRight, "permission"},
	"some other right":           {403, "CMN-999", "", subscriptions.FaultRight, "support"},
	"no code at all":             {403, "", "", subscriptions.FaultRight, "support"},
	"another's messages":         {403, "SUB-405", "", subscriptions.FaultRight, "administrator"},
	"another account":            {403, "SUB-406", "", subscriptions.FaultRight, "tenant's id"},
	"another's calls":            {403, "SUB-527", "", subscriptions.FaultRight, "another extension"},
	"no such user":               {400, "OAU-232", "", subscriptions.FaultRight, "service user"},
	"a disabled user":            {400, "OAU-236", "", subscriptions.FaultRight, "disabled"},
	"an invalid filter":          {400, "SUB-508", "", subscriptions.FaultRight, "event filter"},
	"reminders out of bounds":    {400, "SUB-516", "", subscriptions.FaultRight, "subscription_life"},
	"a code that nobody knows":   {400, "SUB-599", "", subscriptions.FaultRight, "support"},
	"too many":                   {403, "SUB-505", "", subscriptions.FaultFull, "rely on 20"},
	"the handshake failed":       {400, "SUB-520", "", subscriptions.FaultAddress, "Validation-Token"},
	"not reachable":              {400, "SUB-521", "", subscriptions.FaultAddress, "firewall"},
	"another status":             {400, "SUB-522", "", subscriptions.FaultAddress, "200"},
	"not https":                  {400, "SUB-523", "", subscriptions.FaultAddress, "https"},
	"a certificate":              {400, "SUB-524", "", subscriptions.FaultAddress, "intermediate"},
	"a reply that is too large":  {400, "SUB-525", "", subscriptions.FaultAddress, "1024"},
	"no address": {400, "CMN-101", `,"parameterName":"deliveryMode.address"`, subscriptions.FaultAddress,
		"https"},
	"another parameter": {400, "CMN-101", `,"parameterName":"expiresIn"`, subscriptions.FaultOther, "expiresIn"},
	"too fast":          {429, "CMN-301", "", subscriptions.FaultLater, ""},
	"broken over there": {500, "CMN-203", "", subscriptions.FaultOther, ""},
	"down":              {503, "CMN-201", "", subscriptions.FaultOther, ""},
}

func TestRegistrarErrors(t *testing.T) {
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // the calls that may pass are tried again
				w := open(t, testConfig())
				body := fmt.Sprintf(`{"errorCode":%q,"message":"x"%s}`, c.code, c.extra)
				for _, at := range []string{"POST /subscription", renewAt, "DELETE /subscription/sub-1"} {
					w.vendor.says(at, c.status, body)
				}
				_, create := w.Create(t.Context(), order())
				<-time.After(time.Hour) // any penalty is over
				_, renew := w.Renew(t.Context(), "sub-1")
				<-time.After(time.Hour)
				gone := c.status == http.StatusNotFound
				for _, err := range []error{create, renew} {
					got := subscriptions.FaultOf(err)
					if errors.Is(err, subscriptions.ErrGone) != gone || !gone && got != c.fault ||
						!strings.Contains(err.Error(), c.says) {
						t.Errorf("error %v is %q, want %q that says %q", err, got, c.fault, c.says)
					}
					persons := c.fault == subscriptions.FaultRight || c.fault == subscriptions.FaultFull ||
						c.fault == subscriptions.FaultAddress
					if errors.Is(err, subscriptions.ErrMisconfigured) != persons {
						t.Errorf("for a person to mend: %t; %v", !persons, err)
					}
				}
				if err := w.Delete(t.Context(), "sub-1"); (err == nil) != gone {
					t.Errorf("delete: %v", err)
				}
			})
		})
	}
}

// A renewal that is answered with 404 needs a new one, whatever the code; a
// removal is believed only if the vendor says what is not there.
func TestOther404s(t *testing.T) {
	for _, body := range []string{"", "<html>", `{"errorCode":"CMN-120"}`, `{"errors":[{"errorCode":"X-1"}]}`} {
		w := open(t, testConfig())
		for _, at := range []string{renewAt, "DELETE /subscription/sub-1", "POST /subscription"} {
			w.vendor.says(at, 404, body)
		}
		if _, err := w.Renew(t.Context(), "sub-1"); !errors.Is(err, subscriptions.ErrGone) {
			t.Errorf("renew, %q: %v", body, err)
		}
		if err := w.Delete(t.Context(), "sub-1"); err == nil {
			t.Errorf("delete, %q: no error", body)
		}
		if _, err := w.Create(t.Context(), order()); subscriptions.FaultOf(err) != subscriptions.FaultOther ||
			errors.Is(err, subscriptions.ErrGone) {
			t.Errorf("create, %q: %v", body, err)
		}
	}
}

func TestDelete(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.on("DELETE /subscription/sub-1", func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusNoContent)
	})
	if err := w.Delete(t.Context(), "sub-1"); err != nil {
		t.Error(err)
	}
	if n := w.vendor.count("DELETE /subscription/sub-1"); n != 1 {
		t.Errorf("%d calls", n)
	}
}
