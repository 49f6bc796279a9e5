package providertest

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// Provider is what every provider is. What else it is ([subscriptions.Door],
// [subscriptions.Registrar], [subscriptions.Tail]) is asked of it.
type Provider interface {
	Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error)
}

// Site is a kind of provider in one configuration.
type Site struct {
	Home events.Home
	// Open makes a world, anew for each check.
	Open func(testing.TB, Wiring) World
	// Secrets of the configuration: they may appear nowhere. Tokens are learnt
	// from the calls.
	Secrets []string
	// Lanes is in how many limits a call counts, Tokens how many a reading needs.
	Lanes, Tokens int
	// Signed: the body of a delivery is, so none that was altered is authentic.
	Signed bool
	// Age is when a delivery is too old; zero: never.
	Age time.Duration
}

// Wiring leads everything through the suite.
type Wiring struct {
	// Deps are for the provider. Its calls reach what Serve was given, whatever
	// their address.
	Deps  subscriptions.Deps
	Serve func(http.Handler)
	// Deliveries is for the simulator: it carries what it delivers.
	Deliveries http.RoundTripper
}

// World is a provider before its simulated vendor.
type World struct {
	Provider
	// Calls is how many calls the simulator has counted; Close stops it (nil:
	// nothing to stop).
	Calls func() int
	Close func(context.Context) error

	// Held is what Revoke, at the vendor, takes from the subject of Ref. The answer
	// is then that it is denied.
	Ref    events.Ref
	Held   cache.Grant
	Revoke func() error
	// Others can be read too. Of Unknown there is no such subject or resource.
	Others, Unknown []events.Ref
	// Misshapen are resources that this provider refuses unasked, besides those
	// that all do.
	Misshapen []events.Resource

	// Trigger makes the simulator deliver a change, the n-th from 0; nil for one
	// that is no Door. Change is found by the next poll, likewise; Tag is in it.
	Trigger func(n int) error
	Change  func(n int) error
	Tag     events.Tag

	// Kill ends all access tokens. Dead is how the vendor replies to such a one,
	// Limited to a call too many for the next minute.
	Kill          func()
	Dead, Limited http.HandlerFunc
	// Full is how the vendor refuses one registration too many, Unreachable how it
	// refuses an address that it cannot use; nil: not known, or there is none.
	Full, Unreachable http.HandlerFunc
}

// check is one part of the contract.
type check struct {
	name string
	do   func(testing.TB, *stage)
}

var checks = []check{
	{"verify", verify}, {"refuse", refuse}, {"translate", translate}, {"origin", origin},
	{"subscribe", subscribe}, {"terms", terms}, {"secrets of registrations", ownSecrets},
	{"refused registrations", refusedOrders},
	{"tail", tail}, {"cursors", cursors}, {"read", read}, {"read what is not there", readNothing},
	{"revocation", revocation}, {"budgets", budgets}, {"budget that refuses", refusedBudget},
	{"dead tokens", deadTokens}, {"limits", limits}, {"outages", outages}, {"replies", replies},
	{"secrets", secrets},
}

// Run holds a site to the contract.
func Run(t *testing.T, site Site) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.run(t, site) })
		})
	}
}

// run must be called in a bubble of testing/synctest.
func (c check) run(t testing.TB, site Site) {
	s := newStage(t, site)
	defer s.close(t)
	c.do(t, s)
}
