package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

const (
	readIdle  = 2 * time.Second  // after this long without a message a read looks whether it is done
	readAlive = 30 * time.Second // the server forgets a reader that is gone
)

// ReadOptions say what is read back. The zero value reads all there is.
type ReadOptions struct {
	// Since leaves out what was published before, Until what was after it.
	Since, Until time.Time
	// FromSeq and ToSeq are the first and the last sequence; 0 means no bound.
	FromSeq, ToSeq uint64
	// Home leaves out other providers and tenants; what is empty in it means all.
	Home events.Home
	// Wanted, if set, leaves out what it is false for.
	Wanted func(Stored) bool
	// Limit is the most that is read; 0 means no limit.
	Limit int
	// Follow goes on with what comes, until ctx ends, which is no error then. New
	// leaves out what is there already.
	Follow, New bool
}

// Stored is a message of CHANGES as it lies there.
type Stored struct {
	Sequence uint64
	// Time is when it was published, by the server's clock.
	Time    time.Time
	Subject string
	// Change is what it says; zero if DecodeErr is set.
	Change    events.Change
	DecodeErr error
	// Size is that of the body in bytes.
	Size int
}

// Read calls each with what lies in CHANGES, in its order, and ends with the
// last message that was there when it began. It touches no durable consumer, and
// holds no more than the client's buffer of some hundred messages. An error of each
// ends the reading and is returned.
func (s *Stream) Read(ctx context.Context, o ReadOptions, each func(Stored) error) error {
	r := reading{
		stream: Changes, subject: events.ChangesOf(o.Home), since: o.Since, until: o.Until,
		from: o.FromSeq, to: o.ToSeq, limit: o.Limit, follow: o.Follow, fresh: o.New,
	}
	return wrap("read changes", s.run(ctx, r, func(raw jetstream.Msg, meta *jetstream.MsgMetadata) (bool, error) {
		m := storedOf(raw.Subject(), raw.Data(), meta.Sequence.Stream, meta.Timestamp)
		if o.Wanted != nil && !o.Wanted(m) {
			return false, nil
		}
		return true, each(m)
	}))
}

func storedOf(subject string, data []byte, sequence uint64, at time.Time) Stored {
	m := Stored{Sequence: sequence, Time: at, Subject: subject, Size: len(data)}
	m.Change, m.DecodeErr = decodeChange(subject, data)
	return m
}

// ReadLast returns the last n changes that Read would give, the oldest first. It
// reads backwards, in windows that grow, so that what is wanted of late is found
// without reading all.
func (s *Stream) ReadLast(ctx context.Context, o ReadOptions, n int) (found []Stored, err error) {
	st, err := s.state(ctx, Changes)
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	to, first := st.LastSeq, max(st.FirstSeq, o.FromSeq, 1)
	if o.ToSeq > 0 {
		to = min(to, o.ToSeq)
	}
	o.Follow, o.New, o.Limit = false, false, 0
	for window := uint64(max(n, firstWindow)); to >= first && len(found) < n; window *= 4 {
		o.FromSeq, o.ToSeq = max(first, to-min(to, window-1)), to
		var some []Stored
		err := s.Read(ctx, o, func(m Stored) error {
			if some = append(some, m); len(some) >= 2*(n-len(found)) {
				some = append(some[:0], some[len(some)-(n-len(found)):]...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		found = append(some[max(0, len(some)-(n-len(found))):], found...)
		if to = o.FromSeq - 1; len(some) == 0 && !o.Since.IsZero() && s.before(ctx, to, o.Since) {
			break
		}
	}
	return found, nil
}

// firstWindow is how many changes ReadLast looks at first.
const firstWindow = 4096

// Get returns one change; ok is false if there is none, or none any more.
func (s *Stream) Get(ctx context.Context, sequence uint64) (m Stored, ok bool, err error) {
	ctx, cancel := bounded(ctx, publishLimit)
	defer cancel()
	st, err := s.js.Stream(ctx, Changes)
	if err != nil {
		return m, false, fmt.Errorf("stream %s: %w", Changes, err)
	}
	raw, err := st.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read change %d: %w", sequence, err)
	}
	return storedOf(raw.Subject, raw.Data, raw.Sequence, raw.Time), true, nil
}

// before says whether the change at a sequence is known to be older.
func (s *Stream) before(ctx context.Context, sequence uint64, since time.Time) bool {
	m, ok, err := s.Get(ctx, sequence)
	return err == nil && ok && m.Time.Before(since)
}

// reading is what is read of a stream, and how.
type reading struct {
	stream, subject string
	since, until    time.Time
	from, to        uint64
	limit           int
	follow, fresh   bool
}

// visit gets a message and says whether it counts against the limit.
type visit func(jetstream.Msg, *jetstream.MsgMetadata) (counts bool, err error)

// run reads. That ctx ends is no error if it follows.
func (s *Stream) run(ctx context.Context, r reading, each visit) error {
	err := s.read(ctx, r, each)
	if r.follow && ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Stream) read(ctx context.Context, r reading, each visit) error {
	st, err := s.js.Stream(ctx, r.stream)
	if err != nil {
		return err
	}
	if last := st.CachedInfo().State.LastSeq; !r.follow && (r.to == 0 || r.to > last) {
		r.to = last
	}
	cons, err := st.OrderedConsumer(ctx, r.consumer())
	if err != nil {
		return err
	}
	if cons.CachedInfo().NumPending == 0 && !r.follow {
		return nil
	}
	msgs, err := cons.Messages()
	if err != nil {
		return err
	}
	defer msgs.Stop()
	for n := 0; r.limit == 0 || n < r.limit; {
		raw, err := next(ctx, msgs)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			if done, err := r.exhausted(ctx, cons); done || err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		last, counts, err := r.give(raw, each)
		if err != nil || last {
			return err
		}
		if counts {
			n++
		}
	}
	return nil
}

// exhausted notices that what was to come has been deleted meanwhile.
func (r reading) exhausted(ctx context.Context, cons jetstream.Consumer) (bool, error) {
	if r.follow {
		return false, nil
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return false, err
	}
	return info.NumPending == 0, nil
}

// give passes on one message if it is within the bounds, and says whether it is the
// last.
func (r reading) give(raw jetstream.Msg, each visit) (last, counts bool, err error) {
	meta, err := raw.Metadata()
	if err != nil {
		return false, false, err
	}
	seq := meta.Sequence.Stream
	if r.to > 0 && seq > r.to || !r.until.IsZero() && meta.Timestamp.After(r.until) {
		return true, false, nil
	}
	if !meta.Timestamp.Before(r.since) {
		if counts, err = each(raw, meta); err != nil {
			return false, false, err
		}
	}
	return seq == r.to || meta.NumPending == 0 && !r.follow, counts, nil
}

func (r reading) consumer() jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{r.subject}, InactiveThreshold: readAlive}
	switch {
	case r.from > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.from
	case !r.since.IsZero():
		since := r.since.UTC()
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	case r.fresh:
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	return cfg
}

// next waits for a message, at most for readIdle.
func next(ctx context.Context, msgs jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, readIdle)
	defer cancel()
	return msgs.Next(jetstream.NextContext(ctx))
}
