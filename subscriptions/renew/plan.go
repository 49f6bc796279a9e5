package renew

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

const (
	// latest is how much life is left at the latest when it is prolonged.
	latest = 24 * time.Hour
	// persuade is the time between two renewals for the sake of disabled filters.
	persuade = time.Hour
	// drain is how long one that is replaced delivers on: what happened before the new
	// one was made may still be on its way.
	drain = time.Minute
)

// Verb is what is to be done for something that is wanted.
type Verb string

// What can be done. Replace makes a new registration beside the old one; Retire lets
// one that is one too many deliver for a minute more.
const (
	Keep    Verb = "keep"
	Renew   Verb = "renew"
	Create  Verb = "create"
	Replace Verb = "replace"
	Retire  Verb = "retire"
	Remove  Verb = "remove"
	Refuse  Verb = "refuse" // it cannot be had
)

// Step is one thing to do, with its reason.
type Step struct {
	Verb Verb `json:"verb"`
	// Want is what it is for, ID the registration that is kept, renewed, replaced or
	// removed.
	Want string `json:"want,omitempty"`
	ID   string `json:"id,omitempty"`
	Why  string `json:"why,omitempty"`
}

// state is all that a plan is made of.
type state struct {
	now     time.Time
	address string
	wanted  []string
	terms   subscriptions.Terms
	subs    []subscriptions.Subscription // the provider's list
	ledger  subscriptions.Ledger
	rotate  time.Duration // age at which a secret is changed; zero: never
	force   map[Verb]bool // Renew and Replace: whether it is due or not
}

// ours says whether we made it: its address is ours with a serial, or it stands in
// the ledger.
func (s *state) ours(sub subscriptions.Subscription) bool {
	_, here := s.serial(sub)
	return here || s.ledger.Entry(sub.ID) != nil
}

// maxSerial is far more than are ever minted, and far from where they could not be
// counted on.
const maxSerial = 1 << 53

// serial is the one at the end of a registration's address; here is false if it
// delivers somewhere else, or was made there by somebody else: the serial is zero if
// and only if the secret is the app's.
func (s *state) serial(sub subscriptions.Subscription) (serial int64, here bool) {
	text, ok := strings.CutPrefix(sub.Address, s.address+"/")
	serial, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || text != strconv.FormatInt(serial, 10) || serial < 0 || serial > maxSerial {
		return 0, false
	}
	return serial, serial > 0 == s.terms.OwnSecret
}

// addressOf is where a registration delivers.
func addressOf(base string, serial int64) string { return base + "/" + strconv.FormatInt(serial, 10) }

// saidSo is why a registration that the provider still lists is dead.
const saidSo = "it said itself that it is over"

// living says whether it is listed and delivers, for all we know.
func (s *state) living(id string) bool {
	return slices.ContainsFunc(s.subs, func(sub subscriptions.Subscription) bool {
		return sub.ID == id && alive(sub, s.now) && !s.over(id)
	})
}

// over says whether a delivery said that the registration delivers no more.
func (s *state) over(id string) bool {
	e := s.ledger.Entry(id)
	return e != nil && e.Over
}

// plan lists what to do, in order: what is dead goes first, since a provider may
// allow one of a kind, and what is one too many last, since until then it delivers.
// Nothing is removed that we did not make.
func (s *state) plan() (steps []Step) {
	var surplus []Step
	used := len(s.subs)
	for _, sub := range s.subs {
		if s.ours(sub) && !slices.Contains(s.wanted, sub.Want) {
			steps = append(steps, Step{Remove, sub.Want, sub.ID, "not wanted"})
			used--
		}
	}
	for _, want := range s.wanted {
		c := s.candidates(want)
		for _, dead := range c.dead {
			steps = append(steps, Step{Remove, want, dead.ID, s.deathOf(dead)})
			used--
		}
		step := s.step(want, c)
		if c.best == nil && used >= s.terms.Most { // no room for both; nobody listens there any more
			for _, astray := range c.astray {
				steps = append(steps, Step{Remove, want, astray.ID, s.missing(want, c)})
				used--
			}
			c.astray = nil
		}
		if step.Verb == Create || step.Verb == Replace {
			step, used = s.fit(step, used, c)
		}
		steps = append(steps, step)
		for _, astray := range c.astray {
			surplus = append(surplus, Step{Remove, want, astray.ID, "it delivers to an address that is no more"})
		}
		surplus = append(surplus, s.farewell(want, c.lesser)...)
	}
	return append(steps, surplus...)
}

// farewell lets those that are one too many deliver for a while, and then go.
func (s *state) farewell(want string, lesser []subscriptions.Subscription) (steps []Step) {
	for _, sub := range lesser {
		switch since := s.entry(sub.ID).Leaving; {
		case since.IsZero():
			steps = append(steps, Step{Retire, want, sub.ID, "one too many"})
		case s.now.Sub(since) >= drain:
			steps = append(steps, Step{Remove, want, sub.ID, "one too many"})
		}
	}
	return steps
}

// fit lets a step that adds a registration pass if there is room for it. Where one
// secret is for all, one that is there for the same is taken over.
func (s *state) fit(step Step, used int, c candidates) (Step, int) {
	there := len(c.astray) > 0 || slices.ContainsFunc(s.subs, func(sub subscriptions.Subscription) bool {
		return sub.Want == step.Want && !s.ours(sub) // what is dead has gone before
	})
	switch {
	case !s.terms.OwnSecret && there:
		return step, used
	case used < s.terms.Most:
		return step, used + 1
	}
	others := 0
	for _, sub := range s.subs {
		if !s.ours(sub) {
			others++
		}
	}
	why := fmt.Sprintf("no room: the provider allows %d for this app and user, %d of them are not ours",
		s.terms.Most, others)
	if step.Verb == Replace {
		step = s.upkeep(step.Want, *c.best)
		step.Why = cmp.Or(step.Why, why)
		return step, used
	}
	return Step{Refuse, step.Want, "", why}, used
}

// candidates are our registrations for something that is wanted.
type candidates struct {
	best         *subscriptions.Subscription
	lesser       []subscriptions.Subscription
	dead, astray []subscriptions.Subscription // astray: under an address that is no more
}

func (s *state) candidates(want string) (c candidates) {
	for _, sub := range s.subs {
		_, here := s.serial(sub)
		switch {
		case !s.ours(sub) || sub.Want != want:
		case !here:
			c.astray = append(c.astray, sub)
		case !alive(sub, s.now) || s.over(sub.ID):
			c.dead = append(c.dead, sub)
		case c.best == nil:
			c.best = &sub
		case s.outlasts(sub, *c.best):
			c.lesser = append(c.lesser, *c.best)
			c.best = &sub
		default:
			c.lesser = append(c.lesser, sub)
		}
	}
	return c
}

// step is what to do about one that is wanted.
func (s *state) step(want string, c candidates) Step {
	if c.best == nil {
		return Step{Create, want, "", s.missing(want, c)}
	}
	switch age := s.age(*c.best); {
	case s.terms.OwnSecret && s.force[Replace]:
		return Step{Replace, want, c.best.ID, "a new secret is asked for"}
	case s.terms.OwnSecret && s.rotate > 0 && age >= s.rotate:
		return Step{Replace, want, c.best.ID, fmt.Sprintf("its secret is %d days old", age/(24*time.Hour))}
	}
	return s.upkeep(want, *c.best)
}

// age is that of a registration's secret; zero if nobody knows.
func (s *state) age(sub subscriptions.Subscription) time.Duration {
	made := s.entry(sub.ID).Made
	if made.IsZero() { // it is not noted yet
		made = sub.Created
	}
	if made.IsZero() {
		return 0
	}
	return s.now.Sub(made)
}

// upkeep is what to do about one that stays.
func (s *state) upkeep(want string, best subscriptions.Subscription) Step {
	step, e := Step{Keep, want, best.ID, ""}, s.entry(best.ID)
	switch {
	case s.force[Renew]:
		step.Verb, step.Why = Renew, "asked for"
	case !best.Expires.IsZero() && !due(e, best).After(s.now):
		step.Verb, step.Why = Renew, "ends "+best.Expires.UTC().Format(time.RFC3339)
	case len(best.Disabled) > 0 && s.now.Sub(latestOf(e.Renewed, e.Made)) >= persuade:
		step.Verb, step.Why = Renew, "not served: "+strings.Join(best.Disabled, "; ")
	}
	return step
}

// entry is what is noted of a registration; the zero value if nothing is.
func (s *state) entry(id string) subscriptions.Entry {
	if e := s.ledger.Entry(id); e != nil {
		return *e
	}
	return subscriptions.Entry{}
}

// missing says why there is none.
func (s *state) missing(want string, c candidates) string {
	switch {
	case len(c.dead) > 0:
		return s.deathOf(c.dead[0])
	case len(c.astray) > 0:
		return "the address has changed"
	}
	for _, e := range s.ledger.Entries {
		if e.Want == want && !e.Expires.IsZero() && !e.Expires.After(s.now) {
			return "expired"
		}
		if e.Want == want {
			return "gone at the provider"
		}
	}
	return "there is none"
}

func (s *state) deathOf(sub subscriptions.Subscription) string {
	switch {
	case s.over(sub.ID):
		return saidSo
	case !sub.Active:
		return cmp.Or(sub.Status, "not active")
	}
	return "expired"
}

func alive(s subscriptions.Subscription, now time.Time) bool {
	return s.Active && (s.Expires.IsZero() || s.Expires.After(now))
}

// outlasts orders by secret, the newest first, then by end, then by id, so that every
// look chooses the same.
func (s *state) outlasts(a, b subscriptions.Subscription) bool {
	newer, _ := s.serial(a)
	older, _ := s.serial(b)
	switch {
	case newer != older:
		return newer > older
	case a.Expires.Equal(b.Expires):
		return a.ID < b.ID
	case a.Expires.IsZero() || b.Expires.IsZero():
		return a.Expires.IsZero()
	}
	return a.Expires.After(b.Expires)
}

// due is when to renew what ends: when a third of its life is left, a day before at
// the latest. Of an unknown life it is a day before, at once if that has begun: the
// reply makes the life known.
func due(e subscriptions.Entry, s subscriptions.Subscription) time.Time {
	life := s.Expires.Sub(latestOf(e.Renewed, e.Made))
	if e.Made.IsZero() || life <= 0 {
		return s.Expires.Add(-latest)
	}
	return s.Expires.Add(-min(life/3, latest))
}

func latestOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
