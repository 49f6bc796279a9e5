package ringcentral

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// Defaults and bounds.
const (
	DefaultName      = "ringcentral"
	DefaultBaseURL   = "https://platform.ringcentral.com"
	DefaultLife      = 7 * 24 * time.Hour
	DefaultUserAgent = "rescind/1"
	// MinLife leaves room for reminders, MaxLife is the vendor's (10 years,
	// public API description of August 2026, createSubscription).
	MinLife = 2 * time.Minute
	MaxLife = 315360000 * time.Second
	// The roles are looked at once in DefaultRolePoll, unless told otherwise:
	// not more often than MinRolePoll, for a look costs calls, and not more seldom
	// than MaxRolePoll.
	DefaultRolePoll = time.Minute
	MinRolePoll     = 10 * time.Second
	MaxRolePoll     = time.Hour
)

// Config is one OAuth client at RingCentral, for one account.
type Config struct {
	// Name is the provider's id in keys; default [DefaultName].
	Name events.Provider
	// Account is the tenant: the account's numeric id.
	Account events.Tenant
	// BaseURL must be https unless the host is loopback.
	BaseURL      string
	ClientID     string
	ClientSecret subscriptions.Secret
	// JWT is the credential of the service user.
	JWT subscriptions.Secret
	// VerificationTokens are accepted besides the secrets of our registrations: for
	// those made by hand, or before each had a secret of its own. 16 to 256
	// printable characters.
	VerificationTokens []subscriptions.Secret
	// Exchange gets the subjects' own tokens; nil: there are none.
	Exchange *ExchangeConfig
	// SubscriptionLife is asked for at creation and renewal.
	SubscriptionLife time.Duration
	// RolePoll is how often the roles are looked at; default [DefaultRolePoll].
	RolePoll  time.Duration
	UserAgent string
}

// ExchangeConfig is the customer's OAuth token-exchange endpoint (RFC 8693):
// it gives the token of the extension whose id is the subject_token.
type ExchangeConfig struct {
	URL          string
	ClientID     string
	ClientSecret subscriptions.Secret
	Audience     string // optional
}

// Validate names the settings at fault, each as a [*subscriptions.SettingError],
// and the remedies.
func (c Config) Validate() error {
	c = c.withDefaults()
	err := errors.Join(
		c.checkAccount(),
		c.checkBaseURL(),
		given("client_id", c.ClientID != ""),
		given("client_secret", !c.ClientSecret.Empty()),
		within("subscription_life", c.SubscriptionLife, MinLife, MaxLife),
		within("role_poll", c.RolePoll, MinRolePoll, MaxRolePoll),
		given("jwt", !c.JWT.Empty()),
		checkTokens(c.VerificationTokens),
		c.Exchange.validate(),
	)
	if err != nil {
		return fmt.Errorf("ringcentral: %w", err)
	}
	return nil
}

func (c Config) checkAccount() error {
	if err := c.Home().Validate(); err != nil {
		return wrong("id", "%w", err)
	}
	if strings.Trim(string(c.Account), "0123456789") != "" {
		return wrong("id", "must be the numeric id of the account; got %.40q", c.Account)
	}
	return nil
}

func (c Config) checkBaseURL() error {
	if err := checkURL("base_url", c.BaseURL); err != nil {
		return err
	}
	if u, _ := url.Parse(c.BaseURL); strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return wrong("base_url", "must be scheme and host only")
	}
	return nil
}

func (e *ExchangeConfig) validate() error {
	switch {
	case e == nil:
		return nil
	case e.URL == "":
		return wrong("token_exchange.url", "must be given with the other settings of token_exchange")
	}
	return errors.Join(
		checkURL("token_exchange.url", e.URL),
		given("token_exchange.client_id", e.ClientID != ""),
		given("token_exchange.client_secret", !e.ClientSecret.Empty()),
	)
}

// wrong says what is wrong with a setting.
func wrong(name, format string, args ...any) error {
	return &subscriptions.SettingError{Name: name, Err: fmt.Errorf(format, args...)}
}

func given(name string, is bool) error {
	if is {
		return nil
	}
	return wrong(name, "must be given")
}

func within(name string, d, least, most time.Duration) error {
	if d < least || d > most {
		return wrong(name, "must be %s to %s; got %s", least, most, d)
	}
	return nil
}

// Home is the provider and tenant that this configuration is for.
func (c Config) Home() events.Home { return events.Home{Provider: c.Name, Tenant: c.Account} }

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	if c.SubscriptionLife == 0 {
		c.SubscriptionLife = DefaultLife
	}
	if c.RolePoll == 0 {
		c.RolePoll = DefaultRolePoll
	}
	if c.UserAgent == "" {
		c.UserAgent = DefaultUserAgent
	}
	return c
}

func checkURL(name, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		// The text is not repeated: somebody may have put a password into it.
		return wrong(name, "must be an https URL without user and fragment")
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return wrong(name, "must be https unless its host is loopback")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func checkTokens(tokens []subscriptions.Secret) error {
	var errs []error
	for i, t := range tokens {
		s := t.Reveal()
		if len(s) < 16 || len(s) > 256 || !printable(s) || strings.Contains(s, " ") {
			errs = append(errs, wrong(subscriptions.Item("verification_tokens", i),
				"must be 16 to 256 printable characters without spaces"))
		}
	}
	return errors.Join(errs...)
}

// printable: ASCII without control characters.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// Settings lists what [FromSettings] reads.
func Settings() []subscriptions.Setting {
	return []subscriptions.Setting{
		{Name: "base_url", Default: DefaultBaseURL, Doc: "scheme and host of the API"},
		{Name: "client_id", Must: true, Doc: "of the app"},
		{Name: "client_secret", Secret: true, Must: true, Doc: "of the app"},
		{Name: "subscription_life", Default: DefaultLife.String(),
			Doc: fmt.Sprintf("asked for at registration and renewal, from %s; 0s is the default", MinLife)},
		{Name: "role_poll", Default: DefaultRolePoll.String(),
			Doc: fmt.Sprintf("how often the roles are looked at, whose edits the vendor does not tell of; "+
				"%s to %s, 0s is the default", MinRolePoll, MaxRolePoll)},

		{Name: "jwt", Tenant: true, Secret: true, Must: true, Doc: "credential of the service user"},
		{Name: "verification_tokens", Tenant: true, Secret: true, Many: 2,
			Doc: "16 to 256 characters; accepted besides each registration's own secret, " +
				"for those made by hand or by a release that gave them the first of these; optional"},
		{Name: "token_exchange.url", Tenant: true,
			Doc: "endpoint for subjects' own tokens (RFC 8693); none if empty"},
		{Name: "token_exchange.client_id", Tenant: true, Doc: "of the endpoint's client"},
		{Name: "token_exchange.client_secret", Tenant: true, Secret: true, Doc: "of the endpoint's client"},
		{Name: "token_exchange.audience", Tenant: true, Doc: "asked for at the endpoint; optional"},
	}
}

// FromSettings reads a configuration. The result is not validated yet.
func FromSettings(h events.Home, s subscriptions.Settings) (Config, error) {
	life, lifeErr := s.Duration("subscription_life")
	poll, pollErr := s.Duration("role_poll")
	if err := errors.Join(s.Check(Settings()), lifeErr, pollErr); err != nil {
		return Config{}, fmt.Errorf("ringcentral: %w", err)
	}
	c := Config{
		Name: h.Provider, Account: h.Tenant, BaseURL: s.Plain["base_url"],
		ClientID: s.Plain["client_id"], ClientSecret: s.Secret["client_secret"], JWT: s.Secret["jwt"],
		VerificationTokens: s.Secrets("verification_tokens"), SubscriptionLife: life, RolePoll: poll,
	}
	e := ExchangeConfig{
		URL: s.Plain["token_exchange.url"], ClientID: s.Plain["token_exchange.client_id"],
		ClientSecret: s.Secret["token_exchange.client_secret"], Audience: s.Plain["token_exchange.audience"],
	}
	if e != (ExchangeConfig{}) {
		c.Exchange = &e
	}
	return c, nil
}

// Provider is RingCentral for one account: a [subscriptions.Door], a
// [subscriptions.Registrar], a [subscriptions.Tail], and the reader. It is safe for concurrent use.
type Provider struct {
	cfg      Config
	home     events.Home
	client   *client.Client
	log      *slog.Logger
	foreign  *foreign
	together together
	turn     chan struct{} // one in this process obtains the service token
}

// New checks the configuration; it makes no call and starts nothing.
func New(cfg Config, deps subscriptions.Deps) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c, err := client.New(vendor, client.Options{
		Home: cfg.Home(), BaseURL: cfg.BaseURL + "/restapi/v1.0", UserAgent: cfg.UserAgent,
	}, deps)
	if err != nil {
		return nil, err
	}
	return &Provider{
		cfg: cfg, home: cfg.Home(), client: c, log: c.Log(), foreign: newForeign(), turn: make(chan struct{}, 1),
	}, nil
}
