package mural

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// Defaults and bounds.
const (
	DefaultName        = "mural"
	DefaultBaseURL     = "https://app.mural.co/api/public/v1"
	DefaultRefreshPath = "/token"
	DefaultUserAgent   = "rescind/1"
	// A poll follows the last one after DefaultPoll, unless told otherwise: not
	// sooner than MinPoll, for it shares its user's limit with the readers, and
	// not later than MaxPoll, after which every entry has ended anyway.
	DefaultPoll = 10 * time.Second
	MinPoll     = 5 * time.Second
	MaxPoll     = 5 * time.Minute
)

// refreshPaths are the two addresses at which the vendor's own sources refresh.
var refreshPaths = []string{DefaultRefreshPath, "/refresh"}

// Config is one OAuth app at Mural, for one workspace.
type Config struct {
	// Name is the provider's id in keys; default [DefaultName].
	Name events.Provider
	// Workspace is the tenant: the workspace's id.
	Workspace events.Tenant
	// BaseURL is that of the public API; https unless the host is loopback.
	BaseURL      string
	ClientID     string
	ClientSecret subscriptions.Secret
	// Poller is the id of the user whose grant polls, and reads for who has none:
	// only what this user sees exists for them.
	Poller events.Subject
	// RefreshPath is where tokens are refreshed: /token or /refresh.
	RefreshPath string
	// Poll is from one poll to the next; default [DefaultPoll].
	Poll      time.Duration
	UserAgent string
}

// Home is the provider and tenant that this configuration is for.
func (c Config) Home() events.Home { return events.Home{Provider: c.Name, Tenant: c.Workspace} }

// Validate names the settings at fault, each as a [*subscriptions.SettingError],
// and the remedies.
func (c Config) Validate() error {
	c = c.withDefaults()
	err := errors.Join(
		c.checkIDs(),
		checkURL("base_url", c.BaseURL),
		given("client_id", c.ClientID != ""),
		given("client_secret", !c.ClientSecret.Empty()),
		c.checkRefreshPath(),
	)
	if c.Poll < MinPoll || c.Poll > MaxPoll {
		err = errors.Join(err, wrong("poll", "must be %s to %s; got %s", MinPoll, MaxPoll, c.Poll))
	}
	if err != nil {
		return fmt.Errorf("mural: %w", err)
	}
	return nil
}

func (c Config) checkIDs() error {
	if err := c.Home().Validate(); err != nil {
		return wrong("id", "%w", err)
	}
	if c.Poller == "" {
		return given("poller", false)
	}
	if err := events.CheckID(string(c.Poller)); err != nil {
		return wrong("poller", "%w", err)
	}
	return nil
}

func (c Config) checkRefreshPath() error {
	if !slices.Contains(refreshPaths, c.RefreshPath) {
		return wrong("refresh_path", "must be one of %s", strings.Join(refreshPaths, ", "))
	}
	return nil
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

func checkURL(name, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		// The text is not repeated: somebody may have put a password into it.
		return wrong(name, "must be an https URL without user, query and fragment")
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

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	if c.RefreshPath == "" {
		c.RefreshPath = DefaultRefreshPath
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.UserAgent == "" {
		c.UserAgent = DefaultUserAgent
	}
	return c
}

// Settings lists what [FromSettings] reads.
func Settings() []subscriptions.Setting {
	return []subscriptions.Setting{
		{Name: "base_url", Default: DefaultBaseURL, Doc: "address of the public API"},
		{Name: "client_id", Must: true, Doc: "of the app"},
		{Name: "client_secret", Secret: true, Must: true, Doc: "of the app"},
		{Name: "refresh_path", Default: DefaultRefreshPath,
			Doc: "where tokens are refreshed, /token or /refresh; the vendor's documents name both"},
		{Name: "poll", Default: DefaultPoll.String(),
			Doc: fmt.Sprintf("from one look for changes to the next; %s to %s, 0s is the default", MinPoll, MaxPoll)},
		{Name: "poller", Tenant: true, Must: true,
			Doc: "id of the user whose grant looks for changes; it sees only what this user sees"},
	}
}

// FromSettings reads a configuration. The result is not validated yet.
func FromSettings(h events.Home, s subscriptions.Settings) (Config, error) {
	poll, pollErr := s.Duration("poll")
	if err := errors.Join(s.Check(Settings()), pollErr); err != nil {
		return Config{}, fmt.Errorf("mural: %w", err)
	}
	return Config{
		Name: h.Provider, Workspace: h.Tenant, BaseURL: s.Plain["base_url"],
		ClientID: s.Plain["client_id"], ClientSecret: s.Secret["client_secret"],
		Poller: events.Subject(s.Plain["poller"]), RefreshPath: s.Plain["refresh_path"], Poll: poll,
	}, nil
}

// Provider is Mural for one workspace: a [subscriptions.Tail], the reader, and
// the keeper of its users' grants. It is safe for concurrent use.
type Provider struct {
	cfg    Config
	home   events.Home
	client *client.Client
	vault  subscriptions.Vault
	log    *slog.Logger
	pace   time.Duration // from one call of a poll to the next, at least
	delay  atomic.Int64
	ahead  ahead
	turn   chan struct{} // one in this process obtains the poller's token
}

// New checks the configuration; it makes no call and starts nothing.
func New(cfg Config, deps subscriptions.Deps) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c, err := client.New(vendor, client.Options{
		Home: cfg.Home(), BaseURL: cfg.BaseURL, UserAgent: cfg.UserAgent,
	}, deps)
	if err != nil {
		return nil, err
	}
	return &Provider{
		cfg: cfg, home: cfg.Home(), client: c, vault: c.Vault(), log: c.Log(), pace: pace,
		turn: make(chan struct{}, 1),
	}, nil
}
