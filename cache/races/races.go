package races

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/races/model"
	"github.com/rescindhq/rescind/events"
)

// Options say what to run.
type Options struct {
	// Seed of the first case; the next ones have the numbers that follow. With
	// Cases 1 it is that case alone.
	Seed uint64
	// Cases is how many to run over each strategy; 0 means until For is over.
	Cases int
	// For ends the run after that time; 0 means never. One of the two is needed.
	For time.Duration
	// Redis is a real one, such as a *redis.Client; nil means the model.
	Redis Redis
	// Strategies to run, of "a" to "d"; none means all.
	Strategies []string
	// Progress, if set, is told about every second how many cases are done of
	// how many; total is 0 if only For bounds the run.
	Progress func(done, total int)

	// edit, if set, changes the fence's scripts as they are loaded.
	edit func(Redis) Redis
}

// ErrOptions says that the options cannot be run.
var ErrOptions = errors.New("options of a race")

func (o Options) check() error {
	if o.Cases <= 0 && o.For <= 0 {
		return fmt.Errorf("%w: neither a number of cases nor a time bounds it", ErrOptions)
	}
	for _, s := range o.Strategies {
		if !slices.Contains(letters(), s) {
			return fmt.Errorf("%w: strategy %q: must be one of a, b, c, d", ErrOptions, s)
		}
	}
	return nil
}

func letters() []string { return []string{"a", "b", "c", "d"} }

// Run runs cases over strategies. When ctx or the time ends it reports what has
// been counted till then, without an error. An error means that a strategy
// could not do its work, not that it let something stale through.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.check(); err != nil {
		return Report{}, err
	}
	within, cancel := ctx, context.CancelFunc(func() {})
	if o.For > 0 {
		within, cancel = context.WithTimeout(ctx, o.For)
	}
	defer cancel()
	if len(o.Strategies) == 0 {
		o.Strategies = letters()
	}
	r := &race{Options: o, started: time.Now(), next: o.Seed}
	for _, s := range o.Strategies {
		r.rows = append(r.rows, Row{Strategy: s, Name: nameOf(s)})
	}
	g, gctx := errgroup.WithContext(within)
	for range r.lanes() {
		g.Go(func() error { return r.lane(gctx) })
	}
	err := g.Wait()
	if err != nil && within.Err() == nil {
		return Report{}, fmt.Errorf("race: %w", err)
	}
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer stop()
	return r.report(), r.explain(end)
}

// race is a run under way.
type race struct {
	Options
	started time.Time

	mu   sync.Mutex
	next uint64
	done int
	told time.Time
	rows []Row
}

// lanes is how many cases run side by side: on a real Redis most wait for it.
func (r *race) lanes() int {
	if r.Redis != nil {
		return 32
	}
	return runtime.GOMAXPROCS(0)
}

// lane runs cases until there are none left.
func (r *race) lane(ctx context.Context) error {
	t, err := r.newTrack(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	for ctx.Err() == nil {
		seed, ok := r.take()
		if !ok {
			return nil
		}
		for i, s := range r.Strategies {
			started := time.Now()
			count, err := t.run(ctx, seed, s, nil)
			if err != nil {
				return fmt.Errorf("strategy %s, seed %d: %w", s, seed, err)
			}
			r.add(i, seed, count, time.Since(started))
		}
		r.progress()
	}
	return nil
}

func silent(string, ...any) {}

func (r *race) take() (seed uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Cases > 0 && r.next-r.Seed >= uint64(r.Cases) {
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

func (r *race) add(i int, seed uint64, c Count, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := &r.rows[i]
	row.Cases++
	row.Busy += took
	row.add(c)
	if c.StaleStored+c.StaleRead > 0 {
		row.Failed++
		if row.First == nil || seed < row.First.Seed {
			row.First = &Failure{Seed: seed}
		}
	}
}

func (r *race) progress() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if r.Progress == nil || time.Since(r.told) < time.Second && r.done != r.Cases {
		return
	}
	r.told = time.Now()
	r.Progress(r.done, r.Cases)
}

func (r *race) report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	on := "model"
	if r.Redis != nil {
		on = "redis"
	}
	return Report{On: on, Seed: r.Seed, Took: time.Since(r.started), Rows: r.rows}
}

// explain runs the first failure of every strategy once more, for its steps.
func (r *race) explain(ctx context.Context) error {
	t, err := r.newTrack(ctx)
	if err != nil {
		return fmt.Errorf("race: %w", err)
	}
	defer t.close()
	for _, row := range r.rows {
		if row.First == nil {
			continue
		}
		note := func(format string, args ...any) {
			row.First.Steps = append(row.First.Steps, fmt.Sprintf(format, args...))
		}
		if _, err := t.run(ctx, row.First.Seed, row.Strategy, note); err != nil {
			return fmt.Errorf("race: strategy %s, seed %d: %w", row.Strategy, row.First.Seed, err)
		}
	}
	return nil
}

// track is what cases run on, one after the other.
type track struct {
	rdb       Redis
	server    *model.Server // nil if Redis is a real one
	fence     *fence.Store
	names     cache.Keys
	unlock    *redis.Script
	put, mark *redis.Script
}

func (r *race) newTrack(ctx context.Context) (*track, error) {
	t := &track{
		rdb: r.Redis, unlock: redis.NewScript(lockedStore),
		put: redis.NewScript(stampedPut), mark: redis.NewScript(stampedMark),
	}
	if t.rdb == nil {
		t.server = model.New(epoch(), replid(0, 0))
		t.rdb = t.server.Client()
	}
	if r.edit != nil {
		t.rdb = r.edit(t.rdb)
	}
	var err error
	if t.names, err = cache.NewKeys("race"); err == nil {
		t.fence, err = fence.Open(ctx, t.rdb, t.names)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *track) close() {
	if t.server != nil {
		t.server.Close()
	}
}

// run runs one case under one strategy and leaves nothing behind.
func (t *track) run(
	ctx context.Context, seed uint64, letter string, note func(string, ...any),
) (c Count, err error) {
	r := &run{schedule: newSchedule(seed)}
	r.note = silent
	if note != nil {
		r.note = func(format string, args ...any) { note("%10s  "+format, slices.Insert(args, 0, any(r.now))...) }
	}
	r.strategy = t.strategy(letter, seed, r.subjects)
	if r.world = t.world(seed); t.server == nil {
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = cmp.Or(err, r.world.lose(end, r.strategy.keys()...))
		}()
	}
	err = r.all(ctx)
	return r.count, err
}

func (t *track) world(seed uint64) world {
	if t.server == nil {
		return real{t.rdb}
	}
	t.server.Reset(epoch(), replid(seed, 0))
	return &modelled{server: t.server, seed: seed}
}

func (t *track) strategy(letter string, seed uint64, subjects int) strategy {
	home := events.Home{Provider: "races", Tenant: events.Tenant(fmt.Sprint(seed))}
	plain := aside{t.rdb, fmt.Sprintf("race:%s:{races:%d}:", letter, seed), subjects}
	switch letter {
	case "a":
		return &plain
	case "b":
		return &locked{aside: plain, unlock: t.unlock}
	case "c":
		return &stamped{aside: plain, put: t.put, mark: t.mark}
	}
	return &fenced{rdb: t.rdb, made: t.fence, names: t.names, home: home, subjects: subjects}
}
