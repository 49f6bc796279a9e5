package providers

import (
	"context"
	"fmt"
	"strings"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
	"github.com/rescindhq/rescind/subscriptions/mural"
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
	// Settings lists what a configuration may tell it; [Open] judges the values.
	Settings []subscriptions.Setting
	// Scopes lists what an app may hold there.
	Scopes func() []subscriptions.Scope
	// Costs lists what its ways of reading take of the vendor's limits.
	Costs func() []subscriptions.Cost
	// Open makes a provider; it makes no call. What is wrong with a setting is a
	// [*subscriptions.SettingError]; several are joined.
	Open func(events.Home, subscriptions.Settings, subscriptions.Deps) (Provider, error)
}

// All lists the pillars, each kind once.
func All() []Pillar {
	return []Pillar{
		{
			Kind: "ringcentral", Vendor: "RingCentral",
			Verify:    "a secret of each subscription, handshake",
			Translate: "extension list and info events, by hint",
			Subscribe: "one subscription an account, 7 days, renewed; its secret rotated by a second one; " +
				"rely on 20 a user and app; a failed delivery is lost",
			Fetch:    "authz-profile and features, or assigned roles",
			Settings: ringcentral.Settings(),
			Scopes:   ringcentral.Scopes, Costs: ringcentral.Costs, Open: opener(ringcentral.FromSettings, ringcentral.New),
		},
		{
			Kind: "box", Vendor: "Box",
			Verify:    "HMAC-SHA256 of the raw body under one of two keys, at most 10 min old",
			Translate: "item webhooks by trigger; enterprise events by type, polled",
			Subscribe: "one webhook a watched item, at most 1,000 an app and user; made anew when Box says " +
				"that it is over; a failed delivery comes again for 2 h",
			Fetch:    "user, memberships, and an item's permissions as that user",
			Settings: box.Settings(),
			Scopes:   box.Scopes, Costs: box.Costs, Open: opener(box.FromSettings, box.New),
		},
		{
			Kind: "mural", Vendor: "Mural",
			Verify:    "no webhooks exist",
			Translate: "polled and compared: rooms, murals, members, visitor settings",
			Subscribe: "none",
			Fetch:     "the same calls, with the user's own token",
			Settings:  mural.Settings(),
			Scopes:    mural.Scopes, Costs: mural.Costs, Open: opener(mural.FromSettings, mural.New),
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

// opener reads the settings and makes the provider.
func opener[C any, P Provider](
	read func(events.Home, subscriptions.Settings) (C, error), make func(C, subscriptions.Deps) (P, error),
) func(events.Home, subscriptions.Settings, subscriptions.Deps) (Provider, error) {
	return func(h events.Home, s subscriptions.Settings, d subscriptions.Deps) (Provider, error) {
		cfg, err := read(h, s)
		if err != nil {
			return nil, err
		}
		p, err := make(cfg, d)
		if err != nil {
			return nil, err // and not a nil pointer in an interface
		}
		return p, nil
	}
}
