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
	"github.com/rescindhq/rescind/subscriptions/lead"
)

const (
	// DefaultInterval is how often a tail is polled unless told otherwise.
	DefaultInterval = time.Minute
	// LeaseLife is a good life of a lease: a holder that was killed is followed
	// within two of them.
	LeaseLife = 15 * time.Second

	pollLimit  = 2 * time.Minute // of one poll with all that follows from it
	mendWait   = 5 * time.Minute // after a fault that a person must mend
	firstRetry = time.Second
	lastRetry  = 2 * time.Minute
)

// Lease is the right to poll one tail, with its cursor. Errors:
// [events.ErrConflict] if another holds it; any other may pass.
type Lease interface {
	lead.Lease
	// Load gives the cursor that its holder goes on from; empty if there is none.
	Load(context.Context) (cursor []byte, revision uint64, err error)
	// Save stores the cursor and prolongs the lease, in one write.
	Save(ctx context.Context, cursor []byte) error
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
	lead.Run(ctx, lead.Config{Lease: l.cfg.Lease, What: "the tail", Note: l.note, Log: l.log}, l.poll)
	return nil
}

// note tells the metrics what became of the lease.
func (l *Loop) note(s lead.Step) {
	switch s {
	case lead.Held:
		l.metrics.hold()
	case lead.Left:
		l.metrics.leave()
	case lead.Lost, lead.Failed:
		l.metrics.count(string(s))
	}
}

// poll polls until the lease is lost or ctx ends.
func (l *Loop) poll(ctx context.Context, lose func(error)) {
	for {
		n, err := l.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, lead.ErrLost) {
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
		return published, fmt.Errorf("%w: %w", lead.ErrLost, err)
	}
	if err == nil && l.cfg.Alive != nil {
		l.cfg.Alive(l.cfg.Home, began)
	}
	return published, err
}
