package subscriptions

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rescindhq/rescind/events"
)

const (
	// MaxGaps is how many gaps a ledger keeps, the last ones.
	MaxGaps = 20
	// serialsAhead is how many registrations may be made before a listener hears of
	// the first: it takes their secrets already.
	serialsAhead = 2
	// retiredLife is how long the secret of a registration is taken after its end.
	retiredLife = 2 * time.Minute
)

// Ledger is what we note of a tenant's registrations. The provider's list says
// which there are; the ledger says which of them we made, with which secret, and
// since when their feed is known to live.
type Ledger struct {
	events.Home
	// Entries are our registrations, those that are about to be removed included.
	Entries []Entry `json:"entries,omitempty"`
	// Serial is the highest that was given to a registration. It begins with the
	// minutes since 1970, so that a ledger that was lost repeats none.
	Serial int64 `json:"serial,omitempty"`
	// Retired are the secrets of registrations that are no more, for deliveries that
	// are still on their way.
	Retired []Retired `json:"retired,omitempty"`
	// Looked is when the provider's list was last compared with what is wanted;
	// Proof is when the feed was last known to live; Delivered is when the last
	// delivery came.
	Looked    time.Time `json:"looked,omitzero"`
	Proof     time.Time `json:"proof,omitzero"`
	Delivered time.Time `json:"delivered,omitzero"`
	// Died is since when it is known not to live; zero if it is not.
	Died time.Time `json:"died,omitzero"`
	// Paused is since when the registrations are taken down on an operator's order.
	Paused time.Time `json:"paused,omitzero"`
	// Problem is why something wanted cannot be had, for people; Fault says of which
	// kind it is. Empty if there is none.
	Problem string `json:"problem,omitempty"`
	Fault   Fault  `json:"fault,omitempty"`
	// Gaps are the last [MaxGaps] in which the feed was not known to live, the last
	// at the end.
	Gaps []Gap `json:"gaps,omitempty"`
}

// Entry is one registration of ours.
type Entry struct {
	// ID is the provider's. Want is what it is for.
	ID   string `json:"id"`
	Want string `json:"want"`
	// Serial names its secret, see [RegistrationSecret]; zero if the secret is the
	// app's.
	Serial int64 `json:"serial,omitempty"`
	// Made is when we made it or found it, Renewed when it was last prolonged,
	// Expires when it ends unless renewed; zero: not yet, never.
	Made    time.Time `json:"made,omitzero"`
	Renewed time.Time `json:"renewed,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// Leaving is since when another has taken its place; it goes soon.
	Leaving time.Time `json:"leaving,omitzero"`
	// Active and Status are the provider's words when it was last asked.
	Active bool   `json:"active"`
	Status string `json:"status,omitempty"`
	// Over: a delivery said that it is the last; the provider may list it still.
	Over bool `json:"over,omitempty"`
	// Filters and Disabled are those of [Subscription].
	Filters  []string `json:"filters,omitempty"`
	Disabled []string `json:"disabled,omitempty"`
	// Delivered is when its last delivery came.
	Delivered time.Time `json:"delivered,omitzero"`
}

// Retired is the secret of a registration that is no more.
type Retired struct {
	Serial int64     `json:"serial"`
	Until  time.Time `json:"until"`
}

// Gap is a time in which changes may have been missed.
type Gap struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Cause string    `json:"cause"`
	// Mended is what was done for what was missed.
	Mended Mending `json:"mended"`
}

// Mending is what was done about a gap.
type Mending string

// The ways to mend a gap.
const (
	// Swept: all that was kept of the tenant was invalidated.
	Swept Mending = "swept"
	// Followed: the provider's tail tells of the same, and went on.
	Followed Mending = "followed by the tail"
)

// Fault is a kind of trouble with registrations.
type Fault string

// The kinds of trouble, by what mends them.
const (
	// FaultRight: a right or credential is missing; a person must mend it over there.
	FaultRight Fault = "no permission"
	// FaultAddress: the provider cannot reach us.
	FaultAddress Fault = "address not reachable"
	// FaultFull: there may be no more registrations.
	FaultFull Fault = "limit reached"
	// FaultFilters: the provider does not serve all filters.
	FaultFilters Fault = "filters disabled"
	// FaultLater: the provider limits our rate.
	FaultLater Fault = "rate limited"
	// FaultOther may pass.
	FaultOther Fault = "failed"
)

// FaultOf says what kind of trouble an error of a [Registrar] is; empty if it is nil.
func FaultOf(err error) Fault {
	var later *Later
	switch {
	case err == nil:
		return ""
	case errors.As(err, &later):
		return FaultLater
	case errors.Is(err, ErrUnreachable):
		return FaultAddress
	case errors.Is(err, ErrFull):
		return FaultFull
	case errors.Is(err, ErrMisconfigured):
		return FaultRight
	}
	return FaultOther
}

// Entry is the one with that id, nil if there is none; it may be changed.
func (l *Ledger) Entry(id string) *Entry {
	i := slices.IndexFunc(l.Entries, func(e Entry) bool { return e.ID == id })
	if i < 0 {
		return nil
	}
	return &l.Entries[i]
}

// Mint gives the next serial.
func (l *Ledger) Mint(now time.Time) int64 {
	if l.Serial == 0 {
		l.Serial = now.Unix() / 60
	}
	l.Serial++
	return l.Serial
}

// Serials are those whose secrets are taken at a time: of what there is, of what
// was there a moment ago, and of what another may be making.
func (l *Ledger) Serials(now time.Time) (serials []int64) {
	for _, e := range l.Entries {
		if e.Serial != 0 {
			serials = append(serials, e.Serial)
		}
	}
	for _, r := range l.Retired {
		if now.Before(r.Until) {
			serials = append(serials, r.Serial)
		}
	}
	for ahead := range int64(serialsAhead + 1) {
		if l.Serial != 0 {
			serials = append(serials, l.Serial+ahead)
		}
	}
	slices.Sort(serials)
	return slices.Compact(serials)
}

// Remove takes out a registration that is no more. Its secret is taken for 2 min
// more, for deliveries that are on their way.
func (l *Ledger) Remove(id string, now time.Time) {
	l.Retired = slices.DeleteFunc(l.Retired, func(r Retired) bool { return !now.Before(r.Until) })
	if e := l.Entry(id); e != nil && e.Serial != 0 {
		l.Retired = append(l.Retired, Retired{e.Serial, now.Add(retiredLife)})
	}
	l.Entries = slices.DeleteFunc(l.Entries, func(e Entry) bool { return e.ID == id })
}

// Note adds a gap, and forgets the oldest if there are too many.
func (l *Ledger) Note(g Gap) {
	l.Gaps = append(l.Gaps, g)
	l.Gaps = l.Gaps[max(0, len(l.Gaps)-MaxGaps):]
}

// EncodeLedger writes a ledger as JSON. It holds no secret.
func EncodeLedger(l Ledger) ([]byte, error) {
	if err := l.Home.Validate(); err != nil {
		return nil, fmt.Errorf("encode ledger: %w", err)
	}
	b, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode ledger: %w", err)
	}
	return b, nil
}

// DecodeLedger reads a ledger and checks whose it is. Members it does not know are
// ignored.
func DecodeLedger(b []byte) (Ledger, error) {
	var l Ledger
	if err := json.Unmarshal(b, &l); err != nil {
		return Ledger{}, fmt.Errorf("decode ledger: %.200s", err) // it may quote a value, however long
	}
	if err := l.Home.Validate(); err != nil {
		return Ledger{}, fmt.Errorf("decode ledger: %w", err)
	}
	return l, nil
}
