package muralsim_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Expires int    `json:"expires_in"`
	Type    string `json:"token_type"`
}

// The example of RFC 7636, appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	back      = "http://localhost:9/back"
)

// visit goes to the consent page and returns what the browser brings back.
func (w *world) visit(t testing.TB, page string, fields ...string) url.Values {
	t.Helper()
	q := url.Values{"client_id": {"rescind-dev"}, "redirect_uri": {back}, "response_type": {"code"},
		"state": {"s1"}}
	for i := 0; i < len(fields); i += 2 {
		q.Set(fields[i], fields[i+1])
	}
	a, err := w.ask(t, http.Header{}, http.MethodGet, pages+page+"?"+q.Encode(), nil)
	must(t, err)
	to, err := url.Parse(a.head.Get("Location"))
	if err != nil || a.status != 302 || to.Query().Get("state") != "s1" {
		t.Fatalf("got %d to %q: %s", a.status, a.head.Get("Location"), a.raw)
	}
	return to.Query()
}

func (w *world) exchange(t testing.TB, code string, fields ...string) answer {
	t.Helper()
	return w.form(t, "/token/", append([]string{"grant_type", "authorization_code", "redirect_uri", back,
		"code", code}, fields...)...)
}

func claims(t testing.TB, jwt string) (c struct {
	Exp, Iat            int64
	Scopes              []string
	SessionID, Username string
}) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %s", jwt)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	must(t, json.Unmarshal(data, &c))
	return c
}

func TestConsentAndExchange(t *testing.T) {
	w := start(t, muralsim.Options{})
	must(t, w.SignIn("u2"))
	for _, page := range []string{"", "/"} {
		code := w.visit(t, page, "scope", "identity:read murals:read").Get("code")
		var tok tokens
		w.exchange(t, code).want(t, 200, "").into(t, &tok)
		c := claims(t, tok.Access)
		same(t, "scopes", []string{"identity:read", "murals:read"}, c.Scopes)
		if tok.Expires != 900 || tok.Type != "Bearer" || c.Username != "bob1650" || c.SessionID == "" {
			t.Errorf("got %+v with %+v", tok, c)
		}
		if life := c.Exp - c.Iat; life < 900 || life > 901 {
			t.Errorf("exp is %d s after iat", life)
		}
		if got := claims(t, tok.Refresh).Exp; got <= c.Exp {
			t.Errorf("the refresh token expires at %d, the access token at %d", got, c.Exp)
		}
		w.get(t, tok.Access, "/users/me").want(t, 200, "")
		w.exchange(t, code).want(t, 400, "invalid_grant")
	}
}

func TestConsentRefused(t *testing.T) {
	w := start(t, muralsim.Options{})
	w.AddApp(muralsim.App{ClientID: "strict", Secret: "s", RedirectURIs: []string{"http://localhost:9/else"}})
	for want, fields := range map[string][]string{
		"invalid_scope":             {"scope", "identity:read nothing:read"},
		"unsupported_response_type": {"response_type", "token"},
		"invalid_request":           {"code_challenge", "x", "code_challenge_method", "plain"},
	} {
		same(t, want, want, w.visit(t, "/", fields...).Get("error"))
	}
	must(t, w.Suspend("u1"))
	same(t, "a suspended user", "access_denied", w.visit(t, "/").Get("error"))
	for query, want := range map[string]string{
		"client_id=nobody":                                       "invalid_client",
		"client_id=rescind-dev&redirect_uri=here":                "invalid_request",
		"client_id=strict&redirect_uri=" + url.QueryEscape(back): "invalid_request",
	} {
		a, err := w.ask(t, http.Header{}, http.MethodGet, pages+"/?"+query, nil)
		must(t, err)
		a.want(t, 400, want)
	}
}

func TestExchangeRefused(t *testing.T) {
	w := start(t, muralsim.Options{})
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"another redirect_uri": {[]string{"redirect_uri", "http://localhost:9/else"}, "invalid_grant"},
		"an unknown code":      {[]string{"code", "x"}, "invalid_grant"},
		"a wrong secret":       {[]string{"client_secret", "x"}, "invalid_client"},
		"another grant":        {[]string{"grant_type", "client_credentials"}, "unsupported_grant_type"},
		"a wrong verifier":     {[]string{"code_verifier", "x"}, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			code := w.visit(t, "/", "code_challenge", challenge, "code_challenge_method", "S256").Get("code")
			fields := append([]string{"code_verifier", verifier}, c.fields...)
			w.exchange(t, code, fields...).want(t, 400, c.want)
		})
	}
	code := w.visit(t, "/", "code_challenge", challenge, "code_challenge_method", "S256").Get("code")
	w.AddApp(muralsim.App{ClientID: "second", Secret: "s", Scopes: muralsim.AllScopes()})
	second := []string{"client_id", "second", "client_secret", "s"}
	w.exchange(t, code, append(second, "code_verifier", verifier)...).want(t, 400, "invalid_grant")
	var tok tokens
	w.exchange(t, code, "code_verifier", verifier).want(t, 200, "").into(t, &tok)
	w.form(t, "/token", append(second, "grant_type", "refresh_token", "refresh_token", tok.Refresh)...).
		want(t, 400, "invalid_grant")

	code = w.visit(t, "/").Get("code")
	must(t, w.Suspend("u1"))
	w.exchange(t, code).want(t, 400, "invalid_grant")
}

func TestRefreshInEveryManner(t *testing.T) {
	w := start(t, muralsim.Options{})
	_, refresh, err := w.Authorize("u1")
	must(t, err)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("rescind-dev:rescind-dev-secret"))
	for _, page := range []string{"/token", "/token/", "/refresh", "/refresh/"} {
		for _, kind := range []string{"application/x-www-form-urlencoded", "application/json; charset=utf-8"} {
			for _, inBody := range []bool{true, false} {
				fields := map[string]string{"grant_type": "refresh_token", "refresh_token": refresh,
					"scope": "identity:read"}
				head := http.Header{"Content-Type": {kind}, "Authorization": {basic}}
				if inBody {
					head.Del("Authorization")
					fields["client_id"], fields["client_secret"] = "rescind-dev", "rescind-dev-secret"
				}
				a, err := w.ask(t, head, http.MethodPost, pages+page, encode(t, kind, fields))
				must(t, err)
				var tok tokens
				a.want(t, 200, "").into(t, &tok)
				if tok.Refresh == refresh || tok.Refresh == "" {
					t.Errorf("%s %s: the refresh token was not rotated", page, kind)
				}
				same(t, "scopes", muralsim.AllScopes(), claims(t, tok.Access).Scopes)
				refresh = tok.Refresh
			}
		}
	}
	if got := [2]int{w.Calls("token"), w.Calls("refresh")}; got != [2]int{8, 8} {
		t.Errorf("calls: got %v", got)
	}
	w.form(t, "/refresh", "grant_type", "authorization_code").want(t, 400, "unsupported_grant_type")
}

func encode(t testing.TB, kind string, fields map[string]string) string {
	t.Helper()
	if strings.HasPrefix(kind, "application/json") {
		data, err := json.Marshal(fields)
		must(t, err)
		return string(data)
	}
	form := url.Values{}
	for k, v := range fields {
		form.Set(k, v)
	}
	return form.Encode()
}

func TestAUsedRefreshToken(t *testing.T) {
	for name, c := range map[string]struct {
		quirks       muralsim.Quirks
		again, newer string // errors
		reuses       int
	}{
		"is refused":         {muralsim.Quirks{}, "invalid_grant", "", 1},
		"serves again":       {muralsim.Quirks{ReuseAllowed: true}, "", "", 0},
		"ends the grant":     {muralsim.Quirks{ReuseEndsGrant: true}, "invalid_grant", "invalid_grant", 1},
		"is not even a JWT":  {muralsim.Quirks{OpaqueRefresh: true}, "invalid_grant", "", 1},
		"was never replaced": {muralsim.Quirks{NoRefreshToken: true}, "", "invalid_grant", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, muralsim.Options{Quirks: c.quirks})
			_, refresh, err := w.Authorize("u1")
			must(t, err)
			if got := strings.Count(refresh, ".") == 2; got == c.quirks.OpaqueRefresh {
				t.Errorf("a JWT: %v", got)
			}
			var tok tokens
			w.renew(t, refresh).want(t, 200, "").into(t, &tok)
			status := map[string]int{"": 200, "invalid_grant": 400}
			w.renew(t, refresh).want(t, status[c.again], c.again)
			w.renew(t, tok.Refresh).want(t, status[c.newer], c.newer)
			same(t, "reuses", c.reuses, w.Reuses())
		})
	}
}

func TestBasicOnly(t *testing.T) {
	w := start(t, muralsim.Options{Quirks: muralsim.Quirks{BasicOnly: true}})
	_, refresh, err := w.Authorize("u1")
	must(t, err)
	w.renew(t, refresh).want(t, 400, "invalid_client")
	head := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for secret, want := range map[string]int{"x": 401, "rescind-dev-secret": 200} {
		head.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("rescind-dev:"+secret)))
		body := "grant_type=refresh_token&refresh_token=" + refresh
		a, err := w.ask(t, head, http.MethodPost, pages+"/refresh", body)
		must(t, err)
		if a.status != want {
			t.Errorf("got %d, want %d: %s", a.status, want, a.raw)
		}
	}
}

func TestExpiry(t *testing.T) {
	for forbidden, status := range map[bool]int{false: 401, true: 403} {
		w := start(t, muralsim.Options{Speed: 9000, UserLimit: -1, RefreshLife: 4500 * time.Second,
			Quirks: muralsim.Quirks{ExpiredForbidden: forbidden, ReuseAllowed: true}}) // 100 ms and half a second
		access, refresh, err := w.Authorize("u1")
		must(t, err)
		w.get(t, access, "/users/me").want(t, 200, "")
		eventually(t, "the access token expires", func() bool {
			return w.get(t, access, "/users/me").status == status
		})
		w.get(t, access, "/users/me").want(t, status, "TOKEN_EXPIRED")
		eventually(t, "the refresh token expires", func() bool { return w.renew(t, refresh).status == 400 })
		w.renew(t, refresh).want(t, 400, "invalid_grant")
	}
}

func TestTheEndOfAGrant(t *testing.T) {
	for name, c := range map[string]struct {
		end      func(*world) error
		outlive  bool
		status   int
		code     string
		refusal  string
		comeBack bool // the user can authorise the app again
	}{
		"dropped": {func(w *world) error { w.DropGrant("u2"); return nil }, false, 401, "UNAUTHORIZED",
			"invalid_grant", true},
		"dropped, while tokens live on": {func(w *world) error { w.DropGrant("u2"); return nil }, true, 200, "",
			"invalid_grant", true},
		"the app is deleted": {func(w *world) error { w.DeleteApp("rescind-dev"); return nil }, false, 401,
			"UNAUTHORIZED", "invalid_client", false},
		"the user is suspended": {func(w *world) error { return w.Suspend("u2") }, false, 200, "",
			"invalid_grant", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, muralsim.Options{Quirks: muralsim.Quirks{TokensOutliveGrant: c.outlive}})
			access, refresh, err := w.Authorize("u2")
			must(t, err)
			other := w.as(t, "u1")
			must(t, c.end(w))
			w.get(t, access, "/users/me").want(t, c.status, c.code)
			w.renew(t, refresh).want(t, 400, c.refusal)
			if _, _, err := w.Authorize("u2", "identity:read"); (err == nil) != c.comeBack {
				t.Errorf("authorised again: %v", err)
			}
			if name != "the app is deleted" {
				w.get(t, other, "/users/me").want(t, 200, "")
			}
			w.ExpireTokens("u2")
			if c.status == 200 {
				w.get(t, access, "/users/me").want(t, 401, "TOKEN_EXPIRED")
			}
		})
	}
}

func TestSuspensionShowsAndIsUndone(t *testing.T) {
	w := start(t, muralsim.Options{})
	access, refresh, err := w.Authorize("u2")
	must(t, err)
	suspended := func() bool {
		var list struct{ Value []struct{ Suspended bool } }
		w.get(t, access, "/workspaces").want(t, 200, "").into(t, &list)
		return list.Value[0].Suspended
	}
	must(t, w.Suspend("u2"))
	same(t, "suspended", true, suspended())
	must(t, w.Restore("u2"))
	same(t, "restored", false, suspended())
	w.renew(t, refresh).want(t, 200, "")
}

func TestScopesOfAnInstall(t *testing.T) {
	w := start(t, muralsim.Options{})
	w.SetScopes("identity:read", "murals:read")
	access, refresh, err := w.Authorize("u2")
	must(t, err)
	w.get(t, access, "/workspaces").want(t, 403, "FORBIDDEN")

	w.SetScopes("identity:read", "workspaces:read") // one goes, one comes
	var tok tokens
	w.renew(t, refresh).want(t, 200, "").into(t, &tok)
	same(t, "the install keeps", []string{"identity:read", "murals:read"}, claims(t, tok.Access).Scopes)
	w.get(t, tok.Access, "/murals/"+plan).want(t, 200, "")
	w.get(t, tok.Access, "/workspaces").want(t, 403, "FORBIDDEN")

	again := w.as(t, "u2")
	w.get(t, again, "/workspaces").want(t, 200, "")
	w.get(t, again, "/murals/"+plan).want(t, 403, "FORBIDDEN")
	w.SetScopes()
	if access, _, err := w.Authorize("u2", "identity:read"); err == nil {
		t.Errorf("a scope that the app does not list was granted: %s", access)
	}
}
