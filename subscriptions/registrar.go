package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Subscription is our standing registration at a provider.
type Subscription struct {
	// ID is the provider's.
	ID string
	// Want is which of [Registrar.Wanted] it serves; empty if none.
	Want string
	// Address is where it delivers.
	Address string
	// Active is false once the provider has stopped delivering, for whatever
	// reason; Status is its word for that.
	Active bool
	Status string
	// Created is when it was made, Expires when it ends unless renewed; zero if not
	// told, or never.
	Created, Expires time.Time
	// Filters lists what it tells of, in the provider's words. Disabled lists those
	// that the provider accepted but does not serve, with its reasons.
	Filters, Disabled []string
}

// Order is what [Registrar.Create] registers.
type Order struct {
	// Address is where it is to deliver, Want what it is for.
	Address, Want string
	// Secret is what its deliveries are to bear, where that is ours to choose.
	Secret Secret
}

// Terms are a provider's rules for registrations.
type Terms struct {
	// Most is how many one app and user may have.
	Most int
	// OwnSecret: each registration has a secret that we choose when we make it, and
	// that cannot be changed. Else all have the app's, which is changed over there.
	OwnSecret bool
	// Tailed: whatever deliveries tell, the provider's [Tail] tells too.
	Tailed bool
}

// Registrar keeps the registrations of one tenant.
// Its errors: [ErrGone], [ErrMisconfigured], [*Later]; any other may pass.
type Registrar interface {
	// Terms are always the same.
	Terms() Terms
	// Wanted names what must be registered, one subscription each; at least one,
	// always the same.
	Wanted() []string
	// List returns what this client has registered.
	List(context.Context) ([]Subscription, error)
	// Create registers for one of Wanted; where the provider shakes hands it does so
	// before this returns. Errors: also [ErrUnreachable], [ErrFull].
	Create(context.Context, Order) (Subscription, error)
	// Renew prolongs; ErrGone means that a new one is needed.
	Renew(ctx context.Context, id string) (Subscription, error)
	// Delete removes; no error if it is gone.
	Delete(ctx context.Context, id string) error
}

// What a provider's refusal means to us.
var (
	// ErrGone: what we asked about does not exist there.
	ErrGone = errors.New("gone at the provider")
	// ErrMisconfigured: a right, credential or setting is missing; only a
	// person can mend it, so nothing is retried quickly.
	ErrMisconfigured = errors.New("misconfigured")
	// ErrUnreachable: the provider could not reach our address as it wants to. It
	// comes with [ErrMisconfigured], and with what to do.
	ErrUnreachable = errors.New("address not reachable from outside")
	// ErrFull: there may be no more registrations. It comes with [ErrMisconfigured].
	ErrFull = errors.New("no more registrations allowed")
)

// Later says that the provider wants no call before Until. Any call before
// that may prolong the penalty.
type Later struct {
	Until time.Time
	// Group is the vendor's name for what is limited.
	Group string
}

// Error names the group and the time.
func (l *Later) Error() string {
	return fmt.Sprintf("rate limited: no %s call before %s", l.Group, l.Until.UTC().Format(time.RFC3339))
}

// RetryAt is Until; it lets those who may not import this package obey it.
func (l *Later) RetryAt() time.Time { return l.Until }
