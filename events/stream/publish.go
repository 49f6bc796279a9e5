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

// publishLimit bounds a publish whose ctx has no deadline.
const publishLimit = 2 * time.Second

const contentType = "Content-Type"

// Ack is the stream's receipt for a change.
type Ack struct {
	Sequence uint64
	// Duplicate says that a change with this ID was stored before; Sequence is
	// that one's.
	Duplicate bool
}

// Publish stores a change and returns when the stream has acknowledged it, at
// the latest at ctx's deadline, or after 2 s if it has none. After an error
// the change may be stored or not; publishing it again is safe. A change
// larger than the server takes is [nats.ErrMaxPayload].
func (s *Stream) Publish(ctx context.Context, c events.Change) (Ack, error) {
	m, err := changeMessage(c)
	if err != nil {
		return Ack{}, fmt.Errorf("publish: %w", err)
	}
	ctx, cancel := bounded(ctx, publishLimit)
	defer cancel()
	ack, err := s.publish(ctx, m)
	if err != nil {
		return Ack{}, fmt.Errorf("publish change %q: %w", c.ID, err)
	}
	return Ack{Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}

func changeMessage(c events.Change) (*nats.Msg, error) {
	data, err := events.Encode(c)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: events.ChangeSubject(c.Home), Data: data, Header: nats.Header{
		jetstream.MsgIDHeader: {headerID(c.ID)}, contentType: {events.ContentType},
	}}, nil
}

// publish sends and waits for the answer. Callers share the connection and
// none waits for another: each has a future of its own. A message whose answer
// a disconnect took along is sent again, which its id or its expected sequence
// makes harmless.
func (s *Stream) publish(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	for {
		f, err := s.js.PublishMsgAsync(m)
		if err != nil {
			return nil, err
		}
		ack, err := await(ctx, f)
		if !errors.Is(err, nats.ErrDisconnected) || ctx.Err() != nil {
			return ack, err
		}
	}
}

func await(ctx context.Context, f jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-ctx.Done():
		return nil, fmt.Errorf("no acknowledgement: %w", context.Cause(ctx))
	}
}

// headerID makes an id safe for a header, whose writer turns line breaks into
// spaces and trims: two ids must not become one, or a change is dropped as a
// duplicate of another.
func headerID(id string) string {
	return events.EscapeFunc(id, func(c byte) bool { return c <= ' ' || c >= 0x7f || c == '%' })
}
