package listen_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/listen"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// oneToken is a vault for one process that forgets.
type oneToken struct{ subscriptions.Vault }

func (oneToken) Get(context.Context, string) ([]byte, uint64, error) {
	return nil, 0, subscriptions.ErrNoSecret
}

func (oneToken) Put(context.Context, string, []byte, uint64) error { return nil }

func (oneToken) Lock(context.Context, string, time.Duration) (func(), error) { return func() {}, nil }

// simulated is a provider before a simulated RingCentral.
func simulated(t *testing.T) (*sim.RingCentral, *ringcentral.Provider) {
	t.Helper()
	rc := sim.NewRingCentral(sim.Options{})
	api := httptest.NewServer(rc)
	transport := &http.Transport{}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := rc.Close(ctx); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
		transport.CloseIdleConnections()
		api.Close()
	})
	secret := subscriptions.NewSecret
	p, err := ringcentral.New(ringcentral.Config{
		Account: home.Tenant, BaseURL: api.URL, ClientID: "rescind-dev",
		ClientSecret: secret("rescind-dev-secret"), JWT: secret("sim-service-jwt"),
		VerificationTokens: []subscriptions.Secret{secret(token)},
	}, subscriptions.Deps{HTTP: &http.Client{Transport: transport}, Vault: oneToken{}, Budget: budget.NewLocal(),
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return rc, p
}

// Handshake, then 300 notices of which each is delivered twice: every one is in
// the stream, once.
func TestSimulatedNoticesArrive(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	rc, p := simulated(t)
	s := open(t, listen.Config{Publisher: toStream{b.Stream}}, p, nil)
	order := subscriptions.Order{Address: s.url, Want: "account", Secret: subscriptions.NewSecret(token)}
	if _, err := p.Create(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	if err := rc.Fault(sim.Fault{Operation: sim.Deliveries, Kind: sim.Duplicate}); err != nil {
		t.Fatal(err)
	}
	const notices = 300
	for i := range notices {
		rc.EmitChanges(sim.ExtensionChange{ExtensionID: fmt.Sprint(i + 1), EventType: "Update"})
	}
	eventually(t, "all are answered", func() bool {
		return s.count(t, "published") == notices && s.count(t, "duplicate") == notices
	})
	if s.count(t, "handshake") != 1 || rc.Subscriptions()[0].Failed != 0 {
		t.Errorf("%v handshakes, subscription %+v", s.count(t, "handshake"), rc.Subscriptions()[0])
	}
	tags := map[string]bool{}
	for _, c := range b.stored(t) {
		tags[c.Tags[0].String()] = true
	}
	if len(tags) != notices {
		t.Errorf("%d extensions in the stream", len(tags))
	}
}
