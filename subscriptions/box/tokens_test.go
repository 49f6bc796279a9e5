package box_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

const narrowToken = accessMark + "-1!narrow_-hunter2"

// exchanged is the reply of a token exchange (guides/authentication/tokens/
// downscope) with these members in place of the usual ones.
func exchanged(access, expiresIn, restrictedTo string) string {
	return fmt.Sprintf(`{"access_token":%s,"expires_in":%s,"token_type":"bearer","restricted_to":%s,
		"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`, access, expiresIn, restrictedTo)
}

// preview is restricted_to of a token for one folder, as the guide shows it.
const preview = `[{"scope":"item_preview","object":{"type":"folder","id":"1234567890","sequence_id":"0",
	"etag":"0","name":"Test"}}]`

// resourceOf is computed as a program in another language would.
func resourceOf(access string) events.Resource {
	sum := sha256.Sum256([]byte(access))
	return events.Resource("token:" + hex.EncodeToString(sum[:])[:32])
}

// put tells of narrowToken.
func (w *world) put(t *testing.T, subject events.Subject, restrictedTo string) (events.Resource, error) {
	t.Helper()
	r, until, err := w.PutToken(t.Context(), subject, []byte(exchanged(`"`+narrowToken+`"`, "4175", restrictedTo)))
	if err == nil && (time.Until(until) > 4175*time.Second || time.Until(until) < 4100*time.Second) {
		t.Errorf("until %s", until)
	}
	return r, err
}

// carries tells of a token and reads what it carries.
func (w *world) carries(t *testing.T, restrictedTo string) cache.Answer {
	t.Helper()
	r, err := w.put(t, "42", restrictedTo)
	if err != nil {
		t.Fatal(err)
	}
	if r != resourceOf(narrowToken) {
		t.Errorf("resource %s, want %s", r, resourceOf(narrowToken))
	}
	return w.read(t, r)
}

func TestANarrowedTokenIsAnEntry(t *testing.T) {
	w := furnished(t, testConfig(), "")
	s := newSession(100)
	r, err := w.put(t, "42", preview)
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.Read(t.Context(), ref("42", r), s)
	if err != nil {
		t.Fatal(err)
	}
	says(t, a, "restricted-to", cache.Scope, "item_preview=folder:1234567890")
	if got := spellCovers(a); got != "scope" {
		t.Errorf("covers %q: nothing is said of the rest", got)
	}
	if got := spell(a.Tags); got != "app "+string(r) {
		t.Errorf("tags %q", got)
	}
	if tag, err := events.ParseTag(string(r)); err != nil || tag != a.Tags[1] {
		t.Errorf("tag %v, %v", tag, err)
	}
	if left := time.Until(a.Expires); left > 4175*time.Second || left < 4100*time.Second {
		t.Errorf("ends in %s", left)
	}
	if len(s.used) != 1 {
		t.Errorf("used %v: the user was read with the service account's token", s.used)
	}
	if n := w.vendor.count("GET /users/42/memberships"); n != 0 {
		t.Errorf("%d calls for memberships, of which nothing depends", n)
	}
}

func TestWidthsOfNarrowedTokens(t *testing.T) {
	object := func(scope, kind, id string) string {
		return fmt.Sprintf(`{"scope":%q,"object":{"type":%q,"id":%s}}`, scope, kind, id)
	}
	for name, c := range map[string]struct {
		to        []string
		want      string
		writeOnly bool
	}{
		"no object":     {to: []string{`{"scope":"item_preview"}`}, want: "item_preview"},
		"a null object": {to: []string{`{"scope":"item_preview","object":null}`}, want: "item_preview"},
		"several objects, in order": {to: []string{object("item_share", "folder", `"9"`),
			object("item_share", "file", "12"), object("item_share", "folder", `"9"`)},
			want: "item_share=file:12,folder:9"},
		"an object and none": {to: []string{object("item_share", "folder", `"9"`), `{"scope":"item_share"}`},
			want: "item_share"},
		"what is included has the width": {to: []string{object("root_readwrite", "folder", `"9"`)},
			want: "root_readonly=folder:9 root_readwrite=folder:9"},
		"what is included only if so said": {to: []string{object("root_readwrite", "folder", `"9"`)},
			want: "root_readwrite=folder:9", writeOnly: true},
		"a former name": {to: []string{`{"scope":"manage_webhooks"}`}, want: "manage_webhook manage_webhooks"},
		"a scope without what it needs": {to: []string{`{"scope":"sign_requests.readwrite"}`,
			object("root_readonly", "folder", `"9"`)}, want: "root_readonly=folder:9"},
		"a scope as wide as what it needs": {to: []string{`{"scope":"sign_requests.readwrite"}`,
			object("root_readwrite", "folder", `"9"`)},
			want: "root_readonly=folder:9 root_readwrite=folder:9 sign_requests.readwrite=folder:9"},
		"what it needs, for another object": {to: []string{object("sign_requests.readwrite", "folder", `"8"`),
			object("root_readwrite", "folder", `"9"`)}, want: "root_readonly=folder:9 root_readwrite=folder:9"},
		"a scope of tomorrow": {to: []string{object("item_fly", "web_link", `"7"`)}, want: "item_fly=web_link:7"},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig()
			config.WriteOnly = c.writeOnly
			a := furnished(t, config, "").carries(t, "["+strings.Join(c.to, ",")+"]")
			says(t, a, box.BasisRestricted, cache.Scope, c.want)
		})
	}
}

func TestRepliesThatAreNotTaken(t *testing.T) {
	access := `"` + narrowToken + `"`
	for name, c := range map[string]struct{ reply, says string }{
		"nothing":                 {"", "JSON object"},
		"null":                    {"null", "JSON object"},
		"a list":                  {"[" + access + "]", "JSON object"},
		"cut":                     {exchanged(access, "60", preview)[:90], "JSON object"},
		"no access token":         {`{"expires_in":60,"restricted_to":` + preview + `}`, "access_token"},
		"an empty access token":   {exchanged(`""`, "60", preview), "access_token"},
		"an access token, spaced": {exchanged(`"a `+narrowToken+`"`, "60", preview), "access_token"},
		"a numeric access token":  {exchanged("4711", "60", preview), "access_token"},
		"a huge access token":     {exchanged(`"`+strings.Repeat("x", 20_000)+`"`, "60", preview), "access_token"},
		"no end":                  {`{"access_token":` + access + `,"restricted_to":` + preview + `}`, "expires_in"},
		"a null end":              {exchanged(access, "null", preview), "expires_in"},
		"an end at once":          {exchanged(access, "0", preview), "expires_in"},
		"an end before":           {exchanged(access, "-60", preview), "expires_in"},
		"a fraction":              {exchanged(access, "60.5", preview), "expires_in"},
		"an end in words":         {exchanged(access, `"60"`, preview), "expires_in"},
		"an end without end":      {exchanged(access, "1e999", preview), "expires_in"},
		"no restrictions":         {`{"access_token":` + access + `,"expires_in":60}`, "not narrowed"},
		"an empty list":           {exchanged(access, "60", "[]"), "not narrowed"},
		"a null list":             {exchanged(access, "60", "null"), "not narrowed"},
		"no list":                 {exchanged(access, "60", `"item_preview"`), "restricted_to must be"},
		"no scope":                {exchanged(access, "60", `[{"object":{"type":"file","id":"1"}}]`), "0.scope"},
		"a null scope":            {exchanged(access, "60", preview[:len(preview)-1]+`,null]`), "1.scope"},
		"scopes in one":           {exchanged(access, "60", `[{"scope":"item_share item_delete"}]`), "0.scope"},
		"an object without id":    {exchanged(access, "60", `[{"scope":"x","object":{"type":"file"}}]`), "0.object"},
		"an object without type":  {exchanged(access, "60", `[{"scope":"x","object":{"id":"1"}}]`), "0.object"},
		"an object in words": {exchanged(access, "60", `[{"scope":"x","object":"file:1"}]`),
			"restricted_to must be"},
		"two objects in one": {exchanged(access, "60", `[{"scope":"x","object":{"type":"file","id":"1,folder:0"}}]`),
			"0.object"},
	} {
		t.Run(name, func(t *testing.T) {
			w := furnished(t, testConfig(), "")
			_, _, err := w.PutToken(t.Context(), "42", []byte(c.reply))
			if !errors.Is(err, subscriptions.ErrNotNarrowed) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, want one of %q", err, c.says)
			}
			noSecret(t, err.Error())
			w.unknown(t, "42", resourceOf(narrowToken))
		})
	}
	w := furnished(t, testConfig(), "")
	if _, err := w.put(t, "me", preview); !errors.Is(err, subscriptions.ErrNotNarrowed) {
		t.Errorf("a subject that is no user: %v", err)
	}
}

// unknown wants an error that says so, without a call.
func (w *world) unknown(t *testing.T, subject events.Subject, r events.Resource) {
	t.Helper()
	before := w.vendor.count("GET /users/" + string(subject))
	a, err := w.Read(t.Context(), ref(subject, r), newSession(100))
	var untold *subscriptions.UntoldError
	if !errors.As(err, &untold) || untold.Resource != r {
		t.Errorf("%+v, %v; want it to be untold", a, err)
	}
	if n := w.vendor.count("GET /users/"+string(subject)) - before; n > 0 {
		t.Errorf("%d calls for a token that nobody has told of", n)
	}
}

func TestAnothersTokenIsUnknown(t *testing.T) {
	w := furnished(t, testConfig(), "")
	r, err := w.put(t, "42", preview)
	if err != nil {
		t.Fatal(err)
	}
	w.unknown(t, "43", r)
	w.unknown(t, "42", resourceOf(narrowToken+"x"))
	for _, odd := range []events.Resource{"token:", "token:00ff", events.Resource(strings.ToUpper(string(r))),
		r + "0", "token:" + "zz34567890123456789012345678901z"} {
		if a, err := w.Read(t.Context(), ref("42", odd), newSession(100)); err == nil {
			t.Errorf("%s: %+v", odd, a)
		}
	}
	if _, err := w.put(t, "43", preview); !errors.Is(err, subscriptions.ErrNotNarrowed) {
		t.Errorf("told as another's too: %v", err)
	}
	says(t, w.read(t, r), box.BasisRestricted, cache.Scope, "item_preview=folder:1234567890")
}

// A token does not change, so what was told of it stands; and telling it again does
// not make it last longer.
func TestWhatWasToldStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := furnished(t, testConfig(), "")
		first := w.carries(t, preview)
		time.Sleep(time.Minute)
		r, until, err := w.PutToken(t.Context(), "42", []byte(exchanged(`"`+narrowToken+`"`, "3600", preview)))
		if err != nil || r != resourceOf(narrowToken) || !until.Equal(first.Expires) {
			t.Errorf("%s until %s, %v; want %s", r, until, err, first.Expires)
		}
		if _, err := w.put(t, "42", `[{"scope":"item_delete"}]`); !errors.Is(err, subscriptions.ErrNotNarrowed) {
			t.Errorf("other scopes: %v", err)
		}
		a := w.read(t, r)
		says(t, a, box.BasisRestricted, cache.Scope, "item_preview=folder:1234567890")
		if !a.Expires.Equal(first.Expires) {
			t.Errorf("ends %s, want %s", a.Expires, first.Expires)
		}
		time.Sleep(time.Until(first.Expires) - time.Nanosecond)
		w.read(t, r)
		time.Sleep(time.Nanosecond)
		w.unknown(t, "42", r)
	})
}

func TestATokenLastsNoLongerThanBoxGivesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := furnished(t, testConfig(), "")
		_, until, err := w.PutToken(t.Context(), "42", []byte(exchanged(`"x"`, "2147483647", preview)))
		if got := time.Until(until); err != nil || got != box.MaxToken {
			t.Errorf("lasts %s, %v; want %s", got, err, box.MaxToken)
		}
	})
}

func TestUsersOfNarrowedTokens(t *testing.T) {
	const denied = "group permission role scope"
	for name, c := range map[string]struct{ user, covers, grants, basis, why string }{
		"inactive": {`,"status":"inactive"`, denied, "", box.BasisRestricted, "scope/item_preview: status inactive"},
		"of a status of tomorrow": {`,"status":"resting"`, "", "", box.BasisRestricted,
			"scope/*: status resting is not known"},
		"a service account": {`,"login":"AutomationUser_1_x@boxdevedition.com"`, "scope",
			"item_preview=folder:1234567890", box.BasisRestricted, ""},
		"of another enterprise": {`,"enterprise":null`, "scope", "item_preview=folder:1234567890",
			box.BasisRestricted, ""},
		"gone": {"gone", denied, "", box.BasisNotFound, "scope/item_preview: there is no such user"},
	} {
		t.Run(name, func(t *testing.T) {
			w := furnished(t, testConfig(), c.user)
			if c.user == "gone" {
				w.vendor.says("GET /users/42", 404, `{"type":"error","status":404,"code":"not_found"}`)
			}
			a := w.carries(t, preview)
			if got := spellCovers(a); got != c.covers || a.Basis != c.basis ||
				spellGrants(a, cache.Scope) != c.grants {
				t.Errorf("covers %q by %s, grants %q; want %q by %s, %q",
					got, a.Basis, spellGrants(a, cache.Scope), c.covers, c.basis, c.grants)
			}
			grant, why, _ := strings.Cut(c.why, ": ")
			if a.Why[cache.Grant(grant)] != why {
				t.Errorf("why %v, want %q", a.Why, c.why)
			}
			if a.Expires.IsZero() || spell(a.Tags) != "app "+string(resourceOf(narrowToken)) {
				t.Errorf("ends %s, tags %q", a.Expires, spell(a.Tags))
			}
		})
	}
}

// What is kept does not hold the token.
func TestTheTokenItselfIsKeptNowhere(t *testing.T) {
	vault := newMemory()
	w := openWith(t, testConfig(), vault)
	if _, err := w.put(t, "42", preview); err != nil {
		t.Fatal(err)
	}
	if len(vault.kept) != 1 {
		t.Fatalf("%d values are kept", len(vault.kept))
	}
	for key, value := range vault.kept {
		noSecret(t, key+string(value))
		if !strings.Contains(string(value), "item_preview") {
			t.Errorf("kept: %s", value)
		}
		vault.kept[key] = []byte("scrambled")
		w.unknown(t, "42", resourceOf(narrowToken))
	}
	w.vendor.furnish("")
	if got := w.carries(t, preview); len(got.Grants) == 0 { // told again, it replaces what cannot be read
		t.Errorf("%+v", got)
	}
}

// plainVault forgets nothing.
type plainVault struct{ subscriptions.Vault }

func TestWhatCannotBeForgottenIsNotKept(t *testing.T) {
	w, kept := open(t, testConfig()), newMemory()
	p, err := box.New(testConfig(), subscriptions.Deps{HTTP: http.DefaultClient,
		Vault: plainVault{kept}, Budget: unlimited{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.Provider = p
	if _, err := w.put(t, "42", preview); err == nil || errors.Is(err, subscriptions.ErrNotNarrowed) ||
		len(kept.kept) > 0 {
		t.Errorf("error %v, %d kept", err, len(kept.kept))
	}
}
