package service_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// modes are the two ways of reading the provider.
var modes = map[string]options{
	"with the subject's token": {exchange: true},
	"with the service token":   {},
}

func TestARoleIsTakenAway(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, o)
			before := w.expect(bea, cache.Granted, abroad)
			dropped := w.watch()
			w.assign(bea, lesserRole)
			if got, want := <-dropped, (cache.Keys{}).Entry(ref(bea)); got != want {
				t.Errorf("dropped %q, want %q", got, want)
			}
			w.refreshed(bea, before)
			after := w.plain(bea, abroad)
			if after.State != cache.Denied || after.Version < before.Version {
				t.Errorf("state %s, version %s after %s", after.State, after.Version, before.Version)
			}
			if after.Until.After(before.Until) {
				t.Errorf("the change has prolonged the life from %s to %s", before.Until, after.Until)
			}
			w.expect(bea, cache.Granted, calls) // the rest is as it was
			w.expect(bea, cache.Denied, abroad, calls)
		})
	}
}

func TestARoleIsGiven(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, o)
			w.assign(bea, lesserRole)
			w.applied()
			before := w.expect(bea, cache.Denied, abroad)
			w.assign(bea, usualRole)
			w.refreshed(bea, before)
			w.expect(bea, cache.Granted, abroad)
		})
	}
}

// The provider sends nothing when a role is edited: the change comes from
// elsewhere, and names the role.
func TestARoleIsEdited(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, o)
			before := map[string]lookup.Decision{}
			for _, who := range []string{bea, cem} {
				before[who] = w.expect(who, cache.Granted, abroad)
			}
			w.removeFromRole(usualRole, "InternationalCalls", "PremiumDestinations")
			w.tell("role-edited", events.RoleTag(usualRole))
			for _, who := range []string{bea, cem} {
				w.refreshed(who, before[who])
				w.expect(who, cache.Denied, abroad)
			}
		})
	}
}

func TestAScopeIsTakenFromTheApp(t *testing.T) {
	const scope = cache.Grant("scope/RoleManagement")
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, o)
			before := w.expect(bea, cache.Granted, scope, abroad)
			w.sim.SetAppScopes("ReadAccounts", "SubscriptionWebhook")
			w.tell("app-changed", events.AppTag)
			w.refreshed(bea, before)
			w.expect(bea, cache.Denied, scope)
			w.expect(bea, cache.Granted, abroad)
		})
	}
}

func TestAFeatureIsSwitchedOff(t *testing.T) {
	const feature = cache.Grant("feature/SMSSending")
	w := startWorld(t, options{exchange: true})
	before := w.expect(bea, cache.Granted, feature)
	off := sim.Feature{ID: "SMSSending", Reason: &sim.Reason{Code: "ConfigurationLimitation"}}
	if err := w.sim.SetFeature(bea, off); err != nil {
		t.Fatal(err)
	}
	w.refreshed(bea, before)
	after := w.expect(bea, cache.Denied, feature)
	if got := after.Reasons[feature]; got != "ConfigurationLimitation" {
		t.Errorf("reason %q", got)
	}
}

func TestFeaturesAreUnknownToTheServiceToken(t *testing.T) {
	w := startWorld(t, options{})
	d := w.expect(bea, cache.Unknown, "feature/SMSSending")
	if d.Message == "" {
		t.Error("an unknown answer without a message")
	}
}

func TestAnExtensionIsDisabledAndDeleted(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, o)
			before := w.expect(bea, cache.Granted, abroad)
			if err := w.sim.RemoveExtension(bea); err != nil {
				t.Fatal(err)
			}
			w.refreshed(bea, before)
			w.expect(bea, cache.Denied, abroad)
		})
	}
}

// One delivery that names ten thousand is one message, and drops those of them
// that are kept.
func TestTenThousandInOneDelivery(t *testing.T) {
	w := startWorld(t, options{})
	w.expect(bea, cache.Granted, abroad)
	w.expect(cem, cache.Granted, abroad)
	before := w.info().Messages
	changes := make([]sim.ExtensionChange, 10_000)
	for i := range changes {
		changes[i] = sim.ExtensionChange{ExtensionID: fmt.Sprint(1_000_000 + i), EventType: "Update",
			Hints: []string{"Permissions"}}
	}
	changes[5_000].ExtensionID, changes[9_999].ExtensionID = bea, cem
	dropped := w.watch()
	w.sim.EmitChanges(changes...)
	keys := []string{<-dropped, <-dropped}
	slices.Sort(keys)
	want := []string{cache.Keys{}.Entry(ref(bea)), cache.Keys{}.Entry(ref(cem))}
	if !slices.Equal(keys, want) {
		t.Errorf("dropped %q, want %q", keys, want)
	}
	if got := w.info().Messages - before; got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
}

// watch tells the keys that are dropped or stored from now on.
func (w *world) watch() <-chan string {
	w.t.Helper()
	sub := w.rdb.Subscribe(context.Background(), cache.Keys{}.Changed(home))
	if _, err := sub.Receive(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	keys, done := make(chan string, 1024), make(chan struct{})
	go func() {
		defer close(done)
		defer close(keys)
		for m := range sub.Channel() {
			for _, key := range strings.Split(m.Payload, "\n") {
				keys <- key
			}
		}
	}()
	w.t.Cleanup(func() {
		_ = sub.Close()
		for range keys { // until the reader is done
		}
		<-done
	})
	return keys
}

// plain reads Redis alone, as any program may.
func (w *world) plain(subject string, need ...cache.Grant) lookup.Decision {
	w.t.Helper()
	c, err := lookup.New(w.rdb, lookup.Options{Timeout: limit})
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := c.Check(context.Background(), ref(subject), need...)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) removeFromRole(id string, permissions ...string) {
	w.t.Helper()
	r, err := w.sim.Role(id)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Permissions = slices.DeleteFunc(slices.Clone(r.Permissions),
		func(p string) bool { return slices.Contains(permissions, p) })
	if _, err := w.sim.PutRole(r); err != nil {
		w.t.Fatal(err)
	}
}
