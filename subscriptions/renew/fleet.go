package renew

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/lead"
)

// LeaseLife is a good life of the lease: a holder that was killed is followed within
// about 6 s.
const LeaseLife = 5 * time.Second

// Lease is the right to keep the registrations, with a value of its own.
type Lease interface {
	lead.Lease
	// Load gives the value, empty if there is none.
	Load(context.Context) (value []byte, revision uint64, err error)
	// Save stores the value and prolongs the lease.
	Save(ctx context.Context, value []byte) error
}

// stamped is a lease that is renewed with the time: whoever takes it over learns
// since when nobody held it. The time stays as it is while something is owed for the
// last one that nobody has noted.
type stamped struct {
	Lease
	owing func() bool
}

// stamp is the lease's value.
type stamp struct {
	At time.Time `json:"at"`
}

// Renew prolongs the lease and notes the time.
func (s stamped) Renew(ctx context.Context) error {
	if s.owing() {
		return s.Lease.Renew(ctx)
	}
	b, err := json.Marshal(stamp{time.Now().UTC()})
	if err != nil {
		return err
	}
	return s.Save(ctx, b)
}

// last is when the lease was last renewed; zero if never, or nobody knows.
func (s stamped) last(ctx context.Context) (time.Time, error) {
	b, _, err := s.Load(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("load lease: %w", err)
	}
	var at stamp
	if len(b) > 0 && json.Unmarshal(b, &at) != nil {
		return time.Time{}, nil
	}
	return at.At, nil
}

// Fleet keeps the registrations of all tenants, while it holds the lease for which
// all listeners compete.
type Fleet struct {
	Lease   Lease
	Keepers []*Keeper
	// Serve, if set, answers orders for a Keeper until ctx ends.
	Serve func(context.Context, *Keeper) error
	Log   *slog.Logger
}

// Run competes for the lease and keeps the registrations while it holds it, until ctx
// ends, then returns nil. Since when this process has been listening is now.
func (f *Fleet) Run(ctx context.Context) error {
	if len(f.Keepers) == 0 {
		<-ctx.Done()
		return nil
	}
	began, lease := time.Now(), stamped{f.Lease, f.owing}
	f.owe(true)
	lead.Run(ctx, lead.Config{Lease: lease, What: "the subscriptions", Log: f.Log},
		func(ctx context.Context, lose func(error)) {
			defer f.owe(true) // until it is known whether anything is
			last, err := lease.last(ctx)
			if err == nil {
				err = f.keep(ctx, lapseOf(last, began, time.Now()))
			}
			if err != nil && ctx.Err() == nil {
				f.Log.WarnContext(ctx, "subscriptions are not kept here, tried again", "error", err)
			}
		})
	return nil
}

// longest is how long a lease that somebody wants stays without a holder, at most.
const longest = 3 * LeaseLife

// lapseOf is the time in which nobody listened: from the last sign of a holder until
// we began, if that was before we did. Whoever was there before us would have had the
// lease, unless nobody could have it: then nothing could be stored either, and who
// refused deliveries may be no more.
func lapseOf(last, began, now time.Time) *subscriptions.Gap {
	switch {
	case last.IsZero():
		return nil
	case began.Round(0).After(last):
		return &subscriptions.Gap{From: last, To: now, Cause: causeLapse}
	case now.Sub(last) > longest:
		return &subscriptions.Gap{From: last, To: now, Cause: causeUnstored}
	}
	return nil
}

// owing says whether the ledger of a tenant does not tell yet that nobody listened.
func (f *Fleet) owing() bool {
	return slices.ContainsFunc(f.Keepers, func(k *Keeper) bool { return k.owes.Load() })
}

func (f *Fleet) owe(owes bool) {
	for _, k := range f.Keepers {
		k.owes.Store(owes)
	}
}

func (f *Fleet) keep(ctx context.Context, lapse *subscriptions.Gap) error {
	f.owe(lapse != nil)
	g, ctx := errgroup.WithContext(ctx)
	for _, k := range f.Keepers {
		g.Go(func() error { return k.Run(ctx, lapse) })
		if f.Serve != nil {
			g.Go(func() error { return f.Serve(ctx, k) })
		}
	}
	return g.Wait()
}
