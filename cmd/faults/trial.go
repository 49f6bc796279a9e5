package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache/lookup"
)

// The bounds of a trial.
const (
	before       = 1500 * time.Millisecond // of load, until the fault strikes
	after        = time.Second             // of load, once all is well
	recoverLimit = 60 * time.Second
	probeLimit   = 3 * time.Second // for one change to be seen
)

// trial is one fault with what was seen while it lasted.
type trial struct {
	w     *world
	f     fault
	row   Row
	floor floor
	read  readers

	healed time.Time
}

// try lets one fault happen under load and judges what was seen. Its error is
// of the prover; a broken promise stands in the row.
func (w *world) try(ctx context.Context, f fault, random *rand.Rand) (Row, error) {
	t := &trial{w: w, f: f, row: Row{Fault: f.name, What: f.what}, read: readers{w: w}}
	w.follow.forget()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	var seeing, loading errgroup.Group
	seeing.Go(func() error { return t.floor.run(watch, w) })
	seeing.Go(func() error { return t.read.run(watch) })
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	loading.Go(func() error { return w.truth.load(load, w.o.rate(), random) })

	err := t.strike(ctx)
	stopLoad()
	err = errors.Join(err, loading.Wait())
	if err == nil {
		err = t.settle(ctx)
	}
	stop()
	if err = errors.Join(err, seeing.Wait()); err != nil {
		return t.row, err
	}
	err = errors.Join(t.complained(), t.judge(ctx))
	t.unproven()
	return t.row, err
}

// strike breaks, heals, and measures the recovery, with a little load around.
func (t *trial) strike(ctx context.Context) error {
	if err := pause(ctx, before); err != nil {
		return err
	}
	if err := t.f.strike(ctx, t.w); err != nil {
		return fmt.Errorf("strike: %w", err)
	}
	if err := t.complained(); err != nil {
		return err
	}
	t.healed = time.Now()
	if err := t.w.heal(ctx); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	if err := t.w.visible(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.row.broke("not recovered: %v", err)
	}
	t.row.Recovery = time.Since(t.healed)
	return pause(ctx, after)
}

// complained looks for parts that have a bug or have ended by themselves.
func (t *trial) complained() error {
	for _, p := range t.w.parts() {
		lines, err := p.complaints()
		if err != nil {
			return err
		}
		for _, line := range lines {
			t.row.broke("%s (see %s)", line, p.log)
		}
	}
	return nil
}

// visible waits until a change that the provider makes from now on has come
// through a webhook and is seen in an answer.
func (w *world) visible(ctx context.Context) error {
	a, err := w.asker(0)
	if err != nil {
		return err
	}
	c, err := lookup.New(&view{follower: w.follow}, lookup.Options{Asker: a, Timeout: readLimit})
	if err != nil {
		return err
	}
	subject := w.truth.subjects[probe]
	last := errors.New("no listener accepts")
	return await(ctx, recoverLimit, "a new change is visible", func(ctx context.Context) (bool, error) {
		gen, err := w.truth.turn(subject)
		if err != nil {
			return false, err
		}
		err = await(ctx, probeLimit, "it is visible", func(ctx context.Context) (bool, error) {
			if !w.balance.told(subject, gen) {
				return false, nil
			}
			d, err := c.Check(ctx, ref(subject), digits...)
			_, shown := w.truth.read(subject, d)
			last = err
			return err == nil && shown >= gen, nil
		})
		if err != nil && ctx.Err() != nil {
			return false, fmt.Errorf("within %s: %v", recoverLimit, last)
		}
		return err == nil, nil
	})
}

// miss notes that a fault did not happen as it should: then nothing is proved.
func (w *world) miss(format string, args ...any) {
	w.note(format, args...)
	w.missing.Lock()
	defer w.missing.Unlock()
	w.missed = append(w.missed, fmt.Sprintf(format, args...))
}

// unproven says why a row proves nothing; one of a pair may spoil the other.
func (t *trial) unproven() {
	t.w.missing.Lock()
	defer t.w.missing.Unlock()
	switch {
	case len(t.row.Broken) > 0:
	case len(t.w.missed) > 0 && !t.f.pair:
		t.row.Skipped = "not proven: " + t.w.missed[0]
	case t.row.Answered == 0 || t.row.Granted+t.row.Denied == 0:
		t.row.Skipped = "not proven: no delivery, or nothing that was read"
	}
	t.w.missed = nil
}

// note tells what is going on.
func (w *world) note(format string, args ...any) {
	w.o.say("    "+format, args...)
}

// floor is how far the workers have acknowledged, and when that was known.
type floor struct {
	mu    sync.Mutex // guards what follows
	known []applied
}

// applied says that all changes up to a sequence were applied by an instant.
type applied struct {
	sequence uint64
	by       time.Time
}

// run asks all the time, until ctx ends; while NATS is away it learns nothing.
func (f *floor) run(ctx context.Context, w *world) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := w.acknowledged(ctx); err == nil {
			f.add(s.floor)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *floor) add(sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.known); n == 0 || sequence > f.known[n-1].sequence {
		f.known = append(f.known, applied{sequence, time.Now()})
	}
}

// by is when a change was known to be applied; false if that is not known.
func (f *floor) by(sequence uint64) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.known {
		if a.sequence >= sequence {
			return a.by, true
		}
	}
	return time.Time{}, false
}
