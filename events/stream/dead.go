package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// What a message of DEAD is.
const (
	DeadChange     = "change"
	DeadRefresh    = "refresh"
	DeadUnreadable = "unreadable" // it says nothing that could be done again
)

// ErrNotDead says that no message of DEAD has that sequence, or none any more.
var ErrNotDead = errors.New("no such message in " + Graveyard)

// Buried is a message of DEAD as it lies there.
type Buried struct {
	// Sequence is its place in DEAD.
	Sequence uint64
	// Home is unknown/unknown where the message did not tell.
	Home events.Home
	// Last is when it was given up. First is when it was published, or the refresh
	// asked for: not tried before; zero if that is not known.
	First, Last time.Time
	// Attempts is how often it was tried; 0 if that is not known.
	Attempts uint64
	Reason   string
	// What is one of [DeadChange], [DeadRefresh] and [DeadUnreadable]. Change or Task
	// is what it says; DecodeErr is why it cannot be read.
	What      string
	Change    events.Change
	Task      Task
	DecodeErr error
	// From, FromSequence and FromSubject are where it stood before; 0 if it had left
	// that stream already.
	From, FromSubject string
	FromSequence      uint64
	// Header and Data are the message as it came. Omitted is the size of a body that
	// DEAD could not take, and that is not in CHANGES any more.
	Header  nats.Header
	Data    []byte
	Omitted int
}

// Entry is what a dead refresh is of; empty for all else.
func (b Buried) Entry() string {
	if b.What != DeadRefresh {
		return ""
	}
	return b.Task.Ref.String()
}

// Tags are those of a dead change.
func (b Buried) Tags() []events.Tag { return b.Change.Tags }

// BuriedOptions say what is read of DEAD. The zero value reads all there is.
type BuriedOptions struct {
	// Since leaves out what was given up before.
	Since time.Time
	// Home leaves out other providers and tenants; what is empty in it means all.
	Home events.Home
	// Reason leaves out what has not this text in its reason, in any case of letters.
	Reason string
	// Limit is the most that is read; 0 means no limit.
	Limit int
}

// ReadDead calls each with what lies in DEAD, the oldest first, and ends with the
// last message that was there when it began. An error of each ends the reading and
// is returned.
func (s *Stream) ReadDead(ctx context.Context, o BuriedOptions, each func(Buried) error) error {
	r := reading{stream: Graveyard, subject: events.DeadOf(o.Home), since: o.Since, limit: o.Limit}
	reason := strings.ToLower(o.Reason)
	return wrap("read dead", s.run(ctx, r, func(raw jetstream.Msg, meta *jetstream.MsgMetadata) (bool, error) {
		b := buriedOf(raw.Subject(), raw.Headers(), raw.Data())
		b.Sequence, b.Last = meta.Sequence.Stream, meta.Timestamp
		if !strings.Contains(strings.ToLower(b.Reason), reason) {
			return false, nil
		}
		b, err := s.whole(ctx, b)
		if err != nil {
			return false, err
		}
		return true, each(b)
	}))
}

// Dead returns one message of DEAD, with the body that was omitted there if CHANGES
// has it still. [ErrNotDead] says that there is none.
func (s *Stream) Dead(ctx context.Context, sequence uint64) (b Buried, err error) {
	ctx, cancel := bounded(ctx, publishLimit)
	defer cancel()
	st, err := s.js.Stream(ctx, Graveyard)
	if err != nil {
		return b, fmt.Errorf("stream %s: %w", Graveyard, err)
	}
	raw, err := st.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return b, fmt.Errorf("%w: %d", ErrNotDead, sequence)
	}
	if err != nil {
		return b, fmt.Errorf("read dead %d: %w", sequence, err)
	}
	b = buriedOf(raw.Subject, raw.Header, raw.Data)
	b.Sequence, b.Last = raw.Sequence, raw.Time
	return s.whole(ctx, b)
}

// whole adds the body that was omitted, from where it stands still.
func (s *Stream) whole(ctx context.Context, b Buried) (Buried, error) {
	if b.Omitted == 0 || b.From != Changes {
		return b, nil
	}
	st, err := s.js.Stream(ctx, Changes)
	if err != nil {
		return b, fmt.Errorf("stream %s: %w", Changes, err)
	}
	raw, err := st.GetMsg(ctx, b.FromSequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("read change %d: %w", b.FromSequence, err)
	}
	if raw.Subject != b.FromSubject || len(raw.Data) != b.Omitted { // CHANGES was made anew
		return b, nil
	}
	b.Data, b.Omitted = raw.Data, 0
	b.read()
	return b, nil
}

func buriedOf(subject string, h nats.Header, data []byte) Buried {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(h.Get(name), 10, 64) // 0 if nobody said
		return n
	}
	b := Buried{
		Home: unknown, Reason: h.Get(HeaderReason), Attempts: number(HeaderDeliveries), From: h.Get(HeaderStream),
		FromSequence: number(HeaderSequence), FromSubject: h.Get(HeaderSubject), Header: h, Data: data,
		Omitted: int(number(HeaderOmitted)),
	}
	if home, err := events.ParseDeadSubject(subject); err == nil {
		b.Home = home
	}
	if at, err := time.Parse(time.RFC3339Nano, h.Get(HeaderPublished)); err == nil {
		b.First = at
	}
	b.read()
	return b
}

// read says what the body means.
func (b *Buried) read() {
	b.What, b.DecodeErr = DeadUnreadable, nil
	switch {
	case b.Omitted > 0:
		b.DecodeErr = fmt.Errorf("its %d bytes had no room in %s, and are not in %s any more",
			b.Omitted, Graveyard, b.From)
	case b.From == Refreshes:
		if b.Task, b.DecodeErr = taskOn(b.FromSubject, b.Data); b.DecodeErr != nil {
			return
		}
		b.What, b.Attempts = DeadRefresh, max(b.Attempts, uint64(b.Task.Attempt))
		b.First = b.Task.Asked
	default:
		if b.Change, b.DecodeErr = decodeChange(b.FromSubject, b.Data); b.DecodeErr != nil {
			return
		}
		b.What = DeadChange
		if b.First.IsZero() {
			b.First = b.Change.Received
		}
	}
}

// Remedy is what became of a dead message that was to be tried again.
type Remedy string

// The remedies.
const (
	// Republished: its change is in CHANGES again.
	Republished Remedy = "republished"
	// Requeued: its refresh is in the queue again, or another one of that entry is.
	Requeued Remedy = "requeued"
	// Expired: the entry that was to be refreshed would have ended by now.
	Expired Remedy = "expired"
)

// ErrUnreadable says that a dead message cannot be tried again.
var ErrUnreadable = errors.New("cannot be redriven")

// Redrive has a dead message tried again, and deletes it once that is stored. A
// change is published as one of [events.Replay] with an ID of its own, which is the
// same however often this is done. Who did it is noted in JOURNAL as well as that
// goes: unnoted is why it was not. What cannot be read is [ErrUnreadable], and stays.
func (s *Stream) Redrive(ctx context.Context, b Buried, by string) (r Remedy, unnoted, err error) {
	ctx, cancel := bounded(ctx, 4*publishLimit)
	defer cancel()
	if b, err = s.whole(ctx, b); err != nil {
		return "", nil, err
	}
	var stored uint64
	switch b.What {
	case DeadChange:
		r = Republished
		for _, c := range b.again(time.Now()) {
			var ack Ack
			if ack, err = s.Publish(ctx, c); err != nil {
				break
			}
			stored = ack.Sequence
		}
	case DeadRefresh:
		r, err = s.requeue(ctx, b.Task)
	default:
		err = fmt.Errorf("%w: %w", ErrUnreadable, b.DecodeErr)
	}
	if err != nil {
		return "", nil, fmt.Errorf("redrive %d: %w", b.Sequence, err)
	}
	if err := s.unbury(ctx, b.Sequence); err != nil {
		return r, nil, fmt.Errorf("redriven, but not removed: %w", err)
	}
	why := string(r)
	if stored > 0 {
		why += " as change " + strconv.FormatUint(stored, 10)
	}
	return r, s.Record(ctx, b.outcome(events.Redriven, why, by)), nil
}

// again is the dead change under an ID of its own: neither the original's, nor that of
// another dead message. One of very many tags is several, as in a replay.
func (b Buried) again(now time.Time) []events.Change {
	c := b.Change
	note := fmt.Sprintf("redriven: %s of %s", c.ID, c.Source)
	c.Reasons = append(slices.Clone(c.Reasons), events.Clip(note))
	run := fmt.Sprintf("dead-%d-%d", b.Sequence, b.Last.UnixNano())
	return merge([]Stored{{Sequence: b.FromSequence, Change: c}}, run, now)
}

// requeue asks for a refresh with all its tries before it.
func (s *Stream) requeue(ctx context.Context, t Task) (Remedy, error) {
	if !t.Until.After(time.Now()) {
		return Expired, nil
	}
	t.Attempt = 0
	if _, err := s.Enqueue(ctx, t); err != nil { // if it was not accepted, one is pending
		return "", err
	}
	return Requeued, nil
}

// discardedFor is how long it is kept who has discarded what: as long as DEAD keeps a
// message. JOURNAL tells it too, for a day, in memory.
const discardedFor = 30 * 24 * time.Hour

// Discard deletes a dead message for good, once it is stored who did it and why: under
// discarded.<sequence in DEAD> in the bucket of the leases, for 30 days, as the outcome
// that JOURNAL has as well.
func (s *Stream) Discard(ctx context.Context, b Buried, by, why string) error {
	ctx, cancel := bounded(ctx, 2*publishLimit)
	defer cancel()
	why = strings.TrimSuffix(events.Clip(why)+"; it was dead of: "+b.Reason, "; it was dead of: ")
	o := b.outcome(events.Discarded, why, by)
	o.ID = rand.Text()
	if err := s.keepDiscarded(ctx, b.Sequence, o); err != nil {
		return fmt.Errorf("discard %d: it is kept: %w", b.Sequence, err)
	}
	if err := s.Record(ctx, o); err != nil {
		return fmt.Errorf("discard %d: it is kept: %w", b.Sequence, err)
	}
	return wrap(fmt.Sprintf("discard %d", b.Sequence), s.unbury(ctx, b.Sequence))
}

// keepDiscarded writes what a person did where every write is on disk.
func (s *Stream) keepDiscarded(ctx context.Context, sequence uint64, o events.Outcome) error {
	kv, err := s.js.KeyValue(ctx, Bucket)
	if err != nil {
		return err
	}
	value, err := events.EncodeOutcome(o)
	if err != nil {
		return err
	}
	_, err = kv.Create(ctx, fmt.Sprintf("discarded.%d.%s", sequence, o.ID), value, jetstream.KeyTTL(discardedFor))
	return err
}

func (b Buried) outcome(k events.Kind, why, by string) events.Outcome {
	o := events.Outcome{Kind: k, Home: b.Home, At: time.Now(), Reason: why, By: by}
	switch b.What {
	case DeadChange:
		o.Change, o.Tags = b.Change.ID, b.Change.Tags
	case DeadRefresh:
		o.Entries = []events.Entry{{Subject: b.Task.Subject, Resource: b.Task.Resource}}
	}
	if b.From == Changes {
		o.Sequence = b.FromSequence
	}
	return o.Bounded()
}

// unbury deletes a message of DEAD. One that is not there is no error: somebody else
// did the same.
func (s *Stream) unbury(ctx context.Context, sequence uint64) error {
	st, err := s.js.Stream(ctx, Graveyard)
	if err != nil {
		return fmt.Errorf("stream %s: %w", Graveyard, err)
	}
	err = st.DeleteMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	if _, gone := st.GetMsg(ctx, sequence); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("delete %d of %s: %w", sequence, Graveyard, err)
}

// Prospect says what [Stream.Redrive] would do now.
func Prospect(b Buried) (Remedy, error) {
	switch {
	case b.What == DeadChange:
		return Republished, nil
	case b.What == DeadRefresh && b.Task.Until.After(time.Now()):
		return Requeued, nil
	case b.What == DeadRefresh:
		return Expired, nil
	}
	return "", fmt.Errorf("%d %w: %w", b.Sequence, ErrUnreadable, b.DecodeErr)
}
