package fence

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/events"
)

// ErrReplicas says that an invalidation is done on the primary and not on as
// many replicas as were asked for: one that is promoted now may show what was
// dropped, until it is drained.
var ErrReplicas = errors.New("too few replicas have it")

// pinned returns the store on one connection to the primary of a tenant's
// slot: WAIT counts what its own connection has written.
func (s *Store) pinned(ctx context.Context, h events.Home) (*Store, *redis.Conn, error) {
	one, err := s.primary(ctx, h)
	if err != nil {
		return nil, nil, fmt.Errorf("wait for replicas: %w", err)
	}
	on, conn := *s, one.Conn()
	on.rdb = conn
	return &on, conn, nil
}

// primary returns the client of the primary of a tenant's slot.
func (s *Store) primary(ctx context.Context, h events.Home) (*redis.Client, error) {
	switch c := s.rdb.(type) {
	case *redis.ClusterClient:
		one, err := c.MasterForKey(ctx, s.keys.Fence(h))
		if err != nil {
			return nil, fmt.Errorf("find the primary: %w", err)
		}
		return one, nil
	case *redis.Client:
		return c, nil
	}
	return nil, ErrClient
}

// awaitReplicas waits until enough replicas have what was written on conn.
func (s *Store) awaitReplicas(ctx context.Context, conn *redis.Conn) error {
	n, err := conn.Wait(ctx, s.Replicas, s.ReplicaWait).Result()
	if err != nil { // whatever it is, such as a demotion meanwhile: nobody knows who has it
		return fmt.Errorf("%w: %w", ErrReplicas, err)
	}
	if n < int64(s.Replicas) {
		return fmt.Errorf("%w: %d of %d within %s", ErrReplicas, n, s.Replicas, s.ReplicaWait)
	}
	return nil
}
