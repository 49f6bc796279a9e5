package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
)

// BuryTask puts a refresh that was tried often enough into DEAD, with the
// reason. The queue has let go of it already.
func (s *Stream) BuryTask(ctx context.Context, t Task, reason error) error {
	data, err := EncodeTask(t)
	if err != nil {
		return fmt.Errorf("move to %s: %w", Graveyard, err)
	}
	ctx, cancel := bounded(ctx, publishLimit)
	defer cancel()
	dead := &nats.Msg{Subject: events.DeadSubject(t.Home), Data: data, Header: nats.Header{
		HeaderReason:  {cleanReason(reason)},
		HeaderStream:  {Refreshes},
		HeaderSubject: {events.RefreshSubject(t.Ref)},
	}}
	if _, err := s.publish(ctx, dead); err != nil {
		return fmt.Errorf("move refresh of %s to %s: %w", t.Ref, Graveyard, err)
	}
	return nil
}
