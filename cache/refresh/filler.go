package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// Reader asks a provider what a subject may do now. Errors that have a method
// RetryAt() time.Time say when to ask again at the earliest; after any other
// the entry stays missing, which reads as unknown.
type Reader interface {
	Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error)
}

// ErrStore says that Redis could not be asked: the trouble is ours.
var ErrStore = errors.New("store away")

// ErrNoReader says that no provider is configured for a tenant.
var ErrNoReader = errors.New("no provider is configured for this tenant")

// Config is what a [Filler] needs.
type Config struct {
	Redis redis.UniversalClient
	Keys  cache.Keys
	Store *fence.Store
	// Readers finds the reader of a tenant; nil if there is none.
	Readers func(events.Home) Reader
	// Life of an entry; zero means [cache.DefaultLife]. An entry lives longer
	// where the answer wants it, see [cache.Answer]. Lives, if set, decides
	// instead, for each tenant and what the answer wants, zero for nothing; what
	// is out of bounds is brought within them.
	Life  time.Duration
	Lives func(h events.Home, wants time.Duration) time.Duration
	// Later takes the looks that stored entries need in time; nil: none.
	Later Scheduler
	// Flights is how many fetches may run at once; zero means 64.
	Flights int
	// Journal is told what became of entries and, by [Worker], of changes; nil: nobody.
	Journal Journal
	Metrics *Metrics
	Log     *slog.Logger
}

// Filler fills missing entries. Close it when nobody asks any more.
type Filler struct {
	Config
	idleless atomic.Bool // the store cannot tell which entries are read
	gate     gate
	slots    chan struct{}
	compares chan struct{}
	base     context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// NewFiller checks the configuration; it makes no call.
func NewFiller(c Config) (*Filler, error) {
	if c.Life == 0 {
		c.Life = cache.DefaultLife
	}
	if err := cache.CheckLife(c.Life); err != nil {
		return nil, fmt.Errorf("filler: %w", err)
	}
	if c.Flights == 0 {
		c.Flights = 64
	}
	f := &Filler{Config: c, slots: make(chan struct{}, c.Flights), compares: make(chan struct{}, maxCompares)}
	f.base, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

// Close ends the fetches that are under way, gives their leases back, and
// waits for them.
func (f *Filler) Close() {
	f.cancel()
	f.wg.Wait()
}

// Result is an answer and where it came from.
type Result struct {
	cache.Entry
	// Stored is false for an answer that lost against a stream of changes, or
	// whose life was over: it is right for who waited, and kept for nobody.
	Stored bool
	// Fetched says that the provider was asked for it.
	Fetched bool

	changed time.Time     // the last change that it does not confirm; zero if none
	wait    time.Duration // then: how long until another fetch may
}

// Get returns what is known of an entry, fetching it on a miss.
func (f *Filler) Get(ctx context.Context, ref events.Ref) (Result, error) {
	if err := ref.Validate(); err != nil {
		return Result{}, fmt.Errorf("get: %w", err)
	}
	return f.get(ctx, ref, wish{})
}

// wish is how an entry is to be filled.
type wish struct {
	limit   time.Time // a deadline not to be exceeded; zero means a new life
	fresh   bool      // even if it is usable
	purpose cache.Purpose
}

func (f *Filler) get(ctx context.Context, ref events.Ref, as wish) (Result, error) {
	asked := time.Now()
	for {
		if !as.fresh {
			if r, ok, err := f.peek(ctx, ref); ok || err != nil {
				return r, err
			}
		}
		fl, first := f.gate.enter(ref, as.purpose)
		if first {
			f.wg.Go(func() { f.fly(fl, ref, as) })
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("get %s: %w", ref, context.Cause(ctx))
		case <-fl.done:
		}
		if !first && fl.as > as.purpose && !retryAt(fl.err).IsZero() {
			continue // who is more urgent may be granted what that one was not
		}
		if fl.err != nil {
			return Result{}, fl.err
		}
		if first || !fl.began.Before(asked) {
			return fl.result, nil
		}
	}
}

// peek reads the entry as any program would.
func (f *Filler) peek(ctx context.Context, ref events.Ref) (Result, bool, error) {
	fields, err := f.Redis.HGetAll(ctx, f.Keys.Entry(ref)).Result()
	if err != nil {
		return Result{}, false, fmt.Errorf("read %s: %w: %w", ref, ErrStore, err)
	}
	if len(fields) == 0 {
		return Result{}, false, nil
	}
	e, err := cache.Decode(fields)
	if err != nil || !cache.Usable(time.Now(), e.Until) {
		return Result{}, false, nil // unreadable or over: as if it were missing
	}
	return Result{Entry: e, Stored: true}, true, nil
}

// fly makes one fetch for all who wait at the gate. It does not end with the
// reader who happened to come first.
func (f *Filler) fly(fl *flight, ref events.Ref, as wish) {
	ctx, cancel := context.WithTimeout(f.errand(ref, as), fence.LongestFetch)
	defer cancel()
	defer f.gate.leave(ref, fl)
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		fl.err = fmt.Errorf("fill %s: no place for another fetch: %w", ref, ctx.Err())
		return
	}
	fl.began = time.Now()
	start := time.Now()
	fl.result, fl.err = f.fill(ctx, ref, as)
	if fl.err == nil && fl.result.Stored && fl.result.Fetched {
		f.wg.Go(func() { f.plan(ref, fl.result) })
	}
	f.Metrics.filled(ref.Provider, fl.result, fl.err, time.Since(start))
	f.log(ctx, ref, fl, time.Since(start))
}

// errand names the fetch to whoever shares out the provider's calls.
func (f *Filler) errand(ref events.Ref, as wish) context.Context {
	return cache.WithCaller(cache.WithPurpose(f.base, as.purpose), string(cache.EntryName(ref)))
}

func (f *Filler) log(ctx context.Context, ref events.Ref, fl *flight, took time.Duration) {
	attrs := []any{
		"provider", ref.Provider, "tenant", ref.Tenant, "subject", ref.Subject, "resource", ref.Resource,
		"outcome", outcomeOf(fl.result, fl.err), "ms", took.Milliseconds(),
	}
	if fl.err != nil {
		f.Log.WarnContext(ctx, "fill", append(attrs, "error", fl.err)...)
		return
	}
	f.Log.InfoContext(ctx, "fill", append(attrs, "version", fl.result.Version, "basis", fl.result.Basis,
		"until", fl.result.Until)...)
}

// errUnproven says that something older than the fetch went into an answer
// that the fence refused: a change to it may have been applied before the
// reader asked.
var errUnproven = errors.New("the answer rests on something that may be out of date")

// life is how long an entry of the tenant may be kept whose answer wants to be
// kept for so long.
func (f *Filler) life(h events.Home, wants time.Duration) time.Duration {
	life := max(f.Life, wants)
	if f.Lives != nil {
		life = f.Lives(h, wants)
	}
	return min(max(life, cache.MinLife), cache.Ceiling)
}

// maxTries bounds how often a fill that loses against changes is fetched.
const maxTries = 4

// fill begins, fetches and commits, until the entry stands or the tries are
// used up.
func (f *Filler) fill(ctx context.Context, ref events.Ref, as wish) (Result, error) {
	reader := f.Readers(ref.Home)
	if reader == nil {
		return Result{}, fmt.Errorf("fill %s: %w", ref, ErrNoReader)
	}
	s := &session{filler: f, ref: ref, refused: map[string]bool{}}
	var last Result
	want := fence.Want{Now: as.fresh, Watch: []events.Tag{events.SubjectTag(ref.Subject), events.AppTag}}
	for n := 1; n <= maxTries; n++ {
		lease, live, err := f.await(ctx, ref.Home, cache.EntryName(ref), want)
		if err != nil {
			return Result{}, err
		}
		if lease == nil {
			if e, err := cache.Decode(live); err == nil {
				return Result{Entry: e, Stored: true}, nil
			}
			want.Now, n = true, 0 // unreadable is missing; this happens once
			continue
		}
		if n == maxTries {
			s.renew()
		}
		var done bool
		if last, done, err = f.try(ctx, reader, s.under(lease), as.limit); done || err != nil {
			return last, err
		}
	}
	if s.old { // what is older than the last try was refused, or not judged
		return Result{}, fmt.Errorf("fill %s: %w", ref, errUnproven)
	}
	return last, nil
}

// try fetches and commits once. done is false if the fence refused.
func (f *Filler) try(ctx context.Context, reader Reader, s *session, limit time.Time) (Result, bool, error) {
	answer, err := reader.Read(ctx, s.ref, s)
	if err != nil {
		return Result{}, true, errors.Join(fmt.Errorf("fill %s: %w", s.ref, err), f.release(ctx, s.lease))
	}
	fields, err := answer.Fields()
	if err != nil {
		return Result{}, true, errors.Join(fmt.Errorf("fill %s: %w", s.ref, err), f.release(ctx, s.lease))
	}
	tags := append([]events.Tag{events.SubjectTag(s.ref.Subject)}, answer.Tags...)
	o, err := f.Store.Commit(ctx, s.lease, fence.Fill{
		Fields: fields, Tags: tags, Used: s.used, Life: f.life(s.ref.Home, answer.Life),
		Limit: earlier(s.until, earlier(limit, answer.Expires)), AsOf: s.asOf,
	})
	r := Result{Entry: cache.Entry{Facts: answer.Facts, AsOf: earlier(s.asOf, s.lease.AsOf)}, Fetched: true}
	if err != nil {
		// It cannot be kept; who waited gets it all the same, unless something
		// older than the fetch went into it: nobody has judged that.
		f.Log.WarnContext(ctx, "commit", "provider", s.ref.Provider, "tenant", s.ref.Tenant,
			"subject", s.ref.Subject, "error", err)
		if s.old {
			return Result{}, true, errors.Join(fmt.Errorf("fill %s: %w", s.ref, err), f.release(ctx, s.lease))
		}
		return r, true, f.release(ctx, s.lease)
	}
	f.Metrics.committed(s.ref.Provider, o)
	if o.Refused == "" {
		r.AsOf, r.Until, r.Version, r.Confirmed, r.Stored = o.AsOf, o.Until, o.Version, o.Confirmed, o.Stored
		r.changed, r.wait = o.Changed, o.Wait
		if o.Stored && limit.IsZero() {
			f.Metrics.lives(s.ref.Provider, o.Until.Sub(s.lease.AsOf))
		}
		return r, true, nil
	}
	f.Log.DebugContext(ctx, "fenced", "provider", s.ref.Provider, "tenant", s.ref.Tenant,
		"subject", s.ref.Subject, "refused", o.Refused, "thing", o.Thing)
	f.fenced(s.ref, o.Refused, o.Thing)
	if o.Thing != "" {
		s.refused[o.Thing] = true
	}
	return r, false, nil
}

// await begins until it has a lease, or what another has stored meanwhile.
func (f *Filler) await(
	ctx context.Context, h events.Home, n cache.Name, want fence.Want,
) (*fence.Lease, map[string]string, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		b, err := f.Store.Begin(ctx, h, n, want)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrStore, err)
		}
		if b.Drained {
			f.Log.WarnContext(ctx, "tenant drained", "provider", h.Provider, "tenant", h.Tenant,
				"reason", "fence made anew")
		}
		if b.Lease != nil || b.Live != nil {
			return b.Lease, b.Live, nil
		}
		if err := sleep(ctx, pause/2+rand.N(pause)); err != nil {
			return nil, nil, fmt.Errorf("wait for another's fetch of %s %s: %w", h, n, err)
		}
	}
}

// release gives a lease back even when the fetch was ended.
func (f *Filler) release(ctx context.Context, l *fence.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return f.Store.Release(ctx, l)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
