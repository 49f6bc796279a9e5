package renew

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	// Bound is how long a proof of life holds, in checks: two looks in a row may go
	// wrong.
	boundNum, boundDen = 5, 2

	passLimit   = 2 * time.Minute  // of one look with all that it does over there
	settleLimit = 30 * time.Second // of what follows from it here
	leaveLimit  = 2 * time.Second  // to note what was done, when we stop
	mendWait    = 5 * time.Minute  // after a fault that a person must mend
	firstRetry  = time.Second
	lastRetry   = 2 * time.Minute
	leastWait   = time.Second // between two looks, whatever the provider says of times
	maxSteps    = 100         // of one look; the rest follows in the next
)

// Bound is how long a proof of life holds if the list is read every check.
func Bound(check time.Duration) time.Duration { return check * boundNum / boundDen }

// Config says what is to be kept, and where.
type Config struct {
	Home      events.Home
	Registrar subscriptions.Registrar
	// Address is where the registrations deliver: below it, each under its serial.
	Address string
	// Check is how often the list is read, give or take a tenth; default
	// [DefaultCheck].
	Check time.Duration
	// Rotate is the age at which a registration's secret is changed, where it is ours
	// to choose; zero: only when asked for.
	Rotate time.Duration
	// Ledgers keeps the notes.
	Ledgers Ledgers
	// Secret gives the secret that belongs to a serial.
	Secret func(serial int64) subscriptions.Secret
	// Sweep invalidates all that is kept of the tenant, and returns once that is
	// stored.
	Sweep func(context.Context, events.Home, subscriptions.Gap) error
	// Tailed says whether the tenant's tail is alive; nil: there is none.
	Tailed func(events.Home) bool
	// Alive, Doubt and Dead are told what is known of the feed, and as of when; none
	// may wait. Each may be nil.
	Alive       func(h events.Home, at time.Time)
	Doubt, Dead func(h events.Home, at time.Time, cause string)
	// Noted, if set, is told of each ledger that was stored, before anything else
	// hears of it; it must not wait.
	Noted func(l subscriptions.Ledger, revision uint64)
	// After, if not zero, is how long ago the last look of anybody must be before Run
	// begins: who looks later than that wants what we would take down.
	After time.Duration
	// Ends, if set, is asked after a look that went well; if it says so, Run ends.
	Ends func(ctx context.Context, l subscriptions.Ledger, revision uint64) bool
	Log  *slog.Logger
	// Registerer takes the metrics; Keepers may share one. Nil: nobody does.
	Registerer prometheus.Registerer
}

// Ledgers stores one value for each home. Errors: [events.ErrConflict] if the
// revision is another; any other may pass.
type Ledgers interface {
	// Load gives a value and its revision; none is nil and 0.
	Load(context.Context, events.Home) (value []byte, revision uint64, err error)
	// Save stores a value over the one with that revision.
	Save(ctx context.Context, h events.Home, value []byte, revision uint64) (next uint64, err error)
}

// Keeper keeps the registrations of one tenant.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	running atomic.Bool
	orders  chan message
	wake    chan struct{} // holds a token if a word cannot wait
	owes    atomic.Bool   // a lapse that stands in no stored ledger

	mu    sync.Mutex
	words map[string]word // by registration, not yet in the ledger

	// Of Run alone.
	ledger   subscriptions.Ledger
	revision uint64
	loaded   bool
	unsaved  map[string]bool    // what said that it is over, since the ledger was stored
	lapse    *subscriptions.Gap // nobody listened, or could not; not in the stored ledger yet
	kept     bool               // the ledger is stored as it is known
	more     bool               // the last look had more to do than it may
	behind   map[string]bool    // for what a step failed while others had no turn yet
	looked   time.Time          // end of the last look
	penalty  time.Time          // until then the provider wants no call
	retry    *backoff.ExponentialBackOff
	told     string // the misconfiguration that was logged last
	counted  bool   // as active
}

// New checks the configuration. It makes no call and starts nothing.
func New(cfg Config) (*Keeper, error) {
	if err := cfg.Home.Validate(); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	if cfg.Registrar == nil || cfg.Log == nil || cfg.Address == "" || cfg.Ledgers == nil ||
		cfg.Secret == nil || cfg.Sweep == nil {
		return nil, errors.New("renew: Registrar, Address, Ledgers, Secret, Sweep and Log must be given")
	}
	if cfg.Check < 0 || cfg.Rotate < 0 {
		return nil, errors.New("renew: Check and Rotate must not be negative")
	}
	if cfg.Check == 0 {
		cfg.Check = DefaultCheck
	}
	m, err := newMetrics(cfg.Registerer, cfg.Home.Provider)
	if err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	return &Keeper{
		cfg: cfg, metrics: m, orders: make(chan message), wake: make(chan struct{}, 1),
		words: map[string]word{}, unsaved: map[string]bool{}, behind: map[string]bool{},
		log: cfg.Log.With("provider", string(cfg.Home.Provider), "tenant", string(cfg.Home.Tenant)),
		retry: backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry),
			backoff.WithMultiplier(2), backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0)),
	}, nil
}

// Home is whose registrations it keeps.
func (k *Keeper) Home() events.Home { return k.cfg.Home }

// Run keeps the registrations until ctx ends, then returns nil. It leaves them in
// place. lapse is a time in which nobody listened at all, nil if there was none. To
// run twice at the same time is an error.
func (k *Keeper) Run(ctx context.Context, lapse *subscriptions.Gap) error {
	if !k.running.CompareAndSwap(false, true) {
		return errors.New("renew: already running")
	}
	defer k.running.Store(false)
	k.loaded = false
	k.retry.Reset()
	if lapse != nil {
		k.owe(*lapse)
	}
	defer k.metrics.activate(&k.counted, false)
	if !k.alone(ctx) {
		return nil
	}
	for {
		_, err := k.pass(ctx, nil)
		if ctx.Err() != nil {
			return nil
		}
		k.report(err)
		if err == nil && k.cfg.Ends != nil && k.cfg.Ends(ctx, k.copied(), k.revision) {
			return nil
		}
		if !k.rest(ctx, k.wait(err)) {
			return nil
		}
	}
}

// alone waits until nobody has looked for [Config.After]. It is false when ctx has
// ended.
func (k *Keeper) alone(ctx context.Context) bool {
	for k.cfg.After > 0 {
		k.loaded = false
		left := firstRetry
		if err := k.load(ctx); err == nil {
			left = k.cfg.After - time.Since(k.ledger.Looked)
		}
		if left <= 0 {
			break
		}
		t := time.NewTimer(min(left, k.cfg.After) + leastWait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
	return ctx.Err() == nil
}

// pass looks once and does what follows. It returns what was to be done.
func (k *Keeper) pass(ctx context.Context, force map[Verb]bool) (steps []Step, err error) {
	defer k.catch(&err)
	work, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	k.more = false
	if err := k.load(work); err != nil {
		return nil, err
	}
	k.absorb()
	if k.lapse != nil {
		k.doubt(*k.lapse)
	}
	s, err := k.look(work, force)
	if err != nil {
		return nil, errors.Join(err, k.trouble(ctx, err))
	}
	steps = k.steps(s)
	k.take(s, steps)
	err = k.do(work, s, steps)
	if ctx.Err() != nil {
		return steps, errors.Join(err, k.leave(ctx))
	}
	return steps, errors.Join(err, k.settle(ctx, s, err))
}

// catch makes an error of a panic: it is one tenant's, and whoever follows us would
// meet the same.
func (k *Keeper) catch(err *error) {
	if p := recover(); p != nil {
		k.log.Error("a look panicked", "stack", string(debug.Stack()))
		*err = fmt.Errorf("panic: %v", p)
	}
}

// leave notes what was done, when we are stopped in the middle of it.
func (k *Keeper) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	return k.save(ctx)
}

// look asks the provider what there is.
func (k *Keeper) look(ctx context.Context, force map[Verb]bool) (*state, error) {
	now := time.Now().Round(0) // a machine that slept knows it by the wall clock alone
	subs, err := k.cfg.Registrar.List(ctx)
	if err != nil {
		return nil, err
	}
	s := &state{
		now: now, address: k.cfg.Address, wanted: k.cfg.Registrar.Wanted(), terms: k.cfg.Registrar.Terms(),
		subs: subs, ledger: k.ledger, rotate: k.cfg.Rotate, force: force,
	}
	s.ledger.Entries = slices.Clone(k.ledger.Entries)
	return s, nil
}

// steps is the plan, if the registrations are wanted at all.
func (k *Keeper) steps(s *state) []Step {
	if k.ledger.Paused.IsZero() {
		return s.plan()
	}
	return k.unmake(s)
}

// unmake lists all that is ours for removal.
func (k *Keeper) unmake(s *state) (steps []Step) {
	for _, sub := range s.subs {
		if s.ours(sub) {
			steps = append(steps, Step{Remove, sub.Want, sub.ID, "taken down on order"})
		}
	}
	return steps
}

// load reads the ledger when we begin, and after another has written it.
func (k *Keeper) load(ctx context.Context) error {
	if k.loaded {
		return nil
	}
	b, revision, err := k.cfg.Ledgers.Load(ctx, k.cfg.Home)
	if err != nil {
		return fmt.Errorf("load ledger: %w", err)
	}
	l := subscriptions.Ledger{Home: k.cfg.Home}
	if b != nil {
		if l, err = subscriptions.DecodeLedger(b); err != nil || l.Home != k.cfg.Home {
			k.log.Error("ledger cannot be read, a new one is begun", slog.Any("error", err))
			l = subscriptions.Ledger{Home: k.cfg.Home}
		}
	}
	k.ledger, k.revision, k.loaded = l, revision, true
	return nil
}

// errUnstored says that the ledger could not be stored.
var errUnstored = errors.New("save ledger")

// save stores the ledger. If another has written it, it is read again.
func (k *Keeper) save(ctx context.Context) error {
	k.kept = false
	b, err := subscriptions.EncodeLedger(k.ledger)
	if err != nil {
		return err
	}
	revision, err := k.cfg.Ledgers.Save(ctx, k.cfg.Home, b, k.revision)
	if errors.Is(err, events.ErrConflict) {
		k.loaded = false
		k.again()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnstored, err)
	}
	k.revision, k.kept, k.lapse = revision, true, nil
	k.owes.Store(false)
	clear(k.unsaved)
	if k.cfg.Noted != nil {
		k.cfg.Noted(k.copied(), revision)
	}
	return nil
}

// copied is the ledger for others, who may read it while we change ours.
func (k *Keeper) copied() subscriptions.Ledger {
	l := k.ledger
	l.Entries, l.Gaps, l.Retired = slices.Clone(l.Entries), slices.Clone(l.Gaps), slices.Clone(l.Retired)
	return l
}
