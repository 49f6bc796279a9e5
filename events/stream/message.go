package stream

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// The headers that say of a message in DEAD why it is there and whence it came.
const (
	HeaderReason     = "Rescind-Reason"
	HeaderStream     = "Rescind-Stream"
	HeaderSequence   = "Rescind-Sequence"
	HeaderSubject    = "Rescind-Subject"
	HeaderDeliveries = "Rescind-Deliveries"
	// HeaderPublished is when the message got into the stream it came from.
	HeaderPublished = "Rescind-Published"
	// HeaderOmitted is the size in bytes of a body that left no room for the
	// headers; it is still in the stream it came from.
	HeaderOmitted = "Rescind-Omitted"
)

// headerRoom is how many bytes the headers above may take.
const headerRoom = 8 << 10

// unknown stands for the home of a message that does not tell its own.
var unknown = events.Home{Provider: "unknown", Tenant: "unknown"}

// Message is a change as it was delivered. Exactly one of Ack, Nak and Dead
// settles it.
type Message struct {
	// Change is what it says; zero if DecodeErr is set.
	Change    events.Change
	DecodeErr error
	// Sequence is its place in the stream, Published when it got there by the
	// server's clock.
	Sequence  uint64
	Published time.Time
	// Deliveries counts this one too.
	Deliveries uint64

	raw    jetstream.Msg
	stream *Stream
}

func (s *Stream) message(raw jetstream.Msg) Message {
	m := Message{raw: raw, stream: s}
	meta, err := raw.Metadata()
	if err != nil {
		m.DecodeErr = fmt.Errorf("metadata: %w", err)
		return m
	}
	m.Sequence, m.Published, m.Deliveries = meta.Sequence.Stream, meta.Timestamp, meta.NumDelivered
	m.Change, m.DecodeErr = decodeChange(raw.Subject(), raw.Data())
	return m
}

// decodeChange refuses a change that stands under another tenant's subject:
// who may publish what is decided by subject.
func decodeChange(subject string, data []byte) (events.Change, error) {
	c, err := events.Decode(data)
	if err != nil {
		return events.Change{}, err
	}
	if want := events.ChangeSubject(c.Home); subject != want {
		return events.Change{}, fmt.Errorf("change of %s came on subject %.200q", c.Home, subject)
	}
	return c, nil
}

// Ack says that the change was applied. It does not wait for the server: what
// is lost on the way is delivered again.
func (m Message) Ack() error { return wrap("acknowledge", m.raw.Ack()) }

// Nak asks for it again after a delay.
func (m Message) Nak(delay time.Duration) error {
	if delay <= 0 {
		return wrap("nak", m.raw.Nak())
	}
	return wrap("nak", m.raw.NakWithDelay(delay))
}

// InProgress asks for another [ConsumeOptions.AckWait] of time.
func (m Message) InProgress() error { return wrap("extend", m.raw.InProgress()) }

// Dead moves the message to DEAD with the reason, of which 512 bytes are kept,
// and acknowledges it once it is stored there. After an error it is not
// settled and may be tried again; DEAD holds it once, within its window.
func (m Message) Dead(ctx context.Context, reason error) error {
	return m.stream.bury(ctx, m.raw, m.Home(), reason)
}

// Home is the tenant that it is of, as its subject says if it cannot be read; a home
// called unknown if that does not say either.
func (m Message) Home() events.Home {
	if m.DecodeErr == nil {
		return m.Change.Home
	}
	if h, err := events.ParseChangeSubject(m.raw.Subject()); err == nil {
		return h
	}
	return unknown
}

func (s *Stream) bury(ctx context.Context, raw jetstream.Msg, home events.Home, reason error) error {
	meta, err := raw.Metadata()
	if err != nil {
		return fmt.Errorf("move to %s: %w", Graveyard, err)
	}
	ctx, cancel := bounded(ctx, publishLimit)
	defer cancel()
	sequence := strconv.FormatUint(meta.Sequence.Stream, 10)
	dead := &nats.Msg{Subject: events.DeadSubject(home), Data: raw.Data(), Header: nats.Header{
		jetstream.MsgIDHeader: {meta.Stream + ":" + sequence},
		HeaderReason:          {cleanReason(reason)},
		HeaderStream:          {meta.Stream},
		HeaderSequence:        {sequence},
		HeaderSubject:         {raw.Subject()},
		HeaderDeliveries:      {strconv.FormatUint(meta.NumDelivered, 10)},
		HeaderPublished:       {meta.Timestamp.UTC().Format(time.RFC3339Nano)},
	}}
	if n := len(dead.Data); int64(n)+headerRoom > s.nc.MaxPayload() {
		dead.Data = nil
		dead.Header.Set(HeaderOmitted, strconv.Itoa(n))
	}
	if _, err := s.publish(ctx, dead); err != nil {
		return fmt.Errorf("move %s %s to %s: %w", meta.Stream, sequence, Graveyard, err)
	}
	return wrap("acknowledge", raw.Ack())
}

// cleanReason bounds a reason and takes out what does not print.
func cleanReason(reason error) string {
	if reason == nil {
		return ""
	}
	return events.Clip(reason.Error())
}

func wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
