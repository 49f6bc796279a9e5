package boxsim

import (
	"context"
	"fmt"
	"sync"
)

// delivery is a notice on its way to one webhook.
type delivery struct {
	hook    *webhook
	body    []byte // the same in all attempts
	retries int
	last    bool      // tells that the webhook is gone
	then    *delivery // sent after this one
}

// sender works a queue off with a bounded number of goroutines, which end when it is empty.
type sender struct {
	limit   int
	send    func(context.Context, *delivery)
	waiting context.Context // ends when closing begins: for what only waits
	stop    context.CancelFunc
	flight  context.Context // ends when closing has waited enough: for what is under way
	abort   context.CancelFunc

	mu      sync.Mutex // guards what follows
	queue   []*delivery
	running int
	closed  bool
	all     sync.WaitGroup
}

func newSender(limit int, send func(context.Context, *delivery)) *sender {
	q := &sender{limit: limit, send: send}
	q.flight, q.abort = context.WithCancel(context.Background())
	q.waiting, q.stop = context.WithCancel(q.flight)
	return q
}

// put queues a delivery; after close it is lost.
func (q *sender) put(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.queue = append(q.queue, d)
	if q.running < q.limit {
		q.running++
		q.all.Go(q.drain)
	}
}

func (q *sender) drain() {
	for d := q.next(); d != nil; d = q.next() {
		for ; d != nil && q.flight.Err() == nil; d = d.then {
			q.send(q.flight, d)
		}
	}
}

func (q *sender) next() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.running--
		return nil
	}
	d := q.queue[0]
	q.queue = q.queue[1:]
	return d
}

// background runs f, which must end when waiting does; after close it does not run.
func (q *sender) background(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.all.Go(f)
	}
}

func (q *sender) close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.stop()
	defer q.abort()
	done := make(chan struct{})
	go func() {
		q.all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		q.abort()
		<-done
		return fmt.Errorf("close simulator: %w", ctx.Err())
	}
}
