package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Info is the state of the streams.
type Info struct {
	// Messages and Bytes are what CHANGES holds, the others its ends.
	Messages, Bytes     uint64
	FirstSeq, LastSeq   uint64
	FirstTime, LastTime time.Time
	// Pending is what the workers have not been given yet, InFlight what they
	// have and did not settle. Without a consumer all of CHANGES is pending.
	Pending, InFlight uint64
	// Settled is the sequence up to which every change is settled: what says that
	// nothing is left, for a consumer that was just made counts nothing pending.
	Settled uint64
	// Queued is what the refresh queue holds, due or not.
	Queued uint64
	// Dead is what could not be handled.
	Dead uint64
	// Outcomes is what JOURNAL holds, OutcomesFrom its first; zero if there is none.
	Outcomes     uint64
	OutcomesFrom time.Time
}

// Info asks for the state of the streams and of the consumer [DefaultDurable].
func (s *Stream) Info(ctx context.Context) (Info, error) {
	changes, err := s.state(ctx, Changes)
	if err != nil {
		return Info{}, err
	}
	dead, err := s.state(ctx, Graveyard)
	if err != nil {
		return Info{}, err
	}
	queue, err := s.state(ctx, Refreshes)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) { // memory: gone until it is needed
		return Info{}, err
	}
	journal, err := s.state(ctx, Outcomes)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return Info{}, err
	}
	info := Info{
		Messages: changes.Msgs, Bytes: changes.Bytes, FirstSeq: changes.FirstSeq, LastSeq: changes.LastSeq,
		FirstTime: changes.FirstTime, LastTime: changes.LastTime,
		Pending: changes.Msgs, Queued: queue.Msgs, Dead: dead.Msgs, Outcomes: journal.Msgs,
	}
	if journal.Msgs > 0 {
		info.OutcomesFrom = journal.FirstTime
	}
	cons, err := s.js.Consumer(ctx, Changes, DefaultDurable)
	switch {
	case err == nil:
		info.Pending = cons.CachedInfo().NumPending
		info.InFlight = uint64(cons.CachedInfo().NumAckPending)
		info.Settled = cons.CachedInfo().AckFloor.Stream
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return Info{}, fmt.Errorf("consumer %s: %w", DefaultDurable, err)
	}
	return info, nil
}

func (s *Stream) state(ctx context.Context, name string) (jetstream.StreamState, error) {
	st, err := s.js.Stream(ctx, name)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("stream %s: %w", name, err)
	}
	return st.CachedInfo().State, nil
}

// Healthy says whether we are connected and CHANGES answers before ctx ends.
func (s *Stream) Healthy(ctx context.Context) error {
	if status := s.nc.Status(); status != nats.CONNECTED {
		return fmt.Errorf("nats: %s", status)
	}
	_, err := s.state(ctx, Changes)
	return err
}
