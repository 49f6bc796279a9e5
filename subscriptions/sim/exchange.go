package sim

import (
	"cmp"
	"slices"
	"strings"
)

// The credentials of the token exchange.
const (
	ExchangeID     = "exchange"
	ExchangeSecret = "exchange-secret"
)

// desk is the token exchange. It is not the vendor's: a customer of ours runs one next to its user sessions,
// and hands out a user's own token to who may have it.
type desk struct {
	open    bool
	refused map[string]bool // subjects
}

// SetExchange switches the token exchange on or off; off it answers 503. It begins on.
func (s *RingCentral) SetExchange(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.desk.open = on
}

// RefuseExchange makes the token exchange answer invalid_grant for an extension, or serve it again.
func (s *RingCentral) RefuseExchange(extensionID string, refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.desk.refused[extensionID] = refuse
}

type exchangeInfo struct {
	AccessToken string `json:"access_token"`
	IssuedType  string `json:"issued_token_type"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
}

// exchangeToken gives the token of the extension named by subject_token (RFC 8693, section 2).
func (c *call) exchangeToken() (any, error) {
	if !c.s.desk.open {
		return nil, errStatus(503)
	}
	id, secret, _ := c.r.BasicAuth()
	if !same(id, ExchangeID) || !same(secret, ExchangeSecret) {
		e := errOAuth("invalid_client", "", "unknown client")
		e.status = 401
		return nil, e
	}
	form := c.form()
	if form.Get("grant_type") != grantExchange {
		return nil, errOAuth("unsupported_grant_type", "", "only token exchange")
	}
	subject := form.Get("subject_token")
	if subject == "" || form.Get("subject_token_type") == "" {
		return nil, errOAuth("invalid_request", "", "subject_token and subject_token_type are required")
	}
	if c.s.desk.refused[subject] || !c.s.world.extensions[subject].live() {
		return nil, errOAuth("invalid_grant", "", "no session of this subject")
	}
	app := c.s.apps[c.s.opts.ClientID]
	scopes, err := grantedScopes(app, form)
	if err != nil {
		return nil, err
	}
	x := c.s.open(session{owner: subject, client: app.ClientID, scopes: slices.Clone(scopes)})
	c.w.Header().Set("Cache-Control", "no-store")
	return exchangeInfo{AccessToken: x.access, IssuedType: "urn:ietf:params:oauth:token-type:access_token",
		TokenType: "Bearer", ExpiresIn: secondsUntil(x.accessEnd), Scope: strings.Join(x.scopes, " ")}, nil
}

// jwtNames are shown to humans; the assertions are not.
func (s *RingCentral) jwtNames() []string {
	var names []string
	for _, j := range s.jwts {
		names = append(names, cmp.Or(j.Name, "unnamed")+" of "+j.ExtensionID)
	}
	slices.Sort(names)
	return names
}
