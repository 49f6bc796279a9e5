package cache

import (
	"context"
	"time"

	"github.com/rescindhq/rescind/events"
)

// FenceID is the creation nonce of a tenant's fence: numbers of two fences
// cannot be compared.
type FenceID uint64

// Answer is what a provider said of one subject and resource, with what it
// was computed from.
type Answer struct {
	Facts
	// Tags of what was read in this fetch itself. The subject's tag and the
	// tenant's are added by whoever stores the answer.
	Tags []events.Tag
	// Expires is the provider's own end of these rights; zero if none.
	Expires time.Time
	// Life is how long such entries must live at least so that the provider's
	// limits suffice for all who ask; zero if they do at any life. The entry is
	// given it where that is allowed, and never more than [Ceiling].
	Life time.Duration
}

// PartSpec asks for a part: something that several entries of a tenant share,
// such as a role's definition.
type PartSpec struct {
	// Name is unique in the tenant, such as "role:7".
	Name string
	// Tags of what it is computed from.
	Tags []events.Tag
	// Life is how long it may be kept, at most [Ceiling], counted from the
	// start of its fetch.
	Life time.Duration
	// Own says that it tells of the subject's rights, as a role's definition does
	// and a vendor's dictionary does not: it is used only if it was fetched after
	// the subject's last change, as if it were computed from the subject too, while
	// it is younger than two lives of an entry, and the answer is no fresher than
	// it.
	Own bool
	// Fetch reads it from the provider.
	Fetch func(context.Context) ([]byte, error)
}

// Stamp says under which number something was fetched, and by which fence.
type Stamp struct {
	Number Version `json:"number"`
	Fence  FenceID `json:"fence"`
}

// Session is one fetch of one entry, seen from the provider's side. It is for
// one goroutine at a time.
type Session interface {
	// Stamp is the number of this fetch: whatever is read from now on is at
	// least as fresh as it.
	Stamp() Stamp
	// Part returns a part from the store, or fetches and stores it; one fetch
	// for all who want it. Its tags become the entry's.
	Part(ctx context.Context, spec PartSpec) ([]byte, error)
	// Use says that something kept elsewhere, such as a token, went into the
	// answer: under which number it was obtained, and its tags.
	Use(name string, at Stamp, tags ...events.Tag)
	// Refused says whether the thing of that name was refused as too old in
	// an earlier try of this fetch, so that it must be obtained anew.
	Refused(name string) bool
	// Needs is the lowest number under which something kept elsewhere is of use
	// now, if it is computed from these tags, of the app and the subject: lower
	// ones are from before their last change, or from when the provider may not
	// have known of it yet.
	Needs(tags ...events.Tag) Version
}
