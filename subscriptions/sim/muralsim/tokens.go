package muralsim

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const accessLife = 900 * time.Second

// AllScopes lists what an app can have.
func AllScopes() []string {
	return []string{"identity:read", "workspaces:read", "rooms:read", "users:read", "murals:read",
		"templates:read", "rooms:write", "murals:write", "templates:write", "workspaces:write"}
}

// App is an OAuth client.
type App struct {
	ClientID, Secret string
	Scopes           []string // those it lists now; see [Mural.SetScopes]
	RedirectURIs     []string // those it registered; empty: any
}

// grant is one authorisation of an app by a user.
type grant struct {
	id, user, client string
	scopes           []string
	ended            bool
}

type accessToken struct {
	grant  *grant
	scopes []string // at the time of minting
	end    time.Time
}

type refreshToken struct {
	grant *grant
	end   time.Time
	used  bool
}

func (m *Mural) open(user, client string, scopes []string) *grant {
	g := &grant{id: uuid.NewString(), user: user, client: client, scopes: scopes}
	m.grants = append(m.grants, g)
	return g
}

// claims are those of an access token, and some of them of a refresh token. The vendor's own SDK reads exp,
// iat, scopes, sessionId and username (github MuralDevKit/mural-integrations-sdk at 155f5f4).
type claims struct {
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
	ID       string   `json:"jti"`
	Scopes   []string `json:"scopes,omitempty"`
	Session  string   `json:"sessionId"`
	Username string   `json:"username,omitempty"`
}

func (m *Mural) mintAccess(g *grant) string {
	now := time.Now()
	end := now.Add(m.scale(accessLife))
	text := m.jwt(claims{Expires: epochSeconds(end), Issued: now.Unix(), ID: rand.Text(), Scopes: g.scopes,
		Session: g.id, Username: m.world.users[g.user].Username})
	m.access[text] = &accessToken{grant: g, scopes: g.scopes, end: end}
	return text
}

func (m *Mural) mintRefresh(g *grant) string {
	now := time.Now()
	end := now.Add(m.scale(m.opts.RefreshLife))
	text := rand.Text()
	if !m.quirks.OpaqueRefresh {
		text = m.jwt(claims{Expires: epochSeconds(end), Issued: now.Unix(), ID: text, Session: g.id})
	}
	m.refresh[text] = &refreshToken{grant: g, end: end}
	return text
}

// jwt signs with a key that nobody has: clients may look into a token, not check it.
func (m *Mural) jwt(c claims) string {
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload)
	mac := hmac.New(sha256.New, m.key)
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// authenticate finds the bearer token.
func (c *call) authenticate() (*accessToken, error) {
	scheme, text, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	x := c.m.access[strings.TrimSpace(text)]
	if !strings.EqualFold(scheme, "Bearer") || x == nil || x.grant.ended && !c.quirks.TokensOutliveGrant {
		return nil, errUnauthorized()
	}
	if !time.Now().Before(x.end) {
		return nil, errExpired(c.quirks)
	}
	return x, nil
}

// Authorize does what a user does who consents to Options.ClientID, and returns the tokens; no scopes means
// all that the app lists. It errs when the user is unknown or suspended, or the app lacks a scope.
func (m *Mural) Authorize(user string, scopes ...string) (access, refresh string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.world.users[user]; u == nil || u.Suspended {
		return "", "", fmt.Errorf("user %q: %w", user, ErrUnknown)
	}
	granted, refused := m.apps[m.opts.ClientID].grant(slices.Clone(scopes))
	if refused != nil {
		return "", "", refused
	}
	g := m.open(user, m.opts.ClientID, granted)
	return m.mintAccess(g), m.mintRefresh(g), nil
}

// SignIn puts a user at the browser: who visits the consent page from now on is this one. At first it is u1.
func (m *Mural) SignIn(user string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.world.users[user] == nil {
		return fmt.Errorf("user %q: %w", user, ErrUnknown)
	}
	m.person = user
	return nil
}

// DropGrant ends all that a user granted to Options.ClientID: refresh tokens are refused, access tokens too
// unless the quirk TokensOutliveGrant is on. It returns how many grants ended.
func (m *Mural) DropGrant(user string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.drop(func(g *grant) bool { return g.user == user && g.client == m.opts.ClientID })
}

func (m *Mural) drop(which func(*grant) bool) (ended int) {
	for _, g := range m.grants {
		if !g.ended && which(g) {
			g.ended = true
			ended++
		}
	}
	return ended
}

// AddApp adds an app, or replaces the one with its id. Grants keep their scopes.
func (m *Mural) AddApp(a App) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a.Scopes, a.RedirectURIs = slices.Clone(a.Scopes), slices.Clone(a.RedirectURIs)
	m.apps[a.ClientID] = a
}

// SetScopes changes what Options.ClientID lists. As at the vendor, users who have installed it keep what they
// granted, and have nothing more before they consent again.
func (m *Mural) SetScopes(scopes ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.apps[m.opts.ClientID]
	a.ClientID, a.Scopes = m.opts.ClientID, slices.Clone(scopes)
	m.apps[a.ClientID] = a
}

// DeleteApp removes an app and ends its grants.
func (m *Mural) DeleteApp(clientID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.apps, clientID)
	m.drop(func(g *grant) bool { return g.client == clientID })
}

// ExpireTokens ends the life of all access tokens of a user. Refresh tokens stay.
func (m *Mural) ExpireTokens(user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, x := range m.access {
		if x.grant.user == user {
			x.end = now
		}
	}
}

// Reuses counts how often a used refresh token came again and was refused.
func (m *Mural) Reuses() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reuses
}
