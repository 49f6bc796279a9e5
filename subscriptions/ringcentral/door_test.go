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
	"a handshake beyond ASCII": {validation: "ä", want: subscriptions.ErrUnreadable},
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
