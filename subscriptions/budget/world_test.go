package budget_test

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// world runs on simulated time alone: events in their order, vendors that count
// exactly, and Redis's clock, which may be stepped back.
type world struct {
	*bench
	rng    *rand.Rand
	at     time.Duration // since the beginning
	queue  agenda
	shared []subscriptions.Budget // of the processes
	born   int                    // callers
}

type event struct {
	at time.Duration
	do func()
}

type agenda []event

func (e agenda) Len() int           { return len(e) }
func (e agenda) Less(i, j int) bool { return e[i].at < e[j].at }
func (e agenda) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *agenda) Push(x any)        { *e = append(*e, x.(event)) }
func (e *agenda) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newWorld(b *bench, seed uint64, processes int) *world {
	w := &world{bench: b, rng: rand.New(rand.NewPCG(seed, 0))}
	for range processes {
		w.shared = append(w.shared, b.open())
	}
	return w
}

func (w *world) in(d time.Duration, do func()) { heap.Push(&w.queue, event{w.at + d, do}) }

// run runs what happens within d.
func (w *world) run(d time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= d {
		e := heap.Pop(&w.queue).(event)
		w.pass(e.at - w.at)
		w.at = e.at
		e.do()
	}
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

// vendor is one lane at a vendor that counts at arrival.
type vendor struct {
	limit   subscriptions.Window
	counted []time.Duration // when
	closed  time.Duration
	calls   int
	refused int
}

// arrive counts a call and returns what the reply says.
func (v *vendor) arrive(at time.Duration) subscriptions.Said {
	for len(v.counted) > 0 && v.counted[0] <= at-v.limit.Length {
		v.counted = v.counted[1:]
	}
	said := subscriptions.Said{Limit: v.limit.Calls, Window: v.limit.Length, Told: true}
	if at < v.closed || len(v.counted) >= v.limit.Calls {
		v.refused++
		v.closed = at + v.limit.Length
		said.Penalty = v.limit.Length
		return said
	}
	v.counted = append(v.counted, at)
	v.calls++
	said.Remaining = v.limit.Calls - len(v.counted)
	return said
}

// caller asks for one call after the other, as soon as it may.
type caller struct {
	w       *world
	name    string // of one life; zero: not born yet
	v       *vendor
	lane    subscriptions.Lane
	usual   subscriptions.Window
	purpose cache.Purpose
	latency time.Duration // at most, each way
	lost    float64       // the share of calls after which the caller dies, and is born again
	unsent  float64
	granted int
	then    func(subscriptions.Call) // after a call that was granted; nil: it asks for the next
}

func (c *caller) ask() {
	w := c.w
	if c.name == "" {
		w.born++
		c.name = strconv.Itoa(w.born)
	}
	ctx := cache.WithCaller(cache.WithPurpose(w.t.Context(), c.purpose), c.name)
	before := time.Now()
	got, err := w.shared[w.rng.IntN(len(w.shared))].Take(ctx, c.lane, c.usual)
	var later *subscriptions.Later
	switch {
	case errors.As(err, &later):
		w.in(later.Until.Sub(before), c.ask) // never too early, however slow we are
	case err != nil:
		w.t.Fatal(err)
	default:
		c.granted++
		c.send(got)
	}
}

func (c *caller) send(got subscriptions.Call) {
	w := c.w
	again := c.ask
	if c.then != nil {
		again = func() {}
		c.then(got)
	}
	if w.rng.Float64() < c.unsent {
		got.Done(context.Background(), subscriptions.Said{Unsent: true})
		w.in(time.Millisecond, again)
		return
	}
	lost := w.rng.Float64() < c.lost
	w.in(w.upTo(c.latency), func() {
		said := c.v.arrive(w.at)
		w.in(w.upTo(c.latency), func() {
			if lost {
				c.name = ""
			} else {
				got.Done(context.Background(), said)
			}
			again()
		})
	})
}
