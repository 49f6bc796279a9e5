package faults

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const primaryName = "rescind"

// poll is one answer of the Sentinel: who is the primary.
type poll struct {
	asked time.Time
	addr  string // as Sentinel knows it: that of the proxy
}

// follower reads the primary that Sentinel names, past the proxies, as an
// application's client would that is on another network.
type follower struct {
	sentinel *redis.SentinelClient
	clients  map[string]*redis.Client // by the address that Sentinel knows

	mu    sync.Mutex // guards what follows
	polls []poll
}

var errNoPrimary = errors.New("sentinel has named no primary yet")

// newFollower takes the real address of each server by that of its proxy.
func newFollower(sentinel string, direct map[string]string) *follower {
	f := &follower{clients: map[string]*redis.Client{}, sentinel: redis.NewSentinelClient(&redis.Options{
		Addr: sentinel, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second,
		ContextTimeoutEnabled: true,
	})}
	for known, addr := range direct {
		f.clients[known] = redis.NewClient(&redis.Options{
			Addr: addr, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second, PoolSize: 16,
			ContextTimeoutEnabled: true,
		})
	}
	return f
}

func (f *follower) close() error {
	errs := []error{f.sentinel.Close()}
	for _, c := range f.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// run asks all the time, until ctx ends.
func (f *follower) run(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		f.ask(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *follower) ask(ctx context.Context) {
	p := poll{asked: time.Now()}
	addr, err := f.sentinel.GetMasterAddrByName(ctx, primaryName).Result()
	if err != nil || len(addr) != 2 {
		return // the last answer holds
	}
	p.addr = addr[0] + ":" + addr[1]
	f.mu.Lock()
	defer f.mu.Unlock()
	f.polls = append(f.polls, p)
}

// primary is whom Sentinel named last; empty if nobody yet.
func (f *follower) primary() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.polls) == 0 {
		return ""
	}
	return f.polls[len(f.polls)-1].addr
}

// client is that of the primary.
func (f *follower) client() (*redis.Client, error) {
	if c := f.clients[f.primary()]; c != nil {
		return c, nil
	}
	return nil, errNoPrimary
}

// deposed says whether a server was not the primary any more by the first word
// of Sentinel that was asked for after an instant.
func (f *follower) deposed(addr string, at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.polls {
		if p.asked.After(at) {
			return p.addr != addr
		}
	}
	return false
}

// forget drops what was asked for before an instant, but the last.
func (f *follower) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.polls); n > 1 {
		f.polls = append([]poll(nil), f.polls[n-1])
	}
}

// view is one reader's way to the primary; it notes who answered.
type view struct {
	*follower
	last string
}

// HMGet reads the primary.
func (v *view) HMGet(ctx context.Context, key string, fields ...string) *redis.SliceCmd {
	v.last = v.primary()
	c := v.clients[v.last]
	if c == nil {
		cmd := redis.NewSliceCmd(ctx)
		cmd.SetErr(errNoPrimary)
		return cmd
	}
	return c.HMGet(ctx, key, fields...)
}
