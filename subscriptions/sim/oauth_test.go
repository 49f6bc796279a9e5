package sim_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim"
)

func TestTokenGrants(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.login(t)
	if tok.Owner != admin || tok.ExpiresIn != 3600 || tok.Session == "" || tok.Refresh == "" ||
		tok.Scope != "ReadAccounts SubscriptionWebhook RoleManagement" {
		t.Fatalf("got %+v", tok)
	}
	w.get(t, tok.Access, "/account/~/extension/~").want(t, 200, "")

	for name, c := range map[string]struct {
		change url.Values
		oauth  string
		code   string
	}{
		"a scope the app lacks":     {url.Values{"scope": {"ReadMessages"}}, "invalid_scope", "OAU-109"},
		"an unknown assertion":      {url.Values{"assertion": {"x"}}, "invalid_grant", "OAU-140"},
		"an unknown grant":          {url.Values{"grant_type": {"password"}}, "unsupported_grant_type", "OAU-250"},
		"a life that is too short":  {url.Values{"access_token_ttl": {"599"}}, "invalid_request", "CMN-101"},
		"an unknown refresh token":  {url.Values{"grant_type": {"refresh_token"}}, "invalid_grant", "OAU-213"},
		"a refresh life over limit": {url.Values{"refresh_token_ttl": {"2592001"}}, "invalid_request", "CMN-101"},
	} {
		t.Run(name, func(t *testing.T) {
			form := jwtGrant()
			for k, v := range c.change {
				form[k] = v
			}
			a := w.grant(t, form).want(t, 400, c.code)
			if a.errorCode(t); a.json["error"] != c.oauth {
				t.Errorf("got %v, want %s", a.json["error"], c.oauth)
			}
		})
	}
	t.Run("a wrong client secret", func(t *testing.T) {
		w.form(t, "/restapi/oauth/token", "rescind-dev", "wrong", jwtGrant()).want(t, 400, "OAU-123")
	})
	t.Run("a narrower scope", func(t *testing.T) {
		form := jwtGrant()
		form.Set("scope", "ReadAccounts")
		var tok token
		w.grant(t, form).want(t, 200, "").into(t, &tok)
		if tok.Scope != "ReadAccounts" {
			t.Errorf("got %q", tok.Scope)
		}
	})
}

func TestSixthSessionEndsTheFirst(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	var tokens []token
	for range 6 {
		tokens = append(tokens, w.login(t))
	}
	a := w.get(t, tokens[0].Access, "/account/~/extension/~").want(t, 401, "OAU-213")
	if a.errorCode(t); a.json["errorCode"] != "TokenInvalid" {
		t.Errorf("top code: got %v, want the alias TokenInvalid", a.json["errorCode"])
	}
	for _, tok := range tokens[1:] {
		w.get(t, tok.Access, "/account/~/extension/~").want(t, 200, "")
	}
	// Another user's sessions do not count.
	w.get(t, w.as(t, user), "/account/~/extension/~").want(t, 200, "")
	w.get(t, tokens[1].Access, "/account/~/extension/~").want(t, 200, "")
}

func TestRefreshEndsTheOldAccessToken(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	old := w.login(t)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}}
	var tok token
	w.grant(t, form).want(t, 200, "").into(t, &tok)
	if tok.Session != old.Session || tok.Access == old.Access {
		t.Fatalf("got %+v after %+v", tok, old)
	}
	w.get(t, old.Access, "/account/~/extension/~").want(t, 401, "OAU-213")
	// The new one is unused: the old refresh token still serves a client that lost the answer.
	w.grant(t, form).want(t, 200, "").into(t, &tok)
	w.get(t, tok.Access, "/account/~/extension/~").want(t, 200, "")
}

func TestReplacedRefreshTokenDiesAfterUse(t *testing.T) {
	for name, used := range map[string]bool{"the new access token was used": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free(), Speed: 200}) // 10 s are 50 ms, an hour 18 s
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {w.login(t).Refresh}}
			var tok token
			w.grant(t, form).want(t, 200, "").into(t, &tok)
			if used {
				w.get(t, tok.Access, "/account/~/extension/~").want(t, 200, "")
			}
			timer := time.NewTimer(100 * time.Millisecond) // asking meanwhile would replace it again
			defer timer.Stop()
			<-timer.C
			if used {
				w.grant(t, form).want(t, 400, "OAU-213")
				return
			}
			w.grant(t, form).want(t, 200, "")
		})
	}
}

func TestRevokeEndsTheSession(t *testing.T) {
	for name, pick := range map[string]func(token) string{
		"by access token":  func(tok token) string { return tok.Access },
		"by refresh token": func(tok token) string { return tok.Refresh },
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, sim.Options{Limits: free()})
			tok := w.login(t)
			w.form(t, "/restapi/oauth/revoke", "rescind-dev", "rescind-dev-secret",
				url.Values{"token": {pick(tok)}}).want(t, 200, "")
			w.get(t, tok.Access, "/account/~/extension/~").want(t, 401, "OAU-213")
			w.grant(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok.Refresh}}).
				want(t, 400, "OAU-213")
		})
	}
}

func TestAccessTokenExpires(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), Speed: 36000}) // an hour is 100 ms
	tok := w.login(t)
	eventually(t, "OAU-128", func() bool {
		a := w.get(t, tok.Access, "/account/~/extension/~")
		return a.status == 401 && a.errorCode(t) == "OAU-128"
	})
}

func TestAuthenticationRefusals(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	const path = "/account/~/extension/~"
	w.get(t, "", path).want(t, 401, "CMN-405")
	w.get(t, "garbage", path).want(t, 401, "OAU-129")
	w.get(t, "SIMunknown", path).want(t, 401, "OAU-213")
	w.get(t, "", path+"?access_token="+w.as(t, user)).want(t, 200, "")
	gone := w.as(t, user)
	if err := w.SetStatus(user, "Disabled"); err != nil {
		t.Fatal(err)
	}
	w.get(t, gone, path).want(t, 401, "OAU-213")
	if tok := w.IssueToken(user, nil); tok != "" {
		t.Errorf("a disabled extension got a token")
	}
	w.RemoveJWT("service")
	w.grant(t, jwtGrant()).want(t, 400, "OAU-140")
	w.AddJWT(sim.JWT{Name: "disabled", Assertion: "sim-service-jwt", ExtensionID: user})
	w.grant(t, jwtGrant()).want(t, 400, "OAU-236")
}

func TestSeveralApps(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	w.AddApp(sim.App{ClientID: "support", Secret: "s", Scopes: []string{"ReadMessages"}})
	var tok token
	w.form(t, "/restapi/oauth/token", "support", "s", jwtGrant()).want(t, 200, "").into(t, &tok)
	if tok.Scope != "ReadMessages" || tok.Refresh != "" {
		t.Errorf("got %+v", tok)
	}
	a := w.get(t, tok.Access, "/account/~/extension").want(t, 403, "CMN-401")
	a.errorCode(t)
	if a.json["errorCode"] != "InsufficientPermissions" || a.json["permissionName"] != "ReadAccounts" {
		t.Errorf("not hoisted with its alias: %s", a.raw)
	}
}

func TestTokenExchange(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {user}, "subject_token_type": {"urn:example:extension"}}
	exchange := func() answer {
		return w.form(t, "/token-exchange", sim.ExchangeID, sim.ExchangeSecret, form)
	}
	var tok token
	exchange().want(t, 200, "").into(t, &tok)
	a := w.get(t, tok.Access, "/account/~/extension/~").want(t, 200, "")
	if a.errorCode(t); !strings.HasSuffix(a.json["uri"].(string), "/extension/"+user) {
		t.Errorf("not the subject's own token: %v", a.json["uri"])
	}
	oauth := func(a answer) string {
		a.errorCode(t)
		text, _ := a.json["error"].(string)
		return text
	}
	wrong := w.form(t, "/token-exchange", sim.ExchangeID, "wrong", form)
	if a := wrong; a.status != 401 || oauth(a) != "invalid_client" {
		t.Errorf("wrong secret: %d %s", a.status, a.raw)
	}
	w.RefuseExchange(user, true)
	if a := exchange(); a.status != 400 || oauth(a) != "invalid_grant" {
		t.Errorf("refused: %d %s", a.status, a.raw)
	}
	w.RefuseExchange(user, false)
	w.SetExchange(false)
	if a := exchange(); a.status != 503 {
		t.Errorf("off: %d", a.status)
	}
	w.SetExchange(true)
	form.Del("subject_token_type")
	if a := exchange(); oauth(a) != "invalid_request" {
		t.Errorf("no type: %s", a.raw)
	}
	if got := w.Calls("exchangeToken"); got != 5 {
		t.Errorf("counted %d calls, want 5", got)
	}
}
