package renew_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	book     *renew.Book
	notes    *fake // keeps the ledger, and what is told of the feed
}

func newStage(t *testing.T, o sim.Options) *stage {
	t.Helper()
	s := &stage{rc: sim.NewRingCentral(o), changes: make(collect, 100), notes: newFake(0)}
	api, transport := httptest.NewServer(s.rc), &http.Transport{}
	h := s.open(t, api.URL, transport)
	listener := httptest.NewServer(h)
	s.address = listen.Address(listener.URL, home, s.part())
	t.Cleanup(func() {
		s.close(t)
		transport.CloseIdleConnections()
		listener.Close()
		api.Close()
	})
	return s
}

// open is a listener for the tenant of a simulator.
func (s *stage) open(t *testing.T, url string, transport http.RoundTripper) http.Handler {
	t.Helper()
	secret, log := subscriptions.NewSecret, slog.New(slog.DiscardHandler)
	var err error
	s.provider, err = ringcentral.New(ringcentral.Config{
		Account: home.Tenant, BaseURL: url, ClientID: "rescind-dev", ClientSecret: secret("rescind-dev-secret"),
		JWT: secret("sim-service-jwt"), VerificationTokens: []subscriptions.Secret{secret("0123456789abcdef")},
	}, subscriptions.Deps{HTTP: &http.Client{Transport: transport}, Budget: budget.NewLocal(), Log: log,
		Vault: &vault{kept: map[string][]byte{}}})
	if err != nil {
		t.Fatal(err)
	}
	s.book = renew.NewBook(map[events.Home][]string{home: s.provider.Wanted()}, registrationSecret, log)
	h, err := listen.New(listen.Config{Publisher: s.changes, Log: log, Secrets: s.book.Secrets,
		Doors: []listen.Door{{Home: home, Path: s.part(), Door: s.provider}}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (s *stage) part() string {
	return subscriptions.AddressPart(subscriptions.NewSecret("address key"), home)
}

func (s *stage) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.rc.Close(ctx); err != nil {
		t.Errorf("close the simulator: %v", err)
	}
}

// wire leads to a handler without a network, so that time may be simulated. It is
// slow, and counts what was refused.
type wire struct {
	to      http.Handler
	slow    time.Duration
	refused atomic.Int64
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(w.slow) // simulated
	got, in := httptest.NewRecorder(), r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w.to.ServeHTTP(got, in)
	if got.Code >= 300 {
		w.refused.Add(1)
	}
	return got.Result(), nil
}

func registrationSecret(h events.Home, serial int64) subscriptions.Secret {
	return subscriptions.RegistrationSecret(subscriptions.NewSecret("address key"), h, serial)
}

// keep runs a Keeper at the simulator.
func (s *stage) keep(t *testing.T) *kept {
	t.Helper()
	c := config(s.notes, s.provider)
	c.Address, c.Noted = s.address, s.book.Note
	c.Secret = func(serial int64) subscriptions.Secret { return registrationSecret(home, serial) }
	return start(t, c, nil)
}

// entry is the one registration that is noted.
func (s *stage) entry(t *testing.T) subscriptions.Entry {
	t.Helper()
	l := s.book.Ledger(home)
	if len(l.Entries) != 1 {
		t.Fatalf("ledger %+v", l)
	}
	return l.Entries[0]
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

func (s *stage) waitActive(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := s.book.Wait(ctx, home); err != nil {
		t.Fatal(err)
	}
}

// The registration goes through the listener's handshake, and what is changed
// afterwards comes in.
func TestSimulatedSubscriptionDelivers(t *testing.T) {
	s := newStage(t, sim.Options{})
	k := s.keep(t)
	s.waitActive(t)
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
	first, looked := s.entry(t).ID, s.book.Ledger(home).Looked
	s.keep(t)
	eventually(t, "another look", func() bool { return s.book.Ledger(home).Looked.After(looked) })
	if s.entry(t).ID != first || len(s.rc.Subscriptions()) != 1 {
		t.Errorf("after a restart: %s, was %s", s.entry(t).ID, first)
	}
}

// A week passes in two seconds: the subscription is renewed and not remade.
func TestSimulatedWeeksPass(t *testing.T) {
	s := newStage(t, sim.Options{Speed: 7 * 24 * 3600 / 2, Limits: map[string]sim.Limit{
		"light": {Calls: -1}, "medium": {Calls: -1}, "auth": {Calls: -1}}})
	s.keep(t)
	s.waitActive(t)
	first := s.entry(t)
	eventually(t, "two renewals", func() bool { return s.rc.Calls("updateSubscription") >= 2 })
	eventually(t, "the new end is noted", func() bool { return s.entry(t).Expires.After(first.Expires) })
	if now := s.entry(t); now.ID != first.ID {
		t.Errorf("entry %+v, was %+v", now, first)
	}
}

// The listener answers with errors until the vendor gives up on it.
func TestSimulatedBlacklistingIsHealed(t *testing.T) {
	s := newStage(t, sim.Options{Speed: 3600})
	first := s.keep(t)
	s.waitActive(t)
	made := s.entry(t)
	first.stop()
	for range cap(s.changes) { // now the listener answers 503
		s.changes <- events.Change{}
	}
	eventually(t, "it is blacklisted", func() bool {
		s.rc.EmitChanges(sim.ExtensionChange{ExtensionID: "8475874957", EventType: "Update"})
		return s.rc.Subscriptions()[0].Status == "Blacklisted"
	})
	s.keep(t)
	eventually(t, "another is noted", func() bool {
		l := s.book.Ledger(home)
		return len(l.Entries) == 1 && l.Entries[0].ID != made.ID && len(l.Gaps) == 1 && l.Gaps[0].Mended == subscriptions.Swept
	})
	list := s.rc.Subscriptions()
	if len(list) != 1 || list[0].ID == made.ID || list[0].Status != "Active" {
		t.Errorf("subscriptions %+v, was %s", list, made.ID)
	}
}

// In bursts that the vendor works off only slowly, one change after the other comes in
// while the secret is changed again and again, once with a restart in the middle: none
// is refused, and none is lost.
func TestSimulatedRotationDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &wire{slow: 2 * time.Second}
		s := &stage{changes: make(collect, 10000), notes: newFake(0)}
		s.rc = sim.NewRingCentral(sim.Options{Transport: out, Senders: 8, Limits: map[string]sim.Limit{
			"light": {Calls: -1}, "medium": {Calls: -1}, "auth": {Calls: -1}}})
		out.to = s.open(t, "http://127.0.0.1", &wire{to: s.rc})
		s.address = listen.Address("http://l.example", home, s.part())
		defer s.close(t)
		k := s.keep(t)
		s.waitActive(t)
		const bursts, size = 60, 40
		for i := range bursts {
			for n := range size {
				s.rc.EmitChanges(sim.ExtensionChange{ExtensionID: fmt.Sprint(1 + i*size + n), EventType: "Update"})
			}
			switch {
			case i%12 == 3:
				if r := obey(t, k, renew.Order{Do: renew.DoRotate}); r.Error != "" || r.Steps[0].Verb != renew.Replace {
					t.Errorf("report %+v", r)
				}
			case i == 29: // between a rotation and its end
				k.stop()
				k = s.keep(t)
			}
			later(16 * time.Second)
		}
		later(2 * time.Minute)
		came := map[string]bool{}
		for len(s.changes) > 0 {
			came[(<-s.changes).Tags[0].String()] = true
		}
		if len(came) != bursts*size || out.refused.Load() > 0 {
			t.Errorf("%d of %d came, %d were refused", len(came), bursts*size, out.refused.Load())
		}
		if l := s.book.Ledger(home); len(l.Gaps) > 0 || len(s.rc.Subscriptions()) != 1 || s.rc.Calls("createSubscription") != 6 {
			t.Errorf("gaps %+v, %d registrations, %d made", l.Gaps, len(s.rc.Subscriptions()), s.rc.Calls("createSubscription"))
		}
		k.stop()
	})
}
