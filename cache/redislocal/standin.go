package redislocal

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how often the stand-in's keys grow older: an entry may outlive its
// expiry by so much, which its own deadline covers.
const tick = 100 * time.Millisecond

// StandIn is an embedded imitation of Redis: enough for a demonstration, with
// no bound on memory, no eviction, and no way to ask for its policies.
type StandIn struct {
	// Addr is host:port.
	Addr string

	m      *miniredis.Miniredis
	cancel context.CancelFunc
	done   chan struct{}
}

// StartStandIn starts one; an empty addr means a free port on 127.0.0.1.
func StartStandIn(addr string) (*StandIn, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("start the stand-in for Redis: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &StandIn{Addr: m.Addr(), m: m, cancel: cancel, done: make(chan struct{})}
	go s.age(ctx)
	return s, nil
}

// age lets its keys expire: by itself it lets no time pass.
func (s *StandIn) age(ctx context.Context) {
	defer close(s.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.m.FastForward(now.Sub(last))
			last = now
		}
	}
}

// Stop ends it.
func (s *StandIn) Stop() error {
	s.cancel()
	<-s.done
	s.m.Close()
	return nil
}
