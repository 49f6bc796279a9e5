package renew

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
)

const here, week, day = "https://l.example/hooks/p/here", 7 * 24 * time.Hour, 24 * time.Hour

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

type (
	list  = []subscriptions.Subscription
	notes = []subscriptions.Entry
)

// live, dead and endless make a subscription at our address, with so much life left;
// the secret is the app's.
func live(id string, left time.Duration) subscriptions.Subscription {
	return subscriptions.Subscription{ID: id, Want: "account", Address: here + "/0", Active: true, Expires: noon.Add(left)}
}

func dead(id string, left time.Duration) subscriptions.Subscription {
	s := live(id, left)
	s.Active, s.Status = false, "Blacklisted"
	return s
}

func endless(id string) subscriptions.Subscription {
	return subscriptions.Subscription{ID: id, Want: "account", Address: here + "/0", Active: true}
}

// mine is the same with a secret of its own.
func mine(serial int64, s subscriptions.Subscription) subscriptions.Subscription {
	s.Address = fmt.Sprint(here, "/", serial)
	return s
}

// since is the same, made so long ago.
func since(age time.Duration, s subscriptions.Subscription) subscriptions.Subscription {
	s.Created = noon.Add(-age)
	return s
}

// moved is one at an address that was ours, or was not.
func moved(id string) subscriptions.Subscription { return at(here+"/old", id) }

func at(address, id string) subscriptions.Subscription {
	s := endless(id)
	s.Address = address
	return s
}

// other is somebody else's, for something else.
func other(id string) subscriptions.Subscription {
	s := moved(id)
	s.Want = ""
	return s
}

// leaving is an entry of one that another has taken the place of.
func leaving(id string, since time.Duration, serial int64) subscriptions.Entry {
	e := noted(id, week, serial)
	e.Leaving = noon.Add(-since)
	return e
}

// noted is an entry of an age, with a serial.
func noted(id string, age time.Duration, serial int64) subscriptions.Entry {
	return subscriptions.Entry{ID: id, Want: "account", Made: noon.Add(-age), Serial: serial, Active: true}
}

func unserved(id string) subscriptions.Subscription {
	s := live(id, week)
	s.Disabled = []string{"/extension: SUB-412"}
	return s
}

const (
	room    = "no room: the provider allows 1 for this app and user, %d of them are not ours"
	many    = "one too many"
	changed = "the address has changed"
	astray  = "it delivers to an address that is no more"
)

func TestPlan(t *testing.T) {
	over := noted("a", day, 1)
	over.Over = true
	gone := noted("z", week, 1)
	gone.Expires = noon.Add(-1)
	none := []Step{{Create, "account", "", "there is none"}}
	renewed := noted("a", week, 1)
	renewed.Renewed = noon.Add(-16 * time.Hour)
	for name, c := range map[string]struct {
		subs   list
		notes  notes
		own    bool
		most   int
		rotate time.Duration
		force  Verb
		want   []Step
	}{
		"none":                  {want: none},
		"only another's":        {subs: list{moved("x")}, want: none},
		"fresh":                 {subs: list{live("a", week)}, notes: notes{noted("a", 0, 0)}, want: []Step{{Keep, "account", "a", ""}}},
		"a week's, 25 h left":   {subs: list{live("a", 25*time.Hour)}, notes: notes{noted("a", week-25*time.Hour, 0)}, want: []Step{{Keep, "account", "a", ""}}},
		"a week's, a day left":  {subs: list{live("a", day)}, notes: notes{noted("a", week-day, 0)}, want: []Step{{Renew, "account", "a", "ends 2026-11-02T12:00:00Z"}}},
		"a day's, 9 h left":     {subs: list{live("a", 9*time.Hour)}, notes: notes{noted("a", 15*time.Hour, 0)}, want: []Step{{Keep, "account", "a", ""}}},
		"a day's, a third left": {subs: list{live("a", 8*time.Hour)}, notes: notes{renewed}, want: []Step{{Renew, "account", "a", "ends 2026-11-01T20:00:00Z"}}},
		"of unknown life, 25 h": {subs: list{live("a", 25*time.Hour)}, want: []Step{{Keep, "account", "a", ""}}},
		"of unknown life, 23 h": {subs: list{live("a", 23*time.Hour)}, want: []Step{{Renew, "account", "a", "ends 2026-11-02T11:00:00Z"}}},
		"without an end":        {subs: list{endless("e")}, notes: notes{noted("e", 1000*day, 0)}, want: []Step{{Keep, "account", "e", ""}}},
		"expired this instant":  {subs: list{live("a", 0)}, want: []Step{{Remove, "account", "a", "expired"}, {Create, "account", "", "expired"}}},
		"blacklisted": {subs: list{dead("a", week), moved("x")}, want: []Step{
			{Remove, "account", "a", "Blacklisted"}, {Create, "account", "", "Blacklisted"}}},
		"blacklisted beside a live": {subs: list{dead("a", 2*week), live("b", week)}, want: []Step{
			{Remove, "account", "a", "Blacklisted"}, {Keep, "account", "b", ""}}},
		"it said that it is over": {subs: list{live("a", week)}, notes: notes{over}, want: []Step{
			{Remove, "account", "a", saidSo}, {Create, "account", "", saidSo}}},
		"gone":                       {notes: notes{noted("a", day, 0)}, want: []Step{{Create, "account", "", "gone at the provider"}}},
		"expired and gone":           {notes: notes{gone}, want: []Step{{Create, "account", "", "expired"}}},
		"two live":                   {subs: list{live("a", week), live("b", 2*week)}, want: []Step{{Keep, "account", "b", ""}, {Retire, "account", "a", many}}},
		"two live, the other way":    {subs: list{live("b", 2*week), live("a", week)}, want: []Step{{Keep, "account", "b", ""}, {Retire, "account", "a", many}}},
		"two live, for almost 1 min": {subs: list{live("a", week), live("b", 2*week)}, notes: notes{leaving("a", time.Minute-1, 0)}, want: []Step{{Keep, "account", "b", ""}}},
		"two live, for a minute":     {subs: list{live("a", week), live("b", 2*week)}, notes: notes{leaving("a", time.Minute, 0)}, want: []Step{{Keep, "account", "b", ""}, {Remove, "account", "a", many}}},
		"only a leaving one is left": {subs: list{live("a", week)}, notes: notes{leaving("a", time.Minute, 0)}, want: []Step{{Keep, "account", "a", ""}}},
		"the one beside it is dead": {subs: list{live("a", week), dead("b", week)}, notes: notes{leaving("a", time.Minute, 0)}, want: []Step{
			{Remove, "account", "b", "Blacklisted"}, {Keep, "account", "a", ""}}},
		"two that end together":     {subs: list{live("b", week), live("a", week)}, want: []Step{{Keep, "account", "a", ""}, {Retire, "account", "b", many}}},
		"one of two has no end":     {subs: list{live("a", week), endless("e")}, want: []Step{{Keep, "account", "e", ""}, {Retire, "account", "a", many}}},
		"two, the longest is due":   {subs: list{live("a", 1), live("b", 2)}, want: []Step{{Renew, "account", "b", "ends 2026-11-01T12:00:00Z"}, {Retire, "account", "a", many}}},
		"the newest secret stays":   {own: true, subs: list{mine(1, live("a", 2*week)), mine(2, live("b", week))}, notes: notes{noted("a", 0, 1), noted("b", 0, 2)}, want: []Step{{Keep, "account", "b", ""}, {Retire, "account", "a", many}}},
		"made and not noted":        {own: true, subs: list{mine(7, live("a", week))}, want: []Step{{Keep, "account", "a", ""}}},
		"not noted, and newer":      {own: true, subs: list{mine(7, live("a", week)), mine(6, live("b", week))}, notes: notes{noted("b", 0, 6)}, want: []Step{{Keep, "account", "a", ""}, {Retire, "account", "b", many}}},
		"not noted, and older":      {own: true, subs: list{mine(5, live("a", week)), mine(6, live("b", week))}, notes: notes{noted("b", 0, 6)}, want: []Step{{Keep, "account", "b", ""}, {Retire, "account", "a", many}}},
		"not noted, and dead":       {own: true, subs: list{mine(5, dead("a", week))}, want: []Step{{Remove, "account", "a", "Blacklisted"}, {Create, "account", "", "Blacklisted"}}},
		"not noted, the app's":      {subs: list{live("a", week)}, want: []Step{{Keep, "account", "a", ""}}},
		"the bare address":          {own: true, subs: list{at(here, "a")}, want: none},
		"a slash":                   {own: true, subs: list{at(here+"/", "a")}, want: none},
		"a serial with a nought":    {own: true, subs: list{at(here+"/07", "a")}, want: none},
		"a serial with a sign":      {own: true, subs: list{at(here+"/+7", "a"), at(here+"/-7", "b")}, want: none},
		"minus nought":              {subs: list{at(here+"/-0", "a")}, want: none},
		"a serial and more":         {own: true, subs: list{at(here+"/7/", "a"), at(here+"/7?x", "b"), at(here+"/7x", "c"), at(here+"/7/8", "d")}, want: none},
		"a serial of other digits":  {own: true, subs: list{at(here+"/７", "a")}, want: none},
		"a serial beyond all":       {own: true, subs: list{at(here+"/9223372036854775807", "a"), at(here+"/9223372036854775808", "b")}, want: none},
		"another case":              {own: true, subs: list{at(strings.ToUpper(here)+"/7", "a")}, want: none},
		"no secret, but own":        {own: true, subs: list{live("a", week)}, want: none},
		"a secret, but the app's":   {subs: list{mine(7, live("a", week))}, want: none},
		"the address has changed":   {subs: list{moved("a")}, notes: notes{noted("a", 0, 0)}, want: []Step{{Create, "account", "", changed}, {Remove, "account", "a", astray}}},
		"changed, and one is here":  {subs: list{moved("a"), live("b", week)}, notes: notes{noted("a", 0, 0)}, want: []Step{{Keep, "account", "b", ""}, {Remove, "account", "a", astray}}},
		"changed, and no room":      {own: true, most: 1, subs: list{moved("a")}, notes: notes{noted("a", 0, 1)}, want: []Step{{Remove, "account", "a", changed}, {Create, "account", "", changed}}},
		"noted at the bare address": {own: true, subs: list{at(here, "a")}, notes: notes{noted("a", 0, 1)}, want: []Step{{Create, "account", "", changed}, {Remove, "account", "a", astray}}},
		"rotation by age":           {own: true, rotate: 30 * day, subs: list{mine(1, live("a", week))}, notes: notes{noted("a", 30*day, 1)}, want: []Step{{Replace, "account", "a", "its secret is 30 days old"}}},
		"rotation, not noted":       {own: true, rotate: 30 * day, subs: list{mine(1, live("a", week))}, want: []Step{{Keep, "account", "a", ""}}},
		"rotation, noted nowhere but there": {own: true, rotate: 30 * day, subs: list{since(40*day, mine(1, live("a", week)))}, want: []Step{
			{Replace, "account", "a", "its secret is 40 days old"}}},
		"rotation is not due":      {own: true, rotate: 30 * day, subs: list{mine(1, live("a", week))}, notes: notes{noted("a", 30*day-1, 1)}, want: []Step{{Keep, "account", "a", ""}}},
		"the app's is not rotated": {rotate: 1, force: Replace, subs: list{live("a", week)}, notes: notes{noted("a", day, 0)}, want: []Step{{Keep, "account", "a", ""}}},
		"rotation on order":        {own: true, force: Replace, subs: list{mine(1, live("a", week))}, notes: notes{noted("a", 0, 1)}, want: []Step{{Replace, "account", "a", "a new secret is asked for"}}},
		"rotation after rotation":  {own: true, force: Replace, subs: list{mine(1, live("a", week)), mine(2, live("b", week))}, notes: notes{leaving("a", 1, 1), noted("b", 0, 2)}, want: []Step{{Replace, "account", "b", "a new secret is asked for"}}},
		"rotation without room":    {own: true, most: 1, force: Replace, subs: list{mine(1, live("a", week))}, notes: notes{noted("a", 0, 1)}, want: []Step{{Keep, "account", "a", fmt.Sprintf(room, 0)}}},
		"no room, and due":         {own: true, most: 1, rotate: 1, subs: list{mine(1, live("a", 1))}, notes: notes{noted("a", week, 1)}, want: []Step{{Renew, "account", "a", "ends 2026-11-01T12:00:00Z"}}},
		"renewal on order":         {force: Renew, subs: list{endless("a")}, notes: notes{noted("a", 0, 0)}, want: []Step{{Renew, "account", "a", "asked for"}}},
		"no room":                  {most: 1, subs: list{other("x")}, want: []Step{{Refuse, "account", "", fmt.Sprintf(room, 1)}}},
		"no room, own":             {own: true, most: 1, subs: list{moved("x")}, want: []Step{{Refuse, "account", "", fmt.Sprintf(room, 1)}}},
		"one that is taken over":   {most: 1, subs: list{moved("x")}, want: none},
		"a dead one makes room":    {most: 1, subs: list{dead("a", day)}, want: []Step{{Remove, "account", "a", "Blacklisted"}, {Create, "account", "", "Blacklisted"}}},
		"disabled for an hour":     {subs: list{unserved("a")}, notes: notes{noted("a", time.Hour, 0)}, want: []Step{{Renew, "account", "a", "not served: /extension: SUB-412"}}},
		"disabled, asked lately":   {subs: list{unserved("a")}, notes: notes{noted("a", 59*time.Minute, 0)}, want: []Step{{Keep, "account", "a", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := state{now: noon, address: here, wanted: []string{"account"}, subs: c.subs, rotate: c.rotate,
				terms: subscriptions.Terms{Most: 20, OwnSecret: c.own}, ledger: subscriptions.Ledger{Entries: c.notes},
				force: map[Verb]bool{c.force: true}}
			if c.most > 0 {
				s.terms.Most = c.most
			}
			if diff := cmp.Diff(c.want, s.plan()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// What fits is taken in the order in which it is wanted; what is not wanted makes room.
func TestPlanPacks(t *testing.T) {
	folder := func(want string, sub subscriptions.Subscription) subscriptions.Subscription {
		sub.Want = want
		return sub
	}
	const why = "a new secret is asked for"
	refused := func(want string, foreign int) Step {
		return Step{Refuse, want, "", fmt.Sprintf("no room: the provider allows 4 for this app and user, %d of them are not ours", foreign)}
	}
	for name, c := range map[string]struct {
		state
		want []Step
	}{
		"in order": {state{wanted: []string{"f1", "f2", "f3", "f4"}, subs: list{
			folder("f1", endless("1")), folder("f9", endless("9")), other("x"), folder("f4", endless("4"))}}, []Step{
			{Remove, "f9", "9", "not wanted"}, {Keep, "f1", "1", ""}, {Create, "f2", "", "there is none"},
			refused("f3", 1), {Keep, "f4", "4", ""}}},
		"each that is replaced is one more": {state{wanted: []string{"f1", "f4"}, terms: subscriptions.Terms{OwnSecret: true},
			subs:   list{folder("f1", mine(1, endless("1"))), moved("x"), folder("f4", mine(2, endless("4")))},
			ledger: subscriptions.Ledger{Entries: notes{{ID: "1", Serial: 1}, {ID: "4", Serial: 2}}}}, []Step{
			{Replace, "f1", "1", why}, {Keep, "f4", "4", refused("", 1).Why}}},
		"a dead one's room is there once": {state{wanted: []string{"f1", "f2"}, subs: list{
			folder("f1", dead("1", week)), other("x"), other("y"), other("z")}}, []Step{
			{Remove, "f1", "1", "Blacklisted"}, {Create, "f1", "", "Blacklisted"}, refused("f2", 3)}},
		"an astray one's room is there once": {state{wanted: []string{"f1", "f2"}, subs: list{
			folder("f1", moved("1")), other("x"), other("y"), other("z")},
			ledger: subscriptions.Ledger{Entries: notes{{ID: "1", Want: "f1"}}}}, []Step{
			{Remove, "f1", "1", changed}, {Create, "f1", "", changed}, refused("f2", 3)}},
		"what is taken over needs none": {state{wanted: []string{"f1", "f2", "f3"}, subs: list{
			folder("f2", moved("x")), other("y"), other("z")}}, []Step{
			{Create, "f1", "", "there is none"}, {Create, "f2", "", "there is none"}, refused("f3", 3)}},
	} {
		t.Run(name, func(t *testing.T) {
			c.now, c.address, c.terms.Most, c.force = noon, here, 4, map[Verb]bool{Replace: true}
			if diff := cmp.Diff(c.want, c.plan()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// trial is a state with all that a plan for it may not touch.
type trial struct {
	*testing.T
	seed uint64
	state
	foreign map[string]bool
	over    map[string]bool // taken over in this turn
}

// Whatever there is: only what is ours is touched, each at most once, each want has
// one step, nothing is made for which there is no room, nothing that delivers goes
// before it has been leaving for a minute, and carrying plans out leaves nothing to do
// but what was refused.
func TestPlansAreSafeAndConverge(t *testing.T) {
	for seed := range uint64(4000) {
		s := trial{T: t, seed: seed}
		s.random(rand.New(rand.NewPCG(seed, 7)))
		first := s.plan()
		s.check(first)
		steps := first
		for range 6 { // what is in the way goes, what is one too many leaves, and is away
			s.carryOut(steps)
			s.force, s.now = nil, s.now.Add(time.Minute)
			steps = s.plan()
			s.check(steps)
		}
		for _, step := range steps {
			if step.Verb != Keep && step.Verb != Refuse {
				t.Fatalf("seed %d: still to do: %+v, was %+v", seed, step, first)
			}
		}
	}
}

func (s *trial) check(steps []Step) {
	s.Helper()
	touched, answered := map[string]int{}, map[string]int{}
	for _, step := range steps {
		if step.Verb != Remove && step.Verb != Retire {
			answered[step.Want]++
		}
		if step.ID == "" {
			continue
		}
		if touched[step.ID]++; s.foreign[step.ID] || touched[step.ID] > 1 {
			s.Fatalf("seed %d: step %+v of %+v", s.seed, step, steps)
		}
		_, here := s.serial(s.subs[slices.IndexFunc(s.subs, func(sub subscriptions.Subscription) bool { return sub.ID == step.ID })])
		since := s.entry(step.ID).Leaving
		if step.Verb == Remove && here && s.living(step.ID) && slices.Contains(s.wanted, step.Want) &&
			(since.IsZero() || s.now.Sub(since) < time.Minute) {
			s.Fatalf("seed %d: it delivers, and goes at once: %+v", s.seed, step)
		}
	}
	for _, want := range s.wanted {
		if answered[want] != 1 {
			s.Fatalf("seed %d: %q is answered %d times: %+v", s.seed, want, answered[want], steps)
		}
	}
}

func (s *trial) random(r *rand.Rand) {
	s.state = state{now: noon, address: here, wanted: []string{"f0", "f1", "f2"}[:1+r.IntN(3)], rotate: 20 * day,
		terms: subscriptions.Terms{Most: 1 + r.IntN(12), OwnSecret: r.IntN(2) == 0}, force: map[Verb]bool{
			Renew: r.IntN(4) == 0, Replace: r.IntN(4) == 0}}
	strange := []string{"https://other.example", here, here + "/", here + "/00", here + "/-1", here + "/0", here + "/9223372036854775807"}
	s.foreign = map[string]bool{}
	for i := range r.IntN(10) {
		sub := live(fmt.Sprint(i), time.Duration(r.IntN(10)-2)*day)
		sub.Want = fmt.Sprintf("f%d", r.IntN(4))
		sub.Active = r.IntN(4) > 0
		if s.terms.OwnSecret {
			sub = mine(int64(i+1), sub)
		} else {
			strange[5] = here + "/1"
		}
		if r.IntN(3) == 0 {
			sub.Address = strange[r.IntN(len(strange))]
			s.foreign[sub.ID] = true
		}
		if r.IntN(4) == 0 {
			sub.Disabled = []string{"x"}
		}
		s.subs = append(s.subs, sub)
		if r.IntN(2) == 0 && !s.foreign[sub.ID] || r.IntN(9) == 0 {
			e := noted(sub.ID, time.Duration(r.IntN(30))*day, int64(i+1))
			e.Over = r.IntN(6) == 0
			if r.IntN(4) == 0 {
				e.Leaving = noon.Add(-time.Duration(r.IntN(100)) * time.Second)
			}
			s.ledger.Entries = append(s.ledger.Entries, e)
			delete(s.foreign, sub.ID)
		}
	}
}

// carryOut is a provider that does as it is told; where one secret is for all, it has
// one for each want, and gives that.
func (s *trial) carryOut(steps []Step) {
	s.Helper()
	s.over = map[string]bool{}
	for _, step := range steps {
		e := s.ledger.Entry(step.ID)
		switch {
		case s.over[step.ID]:
		case step.Verb == Remove:
			s.subs = slices.DeleteFunc(s.subs, func(sub subscriptions.Subscription) bool { return sub.ID == step.ID })
			s.ledger.Remove(step.ID, s.now)
		case step.Verb == Create, step.Verb == Replace:
			if e != nil {
				e.Leaving = s.now
			}
			s.make(step)
		case step.Verb == Retire && e == nil: // adopted
			s.ledger.Entries = append(s.ledger.Entries, leaving(step.ID, noon.Sub(s.now), 1))
		case step.Verb == Retire:
			e.Leaving = s.now
		case e != nil && step.Verb == Renew:
			e.Renewed = s.now
		}
		for i := range s.subs {
			if s.subs[i].ID == step.ID && step.Verb == Renew {
				s.subs[i].Expires, s.subs[i].Disabled = s.now.Add(week), nil
				if s.ledger.Entry(step.ID) == nil {
					s.ledger.Entries = append(s.ledger.Entries, noted(step.ID, 0, 0))
				}
			}
		}
	}
}

func (s *trial) make(step Step) {
	s.Helper()
	serial := int64(0)
	if s.terms.OwnSecret {
		serial = s.now.Unix()
	}
	id := fmt.Sprintf("new %s %d", step.Want, s.now.Unix())
	there := slices.IndexFunc(s.subs, func(sub subscriptions.Subscription) bool { return sub.Want == step.Want })
	if !s.terms.OwnSecret && there >= 0 {
		id = s.subs[there].ID
		s.over[id] = true
		delete(s.foreign, id)
		s.subs = slices.Delete(s.subs, there, there+1)
		s.ledger.Remove(id, s.now)
	}
	if len(s.subs) >= s.terms.Most && !(there >= 0 && !s.terms.OwnSecret) {
		s.Fatalf("seed %d: no room for %+v: %+v", s.seed, step, s.subs)
	}
	sub := mine(serial, live(id, week))
	sub.Want = step.Want
	s.subs = append(s.subs, sub)
	s.ledger.Entries = append(s.ledger.Entries, noted(id, 0, serial))
}
