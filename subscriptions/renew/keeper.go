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

// State is what is known of the tenant's subscriptions.
type State struct {
	// Active: all that are wanted deliver and have not expired.
	Active bool
	// ID is the last known of the first that is wanted; Expires is when the first
	// of all ends, zero if none has an end.
	ID      string
	Expires time.Time
	// Disabled lists filters that the provider accepted but does not serve.
	Disabled []string
	// LastError is why the last look went wrong; empty if it did not.
	LastError string
}

// Keeper keeps the subscriptions of one tenant. Its methods may be used concurrently.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	running atomic.Bool

	// Of Run alone.
	held    map[string]held // by what is wanted
	retry   *backoff.ExponentialBackOff
	told    string // the misconfiguration that was logged last
	counted bool   // as active

	mu      sync.Mutex                            // guards what follows
	now     map[string]subscriptions.Subscription // by what is wanted
	failed  string                                // why the last look went wrong
	changed chan struct{}                         // closed when one of these changes
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
		held: map[string]held{}, now: map[string]subscriptions.Subscription{},
		log: cfg.Log.With("provider", string(cfg.Home.Provider), "tenant", string(cfg.Home.Tenant)),
		retry: backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry),
			backoff.WithMultiplier(2), backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0)),
	}, nil
}

// Run keeps the subscriptions until ctx ends, then returns nil. It leaves them
// in place. To run twice at the same time is an error.
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
	out := State{Active: true, LastError: k.failed}
	for _, want := range k.cfg.Registrar.Wanted() {
		s := k.now[want]
		out.Active = out.Active && alive(s, time.Now())
		if out.ID == "" {
			out.ID = s.ID
		}
		if out.Expires.IsZero() || !s.Expires.IsZero() && s.Expires.Before(out.Expires) {
			out.Expires = s.Expires
		}
		out.Disabled = append(out.Disabled, s.Disabled...)
	}
	return out
}

// Wait returns nil once all are active, or why ctx ended, with the
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

// set changes what is known and wakes who waits for that.
func (k *Keeper) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
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
	wanted := k.cfg.Registrar.Wanted()
	errs := []error{k.remove(ctx, unwanted(subs, k.cfg.Address, wanted))}
	for _, want := range wanted {
		if isLater(errs[len(errs)-1]) {
			break
		}
		errs = append(errs, k.tend(ctx, subs, want, asked))
	}
	k.prove(asked)
	return errors.Join(errs...)
}

// prove tells that the feed is alive if all that is wanted delivers.
func (k *Keeper) prove(asked time.Time) {
	if k.cfg.Alive != nil && k.State().Active {
		k.cfg.Alive(k.cfg.Home, asked)
	}
}

// tend does for one subscription that is wanted what the list asks for.
func (k *Keeper) tend(ctx context.Context, subs []subscriptions.Subscription, want string, asked time.Time) error {
	a := decide(asked, subs, k.cfg.Address, want, k.held[want])
	k.see(want, a)
	removal := k.remove(ctx, a.remove)
	if isLater(removal) {
		return removal
	}
	return errors.Join(k.do(ctx, want, a), removal)
}

// see takes over what the list says.
func (k *Keeper) see(want string, a action) {
	if a.verb == create {
		k.lose(want)
		return
	}
	h := k.held[want]
	if a.best.ID != h.id {
		h = held{id: a.best.ID}
	}
	if left := time.Until(a.best.Expires); h.life == 0 && left >= latest {
		h.life = left
	}
	k.held[want] = h
	k.take(want, a.best)
}

func (k *Keeper) lose(want string) {
	k.set(func() {
		s := k.now[want]
		s.Active = false
		k.now[want] = s
	})
}

// take makes it the one that is in use.
func (k *Keeper) take(want string, sub subscriptions.Subscription) {
	if len(sub.Disabled) > 0 && !slices.Equal(sub.Disabled, k.now[want].Disabled) {
		k.log.Warn("subscription has filters that are not served", "subscription", sub.ID,
			"disabled", sub.Disabled)
	}
	k.set(func() { k.now[want] = sub })
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
func (k *Keeper) do(ctx context.Context, want string, a action) error {
	switch a.verb {
	case keep:
		return nil
	case renew:
		sub, err := k.cfg.Registrar.Renew(ctx, a.best.ID)
		if !errors.Is(err, subscriptions.ErrGone) {
			return k.settle(want, "renewed", sub, err)
		}
		k.lose(want)
	}
	sub, err := k.cfg.Registrar.Create(ctx, subscriptions.Order{Address: k.cfg.Address, Want: want})
	return k.settle(want, "created", sub, err)
}

// settle takes over what the provider replied.
func (k *Keeper) settle(want, outcome string, sub subscriptions.Subscription, err error) error {
	if err != nil {
		return err
	}
	if !alive(sub, time.Now()) {
		k.lose(want)
		return fmt.Errorf("subscription %s is %s but not active: %s", sub.ID, outcome, sub.Status)
	}
	k.metrics.count(outcome)
	k.log.Info("subscription "+outcome, "subscription", sub.ID, "for", want, "expires", sub.Expires)
	h := held{id: sub.ID}
	if !sub.Expires.IsZero() {
		h.life = time.Until(sub.Expires)
	}
	k.held[want] = h
	k.take(want, sub)
	return nil
}
