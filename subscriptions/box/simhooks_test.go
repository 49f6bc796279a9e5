package box_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// TestSimulatedWebhooks: what is changed under a watched folder comes as a change
// of those whom it concerns.
func TestSimulatedWebhooks(t *testing.T) {
	for name, q := range map[string]boxsim.Quirks{
		"the likelier reading": {}, "the other one": {ItemSource: true, FullWebhook: true, FileHooks: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, boxsim.Options{Quirks: q}, nil)
			made, err := s.Create(t.Context(), order(s.address, "folder:1001"))
			if err != nil || !made.Active || made.Want != "folder:1001" || made.Address != s.address {
				t.Fatalf("%+v, %v", made, err)
			}
			collab := func(holder string) string {
				if q.ItemSource {
					return "folder:0 folder:1001"
				}
				return holder
			}
			if err := s.sim.SetCollaborationRole("31", "viewer"); err != nil {
				t.Fatal(err)
			}
			s.next(t, collab("subject:"+boxsim.EditorUser))
			if err := s.sim.Uninvite("32"); err != nil {
				t.Fatal(err)
			}
			s.next(t, collab("group:"+boxsim.GroupSupport))
			if err := s.sim.Move(boxsim.FolderDrafts, boxsim.FolderProjects); err != nil {
				t.Fatal(err)
			}
			s.next(t, "folder:0 folder:1001 folder:1002 folder:1003")
			if err := s.sim.Share(boxsim.FileRoadmap, "open"); err != nil {
				t.Fatal(err)
			}
			s.next(t, "file:2001")
			if err := s.sim.Trash(boxsim.FileDraft); err != nil {
				t.Fatal(err)
			}
			s.next(t, "file:2002")
		})
	}
}

// TestSimulatedKeysAreRotated one after the other, and nothing is refused.
func TestSimulatedKeysAreRotated(t *testing.T) {
	s := newStage(t, boxsim.Options{}, nil)
	if _, err := s.Create(t.Context(), order(s.address, "folder:1001")); err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][2]string{
		{"sim-primary-key", "new"}, {"new", "sim-secondary-key"}, {"sim-primary-key", ""}, {"",
			"sim-secondary-key"},
	} {
		s.sim.SetKeys(keys[0], keys[1])
		if err := s.sim.Trigger("FILE.LOCKED", boxsim.OwnerUser, boxsim.FileRoadmap, nil, nil); err != nil {
			t.Fatal(err)
		}
		s.next(t, "file:2001")
	}
	s.sim.SetKeys("new", "newer")
	if err := s.sim.Trigger("FILE.LOCKED", boxsim.OwnerUser, boxsim.FileRoadmap, nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.refused:
		if !errors.Is(err, subscriptions.ErrRefused) {
			t.Error(err)
		}
	case <-time.After(limit):
		t.Error("not refused")
	}
}

// TestSimulatedRedelivery: what Box tries again is the same change.
func TestSimulatedRedelivery(t *testing.T) {
	s := newStage(t, boxsim.Options{}, nil)
	if _, err := s.Create(t.Context(), order(s.address, "folder:1001")); err != nil {
		t.Fatal(err)
	}
	if err := s.sim.Fault(boxsim.Fault{Operation: boxsim.Deliveries, Kind: boxsim.Duplicate}); err != nil {
		t.Fatal(err)
	}
	if err := s.sim.Lock(boxsim.FileRoadmap, boxsim.OwnerUser); err != nil {
		t.Fatal(err)
	}
	if one, two := s.next(t, "file:2001"), s.next(t, "file:2001"); one.ID != two.ID {
		t.Errorf("%s, then %s", one.ID, two.ID)
	}
}

// TestSimulatedLifeOfAWebhook: made, listed, taken over with another address,
// deleted by the vendor, made again.
func TestSimulatedLifeOfAWebhook(t *testing.T) {
	s := newStage(t, boxsim.Options{}, nil)
	if got := s.Wanted(); !slices.Equal(got, []string{"folder:1001"}) {
		t.Fatalf("wanted %q", got)
	}
	old, err := s.Create(t.Context(), order("https://old.example/hooks/box/0123456789abcdef0123456789abcdef/0", "folder:1001"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Create(t.Context(), order(s.address, "folder:1001"))
	if err != nil || made.ID != old.ID || made.Address != s.address || !made.Active {
		t.Fatalf("taken over: %+v, %v", made, err)
	}
	other, err := s.Create(t.Context(), order(s.address, "file:"+boxsim.FileRoadmap))
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 || list[0].Want != "folder:1001" || list[1].Want != "" ||
		list[1].Address != s.address {
		t.Errorf("%+v, %v", list, err)
	}
	if err := errors.Join(s.Delete(t.Context(), other.ID), s.Delete(t.Context(), other.ID)); err != nil {
		t.Errorf("delete, twice: %v", err)
	}
	if again, err := s.Renew(t.Context(), made.ID); err != nil || again.ID != made.ID || !again.Active {
		t.Errorf("renewed: %+v, %v", again, err)
	}
	if err := s.sim.DeleteWebhook(made.ID); err != nil {
		t.Fatal(err)
	}
	s.next(t, "tenant")
	if list, err = s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Renew(t.Context(), made.ID); !errors.Is(err, subscriptions.ErrGone) {
		t.Errorf("renew what is gone: %v", err)
	}
	if _, err := s.Create(t.Context(), order(s.address, "folder:1001")); err != nil {
		t.Error(err)
	}
}

func TestSimulatedSessionThatIsOver(t *testing.T) {
	s := newStage(t, boxsim.Options{}, nil)
	if _, err := s.Create(t.Context(), order(s.address, "folder:1001")); err != nil {
		t.Fatal(err)
	}
	if err := s.sim.Deauthorize(""); err != nil {
		t.Fatal(err)
	}
	if err := s.sim.Lock(boxsim.FileRoadmap, boxsim.OwnerUser); err != nil {
		t.Fatal(err)
	}
	if c := s.next(t, "tenant"); !slices.Equal(c.Reasons, []string{"NO_ACTIVE_SESSION"}) {
		t.Errorf("%+v", c)
	}
}

// origins listens as another listener would, and says who sent what came.
func (s *stage) origins(t *testing.T) (address string, from chan subscriptions.Origin) {
	t.Helper()
	from = make(chan subscriptions.Origin, 64)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		d := subscriptions.Delivery{Home: home, Header: r.Header, Body: body, Received: time.Now()}
		if _, refused := s.Verify(d); errors.Join(err, refused) != nil {
			t.Errorf("delivery: %v, %v", err, refused)
		}
		from <- s.Origin(d)
	}))
	t.Cleanup(server.Close)
	return server.URL, from
}

func came(t *testing.T, from chan subscriptions.Origin, want subscriptions.Origin) {
	t.Helper()
	select {
	case got := <-from:
		if got != want {
			t.Fatalf("came from %+v, want %+v", got, want)
		}
	case <-time.After(limit):
		t.Fatalf("nothing came, want %+v", want)
	}
}

// TestSimulatedEndsOfAWebhook: what a delivery tells of them, and what the list does.
func TestSimulatedEndsOfAWebhook(t *testing.T) {
	for name, c := range map[string]struct {
		end          func(*boxsim.Box, string) error
		told, listed bool
	}{
		"deleted":              {(*boxsim.Box).DeleteWebhook, true, false},
		"deleted in silence":   {(*boxsim.Box).LoseWebhook, false, false},
		"its session is ended": {(*boxsim.Box).EndSession, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, boxsim.Options{Senders: 1}, nil)
			address, from := s.origins(t)
			lock := func(by string) {
				t.Helper()
				if err := s.sim.Lock(boxsim.FileRoadmap, by); err != nil {
					t.Fatal(err)
				}
			}
			create := func() string {
				t.Helper()
				made, err := s.Create(t.Context(), order(address, "folder:1001"))
				if err != nil || made.Created.IsZero() || len(made.Filters) == 0 || len(made.Disabled) != 0 {
					t.Fatalf("%+v, %v", made, err)
				}
				return made.ID
			}
			old := create()
			lock(boxsim.OwnerUser)
			came(t, from, subscriptions.Origin{Subscription: old})
			if err := c.end(s.sim, old); err != nil {
				t.Fatal(err)
			}
			lock("")
			if c.told {
				came(t, from, subscriptions.Origin{Subscription: old, Over: true})
			}
			list, err := s.List(t.Context())
			if err != nil || (len(list) == 1) != c.listed {
				t.Errorf("listed %+v, %v", list, err)
			}
			if _, err := s.Renew(t.Context(), old); errors.Is(err, subscriptions.ErrGone) == c.listed {
				t.Errorf("renewed: %v", err)
			}
			if err := s.Delete(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			id := create()
			lock(boxsim.OwnerUser)
			came(t, from, subscriptions.Origin{Subscription: id})
		})
	}
}

// TestSimulatedRefusals of a webhook, each of its family.
func TestSimulatedRefusals(t *testing.T) {
	s := newStage(t, boxsim.Options{MaxWebhooks: 1}, nil)
	refused := func(address, want string, is error, text string) {
		t.Helper()
		_, err := s.Create(t.Context(), order(address, want))
		if !errors.Is(err, subscriptions.ErrMisconfigured) || !errors.Is(err, is) ||
			!strings.Contains(err.Error(), text) {
			t.Errorf("%s for %s: %v, want %v", address, want, err, is)
		}
	}
	s.sim.SetUnreachable("self-signed.example")
	refused("https://self-signed.example/x", "folder:1001", subscriptions.ErrUnreachable, "certificate")
	refused("https://app.box.com/x", "folder:1001", subscriptions.ErrUnreachable, "box.com")
	refused(s.address, "folder:4711", subscriptions.ErrMisconfigured, "shared with the service account")
	if _, err := s.Create(t.Context(), order(s.address, "folder:1001")); err != nil {
		t.Fatal(err)
	}
	refused(s.address, "file:"+boxsim.FileRoadmap, subscriptions.ErrFull, "remove")

	if err := s.sim.Configure("", func(a *boxsim.App) { a.Scopes = []string{"root_readwrite"} }); err != nil {
		t.Fatal(err)
	}
	if err := s.sim.Authorize(""); err != nil {
		t.Fatal(err)
	}
	s.sim.EndTokens(boxsim.ServiceUser)
	refused(s.address, "file:"+boxsim.FileRoadmap, subscriptions.ErrMisconfigured, "manage_webhook")
	if _, err := s.List(t.Context()); !errors.Is(err, subscriptions.ErrMisconfigured) {
		t.Errorf("list: %v", err)
	}
}
