package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// rebuildPause is how long a queue that was just made anew is trusted to be
// there.
const rebuildPause = time.Second

// Enqueue asks for a refresh now. It is not accepted if one is pending for the
// entry, for the first wins, or if the task's Until has passed. It is dropped
// when Until comes and nobody has taken it.
func (s *Stream) Enqueue(ctx context.Context, t Task) (accepted bool, err error) {
	n, err := s.EnqueueAll(ctx, []Task{t})
	return n == 1, err
}

// EnqueueAll is [Stream.Enqueue] for many at once. It goes on after an error
// and returns the first; accepted counts those that are surely queued.
func (s *Stream) EnqueueAll(ctx context.Context, tasks []Task) (accepted int, err error) {
	now := time.Now()
	msgs := make([]*nats.Msg, 0, len(tasks))
	for _, t := range tasks {
		if t.Until.After(now) {
			m, err := taskMsg(t, events.RefreshSubject(t.Ref))
			if err != nil {
				return 0, fmt.Errorf("enqueue: %w", err)
			}
			m.Header.Set(jetstream.MsgTTLHeader, seconds(t.Until.Sub(now)))
			msgs = append(msgs, m)
		}
	}
	return s.queue(ctx, msgs)
}

// EnqueueAt asks for a refresh at a later time; the server is up to about
// 250 ms late. It takes the place of one that is waiting for the entry already:
// who asks last knows most. It is not accepted if the time is not before the
// task's Until.
func (s *Stream) EnqueueAt(ctx context.Context, t Task, at time.Time) (accepted bool, err error) {
	if !at.After(time.Now()) {
		return s.Enqueue(ctx, t)
	}
	if !at.Before(t.Until) {
		return false, nil
	}
	m, err := taskMsg(t, events.DelaySubject(t.Ref))
	if err != nil {
		return false, fmt.Errorf("enqueue: %w", err)
	}
	m.Header.Del(jetstream.ExpectedLastSubjSeqHeader)
	// Written by hand: the client's own option cuts the time to whole seconds.
	m.Header.Set(jetstream.ScheduleHeader, "@at "+at.UTC().Format(time.RFC3339Nano))
	m.Header.Set(jetstream.ScheduleTargetHeader, events.RefreshSubject(t.Ref))
	m.Header.Set(jetstream.ScheduleTTLHeader, seconds(t.Until.Sub(at)))
	n, err := s.queue(ctx, []*nats.Msg{m})
	return n == 1, err
}

func taskMsg(t Task, subject string) (*nats.Msg, error) {
	data, err := EncodeTask(t)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {"0"}, // the first wins
		contentType:                         {"application/json"},
	}}, nil
}

// seconds writes a time to live: whole ones and at least one is what the
// server takes.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d/time.Second))) + "s"
}

// queue publishes and counts what was accepted. Memory storage is gone after a
// restart of a single server, stream and all; then it is made anew.
func (s *Stream) queue(ctx context.Context, msgs []*nats.Msg) (int, error) {
	ctx, cancel := bounded(ctx, publishLimit)
	defer cancel()
	accepted, missed, err := s.queueOnce(ctx, msgs)
	if len(missed) == 0 {
		return accepted, err
	}
	if err := s.rebuildQueue(ctx); err != nil {
		return accepted, fmt.Errorf("enqueue: %w", err)
	}
	more, _, err := s.queueOnce(ctx, missed)
	return accepted + more, err
}

// queueOnce returns what found no stream as missed.
func (s *Stream) queueOnce(ctx context.Context, msgs []*nats.Msg) (
	accepted int, missed []*nats.Msg, first error,
) {
	futures := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		f, err := s.js.PublishMsgAsync(m)
		if err != nil {
			first = fmt.Errorf("enqueue: %w", err)
			break
		}
		futures[i] = f
	}
	for i, f := range futures {
		if f == nil {
			break
		}
		_, err := await(ctx, f)
		switch {
		case err == nil:
			accepted++
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			missed = append(missed, msgs[i])
		case !conflict(err) && first == nil:
			first = fmt.Errorf("enqueue: %w", err)
		}
	}
	if len(missed) > 0 && first == nil {
		first = fmt.Errorf("enqueue: %w", jetstream.ErrNoStreamResponse)
	}
	return accepted, missed, first
}

func (s *Stream) rebuildQueue(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.rebuilt) < rebuildPause {
		return nil
	}
	if err := s.openRefreshes(ctx); err != nil {
		return err
	}
	s.rebuilt = time.Now()
	return nil
}
