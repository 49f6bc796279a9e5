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
	// Since leaves out what was published before.
	Since time.Time
	// FromSeq and ToSeq are the first and the last sequence; 0 means no bound.
	FromSeq, ToSeq uint64
	// Home leaves out other tenants; zero means all.
	Home events.Home
	// Limit is the most that is read; 0 means no limit.
	Limit int
	// Follow goes on with what comes, until ctx ends, which is no error then.
	Follow bool
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
// last message that was there when it began. It touches no durable consumer.
// An error of each ends the reading and is returned.
func (s *Stream) Read(ctx context.Context, o ReadOptions, each func(Stored) error) error {
	err := s.read(ctx, o, each)
	if o.Follow && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	return nil
}

func (s *Stream) read(ctx context.Context, o ReadOptions, each func(Stored) error) error {
	st, err := s.js.Stream(ctx, Changes)
	if err != nil {
		return err
	}
	if last := st.CachedInfo().State.LastSeq; !o.Follow && (o.ToSeq == 0 || o.ToSeq > last) {
		o.ToSeq = last
	}
	cons, err := st.OrderedConsumer(ctx, o.consumer())
	if err != nil {
		return err
	}
	if cons.CachedInfo().NumPending == 0 && !o.Follow {
		return nil
	}
	msgs, err := cons.Messages()
	if err != nil {
		return err
	}
	defer msgs.Stop()
	for n := 0; o.Limit == 0 || n < o.Limit; {
		raw, err := next(ctx, msgs)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			if done, err := o.exhausted(ctx, cons); done || err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		last, delivered, err := o.give(raw, each)
		if err != nil || last {
			return err
		}
		n += delivered
	}
	return nil
}

// exhausted notices that what was to come has been deleted meanwhile.
func (o ReadOptions) exhausted(ctx context.Context, cons jetstream.Consumer) (bool, error) {
	if o.Follow {
		return false, nil
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return false, err
	}
	return info.NumPending == 0, nil
}

// give passes on one message if it is wanted and says whether it is the last.
func (o ReadOptions) give(raw jetstream.Msg, each func(Stored) error) (last bool, delivered int, err error) {
	meta, err := raw.Metadata()
	if err != nil {
		return false, 0, err
	}
	seq := meta.Sequence.Stream
	if o.ToSeq > 0 && seq > o.ToSeq {
		return true, 0, nil
	}
	if !meta.Timestamp.Before(o.Since) {
		stored := Stored{Sequence: seq, Time: meta.Timestamp, Subject: raw.Subject(), Size: len(raw.Data())}
		stored.Change, stored.DecodeErr = decodeChange(raw.Subject(), raw.Data())
		if err := each(stored); err != nil {
			return false, 0, err
		}
		delivered = 1
	}
	last = seq == o.ToSeq || meta.NumPending == 0 && !o.Follow
	return last, delivered, nil
}

func (o ReadOptions) consumer() jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{events.AllChanges}, InactiveThreshold: readAlive,
	}
	if o.Home != (events.Home{}) {
		cfg.FilterSubjects = []string{events.ChangeSubject(o.Home)}
	}
	switch {
	case o.FromSeq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, o.FromSeq
	case !o.Since.IsZero():
		since := o.Since.UTC()
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return cfg
}

// next waits for a message, at most for readIdle.
func next(ctx context.Context, msgs jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, readIdle)
	defer cancel()
	return msgs.Next(jetstream.NextContext(ctx))
}
