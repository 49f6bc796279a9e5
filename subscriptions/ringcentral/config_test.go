package ringcentral_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
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
			func(c *ringcentral.Config) { c.BaseURL = "http://rc.example" }, "BaseURL",
		},
		"a host that looks like it": {
			func(c *ringcentral.Config) { c.BaseURL = "http://127.0.0.1.evil.example" }, "BaseURL",
		},
		"a password in the URL": {
			func(c *ringcentral.Config) { c.BaseURL = "https://a:SECRET-jwt@rc.example" }, "BaseURL",
		},
		"a path in the URL": {
			func(c *ringcentral.Config) { c.BaseURL = "https://rc.example/x" }, "BaseURL",
		},
		"no account":    {func(c *ringcentral.Config) { c.Account = "" }, "Account"},
		"the account ~": {func(c *ringcentral.Config) { c.Account = "~" }, "Account"},
		"no client id":  {func(c *ringcentral.Config) { c.ClientID = "" }, "ClientID"},
		"no client secret": {
			func(c *ringcentral.Config) { c.ClientSecret = subscriptions.Secret{} }, "ClientSecret",
		},
		"no JWT": {func(c *ringcentral.Config) { c.JWT = subscriptions.Secret{} }, "JWT"},
		"no verification token": {
			func(c *ringcentral.Config) { c.VerificationTokens = nil }, "VerificationTokens",
		},
		"a short one": {func(c *ringcentral.Config) {
			c.VerificationTokens = append(c.VerificationTokens, subscriptions.NewSecret("SECRET"))
		}, "VerificationTokens[2]"},
		"a life of a minute": {
			func(c *ringcentral.Config) { c.SubscriptionLife = time.Minute }, "SubscriptionLife",
		},
		"a life of a century": {
			func(c *ringcentral.Config) { c.SubscriptionLife = 100 * 365 * 24 * time.Hour }, "SubscriptionLife",
		},
		"an exchange over http": {
			func(c *ringcentral.Config) { c.Exchange = &ringcentral.ExchangeConfig{URL: "http://a.example"} },
			"Exchange.URL",
		},
		"an exchange without credentials": {func(c *ringcentral.Config) {
			c.Exchange = &ringcentral.ExchangeConfig{URL: "https://a.example"}
		}, "Exchange.ClientID"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			c.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			noSecret(t, fmt.Sprint(err))
		})
	}
}

func TestFromSettings(t *testing.T) {
	secret := subscriptions.NewSecret
	got, err := ringcentral.FromSettings(events.Home{Provider: "rc-2", Tenant: "1"}, subscriptions.Settings{
		Plain: map[string]string{"base_url": "https://rc.example", "client_id": "c", "subscription_life": "48h",
			"exchange_url": "https://x.example/t", "exchange_client_id": "d", "exchange_audience": "a"},
		Secret: map[string]subscriptions.Secret{"client_secret": secret("s"), "jwt": secret("j"),
			"verification_token": secret("v"), "verification_token_old": secret("o"),
			"exchange_client_secret": secret("x")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := ringcentral.Config{Name: "rc-2", Account: "1", BaseURL: "https://rc.example", ClientID: "c",
		ClientSecret: secret("s"), JWT: secret("j"), SubscriptionLife: 48 * time.Hour,
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
		"a life that is none":      {Plain: map[string]string{"subscription_life": "long"}},
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
}
