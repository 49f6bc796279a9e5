package subscriptions

import (
	"context"
	"time"

	"github.com/rescindhq/rescind/events"
)

// Tail finds changes that the provider sends no notice of, by looking and
// comparing. It keeps nothing between two looks: all it knows is the cursor.
type Tail interface {
	// Poll looks, and returns what may have changed since cursor and the cursor
	// for the next look. A cursor is opaque to all but its maker; an empty one
	// means that nobody has looked before, which yields no change. What the same
	// cursor and the same state over there yield has the same IDs. Keep next only
	// once the changes are stored: a look that is done twice misses nothing.
	//
	// Its errors: [*Later], [ErrMisconfigured]; any other may pass.
	Poll(ctx context.Context, cursor []byte) (changes []events.Change, next []byte, err error)
	// Interval is how often it wants to be polled.
	Interval() time.Duration
	// Delay is how long after a change, at most, a poll has told of it while all
	// goes well; zero if that is not known yet.
	Delay() time.Duration
}
