package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
)

// The bounds of calls.
const (
	MaxRequest = 64 << 10        // bytes of a request or message
	MaxReply   = 900 << 10       // bytes of a reply; a server takes 1 MiB by default
	MaxCall    = 2 * time.Minute // until a request is answered
)

// What may wait for a handler that is busy.
const (
	maxAsks  = 16
	maxTells = 1024
)

const (
	keepers    = "keepers"        // the queue group: of two who serve a home one is asked
	headWithin = "Rescind-Within" // how long the handler has, as 1.5s
	headError  = "Rescind-Error"  // on a reply: why there is none
	saysNobody = "nobody"         // the error that is [events.ErrNobody]
	callDrain  = 2 * time.Second
)

// Calls carry orders to whoever keeps a tenant's subscriptions, and the answers back,
// over core NATS: nothing is stored, and what nobody takes is told at once or lost.
// Its methods may be used concurrently.
type Calls struct {
	s *Stream
}

// Calls makes no call.
func (s *Stream) Calls() *Calls { return &Calls{s} }

// Ask sends a request of at most [MaxRequest] bytes to whoever serves the home and
// waits for its reply until ctx ends, 2 min at most. If nobody serves it, or who did
// has just stopped, the error is [events.ErrNobody]: then nothing was done. After
// ctx's own error it may have been done or not. A handler that panics, whose reply
// is longer than [MaxReply], or for which too many wait already is an error too.
// Without a connection it fails at once.
func (c *Calls) Ask(ctx context.Context, h events.Home, request []byte) (reply []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, MaxCall)
	defer cancel()
	m, err := c.message(h, request)
	if err != nil {
		return nil, wrapAsk(h, err)
	}
	deadline, _ := ctx.Deadline()
	m.Header = nats.Header{headWithin: []string{within(time.Until(deadline)).String()}}
	answer, err := c.s.nc.RequestMsgWithContext(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		err = events.ErrNobody
	}
	if err != nil {
		return nil, wrapAsk(h, err)
	}
	switch why := answer.Header.Get(headError); why {
	case "":
		return answer.Data, nil
	case saysNobody:
		return nil, wrapAsk(h, events.ErrNobody)
	default:
		return nil, wrapAsk(h, errors.New(why))
	}
}

// within leaves time for the way back: a tenth, a second at most.
func within(left time.Duration) time.Duration { return left - min(left/10, time.Second) }

// Tell sends a message of at most [MaxRequest] bytes to whoever serves the home, if
// anybody does, and waits for nothing: without a connection, or if nobody is there
// or has time for it, it is lost.
func (c *Calls) Tell(h events.Home, message []byte) error {
	m, err := c.message(h, message)
	if err == nil {
		err = c.s.nc.PublishMsg(m)
	}
	return wrap(fmt.Sprintf("tell keeper of %s", h), err)
}

// message is refused without a connection: it would be sent when it comes back, to
// who expects it no more.
func (c *Calls) message(h events.Home, data []byte) (*nats.Msg, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if len(data) > MaxRequest {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLong, len(data), MaxRequest)
	}
	if status := c.s.nc.Status(); status != nats.CONNECTED {
		return nil, fmt.Errorf("nats: %s", status)
	}
	return &nats.Msg{Subject: events.KeeperSubject(h), Data: data}, nil
}

func wrapAsk(h events.Home, err error) error { return wrap(fmt.Sprintf("ask keeper of %s", h), err) }
