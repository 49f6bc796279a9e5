package box

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// Defaults and bounds.
const (
	DefaultName      = "box"
	DefaultBaseURL   = "https://api.box.com"
	DefaultUserAgent = "rescind/1"
	// The enterprise's events are asked for once in DefaultEventPoll, which is
	// about what the stream holds them back (box/box-node-sdk docs/events.md).
	DefaultEventPoll = 12 * time.Second
	MinEventPoll     = 5 * time.Second
	MaxEventPoll     = 10 * time.Minute
	// MaxWatch is how many webhooks an app may have for each user
	// (guides/webhooks/v2/limitations-v2).
	MaxWatch = 1000
)

// How items are read as a subject.
const (
	AsUser  = "as-user" // by the service account, with the header As-User
	AsToken = "token"   // with a token of the subject's
)

// Config is one app at Box, authorised by one enterprise.
type Config struct {
	// Name is the provider's id in keys; default [DefaultName].
	Name events.Provider
	// Enterprise is the tenant: the enterprise's numeric id.
	Enterprise events.Tenant
	// BaseURL must be https unless the host is loopback.
	BaseURL      string
	ClientID     string
	ClientSecret subscriptions.Secret
	// SignatureKey and SignatureKey2 are the app's primary and secondary key of
	// webhooks; one of them suffices.
	SignatureKey, SignatureKey2 subscriptions.Secret
	// Watch lists the items that get a webhook: folder:11, file:12.
	Watch []string
	// Scopes are those that the enterprise's admin authorised, see
	// [ParseScopes]; nil: not known, and then no entry covers scopes.
	Scopes []string
	// WriteOnly: root_readwrite does not include reading.
	WriteOnly bool
	// As is [AsUser] (the default) or [AsToken].
	As        string
	EventPoll time.Duration
	UserAgent string
}

// Validate names the settings at fault, each as a [*subscriptions.SettingError],
// and the remedies.
func (c Config) Validate() error {
	c = c.withDefaults()
	err := errors.Join(
		c.checkEnterprise(),
		checkURL("base_url", c.BaseURL),
		given("client_id", c.ClientID != ""),
		given("client_secret", !c.ClientSecret.Empty()),
		given("signature_key", !c.SignatureKey.Empty() || !c.SignatureKey2.Empty()),
		checkWatch(c.Watch),
		c.checkAs(),
		c.checkPoll(),
	)
	if err != nil {
		return fmt.Errorf("box: %w", err)
	}
	return nil
}

func (c Config) checkEnterprise() error {
	if err := c.Home().Validate(); err != nil {
		return wrong("id", "%w", err)
	}
	if !isNumber(string(c.Enterprise)) {
		return wrong("id", "must be the numeric id of the enterprise; got %.40q", c.Enterprise)
	}
	return nil
}

func (c Config) checkAs() error {
	if c.As != AsUser && c.As != AsToken {
		return wrong("as", "must be %s or %s; got %.40q", AsUser, AsToken, c.As)
	}
	return nil
}

func (c Config) checkPoll() error {
	if c.EventPoll < MinEventPoll || c.EventPoll > MaxEventPoll {
		return wrong("event_poll", "must be %s to %s; got %s", MinEventPoll, MaxEventPoll, c.EventPoll)
	}
	return nil
}

func checkWatch(watch []string) error {
	if len(watch) == 0 || len(watch) > MaxWatch {
		return wrong("watch", "must list 1 to %d items, such as folder:11", MaxWatch)
	}
	var errs []error
	for n, text := range watch {
		name := subscriptions.Item("watch", n)
		_, err := parseItem(text)
		switch {
		case text == "folder:0":
			errs = append(errs, wrong(name, "must not be the root folder, on which Box allows no webhook"))
		case err != nil:
			errs = append(errs, wrong(name, "%w", err))
		case slices.Index(watch, text) < n:
			errs = append(errs, wrong(name, "is listed twice"))
		}
	}
	return errors.Join(errs...)
}

func checkURL(name, text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		// The text is not repeated: somebody may have put a password into it.
		return wrong(name, "must be an https URL without user and fragment")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return wrong(name, "must be scheme and host only")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return wrong(name, "must be https unless its host is loopback")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
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

// Home is the provider and tenant that this configuration is for.
func (c Config) Home() events.Home { return events.Home{Provider: c.Name, Tenant: c.Enterprise} }

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	if c.As == "" {
		c.As = AsUser
	}
	if c.EventPoll == 0 {
		c.EventPoll = DefaultEventPoll
	}
	if c.UserAgent == "" {
		c.UserAgent = DefaultUserAgent
	}
	return c
}

// Settings lists what [FromSettings] reads.
func Settings() []subscriptions.Setting {
	return []subscriptions.Setting{
		{Name: "base_url", Default: DefaultBaseURL, Doc: "scheme and host of the API"},
		{Name: "client_id", Must: true, Doc: "of the app"},
		{Name: "client_secret", Secret: true, Must: true, Doc: "of the app"},
		{Name: "signature_key", Secret: true,
			Doc: "primary key of the app's webhooks; it or signature_key_2 must be given"},
		{Name: "signature_key_2", Secret: true, Doc: "secondary key of the app's webhooks"},
		{Name: "as", Default: AsUser,
			Doc: "how items are read: as-user, by the service account; token, with the subject's token"},
		{Name: "write_reads", Default: "yes",
			Doc: "yes or no: root_readwrite includes root_readonly, which Box does not say"},
		{Name: "event_poll", Default: DefaultEventPoll.String(),
			Doc: fmt.Sprintf("how often the enterprise's events are asked for; %s to %s, 0s is the default",
				MinEventPoll, MaxEventPoll)},
		{Name: "watch", Tenant: true, Must: true, Many: MaxWatch,
			Doc: "items that get a webhook: folder:11, file:12"},
		{Name: "scopes", Tenant: true, Doc: "what the enterprise's admin authorised: OAuth scopes, separated by " +
			"spaces, or labels of the developer console, separated by commas; unknown if empty"},
	}
}

// FromSettings reads a configuration. The result is not validated yet.
func FromSettings(h events.Home, s subscriptions.Settings) (Config, error) {
	poll, pollErr := s.Duration("event_poll")
	scopes, scopesErr := ParseScopes(s.Plain["scopes"])
	if scopesErr != nil {
		scopesErr = wrong("scopes", "%w", scopesErr)
	}
	reads, readsErr := yes("write_reads", s.Plain["write_reads"])
	if err := errors.Join(s.Check(Settings()), pollErr, scopesErr, readsErr); err != nil {
		return Config{}, fmt.Errorf("box: %w", err)
	}
	return Config{
		Name: h.Provider, Enterprise: h.Tenant, BaseURL: s.Plain["base_url"],
		ClientID: s.Plain["client_id"], ClientSecret: s.Secret["client_secret"],
		SignatureKey: s.Secret["signature_key"], SignatureKey2: s.Secret["signature_key_2"],
		Watch: s.List("watch"), Scopes: scopes, WriteOnly: !reads, As: s.Plain["as"], EventPoll: poll,
	}, nil
}

// yes reads a setting that is yes unless it is told otherwise.
func yes(name, text string) (bool, error) {
	switch text {
	case "", "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, wrong(name, "must be yes or no; got %.40q", text)
}

// Provider is Box for one enterprise: a [subscriptions.Door], a
// [subscriptions.Registrar], a [subscriptions.Tail], a [subscriptions.Narrower], and
// the reader. It is safe for concurrent use.
type Provider struct {
	cfg    Config
	home   events.Home
	client *client.Client
	hooks  hooks
	turn   chan struct{} // one in this process obtains the service token
}

var _ interface {
	subscriptions.Door
	subscriptions.Registrar
	subscriptions.Tail
	subscriptions.Narrower
} = (*Provider)(nil)

// New checks the configuration; it makes no call and starts nothing.
func New(cfg Config, deps subscriptions.Deps) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c, err := client.New(vendor, client.Options{
		Home: cfg.Home(), BaseURL: cfg.BaseURL + "/2.0", UserAgent: cfg.UserAgent,
	}, deps)
	if err != nil {
		return nil, err
	}
	return &Provider{
		cfg: cfg, home: cfg.Home(), client: c, turn: make(chan struct{}, 1),
		hooks: hooks{seen: map[string]hook{}},
	}, nil
}
