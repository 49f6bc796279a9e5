package fence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/events"
)

// ErrClient says that the Store was opened on something that cannot do this:
// neither [redis.Client] nor [redis.ClusterClient].
var ErrClient = errors.New("not a whole client")

// History names the data that the primaries hold now: another text than before
// means that one was restarted, promoted, or joined. It is empty on a stand-in,
// which has no such names.
func (s *Store) History(ctx context.Context) (string, error) {
	var mu sync.Mutex
	var all []string
	err := s.eachPrimary(ctx, func(ctx context.Context, one *redis.Client) error {
		text, err := history(ctx, one)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, text)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask redis for its history: %w", err)
	}
	slices.Sort(all)
	return strings.Join(all, " "), nil
}

func history(ctx context.Context, one redis.Cmdable) (string, error) {
	var words []string
	for _, section := range []string{"server", "replication"} {
		info, err := one.Info(ctx, section).Result()
		var said redis.Error
		if errors.As(err, &said) && strings.Contains(err.Error(), "not supported") {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(info) {
			for _, name := range []string{"run_id:", "role:", "master_replid:"} {
				if strings.HasPrefix(line, name) {
					words = append(words, strings.TrimSpace(line))
				}
			}
		}
	}
	return strings.Join(words, ","), nil
}

// Recover drains every tenant whose fence was made under another history of
// Redis than now: changes that were applied there may not have reached this
// copy of the data. It also drains what a worker that died had left owing. It
// lists all keys once, and calls drained, if it is not nil, for each tenant.
//
// Nothing older can be stored even before: the scripts refuse it. What Recover
// ends is that old entries are read.
func (s *Store) Recover(ctx context.Context, drained func(events.Home, Invalidated)) error {
	homes, err := s.homes(ctx)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, h := range homes {
		in, err := s.vouch(ctx, h)
		if err != nil {
			return fmt.Errorf("recover %s: %w", h, err)
		}
		if in.Drained && drained != nil {
			drained(h, in)
		}
	}
	return nil
}

// vouch drains a tenant unless its fence is of this server.
func (s *Store) vouch(ctx context.Context, h events.Home) (in Invalidated, err error) {
	r, err := s.call(ctx, h, nil, 0, modeDrop)
	if err != nil || !r.made {
		return in, err
	}
	in.Drained, in.Why = true, whyMade
	return in, s.settle(ctx, h, &in)
}

// homes lists the tenants that have a fence.
func (s *Store) homes(ctx context.Context) ([]events.Home, error) {
	var mu sync.Mutex
	seen := map[events.Home]bool{}
	err := s.eachPrimary(ctx, func(ctx context.Context, one *redis.Client) error {
		keys := one.Scan(ctx, 0, s.keys.AnyFence(), 1000).Iterator()
		for keys.Next(ctx) {
			h, err := s.keys.HomeOf(keys.Val())
			if err != nil {
				continue // like one of ours, and not ours
			}
			mu.Lock()
			seen[h] = true
			mu.Unlock()
		}
		return keys.Err()
	})
	homes := make([]events.Home, 0, len(seen))
	for h := range seen {
		homes = append(homes, h)
	}
	return homes, err
}

func (s *Store) eachPrimary(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	switch c := s.rdb.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, c)
	}
	return ErrClient
}
