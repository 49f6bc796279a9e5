package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// DefaultDurable is the name of the workers' consumer.
const DefaultDurable = "worker"

const (
	pullExpiry    = 5 * time.Second
	pullHeartbeat = time.Second            // two missed ones: the pull is set up again
	leftDelay     = time.Second            // before what a handler left comes again
	settleLimit   = 5 * time.Second        // how long a return waits for what is in flight
	firstRetry    = 100 * time.Millisecond // of setting up a consumer again, doubling
	lastRetry     = 2 * time.Second        // up to this
	fleetBatches  = 16                     // batches that all workers may have in hand
	defaultWait   = 5 * time.Second        // AckWait
)

// errLost says that the consumer or the way to it is gone; set it up again.
var errLost = errors.New("consumer lost")

// ConsumeOptions say how changes are read.
type ConsumeOptions struct {
	// Durable is the consumer's name, which the workers of a fleet share:
	// each change goes to one of them. Empty means [DefaultDurable].
	Durable string
	// Batch is the most that one call of the handler gets; 0 means 256.
	Batch int
	// AckWait is after how long a change is delivered again that was lost on
	// its way here, or whose acknowledgement was, as when a connection dies;
	// 0 means 5 s. What is in hand is held for six times as long, and longer if
	// [Message.InProgress] is called.
	AckWait time.Duration
}

func (o ConsumeOptions) withDefaults() ConsumeOptions {
	if o.Durable == "" {
		o.Durable = DefaultDurable
	}
	if o.Batch <= 0 {
		o.Batch = 256
	}
	if o.AckWait <= 0 {
		o.AckWait = defaultWait
	}
	return o
}

// ConsumeChanges calls handle with what is there, one call after another, as
// soon as there is anything. It blocks until ctx ends, then returns nil; an
// outage of the server in between is waited out.
//
// handle settles every message before it returns and does not keep the slice.
// What it leaves comes again after a second, and at once if ctx has ended.
// When ConsumeChanges returns, what was not handled is back in the stream for
// another worker.
func (s *Stream) ConsumeChanges(
	ctx context.Context, o ConsumeOptions, handle func(context.Context, []Message),
) error {
	o = o.withDefaults()
	return s.keep(ctx, "changes", func() error { return s.consume(ctx, o, handle) })
}

// keep runs a consumer and sets it up again when it was lost, until ctx ends.
// The first run must get as far as consuming, for which a cluster that is about
// to elect its leaders has half a minute.
func (s *Stream) keep(ctx context.Context, what string, run func() error) error {
	wait, consumed, started := firstRetry, false, time.Now()
	for {
		began := time.Now()
		err := run()
		if ctx.Err() != nil {
			return nil
		}
		consumed = consumed || errors.Is(err, errLost)
		hopeless := !consumed && (refused(err) || time.Since(started) > electionLimit)
		if hopeless || s.nc.IsClosed() {
			return fmt.Errorf("consume %s: %w", what, err)
		}
		if time.Since(began) > time.Minute {
			wait = firstRetry
		}
		s.log.Warn("consumer is set up again", "consumer", what, "reason", err)
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, lastRetry)
	}
}

// electionLimit is how long the first set-up of a consumer may fail for want of
// leaders.
const electionLimit = 30 * time.Second

// refused says whether the server has judged a request, and not merely failed
// to find who could.
func refused(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && e.Code != 503 && e.ErrorCode != jetstream.JSErrCodeConsumerNotFound
}

func (s *Stream) consume(
	ctx context.Context, o ConsumeOptions, handle func(context.Context, []Message),
) error {
	cons, err := s.js.CreateOrUpdateConsumer(ctx, Changes, jetstream.ConsumerConfig{
		Durable: o.Durable, FilterSubject: events.AllChanges, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: o.AckWait, MaxAckPending: fleetBatches * o.Batch,
	})
	if err != nil {
		return fmt.Errorf("consumer %s: %w", o.Durable, err)
	}
	in := &intake{
		arrived: make(chan Message, 2*o.Batch), stopped: make(chan struct{}), lost: make(chan error, 1),
		most: o.Batch, handle: handle, held: map[uint64]held{},
	}
	defer in.extend(o.AckWait)()
	cc, err := cons.Consume(func(raw jetstream.Msg) { in.put(s.message(raw)) },
		jetstream.PullMaxMessages(2*o.Batch), jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { in.note(err) }))
	if err != nil {
		return fmt.Errorf("consumer %s: %w", o.Durable, err)
	}
	defer s.drain(ctx, cc, in)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-in.lost:
			return fmt.Errorf("%w: %w", errLost, err)
		case first := <-in.arrived:
			in.take(ctx, first)
		}
	}
}

// drain stops the deliveries and takes what was on its way. Where a consumer
// was lost that is handled, not given back: the server that would hear of it
// may be the one that is going.
func (s *Stream) drain(ctx context.Context, cc jetstream.ConsumeContext, in *intake) {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	closed := cc.Closed()
	if s.nc.Status() == nats.CONNECTED {
		cc.Drain()
	} else {
		cc.Stop()
	}
	for waiting := true; waiting; {
		select {
		case m := <-in.arrived:
			in.take(ctx, m)
		case <-closed:
			waiting = false
		case <-bound.Done():
			waiting = false
		}
	}
	close(in.stopped)
	for len(in.arrived) > 0 {
		in.take(ctx, <-in.arrived)
	}
	s.flush(bound)
}

// flush sees to it that acknowledgements have left. Without a connection there
// is nothing to wait for.
func (s *Stream) flush(ctx context.Context) {
	if s.nc.Status() != nats.CONNECTED {
		return
	}
	if err := s.nc.FlushWithContext(ctx); err != nil {
		s.log.Warn("acknowledgements may be lost", "error", err)
	}
}
