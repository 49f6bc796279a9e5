package subscriptions

import (
	"errors"
	"net/http"
	"time"

	"github.com/rescindhq/rescind/events"
)

// Delivery is an HTTP request that claims to come from a provider. It is not
// to be trusted before [Door.Verify] has returned nil.
type Delivery struct {
	// Home is the provider and tenant to whose unguessable address it came.
	events.Home
	Header   http.Header
	Body     []byte
	Received time.Time
	// Secrets are those of our registrations, where they have their own
	// ([Terms.OwnSecret]); any may be borne.
	Secrets []Secret
}

// Origin is what a verified delivery says of the registration that sent it.
type Origin struct {
	// Subscription is its id; empty if none is told.
	Subscription string
	// Over: it says that it delivers no more.
	Over bool
}

// Reply is the answer to a verified delivery. The zero value is a plain
// success.
type Reply struct {
	// Header is sent with the success; handshakes echo their token here.
	Header map[string]string
}

// The families of refusal. Each has one HTTP status, and the answer tells the
// sender nothing more.
var (
	// ErrRefused: not from whom it claims to be. 401.
	ErrRefused = errors.New("delivery refused")
	// ErrUnreadable: authentic but not understood. 400.
	ErrUnreadable = errors.New("delivery unreadable")
)

// Door verifies and translates the deliveries of one tenant.
type Door interface {
	// Verify says whether the delivery is authentic, in constant time, and how
	// to answer it. A handshake is a normal delivery with a Reply of its own.
	// An error wraps ErrRefused or ErrUnreadable.
	Verify(Delivery) (Reply, error)
	// Translate makes the change that a verified delivery tells of. ok is
	// false if it tells of none, which is a success. An error wraps
	// ErrUnreadable.
	Translate(Delivery) (c events.Change, ok bool, err error)
	// Origin reads who sent a verified delivery; the zero value if that is not told.
	Origin(Delivery) Origin
}
