package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

const (
	// DefaultInterval is how often a tail is polled unless told otherwise.
	DefaultInterval = time.Minute
	// LeaseLife is a good life of a lease: a holder that was killed is followed
	// within two of them.
	LeaseLife = 15 * time.Second

	pollLimit  = 2 * time.Minute // of one poll with all that follows from it
	giveBack   = 2 * time.Second // to give the lease back when we stop
	mendWait   = 5 * time.Minute // after a fault that a person must mend
	firstRetry = time.Second
	lastRetry  = 2 * time.Minute
)

// Lease is the right to poll one tail, with its cursor. Errors:
// [events.ErrConflict] if another holds it; any other may pass.
type Lease interface {
	// Life is how long it lasts after it was last written.
	Life() time.Duration
	// Acquire takes it once it is free, or its holder has been silent for a life.
	Acquire(context.Context) error
	// Load gives the cursor that its holder goes on from; empty if there is none.
	Load(context.Context) (cursor []byte, revision uint64, err error)
	// Renew prolongs it; Save does so too, and stores the cursor in the same write.
	Renew(context.Context) error
	Save(ctx context.Context, cursor []byte) error
	// Release gives it back; no error if it was lost.
	Release(context.Context) error
}

// Config says what is polled, and how often.
type Config struct {
	Home  events.Home
	Tail  subscriptions.Tail
	Lease Lease
	// Publish returns once the stream has acknowledged the change.
	Publish func(context.Context, events.Change) error
	// Interval is from one poll to the next, give or take a tenth; default
	// [DefaultInterval].
	Interval time.Duration
	// Alive, if set, is told after a poll whose changes are stored, and when it
	// was begun; it must not wait.
	Alive func(h events.Home, at time.Time)
	Log   *slog.Logger
	// Registerer takes the metrics; Loops may share one. Nil: nobody does.
	Registerer prometheus.Registerer
}

// Loop polls one tail, whenever it holds the lease.
type Loop struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	running atomic.Bool

	// Of Run alone.
	retry *backoff.ExponentialBackOff
	told  string // the misconfiguration that was logged last
}

// New checks the configuration. It makes no call and starts nothing.
func New(cfg Config) (*Loop, error) {
	if err := cfg.Home.Validate(); err != nil {
		return nil, fmt.Errorf("tail: %w", err)
	}
	if cfg.Tail == nil || cfg.Lease == nil || cfg.Publish == nil || cfg.Log == nil {
		return nil, errors.New("tail: Tail, Lease, Publish and Log must be given")
	}
	if cfg.Interval < 0 {
		return nil, errors.New("tail: Interval must not be negative")
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	m, err := newMetrics(cfg.Registerer, cfg.Home)
	if err != nil {
		return nil, fmt.Errorf("tail: %w", err)
	}
	return &Loop{
		cfg: cfg, metrics: m,
		log: cfg.Log.With("provider", string(cfg.Home.Provider), "tenant", string(cfg.Home.Tenant)),
		retry: backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry),
			backoff.WithMultiplier(2), backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0)),
	}, nil
}

// Run competes for the lease, and polls while it holds it, until ctx ends; then
// it gives the lease back and returns nil. To run twice at the same time is an
// error.
func (l *Loop) Run(ctx context.Context) error {
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("tail: already running")
	}
	defer l.running.Store(false)
	for ctx.Err() == nil {
		err := l.cfg.Lease.Acquire(ctx)
		switch {
		case err == nil:
			l.hold(ctx)
		case ctx.Err() == nil && !errors.Is(err, events.ErrConflict):
			l.metrics.count("failed")
			l.log.Warn("lease of the tail cannot be asked for, tried again", slog.Any("error", err))
		}
		pause(ctx, about(l.cfg.Lease.Life()/4))
	}
	return nil
}

// hold polls until the lease is lost or ctx ends, and then gives it back.
func (l *Loop) hold(ctx context.Context) {
	l.log.InfoContext(ctx, "tail is polled here")
	l.metrics.hold()
	within, lose := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		l.renew(within, lose)
	}()
	l.poll(within, lose)
	lose(nil)
	<-renewed
	l.metrics.leave()
	if why := context.Cause(within); errors.Is(why, errLost) && ctx.Err() == nil {
		l.metrics.count("lost")
		l.log.WarnContext(ctx, "tail is not polled here any more", slog.Any("error", why))
	}
	l.release(ctx)
}

func (l *Loop) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
	defer cancel()
	if err := l.cfg.Lease.Release(ctx); err != nil {
		l.log.WarnContext(ctx, "lease of the tail is not given back, it ends by itself", slog.Any("error", err))
	}
}

var errLost = errors.New("lease lost")

// renew keeps the lease alive, and ends ctx once it is lost: another has it, or
// it could not be renewed for its whole life, so that another may.
func (l *Loop) renew(ctx context.Context, lose context.CancelCauseFunc) {
	life := l.cfg.Lease.Life()
	good := time.Now()
	for pause(ctx, life/3) {
		began := time.Now()
		err := l.cfg.Lease.Renew(ctx)
		switch {
		case err == nil:
			good = began
		case errors.Is(err, events.ErrConflict), time.Since(good) >= life:
			lose(fmt.Errorf("%w: %w", errLost, err))
			return
		}
	}
}

// poll polls until the lease is lost or ctx ends.
func (l *Loop) poll(ctx context.Context, lose context.CancelCauseFunc) {
	for {
		n, err := l.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errLost) {
			lose(err)
			return
		}
		l.report(n, err)
		if !pause(ctx, l.wait(err)) {
			return
		}
	}
}

// pass polls once and does what follows. It returns how many changes were
// published.
func (l *Loop) pass(ctx context.Context) (published int, err error) {
	ctx, cancel := context.WithTimeout(cache.WithPurpose(ctx, cache.ForUpkeep), pollLimit)
	defer cancel()
	began := time.Now()
	cursor, _, err := l.cfg.Lease.Load(ctx)
	if err != nil {
		return 0, err
	}
	changes, next, err := l.cfg.Tail.Poll(ctx, cursor)
	if err != nil {
		return 0, err
	}
	for _, c := range changes {
		if err := l.cfg.Publish(ctx, c); err != nil {
			return published, err
		}
		published++
		l.metrics.changes.Inc()
	}
	err = l.cfg.Lease.Save(ctx, next)
	if errors.Is(err, events.ErrConflict) {
		return published, fmt.Errorf("%w: %w", errLost, err)
	}
	if err == nil && l.cfg.Alive != nil {
		l.cfg.Alive(l.cfg.Home, began)
	}
	return published, err
}
