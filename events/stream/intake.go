package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// holdWaits is for how many AckWaits a message in hand is held.
const holdWaits = 6

// intake is what was delivered and not yet handled.
type intake struct {
	arrived chan Message
	stopped chan struct{}
	lost    chan error
	most    int
	handle  func(context.Context, []Message)

	mu   sync.Mutex
	held map[uint64]held // by sequence
}

// held is a message that was delivered and is not settled.
type held struct {
	Message
	since time.Time
}

// put takes in a delivery, and waits while the handler has enough to do.
func (in *intake) put(m Message) {
	in.hold(m)
	select {
	case in.arrived <- m:
	case <-in.stopped:
		giveBack(m, 0)
		in.release([]Message{m})
	}
}

func (in *intake) hold(m Message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.held[m.Sequence] = held{m, time.Now()}
}

func (in *intake) release(batch []Message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range batch {
		delete(in.held, m.Sequence)
	}
}

// extend asks for more time for what is held, three times per wait and for
// holdWaits of it at most: a handler that hangs must not keep a change from the
// other workers. The function that it returns ends it.
func (in *intake) extend(wait time.Duration) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(max(wait/3, time.Millisecond))
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-ticker.C:
				in.inProgress(now.Add((1-holdWaits)*wait), now.Add(-wait/6))
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

// inProgress asks for more time for what came between two times and is held.
func (in *intake) inProgress(first, last time.Time) {
	var ms []Message
	in.mu.Lock()
	for _, h := range in.held {
		if h.since.After(first) && h.since.Before(last) {
			ms = append(ms, h.Message)
		}
	}
	in.mu.Unlock()
	for _, m := range ms {
		_ = m.InProgress() // otherwise it was settled, or comes again, which is safe
	}
}

// note passes on that the consumer must be set up again. Other errors the
// client mends by itself: after a reconnect or a new leader it asks anew.
func (in *intake) note(err error) {
	for _, e := range []error{
		nats.ErrNoResponders, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound,
		jetstream.ErrNoHeartbeat, jetstream.ErrServerShutdown, jetstream.ErrBadRequest,
		jetstream.ErrConnectionClosed,
	} {
		if errors.Is(err, e) {
			select {
			case in.lost <- err:
			default:
			}
			return
		}
	}
}

// take handles what is there without waiting for more; when ctx has ended it
// gives it back.
func (in *intake) take(ctx context.Context, first Message) {
	batch := append(make([]Message, 0, min(in.most, 1+len(in.arrived))), first)
	for len(batch) < in.most && len(in.arrived) > 0 {
		batch = append(batch, <-in.arrived)
	}
	if ctx.Err() == nil {
		in.handle(ctx, batch)
	}
	delay := leftDelay
	if ctx.Err() != nil {
		delay = 0
	}
	for _, m := range batch {
		giveBack(m, delay)
	}
	in.release(batch)
}

// giveBack naks a message unless it is settled. Its error means that it was,
// or that the connection is closed and the message comes again by itself.
func giveBack(m Message, delay time.Duration) { _ = m.Nak(delay) }
