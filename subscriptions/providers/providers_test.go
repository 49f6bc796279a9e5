package providers_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

// settings that open each kind.
var settings = map[string]subscriptions.Settings{
	"ringcentral": {
		Plain: map[string]string{"client_id": "c"},
		Secret: map[string]subscriptions.Secret{
			"client_secret":         subscriptions.NewSecret("s"),
			"jwt":                   subscriptions.NewSecret("j"),
			"verification_tokens.0": subscriptions.NewSecret("0123456789abcdef"),
		},
	},
	"box": {
		Plain: map[string]string{"client_id": "c", "watch.0": "folder:11"},
		Secret: map[string]subscriptions.Secret{
			"client_secret": subscriptions.NewSecret("s"), "signature_key": subscriptions.NewSecret("k"),
		},
	},
	"mural": {
		Plain:  map[string]string{"client_id": "c", "poller": "u1"},
		Secret: map[string]subscriptions.Secret{"client_secret": subscriptions.NewSecret("s")},
	},
}

var home = events.Home{Provider: "anything", Tenant: "1"}

func deps() subscriptions.Deps {
	return subscriptions.Deps{HTTP: &http.Client{}, Vault: nowhere{}, Budget: budget.NewLocal(), Log: slog.New(slog.DiscardHandler)}
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
			door, delivers := got.(subscriptions.Door)
			_, registers := got.(subscriptions.Registrar)
			if delivers != registers {
				t.Errorf("door %t, registrar %t: one is of no use without the other", delivers, registers)
			}
			if !delivers {
				if _, polled := got.(subscriptions.Tail); !polled {
					t.Error("it neither delivers nor is it polled: no change would ever be known")
				}
				return
			}
			if _, err := door.Verify(subscriptions.Delivery{Home: home}); !errors.Is(err, subscriptions.ErrRefused) {
				t.Errorf("an empty delivery: %v", err)
			}
		})
	}
	if len(seen) != len(settings) {
		t.Errorf("kinds %v, the test knows %d", seen, len(settings))
	}
}

// A configuration is checked against what a kind lists: the list is sound, and
// each of its settings is one that the kind reads.
func TestSettingsAreSound(t *testing.T) {
	for _, p := range providers.All() {
		seen := map[string]bool{"kind": true, "tenants": true, "id": true}
		for _, s := range p.Settings {
			t.Run(p.Kind+"/"+s.Name, func(t *testing.T) {
				group, _, dotted := strings.Cut(s.Name, ".")
				if seen[s.Name] || dotted && seen[group] || strings.Count(s.Name, ".") > 1 {
					t.Error("it, or its first word, stands twice")
				}
				seen[s.Name] = true
				given := only(settings[p.Kind], s, s.Default)
				if _, err := providers.Open(p.Kind, home, given, deps()); s.Default != "" && err != nil {
					t.Errorf("its default is refused: %v", err)
				}
				if s.Doc == "" || s.Default != "" && (s.Secret || s.Many > 0) {
					t.Errorf("no explanation, or a default that cannot be: %+v", s)
				}
				_, err := providers.Open(p.Kind, home, only(subscriptions.Settings{}, s, "x"), deps())
				if err != nil && strings.Contains(err.Error(), "is unknown") {
					t.Error(err)
				}
			})
		}
	}
}

// only sets one setting, beside those that there are.
func only(there subscriptions.Settings, s subscriptions.Setting, text string) subscriptions.Settings {
	plain, secret, name := map[string]string{}, map[string]subscriptions.Secret{}, s.Name
	maps.Copy(plain, there.Plain)
	maps.Copy(secret, there.Secret)
	if s.Many > 0 {
		name = subscriptions.Item(name, s.Many-1)
	}
	if s.Secret {
		secret[name] = subscriptions.NewSecret(text)
	} else {
		plain[name] = text
	}
	return subscriptions.Settings{Plain: plain, Secret: secret}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		kind string
		s    subscriptions.Settings
		says string
	}{
		"an unknown kind":      {"rongcentral", settings["ringcentral"], "ringcentral"},
		"an unknown setting":   {"ringcentral", subscriptions.Settings{Plain: map[string]string{"x": ""}}, `"x"`},
		"settings that lack":   {"ringcentral", subscriptions.Settings{}, "client_id"},
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
