package subscriptions

import (
	"context"
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
