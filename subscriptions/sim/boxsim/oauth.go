package boxsim

import (
	"crypto/rand"
	"crypto/subtle"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	grantCCG      = "client_credentials"
	grantJWT      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
)

// lives are what expires_in was seen to be, in seconds. Tokens take turns.
var lives = []time.Duration{4123, 3600, 4175, 4000}

// token is an access token.
type token struct {
	text, client, user string
	scopes             []string
	resource           string // id of the only item that it reaches; empty: all of the user's
	end                time.Time
}

func (t *token) has(scope string) bool { return slices.Contains(t.scopes, scope) }

// mint issues a token. The world is locked.
func (s *Box) mint(t token) *token {
	life := lives[s.issued%len(lives)] * time.Second
	s.issued++
	t.text = "1!" + rand.Text() + "_-" + rand.Text()
	t.end = time.Now().Add(s.scale(life))
	s.tokens[t.text] = &t
	s.record("USER_AUTHENTICATE_OAUTH2_ACCESS_TOKEN_CREATE", t.user, s.world.userMini(t.user),
		obj{"service_id": t.client})
	return &t
}

// endTokens ends some without a word.
func (s *Box) endTokens(which func(*token) bool) {
	maps.DeleteFunc(s.tokens, func(_ string, t *token) bool { return which(t) })
}

// EndTokens ends all tokens of a user, as time does.
func (s *Box) EndTokens(user string) {
	defer s.lock()()
	s.endTokens(func(t *token) bool { return t.user == user })
}

// IssueToken is an access token of a user, as if it had logged in to Options.ClientID; empty when the user is
// not there or inactive. Without scopes it has all that the app was authorized for.
func (s *Box) IssueToken(user string, scopes ...string) string {
	defer s.lock()()
	a := s.apps[s.opts.ClientID]
	if !s.world.users[user].live() {
		return ""
	}
	if len(scopes) == 0 {
		scopes = a.scopes
	}
	return s.mint(token{client: a.ClientID, user: user, scopes: slices.Clone(scopes)}).text
}

// authenticate finds the bearer token.
func (c *call) authenticate() (*token, error) {
	scheme, text, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	t := c.s.tokens[strings.TrimSpace(text)]
	if !strings.EqualFold(scheme, "Bearer") || !c.s.lives(t) {
		return nil, errToken()
	}
	return t, nil
}

// lives tells whether a token can be used.
func (s *Box) lives(t *token) bool {
	return t != nil && time.Now().Before(t.end) && s.world.users[t.user].live()
}

// client checks the credentials of an app in the form.
func (c *call) client(form url.Values) (*App, error) {
	a := c.s.apps[form.Get("client_id")]
	if a == nil || subtle.ConstantTimeCompare([]byte(form.Get("client_secret")), []byte(a.Secret)) != 1 {
		if form.Get("grant_type") == grantCCG {
			return nil, errGrant("Grant credentials are invalid")
		}
		return nil, errOAuth(http.StatusBadRequest, "invalid_client", "The client credentials are invalid")
	}
	return a, nil
}

func (c *call) form() (url.Values, error) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, errOAuth(http.StatusBadRequest, "invalid_request", "The form cannot be read")
	}
	return form, nil
}

func (c *call) postToken() (any, error) {
	form, err := c.form()
	if err != nil {
		return nil, err
	}
	if form.Get("grant_type") == grantExchange {
		return c.exchange(form)
	}
	a, err := c.client(form)
	if err != nil {
		return nil, err
	}
	if !a.authorized {
		return nil, errOAuth(http.StatusBadRequest, "unauthorized_client",
			"This app is not authorized by the enterprise admin")
	}
	kind, id := form.Get("box_subject_type"), form.Get("box_subject_id")
	switch form.Get("grant_type") {
	case grantCCG:
	case grantJWT:
		if kind, id, err = c.assertion(a, form.Get("assertion")); err != nil {
			return nil, err
		}
	default:
		return nil, errOAuth(http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant type")
	}
	user, err := c.subject(a, kind, id)
	if err != nil {
		return nil, err
	}
	return c.issued(c.s.mint(token{client: a.ClientID, user: user, scopes: slices.Clone(a.scopes)})), nil
}

// subject is the user that a grant names, if the app may act for it.
func (c *call) subject(a *App, kind, id string) (string, error) {
	if kind == "enterprise" && id == c.s.opts.EnterpriseID {
		return a.ServiceUser, nil
	}
	u := c.s.world.users[id]
	if kind != "user" || !u.live() || u.External || a.NoUserTokens {
		return "", errGrant("Grant credentials are invalid")
	}
	if a.appOnly && !u.AppUser && !u.Service {
		return "", errOAuth(http.StatusBadRequest, "unauthorized_client",
			"Cannot obtain token based on the enterprise configuration for your app")
	}
	return id, nil
}

// issued is what a grant answers.
func (c *call) issued(t *token) obj {
	c.w.Header().Set("Cache-Control", "no-store")
	answer := obj{"access_token": t.text, "expires_in": max(1, int(time.Until(t.end).Seconds()+0.5)),
		"restricted_to": []any{}, "token_type": "bearer"}
	if c.quirks.IssuedTokenType {
		delete(answer, "token_type")
		answer["issued_token_type"] = "bearer"
	}
	return answer
}

// exchange makes a narrower token out of one.
func (c *call) exchange(form url.Values) (any, error) {
	old := c.s.tokens[form.Get("subject_token")]
	if !c.s.lives(old) || form.Get("subject_token_type") != typeAccess {
		return nil, errGrant("Invalid subject token")
	}
	scopes := strings.Fields(form.Get("scope"))
	for _, one := range scopes {
		root := old.has("root_readonly") || old.has("root_readwrite")
		if !old.has(one) && !(root && narrow(one)) {
			return nil, errOAuth(http.StatusUnauthorized, "invalid_scope", "The scope is not one of the subject token")
		}
	}
	if len(scopes) == 0 {
		return nil, errOAuth(http.StatusBadRequest, "invalid_request", "Missing scope")
	}
	it, err := c.resource(old, form)
	if err != nil {
		return nil, err
	}
	fresh := token{client: old.client, user: old.user, scopes: scopes, resource: old.resource}
	if it != nil {
		fresh.resource = it.ID
	}
	t := c.s.mint(fresh)
	answer := c.issued(t)
	answer["token_type"], answer["issued_token_type"] = "bearer", typeAccess
	answer["restricted_to"] = c.restrictions(t.scopes, it)
	return answer, nil
}

// resource is the item that the exchange is for, by API URL or by shared link; nil for none.
func (c *call) resource(t *token, form url.Values) (*Item, error) {
	address, link := form.Get("resource"), form.Get("box_shared_link")
	if address == "" && link == "" {
		return nil, nil
	}
	c.token, c.me = t, c.s.world.users[t.user]
	for _, it := range c.s.world.items {
		named := strings.HasSuffix(address, "/2.0/"+it.Type+"s/"+it.ID) || link != "" && link == it.linkURL()
		if !named || address != "" && link != "" || link != "" && it.Link == "" {
			continue
		}
		if found, err := c.find(c.s.world, it.Type, it.ID); err == nil {
			return found, nil
		}
	}
	return nil, errOAuth(http.StatusBadRequest, "invalid_resource", "The target resource is invalid.")
}

// restrictions are one for each scope, with the item where there is one.
func (c *call) restrictions(scopes []string, it *Item) []obj {
	all := make([]obj, 0, len(scopes))
	for _, one := range scopes {
		r := obj{"scope": one}
		if it != nil {
			r["object"] = c.s.world.itemMini(it.ID)
		}
		all = append(all, r)
	}
	return all
}

// postRevoke ends a token. When it was the last of its user with the app, their webhooks go with it.
func (c *call) postRevoke() (any, error) {
	form, err := c.form()
	if err != nil {
		return nil, err
	}
	a, err := c.client(form)
	if err != nil {
		return nil, err
	}
	t := c.s.tokens[form.Get("token")]
	if t == nil || t.client != a.ClientID {
		return nil, nil // RFC 7009: no error
	}
	delete(c.s.tokens, t.text)
	c.s.record("OAUTH2_ACCESS_TOKEN_REVOKE", t.user, c.s.world.userMini(t.user), obj{"service_id": t.client})
	for _, other := range c.s.tokens {
		if other.client == t.client && other.user == t.user && c.s.lives(other) {
			return nil, nil
		}
	}
	for _, x := range slices.Clone(c.s.hooks) {
		if x.client == t.client && x.user == t.user {
			c.s.dropHook(x, true)
		}
	}
	return nil, nil
}
