package ringcentral_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
)

const renewAt = "PUT /subscription/sub-1"

func subscriptionJSON(status string) string {
	return fmt.Sprintf(`{"id":"sub-1","status":%q,"expirationTime":"2026-03-25T01:45:30.573Z","expiresIn":604799,
		"eventFilters":["/restapi/v1.0/account/37439510/extension"],
		"deliveryMode":{"transportType":"WebHook","encryption":false,"address":"https://a.example/x"}}`, status)
}

func wantSubscription() subscriptions.Subscription {
	return subscriptions.Subscription{
		ID: "sub-1", Want: "account", Address: "https://a.example/x", Active: true, Status: "Active",
		Expires: time.Date(2026, 3, 25, 1, 45, 30, 573e6, time.UTC),
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
	created, err1 := w.Create(t.Context(), subscriptions.Order{Address: "https://a.example/x", Want: "account", Secret: subscriptions.NewSecret("registration-hunter2")})
	renewed, err2 := w.Renew(t.Context(), "sub-1")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	filters := []any{"/restapi/v1.0/account/~/extension",
		"/restapi/v1.0/subscription/~?threshold=86400&interval=3600"}
	want := []map[string]any{
		{"eventFilters": filters, "expiresIn": 604800., "deliveryMode": map[string]any{
			"transportType": "WebHook", "address": "https://a.example/x", "verificationToken": doorSecret}},
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

func TestList(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says(listAt, 200, `{"records":[`+subscriptionJSON("Active")+`,
		{"id":"sub-2","status":"Active","expirationTime":"2026-03-25T01:45:30Z",
		 "deliveryMode":{"transportType":"WebSocket"}},
		{"id":"sub-3","status":"Blacklisted","expirationTime":"2026-03-25T01:45:30Z",
		 "blacklistedData":{"reason":"I/O operation is failed. Details: [Read timed out]"},
		 "deliveryMode":{"transportType":"WebHook","address":"https://b.example/"}},
		{"id":"sub-4","status":"Suspended","expirationTime":"2026-03-25T01:45:30Z",
		 "disabledFilters":[{"filter":"/restapi/v1.0/x","reason":"SUB-412","message":"HUD is missing"}],
		 "deliveryMode":{"transportType":"WebHook"}}]}`)
	got, err := w.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expires := time.Date(2026, 3, 25, 1, 45, 30, 0, time.UTC)
	want := []subscriptions.Subscription{
		wantSubscription(),
		{ID: "sub-3", Want: "account", Address: "https://b.example/", Expires: expires,
			Status: "Blacklisted: I/O operation is failed. Details: [Read timed out]"},
		{ID: "sub-4", Want: "account", Status: "Suspended", Expires: expires, Disabled: []string{"/restapi/v1.0/x: SUB-412"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
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

func TestRegistrarErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		code   string
		want   error
		says   string
	}{
		"not found":                 {404, "CMN-102", subscriptions.ErrGone, ""},
		"expired":                   {404, "SUB-507", subscriptions.ErrGone, ""},
		"the app lacks a right":     {403, "CMN-401", subscriptions.ErrMisconfigured, "SubscriptionWebhook"},
		"the user lacks a right":    {403, "CMN-408", subscriptions.ErrMisconfigured, "role"},
		"too many":                  {403, "SUB-505", subscriptions.ErrMisconfigured, "delete"},
		"the handshake failed":      {400, "SUB-520", subscriptions.ErrMisconfigured, "Validation-Token"},
		"not reachable":             {400, "SUB-521", subscriptions.ErrMisconfigured, "reached"},
		"not https":                 {400, "SUB-523", subscriptions.ErrMisconfigured, "https"},
		"a certificate":             {400, "SUB-524", subscriptions.ErrMisconfigured, "certificate"},
		"a reply that is too large": {400, "SUB-525", subscriptions.ErrMisconfigured, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			body := fmt.Sprintf(`{"errorCode":"InvalidParameter","errors":[{"errorCode":%q,"message":"x"}]}`, c.code)
			w.vendor.says("POST /subscription", c.status, body)
			w.vendor.says(renewAt, c.status, body)
			w.vendor.says("DELETE /subscription/sub-1", c.status, body)
			_, create := w.Create(t.Context(), subscriptions.Order{Address: "https://a.example/x", Want: "account", Secret: subscriptions.NewSecret("registration-hunter2")})
			_, renew := w.Renew(t.Context(), "sub-1")
			for _, err := range []error{create, renew} {
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v, want %v that says %q", err, c.want, c.says)
				}
			}
			if err := w.Delete(t.Context(), "sub-1"); (err == nil) != (c.want == subscriptions.ErrGone) {
				t.Errorf("delete: %v", err)
			}
		})
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
