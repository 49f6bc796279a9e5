package renew

import (
	"slices"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// latest is how much life is left at the latest when it is prolonged.
const latest = 24 * time.Hour

// verb is what has to be done for an address.
type verb string

const (
	keep   verb = "keep"
	renew  verb = "renew"
	create verb = "create"
)

// action is what a look at the list leads to: remove first, then the verb.
type action struct {
	verb   verb
	best   subscriptions.Subscription // to keep or renew
	remove []string                   // dead ones and lesser ones, with our address
}

// held is the subscription in use: its life when it was made or renewed, zero if
// not known.
type held struct {
	id   string
	life time.Duration
}

// unwanted are those with our address that serve nothing that is wanted.
func unwanted(subs []subscriptions.Subscription, address string, wanted []string) (ids []string) {
	for _, s := range subs {
		if s.Address == address && !slices.Contains(wanted, s.Want) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// decide says what to do for one that is wanted.
func decide(now time.Time, subs []subscriptions.Subscription, address, want string, h held) action {
	a := action{verb: create}
	for _, s := range subs {
		switch {
		case s.Address != address || s.Want != want:
		case !alive(s, now):
			a.remove = append(a.remove, s.ID)
		case a.verb == create:
			a.verb, a.best = keep, s
		case outlasts(s, a.best):
			a.remove = append(a.remove, a.best.ID)
			a.best = s
		default:
			a.remove = append(a.remove, s.ID)
		}
	}
	if a.best.ID != h.id {
		h.life = 0
	}
	if a.verb == keep && !a.best.Expires.IsZero() && !due(a.best.Expires, h.life).After(now) {
		a.verb = renew
	}
	return a
}

func alive(s subscriptions.Subscription, now time.Time) bool {
	return s.Active && (s.Expires.IsZero() || s.Expires.After(now))
}

// outlasts orders by end, then by id, so that every look chooses the same.
func outlasts(a, b subscriptions.Subscription) bool {
	switch {
	case a.Expires.Equal(b.Expires):
		return a.ID < b.ID
	case a.Expires.IsZero() || b.Expires.IsZero():
		return a.Expires.IsZero()
	}
	return a.Expires.After(b.Expires)
}

// due is when to renew what ends at a time. With an unknown life that is a day
// before, at once if that has begun: the reply makes the life known.
func due(expires time.Time, life time.Duration) time.Time {
	if life == 0 {
		return expires.Add(-latest)
	}
	return expires.Add(-min(life/3, latest))
}
