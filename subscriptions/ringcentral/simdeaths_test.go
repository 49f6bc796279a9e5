package ringcentral_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

const simFilter = "/restapi/v1.0/account/37439510/extension"

// register makes a registration that must succeed.
func (s *stage) register(t *testing.T) subscriptions.Subscription {
	t.Helper()
	made, err := s.Create(t.Context(), orderAt(s.address))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestSimulatedLoss(t *testing.T) {
	s := newStage(t, sim.Options{}, false)
	made := s.register(t)
	if err := s.rc.LoseSubscription(made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Renew(t.Context(), made.ID); !errors.Is(err, subscriptions.ErrGone) {
		t.Errorf("renew: %v", err)
	}
	if err := s.Delete(t.Context(), made.ID); err != nil {
		t.Errorf("delete: %v", err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list: %+v, %v", list, err)
	}
}

// A filter that is disabled while the subscription lives is seen in the list, and a
// renewal has it again.
func TestSimulatedDisabledFilter(t *testing.T) {
	s := newStage(t, sim.Options{}, false)
	made := s.register(t)
	s.rc.DisableFilter(simFilter, "SUB-412")
	list, err := s.List(t.Context())
	want := []string{simFilter + ": SUB-412"}
	if err != nil || len(list) != 1 || !list[0].Active || !slices.Equal(list[0].Disabled, want) {
		t.Errorf("list: %+v, %v", list, err)
	}
	again := s.register(t)
	if !slices.Equal(again.Disabled, want) || slices.Contains(again.Filters, simFilter) {
		t.Errorf("created: %+v", again)
	}
	s.rc.DisableFilter(simFilter, "")
	renewed, err := s.Renew(t.Context(), made.ID)
	if err != nil || len(renewed.Disabled) != 0 || !slices.Contains(renewed.Filters, simFilter) ||
		!renewed.Created.Equal(made.Created) {
		t.Errorf("renewed: %+v, %v; was %+v", renewed, err, made)
	}
}

func TestSimulatedLimit(t *testing.T) {
	s := newStage(t, sim.Options{MaxSubscriptions: 1}, false)
	made := s.register(t)
	_, err := s.Create(t.Context(), orderAt(s.address))
	if subscriptions.FaultOf(err) != subscriptions.FaultFull || !errors.Is(err, subscriptions.ErrMisconfigured) {
		t.Errorf("error %v", err)
	}
	if err := s.Delete(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	s.register(t)
}

// Each of the vendor's checks of an address, at creation and where a renewal makes
// them again.
func TestSimulatedAddressChecks(t *testing.T) {
	for _, code := range []string{"SUB-520", "SUB-521", "SUB-522", "SUB-523", "SUB-524", "SUB-525"} {
		t.Run(code, func(t *testing.T) {
			s := newStage(t, sim.Options{}, false)
			made := s.register(t)
			for _, at := range []string{"createSubscription", "updateSubscription"} {
				if err := s.rc.Fault(sim.Fault{Operation: at, Kind: sim.Refuse, Code: code, Count: 1}); err != nil {
					t.Fatal(err)
				}
			}
			_, create := s.Create(t.Context(), orderAt(s.address))
			_, renew := s.Renew(t.Context(), made.ID)
			for _, err := range []error{create, renew} {
				if subscriptions.FaultOf(err) != subscriptions.FaultAddress || !errors.Is(err, subscriptions.ErrMisconfigured) {
					t.Errorf("error %v", err)
				}
			}
		})
	}
}

// Two registrations deliver to one address, each with its own secret; what is told
// twice is the same change, by two senders.
func TestSimulatedRotation(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("one uuid %t", shared), func(t *testing.T) {
			s := newStage(t, sim.Options{Quirks: sim.Quirks{SharedUUID: shared}}, false)
			first := s.register(t)
			next := orderAt(s.address)
			next.Secret = subscriptions.NewSecret(nextSecret)
			second, err := s.Create(t.Context(), next)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.rc.AssignRoles(simUser, "1"); err != nil {
				t.Fatal(err)
			}
			a, b := s.next(t), s.next(t)
			if (a.ID == b.ID) != shared || !slices.Equal(a.Tags, b.Tags) {
				t.Errorf("changes %+v and %+v", a, b)
			}
			if err := s.Delete(t.Context(), first.ID); err != nil {
				t.Fatal(err)
			}
			if err := s.rc.AssignRoles(simUser, "3"); err != nil {
				t.Fatal(err)
			}
			c := s.next(t)
			if sender, _ := s.senders.Load(c.ID); sender != second.ID || len(s.changes) != 0 {
				t.Errorf("by %v, want %s; %d more", sender, second.ID, len(s.changes))
			}
			if list := s.rc.Subscriptions(); len(list) != 1 || list[0].Failed != 0 {
				t.Errorf("subscriptions %+v", list)
			}
		})
	}
}
