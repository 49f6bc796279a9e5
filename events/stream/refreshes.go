package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// refresher is the durable consumer of the queue.
const refresher = "refresher"

// refreshAckWait is short: a task is acknowledged as soon as it is taken.
const refreshAckWait = 10 * time.Second

// ConsumeRefreshes calls handle for each task that is due, at most workers of
// them at once. It takes a task only when a worker is free, so that what is
// not begun here can be begun elsewhere. It blocks until ctx ends, then waits
// for the handlers and returns nil; an outage in between is waited out. A task
// that cannot be read goes to DEAD.
func (s *Stream) ConsumeRefreshes(
	ctx context.Context, workers int, handle func(context.Context, Task),
) error {
	if workers < 1 {
		return fmt.Errorf("consume refreshes: %d workers", workers)
	}
	q := &refreshQueue{stream: s, handle: handle, slots: make(chan struct{}, workers)}
	defer q.running.Wait()
	return s.keep(ctx, "refreshes", func() error { return q.consume(ctx) })
}

type refreshQueue struct {
	stream  *Stream
	handle  func(context.Context, Task)
	slots   chan struct{}
	running sync.WaitGroup
}

func (q *refreshQueue) consume(ctx context.Context) error {
	if err := q.stream.rebuildQueue(ctx); err != nil {
		return err
	}
	cons, err := q.stream.js.CreateOrUpdateConsumer(ctx, Refreshes, jetstream.ConsumerConfig{
		Durable: refresher, FilterSubject: events.AllRefreshes,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: refreshAckWait,
	})
	if err != nil {
		return fmt.Errorf("consumer %s: %w", refresher, err)
	}
	for ctx.Err() == nil {
		if err := q.fetch(ctx, cons); err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
	}
	return nil
}

// fetch asks for as many tasks as there are free workers and starts each as it
// comes. It is one request after another and not a standing one: what that
// asks for ahead would wait here for a worker while another process has one.
func (q *refreshQueue) fetch(ctx context.Context, cons jetstream.Consumer) error {
	free := q.reserve(ctx)
	defer func() { q.release(free) }()
	if free == 0 {
		return nil
	}
	pull, cancel := context.WithTimeout(ctx, pullExpiry)
	defer cancel()
	batch, err := cons.Fetch(free, jetstream.FetchContext(pull), jetstream.FetchHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	for raw := range batch.Messages() {
		if ctx.Err() != nil {
			_ = raw.Nak() // if this is lost it comes again by itself
			continue
		}
		free--
		q.running.Go(func() {
			defer q.release(1)
			q.take(ctx, raw)
		})
	}
	if pull.Err() != nil {
		return nil
	}
	return batch.Error()
}

// reserve waits for a worker to be free and takes all that are; none if ctx
// ends.
func (q *refreshQueue) reserve(ctx context.Context) (n int) {
	select {
	case q.slots <- struct{}{}:
		n++
	case <-ctx.Done():
		return 0
	}
	for {
		select {
		case q.slots <- struct{}{}:
			n++
		default:
			return n
		}
	}
}

func (q *refreshQueue) release(n int) {
	for range n {
		<-q.slots
	}
}

// take acknowledges a task before it is handled, and waits until the server has
// heard it: the subject must be free, so that a change that comes while this
// fetch is under way can queue a refresh of its own. What a crash in between
// loses is a refresh, never an invalidation.
func (q *refreshQueue) take(ctx context.Context, raw jetstream.Msg) {
	t, err := taskOn(raw.Subject(), raw.Data())
	if err != nil {
		if err := q.bury(ctx, raw, err); err != nil {
			q.stream.log.Warn("unreadable task stays in the queue", "error", err)
		}
		return
	}
	ackCtx, cancel := context.WithTimeout(ctx, publishLimit)
	err = raw.DoubleAck(ackCtx)
	cancel()
	if err != nil {
		q.stream.log.Warn("task is left to be delivered again", "entry", t.Ref.String(), "error", err)
		return
	}
	q.handle(ctx, t)
}

func (q *refreshQueue) bury(ctx context.Context, raw jetstream.Msg, reason error) error {
	home := unknown
	if ref, err := events.ParseRefreshSubject(raw.Subject()); err == nil {
		home = ref.Home
	}
	return q.stream.bury(ctx, raw, home, reason)
}
