package renew_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/listen"
	"github.com/rescindhq/rescind/subscriptions/renew"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// limit bounds every wait.
const limit = 20 * time.Second

// vault is one in memory, for one process.
type vault struct {
	mu   sync.Mutex
	kept map[string][]byte
}

func (v *vault) Get(_ context.Context, key string) ([]byte, uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kept[key] == nil {
		return nil, 0, subscriptions.ErrNoSecret
	}
	return v.kept[key], 1, nil
}

func (v *vault) Put(_ context.Context, key string, value []byte, _ uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept[key] = value
	return nil
}

func (v *vault) Lock(context.Context, string, time.Duration) (func(), error) { return func() {}, nil }

// collect keeps changes.
type collect chan events.Change

func (c collect) Publish(_ context.Context, change events.Change) (bool, error) {
	select {
	case c <- change:
		return false, nil
	default:
		return false, errors.New("full")
	}
}

// stage is the simulator, its provider, and a listener between them.
type stage struct {
	rc       *sim.RingCentral
	provider *ringcentral.Provider
	address  string
	changes  collect
}

func newStage(t *testing.T, o sim.Options) *stage {
	t.Helper()
	s := &stage{rc: sim.NewRingCentral(o), changes: make(collect, 100)}
	api := httptest.NewServer(s.rc)
	transport := &http.Transport{}
	secret := subscriptions.NewSecret
	log := slog.New(slog.DiscardHandler)
	var err error
	s.provider, err = ringcentral.New(ringcentral.Config{
		Account: home.Tenant, BaseURL: api.URL, ClientID: "rescind-dev", ClientSecret: secret("rescind-dev-secret"),
		JWT: secret("sim-service-jwt"), VerificationTokens: []subscriptions.Secret{secret("0123456789abcdef")},
	}, subscriptions.Deps{HTTP: &http.Client{Transport: transport}, Budget: budget.NewLocal(), Log: log,
		Vault: &vault{kept: map[string][]byte{}}})
	if err != nil {
		t.Fatal(err)
	}
	part := subscriptions.AddressPart(secret("address key"), home)
	h, err := listen.New(listen.Config{Publisher: s.changes, Log: log,
		Doors: []listen.Door{{Home: home, Path: part, Door: s.provider}}})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(h)
	s.address = listen.Address(listener.URL, home, part)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.rc.Close(ctx); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
		transport.CloseIdleConnections()
		listener.Close()
		api.Close()
	})
	return s
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in %s: %s", limit, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func waitActive(t *testing.T, k *renew.Keeper) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := k.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// The registration goes through the listener's handshake, and what is changed
// afterwards comes in.
func TestSimulatedSubscriptionDelivers(t *testing.T) {
	s := newStage(t, sim.Options{})
	k := run(t, s.provider, s.address)
	waitActive(t, k.Keeper)
	if err := s.rc.AssignRoles("8475874957", "1"); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-s.changes:
		if len(c.Tags) != 1 || c.Tags[0] != events.SubjectTag("8475874957") {
			t.Errorf("change %+v", c)
		}
	case <-time.After(limit):
		t.Fatal("no change came")
	}
	k.stop()
	again := run(t, s.provider, s.address)
	waitActive(t, again.Keeper)
	if a, b := k.State().ID, again.State().ID; a != b || len(s.rc.Subscriptions()) != 1 {
		t.Errorf("after a restart: %s, was %s", b, a)
	}
}

// A week passes in two seconds: the subscription is renewed and not remade.
func TestSimulatedWeeksPass(t *testing.T) {
	s := newStage(t, sim.Options{Speed: 7 * 24 * 3600 / 2, Limits: map[string]sim.Limit{
		"light": {Calls: -1}, "medium": {Calls: -1}, "auth": {Calls: -1}}})
	k := run(t, s.provider, s.address)
	waitActive(t, k.Keeper)
	first := k.State()
	eventually(t, "two renewals", func() bool { return s.rc.Calls("updateSubscription") >= 2 })
	if now := k.State(); now.ID != first.ID || !now.Expires.After(first.Expires) {
		t.Errorf("state %+v, was %+v", now, first)
	}
}

// The listener answers with errors until the vendor gives up on it.
func TestSimulatedBlacklistingIsHealed(t *testing.T) {
	s := newStage(t, sim.Options{Speed: 3600})
	made, err := s.provider.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "account", Secret: subscriptions.NewSecret("registration-hunter2")})
	if err != nil {
		t.Fatal(err)
	}
	for range cap(s.changes) { // now the listener answers 503
		s.changes <- events.Change{}
	}
	eventually(t, "it is blacklisted", func() bool {
		s.rc.EmitChanges(sim.ExtensionChange{ExtensionID: "8475874957", EventType: "Update"})
		return s.rc.Subscriptions()[0].Status == "Blacklisted"
	})
	k := run(t, s.provider, s.address)
	waitActive(t, k.Keeper)
	list := s.rc.Subscriptions()
	if len(list) != 1 || list[0].ID == made.ID || list[0].Status != "Active" {
		t.Errorf("subscriptions %+v, was %s", list, made.ID)
	}
}
