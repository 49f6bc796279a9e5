package stream

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/events"
)

// How a replay is spread.
const (
	// MergedChanges is how many changes in a row are put together, MergedTags how many
	// tags one message of a replay carries: what a worker invalidates in one step, so
	// that no live change waits behind a long one.
	MergedChanges = 256
	MergedTags    = 500
	mergedText    = 64 << 10 // bytes of tags in one message, which JSON may make six times as long
	replayPending = 256      // messages that are published and not acknowledged
	replaySlices  = 10       // steps a second that a rate is kept in
	replayEnd     = 10 * time.Second
	maxReplayRate = 1_000_000
)

// Replay says again what changes have said.
type Replay struct {
	// Run is part of every ID, so that no message of one run is taken for another's,
	// and the same run does nothing twice when it goes on. It is 1 to 32 of A-Z, a-z,
	// 0-9 and -; [NewRun] makes one.
	Run string
	// Selection must have its ToSeq; see [Stream.Span].
	Selection
	// Rate is how many changes are said again in a second at most; 0 is no limit.
	Rate int
	// Report, if set, is called with how far it has come, for every chunk of changes
	// that is stored. It must not block for long.
	Report func(Replayed)
}

// Replayed is how far a replay has come.
type Replayed struct {
	// Changes were selected and are stored again, in so many Messages, some of which
	// were there from an earlier try (Known).
	Changes, Messages, Known uint64
	// Unreadable changes were passed over.
	Unreadable uint64
	// Next is the sequence to go on from: all before it is done.
	Next uint64
	// Seen is how far the stream has been read, Next or more.
	Seen uint64
}

// NewRun makes the name of a run.
func NewRun() string { return strings.ToLower(rand.Text()[:10]) }

var runName = regexp.MustCompile(`^[A-Za-z0-9-]{1,32}$`)

func (r Replay) validate() error {
	switch {
	case !runName.MatchString(r.Run):
		return fmt.Errorf("run %.40q: must be 1 to 32 of A-Z, a-z, 0-9 and -", r.Run)
	case r.Rate < 0 || r.Rate > maxReplayRate:
		return fmt.Errorf("rate %d: must be 0 to %d", r.Rate, maxReplayRate)
	case r.ToSeq == 0:
		return errors.New("the last sequence is missing")
	}
	return nil
}

// Replay publishes the selected changes again, as changes of [events.Replay] in the
// order they stand in. Up to [MergedChanges] in a row are put together by tenant, in
// messages of up to [MergedTags] distinct tags. When ctx ends it publishes no more
// and waits for what it has published, 10 s at most; it returns the cause of ctx
// then. After an error it can go on from [Replayed.Next].
func (s *Stream) Replay(ctx context.Context, r Replay) (Replayed, error) {
	if err := r.validate(); err != nil {
		return Replayed{}, fmt.Errorf("replay: %w", err)
	}
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &replaying{
		stream: s, Replay: r, sent: make(chan sent, replayPending),
		done: Replayed{Next: r.FromSeq}, since: time.Now(),
	}
	var g errgroup.Group
	g.Go(func() error {
		return p.collect(reading, cancel)
	})
	err := p.publish(reading)
	close(p.sent)
	failed := g.Wait()
	if err == nil && failed == nil {
		p.done.Unreadable += p.unreadable
		p.done.Next, p.done.Seen = r.ToSeq+1, r.ToSeq+1
	}
	switch {
	case failed != nil:
		err = failed
	case ctx.Err() != nil && err != nil:
		err = context.Cause(ctx)
	}
	return p.done, wrap("replay", err)
}

// replaying is a replay under way.
type replaying struct {
	stream *Stream
	Replay
	sent  chan sent // published, in order; not acknowledged
	since time.Time
	said  uint64 // changes that were published
	seen  atomic.Uint64

	chunk      []Stored
	unreadable uint64 // in the chunk

	done Replayed // collect's
}

// sent is a message that waits for its acknowledgement; with the last one of a chunk
// the chunk is done.
type sent struct {
	msg    *nats.Msg
	future jetstream.PubAckFuture
	chunk  *Replayed // what the chunk adds
}

// publish reads and publishes, chunk by chunk.
func (p *replaying) publish(ctx context.Context) error {
	size := MergedChanges
	if p.Rate > 0 {
		size = min(size, max(1, p.Rate/replaySlices))
	}
	o := p.options()
	o.Wanted = func(m Stored) bool {
		p.seen.Store(m.Sequence)
		return p.Has(m)
	}
	err := p.stream.Read(ctx, o, func(m Stored) error {
		if m.DecodeErr != nil {
			p.unreadable++
			return nil
		}
		if p.chunk = append(p.chunk, m); len(p.chunk) < size {
			return nil
		}
		return p.flush(ctx)
	})
	if err != nil {
		return err
	}
	return p.flush(ctx)
}

// flush publishes the chunk, as the rate allows.
func (p *replaying) flush(ctx context.Context) error {
	n := len(p.chunk)
	if n == 0 {
		return ctx.Err()
	}
	if !p.pace(ctx) {
		return ctx.Err()
	}
	chunk := &Replayed{Changes: uint64(n), Unreadable: p.unreadable, Next: p.chunk[n-1].Sequence + 1}
	merged := merge(p.chunk, p.Run, time.Now())
	for i, c := range merged {
		m, err := changeMessage(c)
		if err != nil {
			return err
		}
		f, err := p.stream.js.PublishMsgAsync(m)
		if err != nil {
			return err
		}
		one := sent{msg: m, future: f}
		if i == len(merged)-1 {
			one.chunk = chunk
		}
		p.sent <- one // collect takes all, whatever happens
	}
	p.said += uint64(n)
	p.chunk, p.unreadable = p.chunk[:0], 0
	return nil
}

// pace waits until the rate allows the next chunk, and says whether ctx goes on.
func (p *replaying) pace(ctx context.Context) bool {
	if p.Rate == 0 {
		return ctx.Err() == nil
	}
	at := p.since.Add(time.Duration(float64(p.said) / float64(p.Rate) * float64(time.Second)))
	wait := time.Until(at)
	if wait < -time.Second { // what an outage held up is not made up for in a burst
		p.since = p.since.Add(-wait)
	}
	return pause(ctx, max(wait, 0))
}

// collect takes every acknowledgement, in order. After the first error nothing counts
// as done any more.
func (p *replaying) collect(ctx context.Context, stop context.CancelCauseFunc) (first error) {
	for one := range p.sent {
		if first != nil {
			continue
		}
		known, err := p.acknowledged(ctx, one)
		if err != nil {
			first = err
			stop(err) // nothing after it is published
			continue
		}
		p.done.Messages++
		if known {
			p.done.Known++
		}
		if one.chunk != nil {
			p.done.Changes += one.chunk.Changes
			p.done.Unreadable += one.chunk.Unreadable
			p.done.Next = one.chunk.Next
			p.done.Seen = max(p.seen.Load(), p.done.Next)
			if p.Report != nil {
				p.Report(p.done)
			}
		}
	}
	return first
}

// acknowledged waits for one acknowledgement; a message whose answer a disconnect took
// along is sent again, which its ID makes harmless.
func (p *replaying) acknowledged(ctx context.Context, one sent) (known bool, err error) {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackLimit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(replayEnd, cancel)
	})
	defer stop()
	ack, err := await(bound, one.future)
	if errors.Is(err, nats.ErrDisconnected) {
		ack, err = p.stream.publish(bound, one.msg)
	}
	if err != nil {
		return false, err
	}
	return ack.Duplicate, nil
}

// bundle is what a tenant's changes of one chunk name between them.
type bundle struct {
	events.Change
	first, last uint64
	changes     int
	text        int
	seen        map[events.Tag]bool
}

// merge says the changes of a chunk again, by tenant, each tag once. Every ID is made
// of the run, the first sequence and the tags: the same again is the same message.
func merge(chunk []Stored, run string, now time.Time) (all []events.Change) {
	open, order := map[events.Home]*bundle{}, []*bundle{}
	for _, m := range chunk {
		b := open[m.Change.Home]
		fresh := func() {
			b = &bundle{first: m.Sequence, last: m.Sequence, changes: 1, seen: map[events.Tag]bool{}}
			b.Change.Home, b.Occurred, b.Reasons = m.Change.Home, m.Change.Occurred, m.Change.Reasons
			open[m.Change.Home], order = b, append(order, b)
		}
		if b == nil {
			fresh()
		} else {
			b.changes, b.last = b.changes+1, m.Sequence
		}
		for _, t := range m.Change.Tags {
			if b.seen[t] {
				continue
			}
			if n := len(t.String()); len(b.Tags) == MergedTags || b.text > 0 && b.text+n > mergedText {
				fresh()
			}
			b.seen[t] = true
			b.Tags, b.text = append(b.Tags, t), b.text+len(t.String())
		}
	}
	for _, b := range order {
		all = append(all, b.change(run, now))
	}
	return all
}

func (b *bundle) change(run string, now time.Time) events.Change {
	c := b.Change
	sum := sha256.New()
	for _, t := range c.Tags {
		_, _ = io.WriteString(sum, t.String()+"\n") // a hash takes everything
	}
	c.ID = events.ReplayID(c.Home, b.first, run+"-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	c.Source, c.Received = events.Replay, now
	if b.changes > 1 {
		c.Occurred = time.Time{}
		c.Reasons = []string{fmt.Sprintf("replay of %d changes, %d to %d", b.changes, b.first, b.last)}
	}
	return c
}
