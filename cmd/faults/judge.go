package faults

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events/stream"
)

// readBack is how long one reading of CHANGES may take.
const readBack = 8 * time.Second

// most is how many cases of one kind a row tells of.
const most = 5

// judge holds what was seen against the promises.
func (t *trial) judge(ctx context.Context) error {
	sequences, err := t.stored(ctx)
	if err != nil {
		return err
	}
	mine := t.w.balance.since(t.w.fresh)
	t.w.fresh += len(mine)
	for _, d := range mine {
		if d.ok() {
			t.row.Answered++
			t.w.promised[d.id] = d
		}
	}
	t.lost(mine, sequences)
	t.undelivered(mine)
	t.stale(mine, sequences)
	return nil
}

// stored reads CHANGES back: the sequence of each change by its id. A reading
// that the servers break off is begun again.
func (t *trial) stored(ctx context.Context) (sequences map[string]uint64, err error) {
	var last error
	err = await(ctx, drainLimit, stream.Changes+" can be read", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, readBack)
		defer cancel()
		sequences = map[string]uint64{}
		last = t.w.stream.Read(ctx, stream.ReadOptions{}, func(m stream.Stored) error {
			sequences[m.Change.ID] = m.Sequence
			return m.DecodeErr
		})
		if last != nil {
			t.w.note("read back: %v", last)
		}
		return last == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, last)
	}
	return sequences, nil
}

// lost looks for what was answered with success, now or earlier in the run.
func (t *trial) lost(mine []delivery, sequences map[string]uint64) {
	for id, d := range t.w.promised {
		if sequences[id] == 0 {
			if t.row.Lost++; t.row.Lost <= most {
				t.row.broke("delivery %s was answered with success at %s and is not in %s",
					id, d.ended.Format(time.StampMilli), stream.Changes)
			}
			delete(t.w.promised, id) // told once
		}
	}
	if t.row.Lost > most {
		t.row.broke("%d such deliveries are lost in all", t.row.Lost)
	}
	unapplied := 0
	for _, d := range mine {
		sequence := sequences[d.id]
		if sequence == 0 {
			continue
		}
		if d.ok() {
			t.row.Stored++
		}
		if _, ok := t.floor.by(sequence); ok {
			t.row.Applied++
		} else if unapplied++; unapplied <= most {
			t.row.broke("change %s, sequence %d, was not applied", d.id, sequence)
		}
	}
}

// undelivered counts what the provider was told had failed, and for how long
// an answer showed what such a notice would have ended.
func (t *trial) undelivered(mine []delivery) {
	for _, d := range mine {
		if !d.ok() {
			t.row.Undelivered++
			for _, r := range t.read.seen {
				since := t.w.truth.times(d.subject)[d.gen]
				if r.subject == d.subject && r.gen >= 0 && r.gen < d.gen {
					t.row.HealedAfter = max(t.row.HealedAfter, r.began.Sub(since))
				}
			}
		}
	}
}

// limit says that from an instant on nothing older than a generation may be
// read.
type limit struct {
	from time.Time
	gen  int
}

// limits are those of each subject, in their order.
func (t *trial) limits(mine []delivery, sequences map[string]uint64) map[string][]limit {
	all := map[string][]limit{}
	for subject, gen := range t.w.reached { // before this fault began
		all[subject] = []limit{{gen: gen}}
	}
	for _, d := range mine {
		if by, ok := t.floor.by(sequences[d.id]); ok && sequences[d.id] > 0 {
			all[d.subject] = append(all[d.subject], limit{by, d.gen})
		}
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b limit) int { return a.from.Compare(b.from) })
		for i := 1; i < len(list); i++ {
			list[i].gen = max(list[i].gen, list[i-1].gen)
		}
	}
	for subject, list := range all {
		t.w.reached[subject] = list[len(list)-1].gen
	}
	return all
}

// oldest is the generation that a read begun at an instant may show at least.
func oldest(list []limit, at time.Time) int {
	i, _ := slices.BinarySearchFunc(list, at, func(l limit, at time.Time) int {
		return cmp.Or(l.from.Compare(at), -1)
	})
	if i == 0 {
		return 0
	}
	return list[i-1].gen
}

// stale tallies the reads and finds those that show what was over.
func (t *trial) stale(mine []delivery, sequences map[string]uint64) {
	limits := t.limits(mine, sequences)
	times := map[string][]time.Time{}
	for _, subject := range t.w.truth.subjects {
		times[subject] = t.w.truth.times(subject)
	}
	for _, r := range t.read.seen {
		t.row.tally(r.state)
		if r.gen < 0 {
			continue
		}
		if next := r.gen + 1; next < len(times[r.subject]) {
			t.row.OldRight = max(t.row.OldRight, r.began.Sub(times[r.subject][next]))
		}
		least := oldest(limits[r.subject], r.began)
		switch {
		case r.gen >= least:
		case r.gen >= oldest(limits[r.subject], r.began.Add(-t.f.excuse())):
			t.row.Late++
		case r.server != "" && t.w.follow.deposed(r.server, r.began):
			t.row.Aside++
		default:
			t.row.Stale++
			if t.row.Stale <= most {
				t.row.broke("stale: %s", describe(r, least))
			}
		}
	}
}

func describe(r reading, least int) string {
	where := "a worker"
	if r.server != "" {
		where = "redis " + r.server
	}
	return fmt.Sprintf("%s at %s: subject %s, generation %d from %s, %d had been applied",
		r.as, r.began.Format(time.StampMilli), r.subject, r.gen, where, least)
}

func (r *Row) tally(s cache.State) {
	switch s {
	case cache.Granted:
		r.Granted++
	case cache.Denied:
		r.Denied++
	default:
		r.Unknown++
	}
}
