package providers

import (
	"context"
	"fmt"
	"strings"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

// Provider is one tenant at one vendor, as the services use it. One that sends
// notices is a [subscriptions.Door] and a [subscriptions.Registrar] too, one
// that is polled a [subscriptions.Tail].
type Provider interface {
	// Read says what a subject may do. Errors: [*subscriptions.Later],
	// [subscriptions.ErrMisconfigured]; any other may pass.
	Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error)
}

// Pillar is a kind of provider.
type Pillar struct {
	// Kind names it in a configuration, Vendor in sentences.
	Kind, Vendor string
	// Verify, Translate, Subscribe and Fetch say in a few words how it does
	// that.
	Verify, Translate, Subscribe, Fetch string
	// Scopes lists what an app may hold there.
	Scopes func() []subscriptions.Scope
	// Open makes a provider; it makes no call. An error names the setting.
	Open func(events.Home, subscriptions.Settings, subscriptions.Deps) (Provider, error)
}

// All lists the pillars, each kind once.
func All() []Pillar {
	return []Pillar{
		{
			Kind: "ringcentral", Vendor: "RingCentral",
			Verify:    "verification token, handshake",
			Translate: "extension list and info events, by hint",
			Subscribe: "webhook, renewed by update",
			Fetch:     "authz-profile and features, or assigned roles",
			Scopes:    ringcentral.Scopes, Open: openRingCentral,
		},
	}
}

// Open makes a provider of a kind. It makes no call.
func Open(
	kind string, h events.Home, s subscriptions.Settings, d subscriptions.Deps,
) (Provider, error) {
	var kinds []string
	for _, p := range All() {
		if p.Kind == kind {
			return p.Open(h, s, d)
		}
		kinds = append(kinds, p.Kind)
	}
	return nil, fmt.Errorf("provider kind %.40q is unknown, there are: %s", kind, strings.Join(kinds, ", "))
}

func openRingCentral(h events.Home, s subscriptions.Settings, d subscriptions.Deps) (Provider, error) {
	cfg, err := ringcentral.FromSettings(h, s)
	if err != nil {
		return nil, err
	}
	p, err := ringcentral.New(cfg, d)
	if err != nil {
		return nil, err // and not a nil pointer in an interface
	}
	return p, nil
}
