package subscriptions

import (
	"cmp"
	"context"
	"time"

	"github.com/rescindhq/rescind/events"
)

// Grant is what is known of a user's consent at a provider, without its token.
type Grant struct {
	User events.Subject
	// Obtained is when it was put in, Refreshed when it last served; Expires is
	// when it ends unless it serves before. Each zero if not known.
	Obtained, Refreshed, Expires time.Time
	// Error is what the last refresh met; empty if it went well.
	Error string
	// Dead is why it serves no more, since Died; empty if it does.
	Dead string
	Died time.Time
}

// Compare orders by who fails first: the dead, then by when they end, then those
// that do not tell, by how long ago they served.
func (g Grant) Compare(other Grant) int {
	return cmp.Or(
		first(g.Dead != "", other.Dead != ""),
		first(!g.Expires.IsZero(), !other.Expires.IsZero()),
		g.Expires.Compare(other.Expires), g.Refreshed.Compare(other.Refreshed),
		cmp.Compare(g.User, other.User),
	)
}

// first orders what is before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Granter keeps the grants of users who have consented, where a provider can be
// read with such a grant alone.
type Granter interface {
	// PutGrant puts in the refresh token of a user who has consented, or replaces
	// the one there is. It refreshes once, which uses the token up, and stores
	// nothing unless the grant is user's. Errors: [ErrMisconfigured], [*Later]; any
	// other may pass, but then a new token is needed too, if the vendor has seen
	// this one.
	PutGrant(ctx context.Context, user events.Subject, token Secret) error
	// Grants lists the grants there are, in the order of [Grant.Compare].
	Grants(context.Context) ([]Grant, error)
}
