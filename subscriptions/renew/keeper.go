package renew

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

const (
	// DefaultCheck is how often the list is read if nothing is due.
	DefaultCheck = 5 * time.Minute

	passLimit  = 2 * time.Minute // of one look with all that follows from it
	mendWait   = 5 * time.Minute // after a fault that a person must mend
	firstRetry = time.Second
	lastRetry  = 2 * time.Minute
	leastWait  = time.Second // between two looks, whatever the provider says of times
)

// Config says what is to be kept, and where.
type Config struct {
	Home      events.Home
	Registrar subscriptions.Registrar
	// Address is where the subscription delivers, as it was registered.
	Address string
	// Check is how often the list is read, give or take a tenth; default
	// [DefaultCheck].
	Check time.Duration
	// Alive, if set, is told whenever the provider says that the subscription is
	// active, and when it was asked; it must not wait.
	Alive func(h events.Home, at time.Time)
	Log   *slog.Logger
	// Registerer takes the metrics; Keepers may share one. Nil: nobody does.
	Registerer prometheus.Registerer
}

// State is what is known of the subscription.
type State struct {
	// Active: it delivers and has not expired.
	Active bool
	// ID and Expires are the last known; Expires is zero if it has no end.
	ID      string
	Expires time.Time
	// Disabled lists filters that the provider accepted but does not serve.
	Disabled []string
	// LastError is why the last look went wrong; empty if it did not.
	LastError string
}

// Keeper keeps one subscription. Its methods may be used concurrently.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	running atomic.Bool

	// Of Run alone.
	held     held
	retry    *backoff.ExponentialBackOff
	told     string // the misconfiguration that was logged last
	disabled []string
	counted  bool // as active

	mu      sync.Mutex // guards what follows
	state   State
	changed chan struct{} // closed when state changes
}

// New checks the configuration. It makes no call and starts nothing.
func New(cfg Config) (*Keeper, error) {
	if err := cfg.Home.Validate(); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	if cfg.Registrar == nil || cfg.Log == nil || cfg.Address == "" {
		return nil, errors.New("renew: Registrar, Address and Log must be given")
	}
	if cfg.Check < 0 {
		return nil, errors.New("renew: Check must not be negative")
	}
	if cfg.Check == 0 {
		cfg.Check = DefaultCheck
	}
	m, err := newMetrics(cfg.Registerer, cfg.Home.Provider)
	if err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	return &Keeper{
		cfg: cfg, metrics: m, changed: make(chan struct{}),
		log: cfg.Log.With("provider", string(cfg.Home.Provider), "tenant", string(cfg.Home.Tenant)),
		retry: backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry),
			backoff.WithMultiplier(2), backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0)),
	}, nil
}

// Run keeps the subscription until ctx ends, then returns nil. It leaves the
// subscription in place. To run twice at the same time is an error.
func (k *Keeper) Run(ctx context.Context) error {
	if !k.running.CompareAndSwap(false, true) {
		return errors.New("renew: already running")
	}
	defer k.running.Store(false)
	for {
		err := k.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		k.report(err)
		if !pause(ctx, k.wait(err)) {
			return nil
		}
	}
}

// State is the present state; a subscription whose time has come is not active.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.state
	s.Active = s.Active && (s.Expires.IsZero() || time.Now().Before(s.Expires))
	s.Disabled = slices.Clone(s.Disabled)
	return s
}

// Wait returns nil once the subscription is active, or why ctx ended, with the
// last error there was.
func (k *Keeper) Wait(ctx context.Context) error {
	for {
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		s := k.State()
		if s.Active {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if s.LastError != "" {
				return fmt.Errorf("wait for the subscription: %w; last error: %s", context.Cause(ctx), s.LastError)
			}
			return fmt.Errorf("wait for the subscription: %w", context.Cause(ctx))
		}
	}
}

// set changes the state and wakes who waits for that.
func (k *Keeper) set(change func(*State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.state)
	close(k.changed)
	k.changed = make(chan struct{})
}

// pass looks once and does what follows.
func (k *Keeper) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	asked := time.Now()
	subs, err := k.cfg.Registrar.List(ctx)
	if err != nil {
		return err
	}
	a := decide(time.Now(), subs, k.cfg.Address, k.held)
	k.see(a, asked)
	removal := k.remove(ctx, a.remove)
	if isLater(removal) {
		return removal
	}
	return errors.Join(k.do(ctx, a), removal)
}

// see takes over what the list says.
func (k *Keeper) see(a action, asked time.Time) {
	if a.verb == create {
		k.lose()
		return
	}
	if a.best.ID != k.held.id {
		k.held = held{id: a.best.ID}
	}
	if left := time.Until(a.best.Expires); k.held.life == 0 && left >= latest {
		k.held.life = left
	}
	k.take(a.best, asked)
}

func (k *Keeper) lose() { k.set(func(s *State) { s.Active = false }) }

// take makes it the one that is in use, active as of a time.
func (k *Keeper) take(sub subscriptions.Subscription, asked time.Time) {
	if len(sub.Disabled) > 0 && !slices.Equal(sub.Disabled, k.disabled) {
		k.log.Warn("subscription has filters that are not served", "subscription", sub.ID,
			"disabled", sub.Disabled)
	}
	k.disabled = sub.Disabled
	k.set(func(s *State) {
		s.Active, s.ID, s.Expires, s.Disabled = true, sub.ID, sub.Expires, sub.Disabled
	})
	if k.cfg.Alive != nil {
		k.cfg.Alive(k.cfg.Home, asked)
	}
}

// remove deletes all it can, and none after a rate limit.
func (k *Keeper) remove(ctx context.Context, ids []string) error {
	var errs []error
	for _, id := range ids {
		err := k.cfg.Registrar.Delete(ctx, id)
		if isLater(err) {
			return err
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		k.metrics.count("removed")
		k.log.Info("subscription removed: dead, or one too many", "subscription", id)
	}
	return errors.Join(errs...)
}

// do renews or creates. One that is gone when it is renewed is made anew.
func (k *Keeper) do(ctx context.Context, a action) error {
	switch a.verb {
	case keep:
		return nil
	case renew:
		asked := time.Now()
		sub, err := k.cfg.Registrar.Renew(ctx, a.best.ID)
		if !errors.Is(err, subscriptions.ErrGone) {
			return k.settle("renewed", sub, asked, err)
		}
		k.lose()
	}
	asked := time.Now()
	sub, err := k.cfg.Registrar.Create(ctx, k.cfg.Address)
	return k.settle("created", sub, asked, err)
}

// settle takes over what the provider replied.
func (k *Keeper) settle(outcome string, sub subscriptions.Subscription, asked time.Time, err error) error {
	if err != nil {
		return err
	}
	if !alive(sub, time.Now()) {
		k.lose()
		return fmt.Errorf("subscription %s is %s but not active: %s", sub.ID, outcome, sub.Status)
	}
	k.metrics.count(outcome)
	k.log.Info("subscription "+outcome, "subscription", sub.ID, "expires", sub.Expires)
	k.held = held{sub.ID, time.Until(sub.Expires)}
	k.take(sub, asked)
	return nil
}
