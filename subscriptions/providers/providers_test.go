package providers_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

// settings that open each kind.
var settings = map[string]subscriptions.Settings{
	"ringcentral": {
		Plain: map[string]string{"client_id": "c"},
		Secret: map[string]subscriptions.Secret{
			"client_secret":      subscriptions.NewSecret("s"),
			"jwt":                subscriptions.NewSecret("j"),
			"verification_token": subscriptions.NewSecret("0123456789abcdef"),
		},
	},
}

var home = events.Home{Provider: "anything", Tenant: "1"}

func deps() subscriptions.Deps {
	return subscriptions.Deps{HTTP: &http.Client{}, Vault: nowhere{}, Log: slog.New(slog.DiscardHandler)}
}

func TestEveryPillarOpensAndIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range providers.All() {
		t.Run(p.Kind, func(t *testing.T) {
			if seen[p.Kind] {
				t.Error("the kind stands twice")
			}
			seen[p.Kind] = true
			for _, text := range []string{p.Vendor, p.Verify, p.Translate, p.Subscribe, p.Fetch} {
				if text == "" {
					t.Errorf("a cell is empty: %+v", p)
				}
			}
			if len(p.Scopes()) == 0 {
				t.Error("no scopes")
			}
			got, err := providers.Open(p.Kind, home, settings[p.Kind], deps())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := got.Verify(subscriptions.Delivery{Home: home}); !errors.Is(err, subscriptions.ErrRefused) {
				t.Errorf("an empty delivery: %v", err)
			}
		})
	}
	if len(seen) != len(settings) {
		t.Errorf("kinds %v, the test knows %d", seen, len(settings))
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		kind string
		s    subscriptions.Settings
		says string
	}{
		"an unknown kind":      {"rongcentral", settings["ringcentral"], "ringcentral"},
		"an unknown setting":   {"ringcentral", subscriptions.Settings{Plain: map[string]string{"x": ""}}, `"x"`},
		"settings that lack":   {"ringcentral", subscriptions.Settings{}, "ClientID"},
		"no kind and settings": {"", subscriptions.Settings{}, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := providers.Open(c.kind, home, c.s, deps())
			if err == nil || got != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, error %v, want %q", got, err, c.says)
			}
		})
	}
}

// nowhere is a vault that has nothing and keeps nothing.
type nowhere struct{}

func (nowhere) Get(context.Context, string) ([]byte, uint64, error) {
	return nil, 0, subscriptions.ErrNoSecret
}

func (nowhere) Put(context.Context, string, []byte, uint64) error { return subscriptions.ErrConflict }

func (nowhere) Lock(context.Context, string, time.Duration) (func(), error) {
	return nil, subscriptions.ErrConflict
}
