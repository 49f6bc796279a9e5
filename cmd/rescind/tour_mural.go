package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/providers"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

// What is changed in the simulator's workspace: a guest is removed from the one
// mural that it was in, which only a poll finds.
const (
	workspace   = "rescind1234"
	muralID     = workspace + ".1650000000014"
	guest       = "u5"
	guestEmail  = "eve@guest.test"
	guestName   = "eve1650"
	muralOwner  = "u3"
	muralPoller = "u2" // a member of all rooms
	muralPoll   = "5s"
	muralBase   = "/api/public/v1"
	grantLimit  = 10 * time.Second

	view = cache.Grant("permission/view")
)

var (
	muralHome = events.Home{Provider: "mural", Tenant: workspace}
	eve       = events.Ref{Home: muralHome, Subject: guest, Resource: "mural:" + muralID}
)

// muralWorld is the simulated Mural.
type muralWorld struct {
	sim   *muralsim.Mural
	url   string
	owner string // bearer token of the mural's owner
}

func (w *world) openMural(_ context.Context, d devCmd) error {
	on, url, err := listen("--mural", d.Mural)
	if err != nil {
		return err
	}
	m := muralWorld{url: url, sim: muralsim.New(muralsim.Options{Log: w.log})}
	w.serve(on, m.sim)
	if m.owner, _, err = m.sim.Authorize(muralOwner); err != nil {
		return fmt.Errorf("authorize %s at mural: %w", muralOwner, err)
	}
	w.mural = m
	return nil
}

func (m muralWorld) provider() config.Provider {
	return config.Provider{
		Name: string(muralHome.Provider), Kind: "mural",
		Plain:   map[string]string{"base_url": m.url + muralBase, "client_id": clientID, "poll": muralPoll},
		Secret:  map[string]subscriptions.Secret{"client_secret": subscriptions.NewSecret(clientSecret)},
		Tenants: []config.Tenant{{ID: workspace, Plain: map[string]string{"poller": muralPoller}}},
	}
}

// granter keeps users' grants.
type granter interface {
	PutGrant(ctx context.Context, user events.Subject, refresh subscriptions.Secret) error
}

// putGrants puts the grants of the poller and of the guest into the vault, as if
// both had consented. The worker finds them when it starts.
func (w *world) putGrants(ctx context.Context, _ devCmd) error {
	ctx, cancel := context.WithTimeout(ctx, grantLimit)
	defer cancel()
	keeper, err := w.granter(ctx)
	if err != nil {
		return fmt.Errorf("open mural: %w", err)
	}
	for _, user := range []string{muralPoller, guest} {
		_, refresh, err := w.mural.sim.Authorize(user)
		if err == nil {
			err = keeper.PutGrant(ctx, events.Subject(user), subscriptions.NewSecret(refresh))
		}
		if err != nil {
			return fmt.Errorf("grant of %s at mural: %w", user, err)
		}
	}
	return nil
}

// granter is a provider like the worker's, over the same vault.
func (w *world) granter(ctx context.Context) (granter, error) {
	key, err := w.cfg.NATS.SealingKey()
	if err != nil {
		return nil, err
	}
	s, err := stream.Open(ctx, w.nc, stream.Options{Replicas: w.cfg.NATS.Replicas, Log: w.log})
	if err != nil {
		return nil, err
	}
	p := w.mural.provider()
	one, err := providers.Open(p.Kind, muralHome, p.Settings(p.Tenants[0]), subscriptions.Deps{
		HTTP: &http.Client{Timeout: grantLimit}, Vault: s.Vault(key), Budget: budget.NewLocal(), Log: w.log,
	})
	if err != nil {
		return nil, err
	}
	keeper, ok := one.(granter)
	if !ok {
		return nil, errors.New("the provider keeps no grants")
	}
	return keeper, nil
}

// losses are what the tour takes away at Mural.
func (m muralWorld) losses() []loss {
	return []loss{{
		ref: eve, grant: view, source: events.Tail,
		calls:  func() int { return m.sim.Calls("getMuralById") },
		act:    fmt.Sprintf("POST …/murals/%s/users/remove: %s", muralID, guestEmail),
		told:   fmt.Sprintf("found by comparing, every %s", muralPoll),
		revoke: m.remove,
	}}
}

func (m muralWorld) remove(ctx context.Context) error {
	return call(ctx, http.MethodPost, m.users("remove"), m.owner, removal())
}

func (m muralWorld) users(do string) string {
	return m.url + muralBase + "/murals/" + muralID + "/users/" + do
}

func removal() string { return fmt.Sprintf(`{"emails":[%q]}`, guestEmail) }

// facts are what a person needs to play with it.
func (m muralWorld) facts() []fact {
	return []fact{
		{"mural", m.url + "/sim/world"},
		{"mural owner", muralOwner + ", token for 15 min " + m.owner},
		{"mural user", guest + ", a guest in mural " + muralID},
	}
}

// paste are lines for a shell.
func (m muralWorld) paste() []fact {
	invitation := fmt.Sprintf(`{"invitations":[{"username":%q}]}`, guestName)
	return []fact{
		{"mural: grant again", curl(http.MethodPost, m.users("invite"), m.owner, invitation)},
		{"mural: revoke", curl(http.MethodPost, m.users("remove"), m.owner, removal())},
	}
}
