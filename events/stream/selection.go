package stream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rescindhq/rescind/events"
)

// Selection says which changes are meant. The zero value means all but replays, for
// what they say is said by the changes that they replayed.
type Selection struct {
	// Since and Until are when it was published, FromSeq and ToSeq where it stands; the
	// zero values are no bounds.
	Since, Until   time.Time
	FromSeq, ToSeq uint64
	// Home leaves out other providers and tenants; what is empty in it means all.
	Home events.Home
	// Tags leaves out changes that have none of these.
	Tags []events.Tag
	// Source leaves out other sources; [events.Replay] must be asked for.
	Source events.Source
}

func (sel Selection) options() ReadOptions {
	return ReadOptions{Since: sel.Since, Until: sel.Until, FromSeq: sel.FromSeq, ToSeq: sel.ToSeq,
		Home: sel.Home, Wanted: sel.Has}
}

// Has says whether a change is of the source and has one of the tags. What cannot be
// read is, if neither is asked for.
func (sel Selection) Has(m Stored) bool {
	switch {
	case m.DecodeErr != nil:
		return sel.Source == "" && len(sel.Tags) == 0
	case sel.Source == "" && m.Change.Source == events.Replay, sel.Source != "" && m.Change.Source != sel.Source:
		return false
	}
	return len(sel.Tags) == 0 || slices.ContainsFunc(m.Change.Tags, func(t events.Tag) bool {
		return slices.Contains(sel.Tags, t)
	})
}

// Span sets the selection's first and last sequence, so that it means the same later
// on; ok is false if it holds nothing.
func (s *Stream) Span(ctx context.Context, sel *Selection) (ok bool, err error) {
	state, err := s.state(ctx, Changes)
	if err != nil {
		return false, err
	}
	sel.FromSeq = max(sel.FromSeq, state.FirstSeq)
	if sel.ToSeq == 0 || sel.ToSeq > state.LastSeq {
		sel.ToSeq = state.LastSeq
	}
	o := sel.options()
	o.Limit = 1
	err = s.Read(ctx, o, func(m Stored) error {
		ok, sel.FromSeq = true, m.Sequence
		return nil
	})
	return ok, err
}

// Pick calls each with the selected changes, some at a time: at most n. While each works
// nothing is held open at the server, so that it may take its time. next is the sequence
// to go on from after these.
func (s *Stream) Pick(
	ctx context.Context, sel Selection, n int, each func(ms []Stored, next uint64) error,
) error {
	for sel.FromSeq <= sel.ToSeq {
		ms, next, err := s.window(ctx, sel)
		if err != nil {
			return err
		}
		sel.FromSeq = next
		for len(ms) > 0 {
			some := ms[:min(n, len(ms))]
			if ms = ms[len(some):]; len(ms) > 0 {
				next = some[len(some)-1].Sequence + 1
			} else {
				next = sel.FromSeq
			}
			if err := each(some, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// What Pick reads ahead: the server keeps a reader for a while after each window, so
// there must not be too many.
const (
	windowChanges = 20_000
	windowBytes   = 32 << 20
)

var errFull = errors.New("the window is full")

// window reads the next changes, and tells from where on the ones after them are.
func (s *Stream) window(ctx context.Context, sel Selection) (ms []Stored, next uint64, err error) {
	size := 0
	err = s.Read(ctx, sel.options(), func(m Stored) error {
		ms, size = append(ms, m), size+m.Size
		if len(ms) == windowChanges || size >= windowBytes {
			return errFull
		}
		return nil
	})
	if errors.Is(err, errFull) {
		return ms, ms[len(ms)-1].Sequence + 1, nil
	}
	return ms, sel.ToSeq + 1, err
}
