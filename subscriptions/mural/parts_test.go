package mural_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

func jwt(payload string) string {
	return "x." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".x"
}

func TestClaims(t *testing.T) {
	end := time.Unix(1800000000, 0).UTC()
	many := strings.Repeat(`"murals:read",`, 201) + `"x"`
	for name, c := range map[string]struct {
		token   string
		expires time.Time
		scopes  []string
	}{
		"as the vendor's": {jwt(`{"exp":1800000000,"iat":1,"scopes":["rooms:read","murals:read"],"sessionId":"s",` +
			`"username":"ann"}`), end, []string{"murals:read", "rooms:read"}},
		"none granted":         {jwt(`{"scopes":[]}`), time.Time{}, []string{}},
		"one twice":            {jwt(`{"scopes":["a:b","a:b"]}`), time.Time{}, []string{"a:b"}},
		"scopes untold":        {jwt(`{"exp":1800000000}`), end, nil},
		"null":                 {jwt(`{"exp":null,"scopes":null}`), time.Time{}, nil},
		"text":                 {jwt(`{"exp":"1800000000","scopes":"a b"}`), time.Time{}, nil},
		"one that is no text":  {jwt(`{"scopes":["a:b",7]}`), time.Time{}, nil},
		"one that is no name":  {jwt(`{"scopes":["a:b",""]}`), time.Time{}, nil},
		"a control character":  {jwt(`{"scopes":["a\u0000b"]}`), time.Time{}, nil},
		"too many":             {jwt(`{"scopes":[` + many + `]}`), time.Time{}, nil},
		"an end beyond reason": {jwt(`{"exp":1e300}`), time.Time{}, nil},
		"in ms":                {jwt(`{"exp":1800000000000}`), time.Time{}, nil},
		"no JWT":               {"opaque", time.Time{}, nil},
		"padded": {"x." + base64.URLEncoding.EncodeToString([]byte(`{"scopes":["a:bc"]}`)) + ".x",
			time.Time{}, []string{"a:bc"}},
		"no base64":           {"x.*.x", time.Time{}, nil},
		"no object":           {jwt(`[]`), time.Time{}, nil},
		"longer than is read": {jwt(`{"scopes":[]}` + strings.Repeat(" ", 16<<10)), time.Time{}, nil},
		"four parts":          {jwt(`{"scopes":[]}`) + ".x", time.Time{}, nil},
	} {
		got := mural.ReadClaims(c.token)
		if !got.Expires.Equal(c.expires) || !cmp.Equal(got.Scopes, c.scopes) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzClaims(f *testing.F) {
	for _, payload := range []string{`{"exp":1800000000,"scopes":["murals:read"]}`, `{"scopes":null}`,
		`{"exp":-1}`, `[`} {
		f.Add(jwt(payload))
	}
	f.Fuzz(func(t *testing.T, token string) {
		c := mural.ReadClaims(token)
		for _, s := range c.Scopes {
			if _, err := cache.ParseGrant("scope/" + s); err != nil {
				t.Errorf("scope %q: %v", s, err)
			}
		}
		if y := c.Expires.Year(); y != 1 && (y < 1970 || y > 2300) {
			t.Errorf("ends %s", c.Expires)
		}
	})
}

func headers(pairs ...string) http.Header {
	h := http.Header{"Date": {"Fri, 15 Jan 2027 08:00:00 GMT"}} // 1800000000
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestWhatRepliesTellOfTheLimits(t *testing.T) {
	const user, app = "X-RateLimit-", "X-RateLimit-App-"
	for name, c := range map[string]struct {
		status    int
		h         http.Header
		user, app time.Duration // penalties
	}{
		"all is well":  {200, headers(user+"Remaining", "24", app+"Remaining", "9999"), 0, 0},
		"the last one": {200, headers(user+"Remaining", "0", user+"Reset", "1800000009"), 0, 0},
		"the user's": {429, headers(user+"Remaining", "0", user+"Reset", "1800000001", app+"Remaining", "3",
			app+"Reset", "1800000050"), time.Second, 0},
		"the app's": {429, headers(user+"Remaining", "7", user+"Reset", "1800000001", app+"Remaining", "0",
			app+"Reset", "1800000050"), 0, 50 * time.Second},
		"both": {429, headers(user+"Remaining", "0", user+"Reset", "1800000001", app+"Remaining", "0",
			app+"Reset", "1800000050"), time.Second, 50 * time.Second},
		"Retry-After": {429, headers("Retry-After", "7", user+"Remaining", "0", user+"Reset",
			"1800000001"), 7 * time.Second, 0},
		"Retry-After alone":   {429, headers("Retry-After", "7"), 7 * time.Second, 0},
		"a reset in the past": {429, headers(user+"Remaining", "0", user+"Reset", "1700000000"), time.Second, 0},
		"a reset far off": {429, headers(user+"Remaining", "0", user+"Reset", "1900000000"),
			10 * time.Minute, 0},
	} {
		u, a := mural.SaidOfUser(c.status, c.h), mural.SaidOfApp(c.status, c.h)
		if u.Penalty != c.user || a.Penalty != c.app || u.Window != time.Second || a.Window != time.Minute {
			t.Errorf("%s: %+v, %+v", name, u, a)
		}
	}
	for range 20 {
		if d := mural.SaidOfUser(429, http.Header{}).Penalty; d < 2*time.Second || d > 4*time.Second {
			t.Errorf("a 429 that tells nothing: %s", d)
		}
	}
	s := mural.SaidOfUser(200, headers(user+"Limit", "30", user+"Remaining", "12"))
	if s.Limit != 30 || s.Remaining != 12 || !s.Told {
		t.Errorf("%+v", s)
	}
}

func TestARefusalIsReadByItsCodes(t *testing.T) {
	const secret = "eyJ-in-a-message"
	for name, c := range map[string]struct {
		status int
		body   string
		family error
		dead   bool
		says   string
	}{
		"expired": {401, `{"code":"TOKEN_EXPIRED","message":"` + secret + `"}`, nil, true,
			"TOKEN_EXPIRED"},
		"expired as forbidden": {403, `{"code":"TOKEN_EXPIRED"}`, nil, true, "TOKEN_EXPIRED"},
		"unauthorized":         {401, `{"code":"UNAUTHORIZED"}`, nil, true, "UNAUTHORIZED"},
		"forbidden":            {403, `{"code":"FORBIDDEN"}`, nil, false, "FORBIDDEN"},
		"gone": {404, `{"code":"MURAL_NOT_FOUND"}`, subscriptions.ErrGone, false,
			"MURAL_NOT_FOUND"},
		"a bad body": {400, `{"code":"BODY","details":[{"code":"BODY.LIMIT","message":"x"}]}`, nil,
			false, "BODY BODY.LIMIT"},
		"of the app": {401, `{"error":"invalid_client","error_description":"` + secret + `"}`,
			subscriptions.ErrMisconfigured, false, "check the client id"},
		"of the grant":        {400, `{"error":"invalid_grant"}`, nil, false, "invalid_grant"},
		"no JSON":             {502, secret, nil, false, "status 502"},
		"a code that is none": {400, `{"code":"` + secret + ` <b>"}`, nil, false, "status 400"},
	} {
		err := mural.Refusal(client.Op{Name: "getMuralById"}, c.status, http.Header{"X-Request-Id": {"r-1"}},
			[]byte(c.body))
		for _, family := range []error{subscriptions.ErrGone, subscriptions.ErrMisconfigured} {
			if errors.Is(err, family) != (family == c.family) {
				t.Errorf("%s: %v is of another family", name, err)
			}
		}
		text := err.Error()
		if !strings.Contains(text, c.says) || !strings.Contains(text, "getMuralById") || !strings.Contains(text,
			"r-1") {
			t.Errorf("%s: %s", name, text)
		}
		if mural.TokenDead(err) != c.dead {
			t.Errorf("%s: token dead is %t", name, !c.dead)
		}
		noSecret(t, text)
	}
}

func TestACursorForgetsWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct{ rooms, murals, members, level int }{
		{10, 10, 20, 0}, {100, 10, 100, 1}, {600, 10, 5, 2}, {4000, 1, 1, 2},
	} {
		size, level, err := mural.Filled(c.rooms, c.murals, c.members)
		if err != nil || size > mural.MaxCursor || level != c.level {
			t.Errorf("%d rooms of %d murals, %d members: %d bytes, level %d, %v",
				c.rooms, c.murals, c.members, size, level, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"v":1,"n":3,"level":0,"space":"open","polls":0,"longest":0,` +
		`"lastPolls":1,"lastTook":5,"rooms":` +
		`{"1":{"s":"open","d":"x","m":[0,5],"x":{"w.1":{"s":"nw","d":"y","m":[6]}}}},"users":["u1","u2"]}`))
	f.Add([]byte(`{"v":1,"level":2,"room":"1","sum":18446744073709551615,"rooms":{"1":{"s":"open","b":"x"}}}`))
	f.Add([]byte(`{"v":1,"rooms":{"1":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		once := mural.Again(b)
		if once == nil {
			return
		}
		if twice := mural.Again(once); len(b) < mural.MaxCursor && string(twice) != string(once) {
			t.Errorf("%s\nbecomes %s\nthen %s", b, once, twice)
		}
	})
}

// FuzzPoll lets the vendor say anything.
func FuzzPoll(f *testing.F) {
	f.Add([]byte(`{"value":[{"id":1,"type":"open"}]}`),
		[]byte(`{"value":[{"id":"rescind1234.1","permissions":{"owner":true}}]}`))
	f.Add([]byte(`{"value":null}`), []byte(`{"value":[{"id":""},{"id":"\u0000"}],"next":""}`))
	f.Add([]byte(`{"value":[{"id":"12","confidential":true}],"next":null}`),
		[]byte(`{"value":[{"roomId":1e99}]}`))
	f.Fuzz(func(t *testing.T, rooms, others []byte) {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, muralsim.Options{}).consent(t, "u2")
			_, _, cursor := s.poll(t, nil)
			s.front = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost || strings.HasSuffix(r.URL.Path, "/workspaces/"+space):
					s.sim.ServeHTTP(w, r)
				case strings.HasPrefix(r.URL.Path, "/api/public/v1/workspaces/"):
					fmt.Fprintf(w, "%s", rooms)
				default:
					fmt.Fprintf(w, "%s", others)
				}
			})
			changes, next, err := another(t, s, config()).Poll(t.Context(), cursor)
			for _, c := range changes {
				must(t, c.Validate())
			}
			if err == nil && mural.CursorLevel(next) < 0 {
				t.Errorf("the cursor cannot be read: %s", next)
			}
		})
	})
}
