package ringcentral

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
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

	callTimeout = 20 * time.Second
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
	// VerificationTokens: the first is given to new registrations, each is
	// accepted. 16 to 256 printable characters.
	VerificationTokens []subscriptions.Secret
	// Exchange gets the subjects' own tokens; nil: there are none.
	Exchange *ExchangeConfig
	// SubscriptionLife is asked for at creation and renewal.
	SubscriptionLife time.Duration
	UserAgent        string
}

// ExchangeConfig is the customer's OAuth token-exchange endpoint (RFC 8693):
// it gives the token of the extension whose id is the subject_token.
type ExchangeConfig struct {
	URL          string
	ClientID     string
	ClientSecret subscriptions.Secret
	Audience     string // optional
}

// Validate names the field at fault and the remedy.
func (c Config) Validate() error {
	c = c.withDefaults()
	if err := c.Home().Validate(); err != nil {
		return fmt.Errorf("ringcentral config: Name or Account: %w", err)
	}
	if strings.Trim(string(c.Account), "0123456789") != "" {
		return fmt.Errorf("ringcentral config: Account %q: give the numeric account id", c.Account)
	}
	if err := checkURL("BaseURL", c.BaseURL); err != nil {
		return err
	}
	if u, _ := url.Parse(c.BaseURL); strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return fmt.Errorf("ringcentral config: BaseURL %q: give scheme and host only", c.BaseURL)
	}
	if c.ClientID == "" || c.ClientSecret.Empty() {
		return errors.New("ringcentral config: ClientID, ClientSecret: give the app's credentials")
	}
	if c.JWT.Empty() {
		return errors.New("ringcentral config: JWT: give the credential of a service user")
	}
	if c.SubscriptionLife < MinLife || c.SubscriptionLife > MaxLife {
		return fmt.Errorf("ringcentral config: SubscriptionLife %s: give %s to %s",
			c.SubscriptionLife, MinLife, MaxLife)
	}
	if err := checkTokens(c.VerificationTokens); err != nil {
		return err
	}
	return c.Exchange.validate()
}

func (e *ExchangeConfig) validate() error {
	if e == nil {
		return nil
	}
	if err := checkURL("Exchange.URL", e.URL); err != nil {
		return err
	}
	if e.ClientID == "" || e.ClientSecret.Empty() {
		return errors.New("ringcentral config: Exchange.ClientID, ClientSecret: give the endpoint's credentials")
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
	if c.UserAgent == "" {
		c.UserAgent = DefaultUserAgent
	}
	return c
}

func checkURL(field, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		// The text is not repeated: somebody may have put a password into it.
		return fmt.Errorf("ringcentral config: %s: give an https URL without user and fragment", field)
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("ringcentral config: %s: use https (http is for loopback only)", field)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func checkTokens(tokens []subscriptions.Secret) error {
	if len(tokens) == 0 {
		return errors.New("ringcentral config: VerificationTokens: give at least one")
	}
	for i, t := range tokens {
		s := t.Reveal()
		if len(s) < 16 || len(s) > 256 || !printable(s) || strings.Contains(s, " ") {
			return fmt.Errorf("ringcentral config: VerificationTokens[%d]: "+
				"give 16 to 256 printable characters without spaces", i)
		}
	}
	return nil
}

// printable: ASCII without control characters.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// The names of the settings, see the package's manual.
var (
	plainSettings = []string{"base_url", "client_id", "subscription_life", "user_agent",
		"exchange_url", "exchange_client_id", "exchange_audience"}
	secretSettings = []string{"client_secret", "jwt", "verification_token", "verification_token_old",
		"exchange_client_secret"}
)

// FromSettings reads a configuration. The result is not validated yet.
func FromSettings(h events.Home, s subscriptions.Settings) (Config, error) {
	if err := s.Check(plainSettings, secretSettings); err != nil {
		return Config{}, fmt.Errorf("ringcentral: %w", err)
	}
	c := Config{
		Name: h.Provider, Account: h.Tenant, BaseURL: s.Plain["base_url"], UserAgent: s.Plain["user_agent"],
		ClientID: s.Plain["client_id"], ClientSecret: s.Secret["client_secret"], JWT: s.Secret["jwt"],
	}
	for _, name := range []string{"verification_token", "verification_token_old"} {
		if t := s.Secret[name]; !t.Empty() {
			c.VerificationTokens = append(c.VerificationTokens, t)
		}
	}
	if text := s.Plain["subscription_life"]; text != "" {
		life, err := time.ParseDuration(text)
		if err != nil {
			return Config{}, fmt.Errorf("ringcentral: subscription_life: %w", err)
		}
		c.SubscriptionLife = life
	}
	if u := s.Plain["exchange_url"]; u != "" {
		c.Exchange = &ExchangeConfig{URL: u, ClientID: s.Plain["exchange_client_id"],
			ClientSecret: s.Secret["exchange_client_secret"], Audience: s.Plain["exchange_audience"]}
	}
	return c, nil
}

// Provider is RingCentral for one account: a [subscriptions.Door], a
// [subscriptions.Registrar], and the reader. It is safe for concurrent use.
type Provider struct {
	cfg      Config
	home     events.Home
	http     *http.Client
	vault    subscriptions.Vault
	log      *slog.Logger
	budget   subscriptions.Budget
	foreign  *foreign
	together together
	turn     chan struct{} // one in this process obtains the service token
}

// New checks the configuration; it makes no call and starts nothing.
func New(cfg Config, deps subscriptions.Deps) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.HTTP == nil || deps.Vault == nil || deps.Log == nil {
		return nil, errors.New("ringcentral: HTTP, Vault and Log must be given")
	}
	cfg = cfg.withDefaults()
	client := *deps.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	if client.Timeout == 0 {
		client.Timeout = callTimeout
	}
	budget := deps.Budget
	if budget == nil {
		budget = unlimited{}
	}
	return &Provider{
		cfg: cfg, home: cfg.Home(), http: &client, vault: deps.Vault,
		log:    deps.Log.With("provider", string(cfg.Name), "tenant", string(cfg.Account)),
		budget: budget, foreign: newForeign(), turn: make(chan struct{}, 1),
	}, nil
}
