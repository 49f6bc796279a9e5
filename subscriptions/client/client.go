package client

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// Timeout is how long one call may take.
const Timeout = 20 * time.Second

// Op is an operation of a vendor's API: its operationId, the group of limits
// that it counts in, and its method.
type Op struct{ Name, Group, Method string }

// Vendor is what has to be known of a vendor's API.
type Vendor struct {
	// Name stands in errors.
	Name string
	// Usual are the limits of an identity by group, until replies tell others. A
	// group that is missing has none.
	Usual map[string]subscriptions.Window
	// Said reads what a reply tells of these limits. The Penalty of a 429
	// or 503 becomes a [*subscriptions.Later].
	Said func(op Op, status int, h http.Header) subscriptions.Said
	// App is a limit of all identities of the app together; nil: there is none.
	App *AppLimit
	// Refusal makes the error of a reply that is no success. It wraps
	// [subscriptions.ErrGone] and [subscriptions.ErrMisconfigured] where it is one
	// of these, and is [Transient] if it may pass; that of a 5xx is so anyway.
	Refusal func(op Op, status int, h http.Header, body []byte) error
	// TokenDead says whether a new token may help.
	TokenDead func(error) bool
	// RequestID is the header with the vendor's id of a request, for its support;
	// empty if there is none.
	RequestID string
	// FirstWait is before the second try, TokenWait before that of a mint; both
	// double. Default 2 s and 10 s.
	FirstWait, TokenWait time.Duration
}

// AppLimit is a limit that counts every call of an app.
type AppLimit struct {
	Group string
	Usual subscriptions.Window
	Said  func(status int, h http.Header) subscriptions.Said
}

// Options say whose calls they are.
type Options struct {
	Home events.Home
	// BaseURL is what every [Request.Path] begins with, without a slash at its end.
	BaseURL   string
	UserAgent string
}

// Client makes the calls of one tenant. It is safe for concurrent use.
type Client struct {
	vendor Vendor
	o      Options
	http   *http.Client
	vault  subscriptions.Vault
	budget subscriptions.Budget
	log    *slog.Logger
}

// New makes no call and starts nothing.
func New(v Vendor, o Options, d subscriptions.Deps) (*Client, error) {
	if d.HTTP == nil || d.Vault == nil || d.Budget == nil || d.Log == nil {
		return nil, errors.New(v.Name + ": HTTP, Vault, Budget and Log must be given")
	}
	if v.FirstWait == 0 {
		v.FirstWait = 2 * time.Second
	}
	if v.TokenWait == 0 {
		v.TokenWait = 10 * time.Second
	}
	h := *d.HTTP
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	h.Jar = nil
	if h.Timeout == 0 {
		h.Timeout = Timeout
	}
	return &Client{vendor: v, o: o, http: &h, vault: d.Vault, budget: d.Budget,
		log: d.Log.With("provider", string(o.Home.Provider), "tenant", string(o.Home.Tenant))}, nil
}

// Log is the logger with provider and tenant.
func (c *Client) Log() *slog.Logger { return c.log }

// Vault keeps what the fleet shares.
func (c *Client) Vault() subscriptions.Vault { return c.vault }

// VaultKey is a key of this tenant's.
func (c *Client) VaultKey(parts ...string) string {
	key := events.Escape(string(c.o.Home.Provider)) + "/" + events.Escape(string(c.o.Home.Tenant))
	for _, part := range parts {
		key += "/" + events.Escape(part)
	}
	return key
}
