package providertest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// subscribe: the life of registrations.
func subscribe(t testing.TB, s *stage) {
	r := s.registrar(t)
	if _, ok := s.Provider.(subscriptions.Door); !ok {
		t.Error("it registers, and is no Door")
	}
	wanted := slices.Clone(r.Wanted())
	if len(wanted) == 0 || len(slices.Compact(slices.Sorted(slices.Values(wanted)))) != len(wanted) {
		t.Fatalf("wanted %q: none, or one twice", wanted)
	}
	r.Wanted()[0] = "overwritten"
	if again := r.Wanted(); !slices.Equal(again, wanted) {
		t.Errorf("wanted %q, then %q", wanted, again)
	}
	listed(t, r, nil)
	var made []subscriptions.Subscription
	for _, want := range wanted {
		one, err := r.Create(t.Context(), subscriptions.Order{Address: address, Want: want, Secret: subscriptions.NewSecret("registration-hunter2")})
		s.tell(one, err)
		if err != nil {
			t.Fatalf("create %s: %v", want, err)
		}
		serves(t, "created", one, want)
		made = append(made, one)
	}
	listed(t, r, made)
	for _, one := range made {
		renewed, err := r.Renew(t.Context(), one.ID)
		s.tell(renewed, err)
		if err != nil || renewed.ID != one.ID || renewed.Expires.Before(one.Expires) {
			t.Errorf("renew: %+v, %v; want %+v", renewed, err, one)
		}
		serves(t, "renewed", renewed, one.Want)
		for _, time := range []string{"first", "second"} {
			if err := r.Delete(t.Context(), one.ID); err != nil {
				t.Errorf("delete, the %s time: %v", time, err)
			}
		}
		if _, err := r.Renew(t.Context(), one.ID); !errors.Is(err, subscriptions.ErrGone) {
			t.Errorf("renew what is deleted: got %v, want ErrGone", err)
		}
	}
	listed(t, r, nil)
}

// serves fails for a registration that does not.
func serves(t testing.TB, name string, one subscriptions.Subscription, want string) {
	t.Helper()
	ended := !one.Expires.IsZero() && time.Until(one.Expires) < time.Minute
	if one.ID == "" || one.Want != want || one.Address != address || !one.Active || ended {
		t.Errorf("%s: %+v, want it active for %s at %s", name, one, want, address)
	}
}

func listed(t testing.TB, r subscriptions.Registrar, want []subscriptions.Subscription) {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil || len(list) != len(want) {
		t.Errorf("list: %+v, %v; want %d", list, err, len(want))
		return
	}
	for _, one := range want {
		i := slices.IndexFunc(list, func(l subscriptions.Subscription) bool { return l.ID == one.ID })
		if i < 0 {
			t.Errorf("%s is not listed", one.ID)
			continue
		}
		serves(t, "listed", list[i], one.Want)
	}
}
