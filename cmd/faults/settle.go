package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events/stream"
)

// The bounds of settling.
const (
	idleLimit    = 10 * time.Second // for deliveries under way
	drainLimit   = 60 * time.Second // for changes to be applied
	agreeLimit   = life + 5*time.Second
	answerLimit  = 60 * time.Second // longer than an orphan's lease lives
	quickLimit   = 5 * time.Second
	replicaLimit = 40 * time.Second
	// tryLimit bounds a question to NATS: while a leader is elected there is no
	// answer, not even that there is none.
	tryLimit = 2 * time.Second
)

// progress is how far the workers are.
type progress struct {
	floor            uint64 // all up to it are acknowledged
	pending, unacked uint64
}

// acknowledged asks the workers' consumer.
func (w *world) acknowledged(ctx context.Context) (progress, error) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	c, err := w.js.Consumer(ctx, stream.Changes, stream.DefaultDurable)
	if err != nil {
		return progress{}, err
	}
	i := c.CachedInfo()
	return progress{i.AckFloor.Stream, i.NumPending, uint64(i.NumAckPending)}, nil
}

// settle waits, without load, until all that was delivered is applied, entries
// agree with the provider, questions are answered rightly, and the system
// could bear the next fault.
func (t *trial) settle(ctx context.Context) error {
	err := await(ctx, idleLimit, "every notice has come", func(context.Context) (bool, error) {
		return t.w.balance.count() >= t.w.truth.turns(), nil
	})
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		t.drained, t.agreed, t.answered, t.ready,
	} {
		if err := step(ctx); err != nil && ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			t.row.broke("%v", err)
		}
	}
	return t.w.truth.agrees()
}

// drained waits until every change is applied.
func (t *trial) drained(ctx context.Context) error {
	var p progress
	var last error
	err := await(ctx, drainLimit, "every change is applied", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, tryLimit)
		defer cancel()
		s, err := t.w.js.Stream(ctx, stream.Changes)
		if err == nil {
			p, err = t.w.acknowledged(ctx)
		}
		last = err
		done := err == nil && p.pending == 0 && p.unacked == 0
		return done && p.floor >= s.CachedInfo().State.LastSeq, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %d pending, %d unacknowledged, %v", err, p.pending, p.unacked, last)
	}
	t.floor.add(p.floor) // whoever polls it may be waiting for an answer of a server that died
	return t.buried(ctx)
}

// buried says what has gone to DEAD.
func (t *trial) buried(ctx context.Context) error {
	was := t.w.dead
	err := await(ctx, drainLimit, stream.Graveyard+" can be asked", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, tryLimit)
		defer cancel()
		info, err := t.w.stream.Info(ctx)
		t.w.dead = max(was, info.Dead)
		return err == nil, nil // its leader may still be elected
	})
	if err != nil {
		return err
	}
	if now := t.w.dead; now > was {
		return fmt.Errorf("%d messages went to %s", now-was, stream.Graveyard)
	}
	return nil
}

// agreed waits until no entry says what the provider does not. A subject whose
// last notice was accepted has no time for that, unless the provider is late.
func (t *trial) agreed(ctx context.Context) error {
	c, err := lookup.New(&view{follower: t.w.follow}, lookup.Options{Timeout: readLimit})
	if err != nil {
		return err
	}
	var errs []error
	for _, subject := range t.w.truth.subjects {
		gen := t.w.truth.now(subject)
		if t.w.balance.told(subject, gen) && t.f.lateness == 0 {
			errs = append(errs, t.agrees(ctx, c, subject))
			continue
		}
		err := await(ctx, agreeLimit, "an entry ends at its deadline", func(ctx context.Context) (bool, error) {
			return t.agrees(ctx, c, subject) == nil, nil
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("subject %s, notice not accepted: %w", subject, err))
		}
	}
	return errors.Join(errs...)
}

// agrees wants an entry that is missing, or of the last generation.
func (t *trial) agrees(ctx context.Context, c *lookup.Client, subject string) error {
	d, err := c.Check(ctx, ref(subject), digits...)
	if err != nil {
		return nil // unknown: whoever reads has to ask
	}
	now := t.w.truth.now(subject)
	if _, shown := t.w.truth.read(subject, d); d.State != cache.Unknown && shown != now {
		return fmt.Errorf("entry of %s shows generation %d (version %s, as of %s), the provider has %d",
			subject, shown, d.Version, d.AsOf.Format(time.StampMilli), now)
	}
	return nil
}

// answered asks the workers for every subject until all are known. The quick
// subset does not wait for what is unknown longer: it judges what is known.
func (t *trial) answered(ctx context.Context) error {
	a, err := t.w.asker(0)
	if err != nil {
		return err
	}
	for _, subject := range t.w.truth.subjects {
		now, shown := t.w.truth.now(subject), -1
		err := await(ctx, t.patience(), "the workers know "+subject, func(ctx context.Context) (bool, error) {
			d, err := a.Ask(ctx, ref(subject), digits...)
			if err != nil {
				return false, nil
			}
			_, shown = t.w.truth.read(subject, d)
			return d.State != cache.Unknown, nil
		})
		if err != nil && t.w.o.Quick {
			t.w.note("%v", err)
			return ctx.Err()
		}
		if err == nil && shown != now {
			err = fmt.Errorf("a worker says that %s has generation %d, the provider has %d", subject, shown, now)
		}
		if err != nil {
			return err
		}
	}
	t.row.Known = time.Since(t.healed)
	return nil
}

// patience is how long a subject may be unknown when all is well again.
func (t *trial) patience() time.Duration {
	if t.w.o.Quick {
		return quickLimit
	}
	return answerLimit
}

// ready waits until the next fault may come.
func (t *trial) ready(ctx context.Context) error {
	return await(ctx, replicaLimit, "Redis has its replica again", func(ctx context.Context) (bool, error) {
		return t.w.replicated(ctx), nil
	})
}
