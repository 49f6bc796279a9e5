package ringcentral_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ringcentral.Config)
		want   string // the field; empty: valid
	}{
		"as it is":         {func(*ringcentral.Config) {}, ""},
		"no base URL":      {func(c *ringcentral.Config) { c.BaseURL = "" }, ""},
		"https":            {func(c *ringcentral.Config) { c.BaseURL = "https://rc.example" }, ""},
		"http on loopback": {func(c *ringcentral.Config) { c.BaseURL = "http://[::1]:80" }, ""},
		"http elsewhere": {
			func(c *ringcentral.Config) { c.BaseURL = "http://rc.example" }, "base_url:",
		},
		"a host that looks like it": {
			func(c *ringcentral.Config) { c.BaseURL = "http://127.0.0.1.evil.example" }, "base_url:",
		},
		"a password in the URL": {
			func(c *ringcentral.Config) { c.BaseURL = "https://a:SECRET-jwt@rc.example" }, "base_url:",
		},
		"a path in the URL": {
			func(c *ringcentral.Config) { c.BaseURL = "https://rc.example/x" }, "base_url:",
		},
		"no account":    {func(c *ringcentral.Config) { c.Account = "" }, "id:"},
		"the account ~": {func(c *ringcentral.Config) { c.Account = "~" }, "id:"},
		"no client id":  {func(c *ringcentral.Config) { c.ClientID = "" }, "client_id:"},
		"no client secret": {
			func(c *ringcentral.Config) { c.ClientSecret = subscriptions.Secret{} }, "client_secret:",
		},
		"no JWT":                {func(c *ringcentral.Config) { c.JWT = subscriptions.Secret{} }, "jwt:"},
		"no verification token": {func(c *ringcentral.Config) { c.VerificationTokens = nil }, ""},
		"a short one": {func(c *ringcentral.Config) {
			c.VerificationTokens = append(c.VerificationTokens, subscriptions.NewSecret("SECRET"))
		}, "verification_tokens.2:"},
		"a life of a minute": {
			func(c *ringcentral.Config) { c.SubscriptionLife = time.Minute }, "subscription_life:",
		},
		"a life of a century": {
			func(c *ringcentral.Config) { c.SubscriptionLife = 100 * 365 * 24 * time.Hour }, "subscription_life:",
		},
		"roles looked at every 10 s": {func(c *ringcentral.Config) { c.RolePoll = 10 * time.Second }, ""},
		"roles looked at every 9 s":  {func(c *ringcentral.Config) { c.RolePoll = 9 * time.Second }, "role_poll:"},
		"roles looked at too seldom": {func(c *ringcentral.Config) { c.RolePoll = 61 * time.Minute }, "role_poll:"},
		"an exchange over http": {
			func(c *ringcentral.Config) { c.Exchange = &ringcentral.ExchangeConfig{URL: "http://a.example"} },
			"token_exchange.url:",
		},
		"an exchange without a URL": {func(c *ringcentral.Config) {
			c.Exchange = &ringcentral.ExchangeConfig{ClientID: "a"}
		}, "token_exchange.url:"},
		"an exchange without credentials": {func(c *ringcentral.Config) {
			c.Exchange = &ringcentral.ExchangeConfig{URL: "https://a.example"}
		}, "token_exchange.client_id:"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			c.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			noSecret(t, fmt.Sprint(err))
			if named := (*subscriptions.SettingError)(nil); err != nil && !errors.As(err, &named) {
				t.Errorf("error %v names no setting", err)
			}
		})
	}
}

func TestValidateTellsAll(t *testing.T) {
	var cfg ringcentral.Config
	got := fmt.Sprint(cfg.Validate())
	for _, name := range []string{"id", "client_id", "client_secret", "jwt"} {
		if !strings.Contains(got, name+": ") {
			t.Errorf("%s is missing in\n%s", name, got)
		}
	}
}

func TestFromSettings(t *testing.T) {
	secret := subscriptions.NewSecret
	got, err := ringcentral.FromSettings(events.Home{Provider: "rc-2", Tenant: "1"}, subscriptions.Settings{
		Plain: map[string]string{"base_url": "https://rc.example", "client_id": "c", "subscription_life": "48h",
			"role_poll": "2m", "token_exchange.url": "https://x.example/t", "token_exchange.client_id": "d",
			"token_exchange.audience": "a"},
		Secret: map[string]subscriptions.Secret{"client_secret": secret("s"), "jwt": secret("j"),
			"verification_tokens.0": secret("v"), "verification_tokens.1": secret("o"),
			"token_exchange.client_secret": secret("x")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := ringcentral.Config{Name: "rc-2", Account: "1", BaseURL: "https://rc.example", ClientID: "c",
		ClientSecret: secret("s"), JWT: secret("j"), SubscriptionLife: 48 * time.Hour,
		RolePoll:           2 * time.Minute,
		VerificationTokens: []subscriptions.Secret{secret("v"), secret("o")},
		Exchange: &ringcentral.ExchangeConfig{URL: "https://x.example/t", ClientID: "d", ClientSecret: secret("x"),
			Audience: "a"}}
	equal := cmp.Comparer(func(a, b subscriptions.Secret) bool { return a.Reveal() == b.Reveal() })
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestFromSettingsRefuses(t *testing.T) {
	for name, s := range map[string]subscriptions.Settings{
		"a misspelt name": {Plain: map[string]string{"base_uri": "x"}},
		"a misspelt secret": {
			Secret: map[string]subscriptions.Secret{"jtw": subscriptions.NewSecret("x")},
		},
		"a secret among the plain": {Plain: map[string]string{"jwt": "x"}},
		"a third of two tokens": {
			Secret: map[string]subscriptions.Secret{"verification_tokens.2": subscriptions.NewSecret("x")},
		},
		"a token without a number": {
			Secret: map[string]subscriptions.Secret{"verification_tokens": subscriptions.NewSecret("x")},
		},
		"a poll that is none": {Plain: map[string]string{"role_poll": "60"}},
		"a life that is none": {Plain: map[string]string{"subscription_life": "long"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ringcentral.FromSettings(home, s); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	if _, err := ringcentral.New(testConfig(), subscriptions.Deps{}); err == nil {
		t.Error("no error without HTTP, Vault and Log")
	}
	_, err := ringcentral.New(testConfig(), subscriptions.Deps{
		HTTP: http.DefaultClient, Vault: struct{ subscriptions.Vault }{}, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "Budget") {
		t.Errorf("without a budget: %v", err)
	}
}

func TestIntervalAndDelay(t *testing.T) {
	for name, c := range map[string]struct{ poll, interval, delay time.Duration }{
		"by default": {0, time.Minute, 86 * time.Second},
		"as told":    {10 * time.Second, 10 * time.Second, 31 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.RolePoll = c.poll
			p, err := ringcentral.New(cfg, subscriptions.Deps{
				HTTP: http.DefaultClient, Vault: struct{ subscriptions.Vault }{}, Budget: budget.NewLocal(), Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Interval(); got != c.interval {
				t.Errorf("interval %s, want %s", got, c.interval)
			}
			if got := p.Delay(); got != c.delay {
				t.Errorf("delay %s, want %s", got, c.delay)
			}
		})
	}
}
