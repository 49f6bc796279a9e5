package subscriptions

import (
	"context"
	"math"
	"time"

	"github.com/rescindhq/rescind/events"
)

// Lane is what a vendor counts calls by.
type Lane struct {
	Provider events.Provider
	// Identity is the account whose token makes the call, unique within the
	// provider; Group is the vendor's name for calls that share a limit.
	Identity, Group string
}

// Window is a limit: so many calls within any span of that length.
type Window struct {
	Calls  int
	Length time.Duration
}

// Budget shares the calls that a vendor allows among all processes.
type Budget interface {
	// Take asks for one call now, for the purpose and the caller that ctx carries.
	// usual is the vendor's limit until a reply has told another. It does not
	// wait: the error is a [*Later] with the instant at which the caller's turn
	// comes, or an outage of what keeps the account. The turn is the caller's own:
	// it is kept for who asks under the same name about that time.
	Take(ctx context.Context, l Lane, usual Window) (Call, error)
}

// Call is one call that was granted. Done must be called once, whatever became
// of it.
type Call interface {
	Done(ctx context.Context, said Said)
	// Life is the shortest life of entries at which the lane has calls enough for
	// all that were asked for lately; zero if it has no limit.
	Life() time.Duration
}

// Said is what a reply told of the limits. The zero value: nothing, and the
// call may have been counted.
type Said struct {
	// Unsent: the call never left, so it was not counted.
	Unsent bool
	// Limit and Window are the vendor's; zero if it did not say.
	Limit  int
	Window time.Duration
	// Remaining is how many are left, if Told.
	Remaining int
	Told      bool
	// Penalty is how long no call may be made; zero for none.
	Penalty time.Duration
}

// Share is the percentage of a limit that may go into keeping alive what is
// read; the rest is for changes, polls, sweeps and what is shared.
const Share = 80

// The tokens that can be read with. Limits count by the identity whose it is.
const (
	OwnToken     = "the subject's own token"
	ServiceToken = "service token"
)

// Cost is what it takes to read a subject anew, as an entry in use must be once
// in its life.
type Cost struct {
	// Basis is how it is learnt, in the entries' word; As is [OwnToken] or
	// [ServiceToken].
	Basis, As string
	// Calls of one reading, at least one; each group stands once.
	Calls []GroupCalls
	// Shared says what is fetched besides, once for all subjects, and counted
	// nowhere here; empty if nothing.
	Shared string
	// Longest is the life that an entry is sure to have if it rests on something
	// shared, with which it ends; zero: any.
	Longest time.Duration
}

// GroupCalls are calls that share a limit: the vendor's usual one.
type GroupCalls struct {
	Group  string
	Window Window
	Calls  int
}

// Carries is how many subjects one identity can keep alive with entries of that
// life, out of [Share] percent of its limits.
func (c Cost) Carries(life time.Duration) int {
	if c.Longest > 0 {
		life = min(life, c.Longest)
	}
	least := math.MaxInt
	for _, g := range c.Calls {
		calls := int64(Share*g.Window.Calls) * life.Milliseconds() / max(1, g.Window.Length.Milliseconds()) / 100
		least = min(least, int(calls)/g.Calls)
	}
	return least
}
