package ringcentral_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

var (
	longest = strings.Repeat("a", 512)
	echo    = map[string]string{"Validation-Token": "abc", "Content-Type": "application/json"}
)

// knocks: what comes to the door, and how it is answered.
var knocks = map[string]struct {
	verification, validation, body string
	own                            []string // of our registrations
	tenant                         events.Tenant
	want                           error
	reply                          map[string]string
}{
	"a plain handshake is echoed":          {validation: "abc", reply: echo},
	"a handshake with the token is echoed": {verification: doorSecret, validation: "abc", reply: echo},
	"a handshake with a wrong token": {
		verification: "x", validation: "abc", want: subscriptions.ErrRefused,
	},
	"a notification with the token":     {verification: doorSecret, body: "{}"},
	"a notification with the old token": {verification: oldSecret, body: "{}"},
	"a notification that is a handshake too": {
		verification: oldSecret, validation: "abc", body: "{}", reply: echo,
	},
	"the secret in the other header": {validation: doorSecret, body: "{}"},
	"a handshake does not open for a body": {
		validation: "abc", body: "{}", want: subscriptions.ErrRefused,
	},
	"no token": {body: "{}", want: subscriptions.ErrRefused},
	"one letter more": {
		verification: doorSecret + "0", body: "{}", want: subscriptions.ErrRefused,
	},
	"one letter less": {
		verification: doorSecret[1:], body: "{}", want: subscriptions.ErrRefused,
	},
	"another case": {
		verification: strings.ToLower(doorSecret), body: "{}", want: subscriptions.ErrRefused,
	},
	"nothing at all":               {want: subscriptions.ErrRefused},
	"an empty body with the token": {verification: doorSecret},
	"the longest handshake": {
		validation: longest, reply: map[string]string{
			"Validation-Token": longest, "Content-Type": "application/json"},
	},
	"a handshake over the vendor's reply": {
		validation: strings.Repeat("a", 513), want: subscriptions.ErrUnreadable,
	},
	"a handshake that would split the header": {
		validation: "a\r\nSet-Cookie: b", want: subscriptions.ErrUnreadable,
	},
	"a handshake beyond ASCII":     {validation: "ä", want: subscriptions.ErrUnreadable},
	"the secret of a registration": {verification: ownSecret, body: "{}", own: []string{ownSecret}},
	"the secret of the second":     {verification: ownSecret, body: "{}", own: []string{"x", ownSecret}},
	"the secret of one that is no more": {
		verification: ownSecret, body: "{}", own: []string{"x", ""}, want: subscriptions.ErrRefused,
	},
	"the secret of one, when there is none": {verification: ownSecret, body: "{}", want: subscriptions.ErrRefused},
	"no secret, where one is empty":         {body: "{}", own: []string{""}, want: subscriptions.ErrRefused},
	"a handshake with the secret of a registration": {
		verification: ownSecret, validation: "abc", own: []string{ownSecret}, reply: echo,
	},
	"the secret of a registration in the other header": {
		validation: ownSecret, body: "{}", own: []string{ownSecret},
	},
	"an empty body with that": {validation: ownSecret, own: []string{ownSecret}},
	"another registration's secret as handshake": {
		verification: doorSecret, validation: ownSecret, own: []string{ownSecret},
	},
	"the secret of one that is no more, as handshake": { // it opens nothing any more
		validation: ownSecret, reply: map[string]string{
			"Validation-Token": ownSecret, "Content-Type": "application/json"},
	},
	"another tenant's address": {
		verification: doorSecret, body: "{}", tenant: "1", want: subscriptions.ErrRefused,
	},
}

func TestVerify(t *testing.T) {
	for name, c := range knocks {
		t.Run(name, func(t *testing.T) {
			d := subscriptions.Delivery{Home: home, Header: http.Header{}, Body: []byte(c.body)}
			if c.tenant != "" {
				d.Tenant = c.tenant
			}
			if c.verification != "" {
				d.Header.Set("Verification-Token", c.verification)
			}
			if c.validation != "" {
				d.Header.Set("Validation-Token", c.validation)
			}
			for _, s := range c.own {
				d.Secrets = append(d.Secrets, subscriptions.NewSecret(s))
			}
			got, err := open(t, testConfig()).Verify(d)
			if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err != nil {
				noSecret(t, err.Error())
			}
			if diff := cmp.Diff(c.reply, got.Header); diff != "" {
				t.Errorf("reply (-want +got):\n%s", diff)
			}
		})
	}
}

// Without verification tokens the secrets of registrations are all there is.
func TestVerifyWithoutTokens(t *testing.T) {
	cfg := testConfig()
	cfg.VerificationTokens = nil
	p := open(t, cfg)
	for given, want := range map[string]error{
		ownSecret: nil, doorSecret: subscriptions.ErrRefused, "": subscriptions.ErrRefused,
	} {
		_, err := p.Verify(subscriptions.Delivery{Home: home, Body: []byte("{}"),
			Header:  http.Header{"Verification-Token": {given}},
			Secrets: []subscriptions.Secret{subscriptions.NewSecret(ownSecret)}})
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", given, err, want)
		}
	}
}

// origins: bodies, and whose they are.
var origins = map[string]struct{ body, want string }{
	"a notification": {`{"uuid":"u","event":"e","timestamp":"t","subscriptionId":"sub-1","ownerId":"1","body":{}}`,
		"sub-1"},
	"behind the body": {`{"body":{"subscriptionId":"no","x":[{"a":1}]},"subscriptionId":"sub-1"}`, "sub-1"},
	"a number":        {`{"subscriptionId":42}`, "42"},
	"a reminder": {`{"event":"/restapi/v1.0/subscription/~?threshold=60","subscriptionId":"s",` +
		`"body":{"expiresIn":0}}`, "s"},
	"only in the body":        {`{"body":{"subscriptionId":"no"}}`, ""},
	"no body":                 {"", ""},
	"null":                    {"null", ""},
	"a list":                  {`["subscriptionId","no"]`, ""},
	"as a value":              {`{"event":"subscriptionId","x":"no"}`, ""},
	"none":                    {`{"subscriptionId":null}`, ""},
	"an empty one":            {`{"subscriptionId":""}`, ""},
	"an object":               {`{"subscriptionId":{"subscriptionId":"no"}}`, ""},
	"an endless one":          {`{"subscriptionId":"` + strings.Repeat("9", 1000) + `"}`, ""},
	"cut before it":           {`{"uuid":"u","subscr`, ""},
	"cut in it":               {`{"uuid":"u","subscriptionId":"sub-`, ""},
	"what follows is no JSON": {`{"subscriptionId":"sub-1"]`, "sub-1"},
	"deeply nested":           {`{"a":` + strings.Repeat("[", 20_000), ""},
}

func TestOrigin(t *testing.T) {
	p := open(t, testConfig())
	for name, c := range origins {
		got := p.Origin(subscriptions.Delivery{Home: home, Body: []byte(c.body)})
		if want := (subscriptions.Origin{Subscription: c.want}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// BenchmarkOrigin: the length of a batch does not count.
func BenchmarkOrigin(b *testing.B) {
	p := open(b, testConfig())
	one := `{"extensionId":"8475874957","eventType":"Update","hints":["Permissions"]},`
	d := subscriptions.Delivery{Home: home, Body: []byte(`{"uuid":"ed1cf00c-0420-4bf5-a0ae-e659cc9f77e0",` +
		`"event":"/restapi/v1.0/account/37439510/extension","timestamp":"2026-06-14T12:00:00.000Z",` +
		`"subscriptionId":"9d38419f-645f-4ee3-a053-8cf1368c21c4","ownerId":"1","body":{"extensions":[` +
		strings.TrimSuffix(strings.Repeat(one, 10_000), ",") + `]}}`)}
	b.ReportAllocs()
	for b.Loop() {
		if p.Origin(d).Subscription == "" {
			b.Fatal("no id")
		}
	}
}
