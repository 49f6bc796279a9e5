package ringcentral_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// The default world of the simulator.
const (
	simAdmin = "256440016"
	simUser  = "8475874957"
)

// stage is a provider before the simulator, with a listener beside it.
type stage struct {
	*ringcentral.Provider
	rc      *sim.RingCentral
	address string
	changes chan events.Change
	senders sync.Map // of a change's id: by which subscription it came
}

func newStage(t *testing.T, opts sim.Options, exchange bool) *stage {
	t.Helper()
	s := &stage{rc: sim.NewRingCentral(opts), changes: make(chan events.Change, 16)}
	api := httptest.NewServer(s.rc)
	listener := httptest.NewServer(http.HandlerFunc(s.listen))
	s.address = listener.URL
	transport := &http.Transport{}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.rc.Close(ctx); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
		transport.CloseIdleConnections()
		listener.Close()
		api.Close()
	})
	cfg := testConfig()
	cfg.BaseURL, cfg.ClientID = api.URL, "rescind-dev"
	cfg.ClientSecret = subscriptions.NewSecret("rescind-dev-secret")
	cfg.JWT = subscriptions.NewSecret("sim-service-jwt")
	if exchange {
		cfg.Exchange = &ringcentral.ExchangeConfig{URL: api.URL + "/token-exchange", ClientID: sim.ExchangeID,
			ClientSecret: subscriptions.NewSecret(sim.ExchangeSecret)}
	}
	var err error
	s.Provider, err = ringcentral.New(cfg, subscriptions.Deps{HTTP: &http.Client{Transport: transport},
		Budget: roomy{budget.NewLocal()}, Vault: newMemory(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listen answers as a listener would.
func (s *stage) listen(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	d := subscriptions.Delivery{Home: home, Header: r.Header, Body: body, Received: time.Now(),
		Secrets: []subscriptions.Secret{subscriptions.NewSecret(ownSecret), subscriptions.NewSecret(nextSecret)}}
	answer, err2 := s.Verify(d)
	if err = errors.Join(err, err2); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	c, ok, err := s.Translate(d)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if ok {
		s.senders.Store(c.ID, s.Origin(d).Subscription)
		s.changes <- c
	}
	for name, value := range answer.Header {
		w.Header().Set(name, value)
	}
}

func (s *stage) next(t *testing.T) events.Change {
	t.Helper()
	select {
	case c := <-s.changes:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no change came")
	}
	return events.Change{}
}

func (s *stage) read(t *testing.T, id events.Subject) cache.Answer {
	t.Helper()
	a, err := s.Read(t.Context(), events.Ref{Home: home, Subject: id}, newSession(100))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fields(); err != nil {
		t.Fatalf("fields: %v", err)
	}
	return a
}

// names lists the grants of a kind.
func names(a cache.Answer, kind cache.Kind) []string {
	var out []string
	for g := range a.Grants {
		if g.Kind() == kind {
			out = append(out, g.Name())
		}
	}
	slices.Sort(out)
	return out
}

func truth(rc *sim.RingCentral, id string) []string {
	var out []string
	for name := range rc.Permissions(id) {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// TestSimulatedReadsAgree: whichever way an extension is read, the permissions
// are those that it has.
func TestSimulatedReadsAgree(t *testing.T) {
	for name, c := range map[string]struct {
		exchange bool
		quirks   sim.Quirks
		refuse   bool
		subject  events.Subject
		basis    string
		covers   []cache.Kind
	}{
		"with its own token": {exchange: true, subject: simUser, basis: "authz-profile",
			covers: []cache.Kind{"permission", "feature", "scope"}},
		"without one": {exchange: true, refuse: true, subject: simUser, basis: "assigned-roles",
			covers: []cache.Kind{"permission", "role", "scope"}},
		"by the service": {subject: simUser, basis: "assigned-roles",
			covers: []cache.Kind{"permission", "role", "scope"}},
		"by the service, bare errors and no totals": {subject: simUser, basis: "assigned-roles",
			quirks: sim.Quirks{BareErrors: true, NoTotals: true},
			covers: []cache.Kind{"permission", "role", "scope"}},
		"by a service that may read profiles": {subject: simUser, basis: "authz-profile",
			quirks: sim.Quirks{ForeignProfiles: true}, covers: []cache.Kind{"permission", "scope"}},
		"the service user itself": {subject: simAdmin, basis: "authz-profile",
			covers: []cache.Kind{"permission", "scope"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, sim.Options{Quirks: c.quirks}, c.exchange)
			s.rc.RefuseExchange(string(c.subject), c.refuse)
			a := s.read(t, c.subject)
			if a.Basis != c.basis || !slices.Equal(a.Covers, c.covers) {
				t.Errorf("got %s %v, want %s %v", a.Basis, a.Covers, c.basis, c.covers)
			}
			want := truth(s.rc, string(c.subject))
			if diff := cmp.Diff(want, names(a, cache.Permission)); diff != "" || len(want) == 0 {
				t.Errorf("permissions (-want +got):\n%s", diff)
			}
			if len(a.Tags) == 0 {
				t.Error("no tags of roles")
			}
		})
	}
}

func TestSimulatedExtensionThatIsGone(t *testing.T) {
	s := newStage(t, sim.Options{}, true)
	if a := s.read(t, "4711"); a.Basis != "not-found" || len(a.Grants) != 0 || len(a.Covers) != 4 {
		t.Errorf("got %+v", a)
	}
}

// TestSimulatedLifeOfARegistration: handshake, notice, renewal, deletion.
func TestSimulatedLifeOfARegistration(t *testing.T) {
	for name, quirks := range map[string]sim.Quirks{
		"the likelier reading": {},
		"every other reading": {FlatListEvents: true, OldTimestamps: true, OwnerInBody: true, TildeEvents: true,
			BareErrors: true},
		"the secret in Validation-Token": {ValidationHeader: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, sim.Options{Quirks: quirks}, false)
			made, err := s.Create(t.Context(), orderAt(s.address))
			if err != nil {
				t.Fatal(err)
			}
			if !made.Active || made.Address != s.address || len(made.Disabled) != 0 ||
				time.Until(made.Expires) < 6*24*time.Hour || time.Since(made.Created) > time.Minute ||
				len(made.Filters) != 2 || !strings.HasSuffix(made.Filters[0], "/account/37439510/extension") {
				t.Errorf("created %+v", made)
			}
			if err := s.rc.AssignRoles(simUser, "1"); err != nil {
				t.Fatal(err)
			}
			c := s.next(t)
			if got := spell(c.Tags); got != "subject:"+simUser || c.Occurred.IsZero() {
				t.Errorf("change of %q at %s", got, c.Occurred)
			}
			if sender, _ := s.senders.Load(c.ID); sender != made.ID {
				t.Errorf("it came by %v, want %s", sender, made.ID)
			}
			renewed, err := s.Renew(t.Context(), made.ID)
			if err != nil || renewed.ID != made.ID || !renewed.Active {
				t.Errorf("renewed %+v, error %v", renewed, err)
			}
			list, err := s.List(t.Context())
			if err != nil || len(list) != 1 || list[0].ID != made.ID {
				t.Errorf("list %+v, error %v", list, err)
			}
			for range 2 { // the second finds none
				if err := s.Delete(t.Context(), made.ID); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
			if _, err := s.Renew(t.Context(), made.ID); !errors.Is(err, subscriptions.ErrGone) {
				t.Errorf("renew what is gone: %v", err)
			}
		})
	}
}

func TestSimulatedHandshakeFails(t *testing.T) {
	s := newStage(t, sim.Options{}, false)
	deaf := httptest.NewServer(http.NotFoundHandler())
	defer deaf.Close()
	_, err := s.Create(t.Context(), orderAt(deaf.URL))
	if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(err.Error(), "SUB-52") {
		t.Errorf("error %v", err)
	}
}

func TestSimulatedPenaltyIsNotProlonged(t *testing.T) {
	s := newStage(t, sim.Options{Limits: map[string]sim.Limit{"light": {Calls: 2}}}, false)
	var later *subscriptions.Later
	for range 5 {
		if _, err := s.List(t.Context()); err != nil && !errors.As(err, &later) {
			t.Fatal(err)
		}
	}
	if n := s.rc.Calls("listSubscriptions"); later == nil || n != 2 {
		t.Errorf("%d calls, want 2; %v", n, later)
	}
}

func TestSimulatedEvictionOfTheServiceToken(t *testing.T) {
	s := newStage(t, sim.Options{}, false)
	s.read(t, simUser)
	for range 5 { // five more sessions of the service user
		s.rc.IssueToken(simAdmin, []string{"ReadAccounts"})
	}
	if a := s.read(t, simUser); a.Basis != "assigned-roles" {
		t.Errorf("got %+v", a)
	}
	if n := s.rc.Calls("getToken"); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

func TestSimulatedFaults(t *testing.T) {
	for name, f := range map[string]sim.Fault{
		"a reply cut short":        {Operation: "listUserAssignedRoles", Kind: sim.Truncate, Count: 1},
		"a server error":           {Operation: "readUserRole", Kind: sim.Status, Status: 502, Count: 1},
		"a token reply cut short":  {Operation: "getToken", Kind: sim.Truncate, Count: 1},
		"a token that is rejected": {Operation: "listPermissions", Kind: sim.Status, Status: 401, Count: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, sim.Options{}, false)
			if err := s.rc.Fault(f); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // no room for a retry
			defer cancel()
			ref := events.Ref{Home: home, Subject: simUser}
			if a, err := s.Read(ctx, ref, newSession(100)); (err == nil) != (f.Status == 401) {
				t.Errorf("got %+v", a)
			}
			s.read(t, simUser)
		})
	}
}

// TestSimulatedHiddenRoles: what is not shown grants as well.
func TestSimulatedHiddenRoles(t *testing.T) {
	s := newStage(t, sim.Options{}, false)
	id, err := s.rc.PutRole(sim.Role{DisplayName: "Hidden", Hidden: true, Permissions: []string{"Users"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.rc.AssignRoles(simUser, "3", id); err != nil {
		t.Fatal(err)
	}
	a := s.read(t, simUser)
	if diff := cmp.Diff(truth(s.rc, simUser), names(a, cache.Permission)); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
	if _, ok := a.Grants[cache.NewGrant(cache.Permission, "Users")]; !ok {
		t.Error("the hidden role grants nothing")
	}
}
