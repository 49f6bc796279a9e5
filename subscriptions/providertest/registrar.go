package providertest

import (
	"errors"
	"net/http"
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
		one, err := r.Create(t.Context(), s.order(want))
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

// terms: they are always the same, and can be met.
func terms(t testing.TB, s *stage) {
	r := s.registrar(t)
	before, _ := s.wire.tally()
	first := r.Terms()
	if after, _ := s.wire.tally(); after != before {
		t.Errorf("%d calls for what is always the same", after-before)
	}
	if first.Most < max(1, len(r.Wanted())) {
		t.Errorf("terms %+v, wanted are %d", first, len(r.Wanted()))
	}
	if _, ok := s.Provider.(subscriptions.Tail); first.Tailed && !ok {
		t.Error("all is told by a tail that is none")
	}
	same := func(when string) {
		if again := r.Terms(); again != first {
			t.Errorf("terms %+v, and %+v %s", first, again, when)
		}
	}
	made, err := r.Create(t.Context(), s.order(r.Wanted()[0]))
	must(t, err)
	same("after a registration")
	must(t, r.Delete(t.Context(), made.ID))
	s.wire.meet(fault{at: isCall, left: 1, reply: saying(s.Limited)})
	if _, err := r.List(t.Context()); err == nil {
		t.Error("list at a limit: no error")
	}
	same("after a refusal")
}

// ownSecrets: where a registration has a secret of its own, its deliveries bear that
// and are accepted for no other. Else they do not depend on what was ordered.
func ownSecrets(t testing.TB, s *stage) {
	r, door := s.registrar(t), s.door(t)
	good, _ := s.deliver(t)
	if !r.Terms().OwnSecret {
		good.Secrets = nil
		if _, err := door.Verify(good); err != nil {
			t.Errorf("a delivery without the order's secret: %v", err)
		}
		return
	}
	calls, _ := s.wire.tally()
	made, err := r.Create(t.Context(), subscriptions.Order{Address: address, Want: r.Wanted()[0]})
	if after, _ := s.wire.tally(); err == nil || after != calls {
		t.Errorf("an order without a secret: subscription %q, %v, in %d calls", made.ID, err, after-calls)
	}
	first := s.ordered()
	opens(t, door, good, first, true)
	next, err := r.Create(t.Context(), s.order(r.Wanted()[0]))
	must(t, err)
	must(t, r.Delete(t.Context(), s.hook))
	s.hook = next.ID
	second := s.ordered()[len(first):]
	opens(t, door, good, second, false)
	good, _ = s.deliver(t)
	opens(t, door, good, second, true)
	opens(t, door, good, first, false)
}

// opens fails unless the delivery is accepted with these secrets, or refused.
func opens(t testing.TB, door subscriptions.Door, d subscriptions.Delivery, with []subscriptions.Secret, want bool) {
	t.Helper()
	d.Secrets = append([]subscriptions.Secret{subscriptions.NewSecret("of another")}, with...)
	_, err := door.Verify(d)
	if (err == nil) != want || err != nil && !errors.Is(err, subscriptions.ErrRefused) {
		t.Errorf("a delivery with %d secrets of registrations: %v, want it accepted: %t", len(with), err, want)
	}
}

// refusedOrders: a refusal that a person must mend is told as what it is.
func refusedOrders(t testing.TB, s *stage) {
	r := s.registrar(t)
	order := s.order(r.Wanted()[0])
	isOrder := func(r *http.Request) bool { return isCall(r) && r.Method == http.MethodPost }
	for _, c := range []struct {
		reply       http.HandlerFunc
		want, never error
	}{
		{s.Full, subscriptions.ErrFull, subscriptions.ErrUnreachable},
		{s.Unreachable, subscriptions.ErrUnreachable, subscriptions.ErrFull},
	} {
		if c.reply == nil {
			continue
		}
		s.wire.meet(fault{at: isOrder, left: -1, reply: saying(c.reply)})
		made, err := r.Create(t.Context(), order)
		s.wire.meet(fault{})
		s.tell(err)
		if !errors.Is(err, c.want) || !errors.Is(err, subscriptions.ErrMisconfigured) || errors.Is(err, c.never) {
			t.Errorf("create: %v, want ErrMisconfigured and %v", err, c.want)
		}
		if made.ID != "" {
			t.Errorf("create: subscription %q comes with the error %v", made.ID, err)
		}
	}
	if _, err := r.Create(t.Context(), order); err != nil {
		t.Errorf("create, once it is mended: %v", err)
	}
}
