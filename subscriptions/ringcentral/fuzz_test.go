package ringcentral_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

// maxText bounds what an error may say of a reply, however long that is.
const maxText = 1024

// fuzzed is a world that waits for nothing: after a failure it would retry in
// a second at the earliest, which is beyond the deadline.
func fuzzed(t *testing.T, c ringcentral.Config) (*world, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return open(t, c), ctx
}

// modest wants an error to be short and to repeat no secret.
func modest(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		noSecret(t, err.Error())
		if n := len(err.Error()); n > maxText {
			t.Errorf("an error of %d bytes: %.200s", n, err)
		}
	}
}

// sound wants an error or an answer that can be stored, and not both.
func sound(t *testing.T, a cache.Answer, err error) {
	t.Helper()
	modest(t, err)
	if err != nil {
		if a.Basis != "" || len(a.Grants) > 0 || len(a.Covers) > 0 {
			t.Errorf("%+v beside %v", a, err)
		}
		return
	}
	if _, err := a.Fields(); err != nil {
		t.Errorf("an answer that cannot be stored: %v", err)
	}
	for _, tag := range a.Tags {
		if _, err := events.ParseTag(tag.String()); err != nil {
			t.Errorf("tag: %v", err)
		}
	}
}

// evil are replies of every shape with a secret of ours wherever a value can
// stand, and what breaks a reader of JSON.
func evil(f *testing.F, fields ...string) {
	f.Helper()
	digits := strings.Repeat("9", 2000)
	values := []string{`"` + accessMark + ` "`, `["` + accessMark + `"]`, `{"` + jwtSecret + `":1}`, digits,
		"1e999",
		"null", `"\u0000"`, `"\ud800"`, `""`, `"` + strings.Repeat("x", 300) + `"`, strings.Repeat("[", 11_000)}
	for _, field := range fields {
		for i, v := range values {
			if i == 0 && field == "id" {
				continue // ids and codes are repeated
			}
			one := `{"` + field + `":` + v + `}`
			f.Add([]byte(one))
			f.Add([]byte(`{"records":[` + one + `],"permissions":[` + one + `],"navigation":` + one + `}`))
		}
	}
	for _, body := range []string{"", "null", "[]", "{", "\xff", `{"records":{}}`, `{"records":null}`, digits} {
		f.Add([]byte(body))
	}
}

// reading fuzzes one reply of those that an answer is made of. exchange reads
// with the subject's own token.
func reading(f *testing.F, route string, exchange bool) {
	f.Helper()
	f.Fuzz(func(t *testing.T, body []byte) {
		c := testConfig()
		if exchange {
			c = exchanging(c)
		}
		w, ctx := fuzzed(t, c)
		full(w.vendor)
		if exchange {
			w.vendor.on("POST /exchange", func(rw http.ResponseWriter, _ *http.Request) { w.vendor.mint(rw, "42") })
			w.vendor.says(profileAt, 200, `{"permissions":[{"permission":{"id":"Messages"}}]}`)
			w.vendor.says(featuresAt, 200, `{"records":[]}`)
		}
		w.vendor.says(route, 200, string(body))
		a, err := w.Read(ctx, subject, newSession(100))
		sound(t, a, err)
	})
}

func FuzzProfile(f *testing.F) {
	evil(f, "permission", "id", "scopes", "effectiveRole")
	f.Add([]byte(`{"permissions":[{"permission":{"id":"A"},"effectiveRole":{"id":"7"},"scopes":["Self",""]}]}`))
	f.Add([]byte(`{"permissions":[{"permission":{"id":"A"},"effectiveRole":{"id":"` +
		strings.Repeat("7", 300) + `"}}]}`))
	f.Add([]byte(`{"permissions":[{"permission":{"id":"A\n"}}]}`))
	reading(f, profileAt, true)
}

func FuzzFeatures(f *testing.F) {
	evil(f, "id", "available", "params", "reason")
	f.Add([]byte(`{"records":[{"id":"Fax","available":true,"params":[{"name":"a","value":"1"}]}]}`))
	f.Add([]byte(`{"records":[{"id":"Fax","reason":{"code":"X","permission":"Y"}},` +
		`{"id":"Fax","available":true}]}`))
	reading(f, featuresAt, true)
}

func FuzzAssignedRoles(f *testing.F) {
	evil(f, "id", "displayName")
	f.Add([]byte(`{"records":[{"id":7,"displayName":"Agent"},{"id":"9"}]}`))
	reading(f, rolesAt, false)
}

func FuzzRole(f *testing.F) {
	evil(f, "id", "scope", "permissions")
	f.Add([]byte(`{"scope":"Self","permissions":[{"id":"Messages"},{"id":"Calls"}]}`))
	reading(f, roleAt+"7", false)
}

func FuzzDictionary(f *testing.F) {
	evil(f, "id", "includedPermissions", "nextPage")
	f.Add([]byte(`{"records":[{"id":"Messages","includedPermissions":[{"id":"Messages"},{"id":"A"}]}],` +
		`"navigation":{}}`))
	reading(f, permsAt, false)
}

// A token reply gives a token that is used, sealed and told to nobody, or an
// error.
func FuzzTokenReply(f *testing.F) {
	evil(f, "access_token", "expires_in", "scope", "owner_id", "error", "token_type")
	for _, expires := range []string{`"` + accessMark + `"`, "-1", "0", "99999999999999999999", "1.5", "true"} {
		f.Add([]byte(`{"access_token":"` + accessMark + `-1","expires_in":` + expires + `}`))
	}
	f.Add([]byte("access_token=" + accessMark + "&expires_in=%" + accessMark))
	f.Fuzz(func(t *testing.T, body []byte) {
		w, ctx := fuzzed(t, testConfig())
		full(w.vendor).says(tokenAt, 200, string(body))
		a, err := w.Read(ctx, subject, newSession(100))
		sound(t, a, err)
		if kept, _, _ := w.vault.Get(ctx, "ringcentral/37439510/service"); (kept != nil) != (err == nil) {
			t.Errorf("kept %q beside error %v", kept, err)
		}
	})
}

// What lies in the vault is a token or is none; none is replaced by a new one.
func FuzzKeptToken(f *testing.F) {
	evil(f, "access", "scopes", "expires", "identity", "stamp")
	whole := `{"access":"` + accessMark + `-0","scopes":["A"],"expires":"2999-01-01T00:00:00Z","identity":"1",` +
		`"stamp":{"number":100,"fence":7}}`
	f.Add([]byte(whole))
	f.Add([]byte(strings.Replace(whole, "7}", "8}", 1)))
	f.Add([]byte(strings.Replace(whole, "2999", "10000", 1)))
	f.Fuzz(func(t *testing.T, value []byte) {
		w, ctx := fuzzed(t, testConfig())
		full(w.vendor)
		if err := w.vault.Put(ctx, "ringcentral/37439510/service", value, 0); err != nil {
			t.Fatal(err)
		}
		a, err := w.Read(ctx, subject, newSession(100))
		sound(t, a, err)
		kept, _, _ := w.vault.Get(ctx, "ringcentral/37439510/service")
		if n := w.vendor.count(tokenAt); err != nil || n > 1 || (n == 0) != bytes.Equal(kept, value) {
			t.Errorf("%d tokens minted, %q is kept, error %v", n, kept, err)
		}
	})
}

// A registration is whole, in bounds and printable, or an error.
func FuzzSubscriptions(f *testing.F) {
	evil(f, "id", "status", "creationTime", "expirationTime", "expiresIn", "eventFilters", "disabledFilters",
		"deliveryMode", "blacklistedData")
	f.Add([]byte(`{"records":[` + subscriptionJSON("Active") + `]}`))
	for _, expires := range []string{"9223372036854775807", "9223372037", "-1"} {
		f.Add([]byte(`{"records":[{"id":"s","status":"Blacklisted\n` + accessMark + `","expiresIn":` + expires +
			`,"deliveryMode":{"transportType":"webhook"}}]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w, ctx := fuzzed(t, testConfig())
		w.vendor.says(listAt, 200, string(body))
		w.vendor.says(renewAt, 200, string(body))
		all, err := w.List(ctx)
		modest(t, err)
		one, err2 := w.Renew(ctx, "sub-1")
		modest(t, err2)
		if err2 == nil {
			all = append(all, one)
		}
		dated := bytes.Contains(bytes.ToLower(body), []byte("expirationtime"))
		for _, s := range all {
			registered(t, s)
			if left := time.Until(s.Expires); !dated && (left < 0 || left > ringcentral.MaxLife) {
				t.Errorf("ends in %s", left)
			}
		}
	})
}

// registered wants what is logged of a registration to be short and printable.
func registered(t *testing.T, s subscriptions.Subscription) {
	t.Helper()
	if err := events.CheckID(s.ID); err != nil || s.Expires.IsZero() {
		t.Errorf("id: %v; expires %s", err, s.Expires)
	}
	for _, text := range append(slices.Concat(s.Filters, s.Disabled), s.Status) {
		if len(text) > 200 || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			t.Errorf("%d bytes: %.80q", len(text), text)
		}
	}
	if s.Active && !strings.HasPrefix(s.Status, "Active") {
		t.Errorf("active %t, %q", s.Active, s.Status)
	}
}

// An error reply is told as codes, whatever its status, body and headers.
func FuzzErrorReply(f *testing.F) {
	for _, status := range []int{200, 302, 400, 401, 403, 404, 429, 500, 503} {
		f.Add(status, []byte(foreign), "30", "0")
		f.Add(status, []byte(`{"errorCode":"OAU-213","message":"`+accessMark+`"}`), accessMark+" ", accessMark)
		f.Add(status,
			[]byte(`{"error":"invalid_client","errors":[{"errorCode":7,"parameterName":["`+jwtSecret+`"]}]}`),
			"-1", "1")
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, after, remaining string) {
		if status < 200 || status > 599 {
			return // no reply at all, or one that net/http keeps for itself
		}
		w, ctx := fuzzed(t, testConfig())
		w.vendor.on(listAt, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Retry-After", after)
			rw.Header().Set("X-Rate-Limit-Remaining", remaining)
			rw.Header().Set("RCRequestId", strings.ReplaceAll(after, "SECRET",
				"")) // what looks like an id is repeated
			rw.WriteHeader(status)
			_, _ = rw.Write(body)
		})
		_, err := w.List(ctx)
		modest(t, err)
		var later *subscriptions.Later
		if errors.As(err, &later) && time.Until(later.Until) > time.Hour {
			t.Errorf("silent until %s", later.Until)
		}
		if err == nil && status > 299 {
			t.Errorf("status %d is no error", status)
		}
	})
}

// A door lets in who has a right token, and answers a handshake; what it sends
// back is what was sent, in a form that splits no header.
func FuzzVerify(f *testing.F) {
	for _, k := range knocks {
		f.Add(k.verification, k.validation, []byte(k.body))
	}
	f.Add("", "\x00", []byte(nil))
	f.Add("", doorSecret, []byte(nil))
	f.Add(oldSecret, doorSecret, []byte("{}"))
	f.Add("SECRET-door-012345678\x00", doorSecret, []byte("{}"))
	f.Add(ownSecret, ownSecret, []byte("{}"))
	p := open(f, testConfig())
	f.Fuzz(func(t *testing.T, verification, validation string, body []byte) {
		d := subscriptions.Delivery{Home: home, Body: body, Header: http.Header{
			"Verification-Token": {verification}, "Validation-Token": {validation}},
			Secrets: []subscriptions.Secret{subscriptions.NewSecret(ownSecret)}}
		got, err := p.Verify(d)
		right := func(s string) bool { return s == doorSecret || s == oldSecret || s == ownSecret }
		handshake := verification == "" && validation != "" && len(body) == 0
		if let := err == nil; let && !handshake && !right(verification) && (verification != "" ||
			!right(validation)) {
			t.Errorf("let in: %q, %q", verification, validation)
		}
		modest(t, err)
		if err != nil && !errors.Is(err, subscriptions.ErrRefused) && !errors.Is(err, subscriptions.ErrUnreadable) {
			t.Errorf("of no family: %v", err)
		}
		if echo, ok := got.Header["Validation-Token"]; ok && (err != nil || right(echo) || echo != validation ||
			len(echo) > 512 ||
			strings.ContainsFunc(echo, func(r rune) bool { return r < 0x20 || r > 0x7e })) {
			t.Errorf("echoes %q for %q, %v", echo, validation, err)
		}
	})
}
