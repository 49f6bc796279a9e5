package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rescindhq/rescind/events"
)

const giveBack = 2 * time.Second // to give the lease back when we stop

// ErrLost is why a holder's work was ended.
var ErrLost = errors.New("lease lost")

// Lease is the right to do a thing. Errors: [events.ErrConflict] if another holds
// it; any other may pass.
type Lease interface {
	// Life is how long it lasts after it was last renewed.
	Life() time.Duration
	// Acquire takes it once it is free, or its holder has been silent for a life.
	Acquire(context.Context) error
	// Renew prolongs it.
	Renew(context.Context) error
	// Release gives it back; no error if it was lost.
	Release(context.Context) error
}

// Step is what became of the lease.
type Step string

// The steps. Held and Left come in turn; Lost comes before Left.
const (
	Held   Step = "held"
	Left   Step = "left"
	Lost   Step = "lost"
	Failed Step = "failed" // it could not be asked for
)

// Config says what is competed for.
type Config struct {
	Lease Lease
	// What names the thing in the log: "the tail".
	What string
	// Note, if set, is told of every step; it must not wait.
	Note func(Step)
	Log  *slog.Logger
}

// Run competes for the lease until ctx ends. While it holds it, it calls do, whose
// context ends with the lease; do calls lose if it finds that the lease is not ours
// any more. When do returns, the lease is given back, and competed for again.
func Run(ctx context.Context, c Config, do func(ctx context.Context, lose func(error))) {
	if c.Note == nil {
		c.Note = func(Step) {}
	}
	for ctx.Err() == nil {
		err := c.Lease.Acquire(ctx)
		switch {
		case err == nil:
			c.hold(ctx, do)
		case ctx.Err() == nil && !errors.Is(err, events.ErrConflict):
			c.Note(Failed)
			c.Log.Warn("lease of "+c.What+" cannot be asked for, tried again", slog.Any("error", err))
		}
		pause(ctx, about(c.Lease.Life()/4))
	}
}

// hold does the thing until the lease is lost or ctx ends, and then gives it back.
func (c Config) hold(ctx context.Context, do func(context.Context, func(error))) {
	c.Log.InfoContext(ctx, "lease of "+c.What+" held here")
	c.Note(Held)
	within, cancel := context.WithCancelCause(ctx)
	lose := func(err error) { cancel(fmt.Errorf("%w: %w", ErrLost, err)) }
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		c.renew(within, lose)
	}()
	do(within, lose)
	cancel(nil)
	<-renewed
	if why := context.Cause(within); errors.Is(why, ErrLost) && ctx.Err() == nil {
		c.Note(Lost)
		c.Log.WarnContext(ctx, "lease of "+c.What+" is not held here any more", slog.Any("error", why))
	}
	c.Note(Left)
	c.release(ctx)
}

func (c Config) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
	defer cancel()
	if err := c.Lease.Release(ctx); err != nil {
		c.Log.WarnContext(ctx, "lease of "+c.What+" is not given back, it ends by itself", slog.Any("error", err))
	}
}

// renew keeps the lease alive, and loses it if another has it, or if it could not be
// renewed for its whole life.
func (c Config) renew(ctx context.Context, lose func(error)) {
	life := c.Lease.Life()
	good := time.Now()
	for pause(ctx, next(life, time.Until(good.Add(life)))) {
		began := time.Now()
		err := c.prolong(ctx, good.Add(life))
		switch {
		case err == nil:
			good = began
		case errors.Is(err, events.ErrConflict), time.Since(good) >= life:
			lose(err)
			return
		}
	}
}

// next is when to renew: often enough, and sooner when there is little left.
func next(life, left time.Duration) time.Duration {
	return min(life/3, max(left/2, life/20), left)
}

// prolong renews the lease, if that is done before another may take it.
func (c Config) prolong(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return c.Lease.Renew(ctx)
}

// about is d, give or take a tenth.
func about(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }

// pause waits and says whether ctx is still going.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
