package box_test

import (
	"errors"
	"slices"
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
			made, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")})
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
	if _, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")}); err != nil {
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
	if _, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")}); err != nil {
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
	old, err := s.Create(t.Context(), subscriptions.Order{Address: "https://old.example/b", Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")})
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")})
	if err != nil || made.ID != old.ID || made.Address != s.address || !made.Active {
		t.Fatalf("taken over: %+v, %v", made, err)
	}
	other, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "file:" + boxsim.FileRoadmap, Secret: subscriptions.NewSecret("registration-hunter2")})
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
	if _, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")}); err != nil {
		t.Error(err)
	}
}

func TestSimulatedSessionThatIsOver(t *testing.T) {
	s := newStage(t, boxsim.Options{}, nil)
	if _, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")}); err != nil {
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
