package muralsim

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const codeLife = 10 * time.Minute

// code is what the browser brings back from the consent page. It serves once.
type code struct {
	client, user, redirect, challenge string
	scopes                            []string
	end                               time.Time
}

// authorize is the consent page. Whoever [Mural.SignIn] named consents at once. A wrong app or redirect_uri
// is refused, everything else is told to the redirect_uri.
func (c *call) authorize() (any, error) {
	app, known := c.m.apps[c.query.Get("client_id")]
	if !known {
		return nil, errOAuth("invalid_client", "Unknown client")
	}
	to := c.query.Get("redirect_uri")
	target, err := url.Parse(to)
	if err != nil || !target.IsAbs() || !app.redirects(to) {
		return nil, errOAuth("invalid_request", "Invalid redirect_uri")
	}
	answer := target.Query()
	if state := c.query.Get("state"); state != "" {
		answer.Set("state", state)
	}
	if text, refused := c.consent(app); refused != nil {
		answer.Set("error", refused.code)
		answer.Set("error_description", refused.message)
	} else {
		answer.Set("code", text)
	}
	target.RawQuery = answer.Encode()
	c.w.Header().Set("Location", target.String())
	c.status = http.StatusFound
	return nil, nil
}

// consent makes a code.
func (c *call) consent(app App) (string, *apiError) {
	q := c.query
	if q.Get("response_type") != "code" {
		return "", errOAuth("unsupported_response_type", "response_type must be code")
	}
	if (q.Get("code_challenge") != "") != (q.Get("code_challenge_method") == "S256") {
		return "", errOAuth("invalid_request", "code_challenge needs code_challenge_method S256")
	}
	scopes, refused := app.grant(strings.Fields(q.Get("scope")))
	if refused != nil {
		return "", refused
	}
	if c.m.world.users[c.m.person].Suspended {
		return "", errOAuth("access_denied", "The user may not sign in")
	}
	text := rand.Text()
	c.m.codes[text] = code{client: app.ClientID, user: c.m.person, redirect: q.Get("redirect_uri"),
		challenge: q.Get("code_challenge"), scopes: scopes, end: time.Now().Add(c.m.scale(codeLife))}
	return text, nil
}

// grant is what of the scopes asked for the user is asked to consent to.
func (a App) grant(asked []string) ([]string, *apiError) {
	if len(asked) == 0 {
		return slices.Clone(a.Scopes), nil
	}
	for _, scope := range asked {
		if !slices.Contains(a.Scopes, scope) {
			return nil, errOAuth("invalid_scope", "The app does not list "+scope)
		}
	}
	return asked, nil
}

func (a App) redirects(to string) bool {
	return len(a.RedirectURIs) == 0 || slices.Contains(a.RedirectURIs, to)
}

// form reads the body of a token request, form encoded or JSON.
func (c *call) form() (url.Values, error) {
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if kind != "application/json" {
		form, err := url.ParseQuery(string(c.body))
		if err != nil {
			return nil, errOAuth("invalid_request", "Malformed body")
		}
		return form, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return nil, errOAuth("invalid_request", "Malformed body")
	}
	form := url.Values{}
	for name, v := range fields {
		if text, ok := v.(string); ok {
			form.Set(name, text)
		}
	}
	return form, nil
}

// app checks the credentials of the app, in a Basic header or in the body.
func (c *call) app(form url.Values) (App, error) {
	id, secret, basic := c.r.BasicAuth()
	if basic {
		id, secret = unescape(id), unescape(secret)
	} else {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	a, known := c.m.apps[id]
	if known && same(secret, a.Secret) && (basic || !c.quirks.BasicOnly) {
		return a, nil
	}
	e := errOAuth("invalid_client", "Client authentication failed")
	if basic {
		e.status = http.StatusUnauthorized
		c.w.Header().Set("WWW-Authenticate", "Basic")
	}
	return App{}, e
}

// unescape undoes the form encoding that RFC 6749 wants in a Basic header.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

type tokenReply struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresIn    int    `json:"expires_in"`
	TokenType    string `json:"token_type"`
}

// token serves both grants.
func (c *call) token() (any, error) { return c.serveToken("authorization_code", "refresh_token") }

// refreshAlone is the other address for refreshing.
func (c *call) refreshAlone() (any, error) { return c.serveToken("refresh_token") }

func (c *call) serveToken(grants ...string) (any, error) {
	form, err := c.form()
	if err != nil {
		return nil, err
	}
	app, err := c.app(form)
	if err != nil {
		return nil, err
	}
	c.w.Header().Set("Cache-Control", "no-store")
	kind := form.Get("grant_type")
	switch {
	case !slices.Contains(grants, kind):
		return nil, errOAuth("unsupported_grant_type", "Unsupported grant type")
	case kind == "refresh_token":
		return c.redeemRefresh(app, form.Get("refresh_token"))
	}
	return c.redeemCode(app, form)
}

func (c *call) redeemCode(app App, form url.Values) (any, error) {
	text := form.Get("code")
	x, known := c.m.codes[text]
	if !known || x.client != app.ClientID || !time.Now().Before(x.end) {
		return nil, errOAuth("invalid_grant", "Unknown or expired code")
	}
	delete(c.m.codes, text)
	if form.Get("redirect_uri") != x.redirect {
		return nil, errOAuth("invalid_grant", "redirect_uri differs")
	}
	if x.challenge != "" && x.challenge != challenge(form.Get("code_verifier")) {
		return nil, errOAuth("invalid_grant", "code_verifier does not match")
	}
	if c.m.world.users[x.user].Suspended {
		return nil, errOAuth("invalid_grant", "The user is suspended")
	}
	g := c.m.open(x.user, x.client, x.scopes)
	return c.tokens(g, c.m.mintRefresh(g)), nil
}

// challenge is S256 of RFC 7636.
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// redeemRefresh serves a refresh token once, unless a quirk says otherwise.
func (c *call) redeemRefresh(app App, text string) (any, error) {
	x := c.m.refresh[text]
	if x == nil || x.grant.ended || x.grant.client != app.ClientID || !time.Now().Before(x.end) {
		return nil, errOAuth("invalid_grant", "Unknown or expired refresh token")
	}
	if x.used && !c.quirks.ReuseAllowed {
		c.m.reuses++
		x.grant.ended = x.grant.ended || c.quirks.ReuseEndsGrant
		return nil, errOAuth("invalid_grant", "The refresh token was used before")
	}
	if c.m.world.users[x.grant.user].Suspended {
		return nil, errOAuth("invalid_grant", "The user is suspended")
	}
	if c.quirks.NoRefreshToken {
		return c.tokens(x.grant, ""), nil
	}
	x.used = true
	return c.tokens(x.grant, c.m.mintRefresh(x.grant)), nil
}

func (c *call) tokens(g *grant, refresh string) tokenReply {
	return tokenReply{AccessToken: c.m.mintAccess(g), RefreshToken: refresh,
		ExpiresIn: wholeSeconds(c.m.scale(accessLife)), TokenType: "Bearer"}
}
