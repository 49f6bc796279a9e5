package sim

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	maxSessions       = 5 // of one user with one app (vendor: "more than about five parallel sessions")
	tokenPrefix       = "SIM"
	accessLife        = 3600 * time.Second
	refreshLife       = 604800 * time.Second
	previousLife      = time.Hour        // of a replaced refresh token, while the new access token is unused
	previousLifeAfter = 10 * time.Second // once it is used

	grantJWT      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantRefresh  = "refresh_token"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// App is an OAuth client.
type App struct {
	ClientID, Secret string
	Scopes           []string // app permissions; told as they are, not closed over inclusions
	RefreshTokens    bool     // whether token replies carry one
}

// JWT is a credential made in the developer console. It belongs to one extension and needs not expire.
type JWT struct {
	Name, Assertion, ExtensionID string
}

// AddApp adds an OAuth client, or replaces the one with its id. Sessions keep the scopes they were given.
func (s *RingCentral) AddApp(a App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Scopes = slices.Clone(a.Scopes)
	s.apps[a.ClientID] = a
}

// SetAppScopes replaces the app permissions of Options.ClientID; tokens from now on have these.
func (s *RingCentral) SetAppScopes(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.apps[s.opts.ClientID]
	a.Scopes = slices.Clone(scopes)
	s.apps[a.ClientID] = a
}

// AddJWT adds a credential, or replaces the one with its assertion.
func (s *RingCentral) AddJWT(j JWT) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jwts[j.Assertion] = j
}

// RemoveJWT revokes a credential by its name. Sessions opened with it live on.
func (s *RingCentral) RemoveJWT(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.jwts, func(_ string, j JWT) bool { return j.Name == name })
}

// IssueToken opens a session for an extension, as if its user had logged in to Options.ClientID, and returns
// the access token; empty when the extension is not there or not enabled. The rule of five sessions holds.
func (s *RingCentral) IssueToken(extensionID string, scopes []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.world.extensions[extensionID].live() {
		return ""
	}
	return s.open(session{owner: extensionID, client: s.opts.ClientID, scopes: slices.Clone(scopes)}).access
}

// session is a login of a user with an app.
type session struct {
	id, owner, client, endpoint    string
	scopes                         []string
	access, refresh, previous      string
	accessLife, refreshLife        time.Duration
	accessEnd, refreshEnd, prevEnd time.Time
	used                           bool // the present access token was
}

func (x *session) has(scope string) bool { return slices.Contains(x.scopes, scope) }

func (x *session) alive(now time.Time) bool {
	return now.Before(x.accessEnd) || now.Before(x.refreshEnd)
}

// open starts a session, and ends the oldest of the same user and app when there are too many.
func (s *RingCentral) open(x session) *session {
	x.id = uuid.NewString()
	x.endpoint = cmp.Or(x.endpoint, rand.Text())
	x.accessLife = cmp.Or(x.accessLife, accessLife)
	x.refreshLife = cmp.Or(x.refreshLife, refreshLife)
	s.mint(&x)
	key := bucketKey{owner: x.owner, client: x.client}
	now := time.Now()
	for _, old := range slices.Clone(s.sessions[key]) {
		if !old.alive(now) {
			s.end(old)
		}
	}
	s.sessions[key] = append(s.sessions[key], &x)
	if list := s.sessions[key]; len(list) > maxSessions {
		s.end(list[0])
	}
	return &x
}

// mint gives a session new tokens. The access token that it had dies at once; the refresh token that it had
// stays for a while, for a client that lost the answer.
func (s *RingCentral) mint(x *session) {
	now := time.Now()
	delete(s.access, x.access)
	delete(s.refresh, x.previous)
	x.previous, x.prevEnd = x.refresh, now.Add(s.scale(previousLife))
	x.access, x.used = tokenPrefix+rand.Text(), false
	x.accessEnd = now.Add(s.scale(x.accessLife))
	s.access[x.access] = x
	if s.apps[x.client].RefreshTokens {
		x.refresh, x.refreshEnd = tokenPrefix+rand.Text(), now.Add(s.scale(x.refreshLife))
		s.refresh[x.refresh] = x
	}
}

func (s *RingCentral) end(x *session) {
	delete(s.access, x.access)
	delete(s.refresh, x.refresh)
	delete(s.refresh, x.previous)
	key := bucketKey{owner: x.owner, client: x.client}
	s.sessions[key] = slices.DeleteFunc(s.sessions[key], func(y *session) bool { return x == y })
}

func (s *RingCentral) endSessions(owner string) {
	for key, list := range s.sessions {
		if key.owner == owner {
			for _, x := range slices.Clone(list) {
				s.end(x)
			}
		}
	}
}

// authenticate finds the session of the bearer token.
func (c *call) authenticate() (*session, error) {
	token := c.query.Get("access_token")
	if h := c.r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, errToken("OAU-151", "Authorization method not supported")
		}
		token = strings.TrimSpace(rest)
	}
	if token == "" {
		return nil, errToken("CMN-405", "Login to extension required")
	}
	if !strings.HasPrefix(token, tokenPrefix) {
		return nil, errToken("OAU-129", "Access token corrupted")
	}
	x, now := c.s.access[token], time.Now()
	if x == nil {
		return nil, errToken("OAU-213", "Token not found")
	}
	if !now.Before(x.accessEnd) {
		return nil, errToken("OAU-128", "Access token expired")
	}
	if end := now.Add(c.s.scale(previousLifeAfter)); !x.used && end.Before(x.prevEnd) {
		x.prevEnd = end
	}
	x.used = true
	return x, nil
}

// client checks the Basic credentials of an app.
func (c *call) client() (App, error) {
	id, secret, ok := c.r.BasicAuth()
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	a, known := c.s.apps[id]
	if !ok || errID != nil || errSecret != nil || !known || !same(secret, a.Secret) {
		return App{}, errOAuth("invalid_client", "OAU-123", "Invalid Authorization header")
	}
	return a, nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

type tokenInfo struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int    `json:"expires_in"`
	RefreshToken     string `json:"refresh_token,omitempty"`
	RefreshExpiresIn int    `json:"refresh_token_expires_in,omitempty"`
	Scope            string `json:"scope"`
	OwnerID          string `json:"owner_id"`
	EndpointID       string `json:"endpoint_id"`
	SessionID        string `json:"session_id"`
}

// getToken serves the JWT and the refresh grant. It counts against the user that the grant names.
func (c *call) getToken() (any, error) {
	app, err := c.client()
	if err != nil {
		return nil, err
	}
	form := c.form()
	var x *session
	switch form.Get("grant_type") {
	case grantJWT:
		x, err = c.login(app, form)
	case grantRefresh:
		x, err = c.renewToken(app, form)
	default:
		err = errOAuth("unsupported_grant_type", "OAU-250", "Unsupported grant type")
	}
	if err != nil {
		return nil, err
	}
	info := tokenInfo{AccessToken: x.access, TokenType: "bearer", ExpiresIn: secondsUntil(x.accessEnd),
		Scope: strings.Join(x.scopes, " "), OwnerID: x.owner, EndpointID: x.endpoint, SessionID: x.id}
	if x.refresh != "" {
		info.RefreshToken, info.RefreshExpiresIn = x.refresh, secondsUntil(x.refreshEnd)
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return info, nil
}

func (c *call) login(app App, form url.Values) (*session, error) {
	j, ok := c.s.jwts[form.Get("assertion")]
	if err := c.throttle(j.ExtensionID, app.ClientID); err != nil {
		return nil, err
	}
	if !ok {
		return nil, errOAuth("invalid_grant", "OAU-140", "Invalid assertion")
	}
	if !c.s.world.extensions[j.ExtensionID].live() {
		return nil, errOAuth("invalid_grant", "OAU-236", "Extension is disabled or frozen")
	}
	scopes, err := grantedScopes(app, form)
	if err != nil {
		return nil, err
	}
	x := session{owner: j.ExtensionID, client: app.ClientID, endpoint: form.Get("endpoint_id"), scopes: scopes}
	if x.accessLife, err = life(form, "access_token_ttl", 600, 3600); err != nil {
		return nil, err
	}
	if x.refreshLife, err = life(form, "refresh_token_ttl", 1, 2592000); err != nil {
		return nil, err
	}
	return c.s.open(x), nil
}

func (c *call) renewToken(app App, form url.Values) (*session, error) {
	token, now := form.Get("refresh_token"), time.Now()
	x := c.s.refresh[token]
	if x == nil {
		x = &session{client: app.ClientID}
	}
	if err := c.throttle(x.owner, app.ClientID); err != nil {
		return nil, err
	}
	end := x.refreshEnd
	if token == x.previous {
		end = x.prevEnd
	}
	if x.id == "" || x.client != app.ClientID || !now.Before(end) {
		return nil, errOAuth("invalid_grant", "OAU-213", "Token not found")
	}
	c.s.mint(x)
	return x, nil
}

// grantedScopes are those asked for, or all that the app has.
func grantedScopes(app App, form url.Values) ([]string, error) {
	asked := strings.Fields(form.Get("scope"))
	for _, scope := range asked {
		if !slices.Contains(app.Scopes, scope) {
			return nil, errOAuth("invalid_scope", "OAU-109", "Invalid scope")
		}
	}
	if len(asked) == 0 {
		return slices.Clone(app.Scopes), nil
	}
	return asked, nil
}

// life reads an optional number of seconds; zero when absent.
func life(form url.Values, name string, lowest, highest int) (time.Duration, error) {
	text := form.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > highest {
		e := errOAuth("invalid_request", "CMN-101", "Parameter ["+name+"] value is invalid")
		e.extra = map[string]string{"parameterName": name, "parameterValue": text}
		return 0, e
	}
	return time.Duration(n) * time.Second, nil
}

// revokeToken ends the whole session of an access or refresh token. An unknown token is no error (RFC 7009).
func (c *call) revokeToken() (any, error) {
	app, err := c.client()
	if err != nil {
		return nil, err
	}
	token := cmp.Or(c.form().Get("token"), c.query.Get("token"))
	x := cmp.Or(c.s.access[token], c.s.refresh[token])
	owner := ""
	if x != nil {
		owner = x.owner
	}
	if err := c.throttle(owner, app.ClientID); err != nil {
		return nil, err
	}
	if x != nil && x.client == app.ClientID {
		c.s.end(x)
	}
	return nil, nil
}

// secondsUntil is told to clients: at least one.
func secondsUntil(t time.Time) int { return max(1, int(time.Until(t).Round(time.Second).Seconds())) }
