package cache

import (
	"slices"
	"strings"
	"time"
)

// State is what the cache can say of a question.
type State uint8

// The three states. The zero value is the one that asks.
const (
	Unknown State = iota
	Denied
	Granted
)

// String is the state's word in logs, metrics and decisions.
func (s State) String() string {
	switch s {
	case Denied:
		return "denied"
	case Granted:
		return "granted"
	}
	return "unknown"
}

// Usable is the rule of the deadline: now < until <= now + [Ceiling] +
// [ClockSlack]. What claims to live longer was written by another clock and
// is not to be used.
func Usable(now, until time.Time) bool {
	return now.Before(until) && !until.After(now.Add(Ceiling+ClockSlack))
}

// Judge is the reading rule for one grant of a usable entry: value is the
// field's value and present whether the field is there.
func Judge(covers string, g Grant, value string, present bool) State {
	switch {
	case present && value != "":
		return Granted
	case present:
		return Unknown // a width is never empty: not ours
	case covered(covers, g.Kind()):
		return Denied
	}
	return Unknown
}

// And joins the answers for several grants that are all needed: one denied
// denies, else one unknown makes it unknown.
func And(states ...State) State {
	switch {
	case len(states) == 0:
		return Unknown
	case slices.Contains(states, Denied):
		return Denied
	case slices.Contains(states, Unknown):
		return Unknown
	}
	return Granted
}

// Judge is the reading rule for a whole entry and the grants that are needed.
func (e Entry) Judge(now time.Time, need ...Grant) State {
	if !Usable(now, e.Until) {
		return Unknown
	}
	return e.Facts.Judge(need...)
}

// Judge judges facts just fetched, which have no deadline yet.
func (f Facts) Judge(need ...Grant) State {
	states := make([]State, len(need))
	for i, g := range need {
		width, present := f.Grants[g]
		switch {
		case present && width != "":
			states[i] = Granted
		case !present && slices.Contains(f.Covers, g.Kind()):
			states[i] = Denied
		}
	}
	return And(states...)
}

// covered finds a kind in the comma-separated list without allocating.
func covered(covers string, k Kind) bool {
	for covers != "" {
		var first string
		first, covers, _ = strings.Cut(covers, ",")
		if first == string(k) {
			return true
		}
	}
	return false
}
