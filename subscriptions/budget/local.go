package budget

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// maxLanes bounds what a Local remembers: beyond it lanes in which nothing is
// under way, and of which only the limit is known, are forgotten.
const maxLanes = 1024

// Local is a budget of one process, in its memory: it learns and obeys limits
// and penalties as [Shared] does, and knows no purposes. It is safe for
// concurrent use.
type Local struct {
	mu    sync.Mutex
	lanes map[subscriptions.Lane]*window
}

var _ subscriptions.Budget = (*Local)(nil)

// NewLocal makes one.
func NewLocal() *Local { return &Local{lanes: map[subscriptions.Lane]*window{}} }

// window is a lane's log. flying calls have no reply yet.
type window struct {
	limit  subscriptions.Window
	closed time.Time
	flying int
	busy   []time.Time // until when each of the others takes up a slot, in order
}

type localCall struct {
	b  *Local
	in *window
}

// Take asks for one call now, see [subscriptions.Budget].
func (b *Local) Take(
	_ context.Context, l subscriptions.Lane, usual subscriptions.Window,
) (subscriptions.Call, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.lanes[l]
	if w == nil {
		b.forget()
		w = &window{limit: usual}
		b.lanes[l] = w
	}
	if until := w.opens(time.Now()); !until.IsZero() {
		return nil, &subscriptions.Later{Until: until, Group: l.Group}
	}
	w.flying++
	return &localCall{b, w}, nil
}

// forget makes room for another lane.
func (b *Local) forget() {
	if len(b.lanes) < maxLanes {
		return
	}
	now := time.Now()
	for l, w := range b.lanes {
		if w.opens(now).IsZero() && w.flying == 0 && len(w.busy) == 0 {
			delete(b.lanes, l)
		}
	}
}

// opens is when a call may be made; zero means now.
func (w *window) opens(now time.Time) time.Time {
	w.busy = slices.DeleteFunc(w.busy, func(t time.Time) bool { return !t.After(now) })
	over := w.flying + len(w.busy) - w.limit.Calls // that many must free, and one more
	switch {
	case now.Before(w.closed):
		return w.closed
	case w.limit.Calls == 0 || over < 0:
		return time.Time{}
	case over < len(w.busy):
		return w.busy[over]
	}
	return now.Add(w.limit.Length)
}

// Done learns from the reply.
func (c *localCall) Done(_ context.Context, said subscriptions.Said) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	w, now := c.in, time.Now()
	w.flying--
	if said.Unsent {
		return
	}
	if d := min(said.Window, maxWindow) - w.limit.Length; said.Window > 0 && d != 0 {
		for i := range w.busy {
			w.busy[i] = w.busy[i].Add(d)
		}
		w.limit.Length += d
	}
	if said.Limit > 0 {
		w.limit.Calls = said.Limit
	}
	if until := now.Add(said.Penalty); until.After(w.closed) {
		w.closed = until
	}
	end := now.Add(w.limit.Length)
	w.busy = append(w.busy, end)
	if others := w.limit.Calls - said.Remaining - w.flying - len(w.busy); said.Told && w.limit.Calls > 0 {
		if others > maxLanes {
			w.closed = later(w.closed, end)
			return
		}
		w.busy = append(w.busy, slices.Repeat([]time.Time{end}, max(others, 0))...)
	}
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Life is never told: one process cannot know.
func (c *localCall) Life() time.Duration { return 0 }
