package boxsim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// App is an OAuth client. What an enterprise has authorized is a snapshot: Scopes and AppOnly count from the
// next [Box.Authorize] on, and for tokens issued after it.
type App struct {
	ClientID, Secret         string
	Scopes                   []string
	AppOnly                  bool   // application access without the enterprise: app users only
	NoUserTokens             bool   // "Generate user access tokens" is off
	NoAsUser                 bool   // "Make API calls using the As-User header" is off
	ServiceUser              string // id of its service account
	PrimaryKey, SecondaryKey string // sign deliveries; empty: not generated

	authorized bool
	scopes     []string
	appOnly    bool
}

// authorize takes the snapshot.
func (a *App) authorize() {
	a.authorized, a.scopes, a.appOnly = true, slices.Clone(a.Scopes), a.AppOnly
}

func defaultScopes() []string {
	return []string{"root_readonly", "root_readwrite", "manage_managed_users", "manage_app_users",
		"manage_groups", "manage_webhook", "manage_enterprise_properties"}
}

// scope is what an operation asks of a token.
type scope int

const (
	needNothing scope = iota // not even a token
	needToken                // any
	needRead
	needWrite
	needHooks
	needEvents
	needUsers
	needGroups
)

// allowed tells whether the token's scopes do. Items are also open to the scopes of UI elements.
func (c *call) allowed(need scope) bool {
	t := c.token
	switch need {
	case needRead:
		return t.has("root_readonly") || t.has("enterprise_content") ||
			t.has("root_readwrite") && !c.quirks.WriteOnly || slices.ContainsFunc(t.scopes, narrow)
	case needWrite:
		return t.has("root_readwrite")
	case needHooks:
		return t.has("manage_webhook")
	case needEvents:
		return t.has("manage_enterprise_properties")
	case needUsers:
		return t.has("manage_managed_users") || t.has("manage_app_users")
	case needGroups:
		return t.has("manage_groups")
	}
	return true
}

// narrow tells whether a scope is one that downscoping makes out of the root scopes.
func narrow(scope string) bool {
	kind, _, _ := strings.Cut(scope, "_")
	return kind == "base" || kind == "item" || kind == "annotation"
}

// AddApp adds an OAuth client, authorized as it is, or replaces the one with its id. Without a ServiceUser it
// gets a new one.
func (s *Box) AddApp(a App) {
	defer s.lock()()
	if a.ServiceUser == "" {
		a.ServiceUser = s.newID()
		u := User{ID: a.ServiceUser, Name: a.ClientID, Service: true,
			Login: "AutomationUser_" + a.ServiceUser + "_sim@boxdevedition.com"}
		u.complete(time.Now())
		s.remember()
		s.world.users[u.ID] = &u
	}
	a.Scopes = slices.Clone(a.Scopes)
	a.authorize()
	s.apps[a.ClientID] = &a
}

// app is the one with this id; an empty id is that of Options.ClientID.
func (s *Box) app(client string) (*App, error) {
	a := s.apps[cmp.Or(client, s.opts.ClientID)]
	if a == nil {
		return nil, fmt.Errorf("app %q: %w", client, ErrUnknown)
	}
	return a, nil
}

// Configure changes an app in the developer console; an empty client is that of Options.ClientID. Scopes and
// AppOnly have no effect before [Box.Authorize].
func (s *Box) Configure(client string, edit func(*App)) error {
	defer s.lock()()
	a, err := s.app(client)
	if err == nil {
		edit(a)
		a.Scopes = slices.Clone(a.Scopes)
	}
	return err
}

// SetKeys replaces the signature keys of Options.ClientID, as of the next attempt; empty: not generated.
func (s *Box) SetKeys(primary, secondary string) {
	defer s.lock()()
	a := s.apps[s.opts.ClientID]
	a.PrimaryKey, a.SecondaryKey = primary, secondary
}

// Authorize lets the administrator authorize an app, anew too, with what it is configured to have now. Tokens
// that were issued before keep what they have.
func (s *Box) Authorize(client string) error {
	return s.authorization(client, func(a *App) { a.authorize() })
}

// Deauthorize lets the administrator take an app's authorization away: its tokens end, it gets no new ones,
// and its webhooks deliver NO_ACTIVE_SESSION.
func (s *Box) Deauthorize(client string) error {
	return s.authorization(client, func(a *App) {
		a.authorized = false
		s.endTokens(func(t *token) bool { return t.client == a.ClientID })
	})
}

// authorization changes it, and tells the enterprise stream. The shape of that event is a guess.
func (s *Box) authorization(client string, change func(*App)) error {
	defer s.lock()()
	a, err := s.app(client)
	if err != nil {
		return err
	}
	change(a)
	s.record("ENTERPRISE_APP_AUTHORIZATION_UPDATE", AdminUser, nil, obj{"service_id": a.ClientID})
	return nil
}
