package stream

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
)

// Serve answers what is asked of a home and takes what is told, one at a time, until
// ctx ends; then it waits for the handler, tells those who still ask that nobody
// serves the home here, and returns nil. Messages that still wait then are lost. It
// returns an error if the connection is closed for good; an outage is waited out.
//
// The handler's ctx ends when whoever asks expects no answer any more, after 2 min at
// the latest, and when ctx does. What nobody expects an answer to any more is not
// begun. What it returns for a message is dropped. If two serve a home, each request
// and message goes to one of them.
func (c *Calls) Serve(
	ctx context.Context, h events.Home, handle func(ctx context.Context, request []byte) (reply []byte),
) error {
	if err := h.Validate(); err != nil {
		return wrapServe(h, err)
	}
	d := &desk{
		s: c.s, home: h, handle: handle, closed: make(chan struct{}),
		asks: make(chan order, maxAsks), tells: make(chan order, maxTells),
	}
	sub, err := c.s.nc.QueueSubscribe(events.KeeperSubject(h), keepers, func(m *nats.Msg) { d.receive(ctx, m) })
	if err != nil {
		return wrapServe(h, err)
	}
	sub.SetClosedHandler(func(string) { close(d.closed) })
	defer d.leave(sub)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.closed:
			return wrapServe(h, nats.ErrConnectionClosed)
		case o := <-d.asks:
			d.answer(ctx, o)
		case o := <-d.tells:
			d.answer(ctx, o)
		}
	}
}

// desk is where one home is served.
type desk struct {
	s           *Stream
	home        events.Home
	handle      func(context.Context, []byte) []byte
	asks, tells chan order
	closed      chan struct{} // once nothing is received any more
}

// order is a request or a message that has come.
type order struct {
	*nats.Msg
	until time.Time
}

// receive never waits: what finds no place is refused, or lost.
func (d *desk) receive(ctx context.Context, m *nats.Msg) {
	o := order{m, time.Now().Add(timeFor(m))}
	line := d.tells
	if m.Reply != "" {
		line = d.asks
	}
	switch {
	case ctx.Err() != nil:
		d.refuse(o, saysNobody)
	case len(m.Data) > MaxRequest:
		d.refuse(o, fmt.Sprintf("request of %d bytes, the limit is %d", len(m.Data), MaxRequest))
	default:
		select {
		case line <- o:
		default:
			d.refuse(o, fmt.Sprintf("%d wait already", cap(line)))
		}
	}
}

// timeFor is what the sender wishes, if it does, and not more than anybody gets.
func timeFor(m *nats.Msg) time.Duration {
	wish, err := time.ParseDuration(m.Header.Get(headWithin))
	if err != nil {
		return MaxCall
	}
	return min(wish, MaxCall)
}

// answer handles an order, unless that is too late.
func (d *desk) answer(ctx context.Context, o order) {
	if ctx.Err() != nil {
		d.refuse(o, saysNobody)
		return
	}
	ctx, cancel := context.WithDeadline(ctx, o.until)
	defer cancel()
	if ctx.Err() != nil {
		d.refuse(o, "it waited too long for its turn")
		return
	}
	reply, panicked := d.call(ctx, o.Data)
	switch {
	case o.Reply == "":
	case panicked:
		d.refuse(o, "the handler panicked, see the log of the process that keeps it")
	case len(reply) > MaxReply:
		d.refuse(o, fmt.Sprintf("reply of %d bytes, the limit is %d", len(reply), MaxReply))
	default:
		if err := d.reply(o, &nats.Msg{Data: reply}); err != nil { // as when this server takes less
			d.refuse(o, fmt.Sprintf("reply of %d bytes: %s", len(reply), err))
		}
	}
}

// call runs the handler. Its panic ends this order and nothing else.
func (d *desk) call(ctx context.Context, request []byte) (reply []byte, panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			reply, panicked = nil, true
			d.s.log.ErrorContext(ctx, "the handler of a call panicked", "provider", d.home.Provider,
				"tenant", d.home.Tenant, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return d.handle(ctx, request), false
}

// refuse tells whoever asks why there is no answer.
func (d *desk) refuse(o order, why string) {
	if o.Reply == "" {
		return
	}
	if err := d.reply(o, &nats.Msg{Header: nats.Header{headError: []string{why}}}); err != nil {
		d.s.log.Warn("a call is not answered", "provider", d.home.Provider, "tenant", d.home.Tenant, "error", err)
	}
}

// reply goes by the connection: the subscription may have ended.
func (d *desk) reply(o order, m *nats.Msg) error {
	m.Subject = o.Reply
	return d.s.nc.PublishMsg(m)
}

// leave receives nothing more and refuses what has come.
func (d *desk) leave(sub *nats.Subscription) {
	if d.s.nc.Status() != nats.CONNECTED || sub.Drain() != nil || !d.ends() {
		_ = sub.Unsubscribe() // it is closed already, or now
		d.ends()
	}
	for {
		select {
		case o := <-d.asks:
			d.refuse(o, saysNobody)
		default:
			return
		}
	}
}

// ends waits a while until nothing is received any more.
func (d *desk) ends() bool {
	limit := time.NewTimer(callDrain)
	defer limit.Stop()
	select {
	case <-d.closed:
		return true
	case <-limit.C:
		return false
	}
}

func wrapServe(h events.Home, err error) error {
	return wrap(fmt.Sprintf("serve keeper of %s", h), err)
}
