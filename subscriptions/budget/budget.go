package budget

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

const (
	// Longest is how long a call may take, from Take to Done; whoever makes
	// calls has a shorter timeout.
	Longest = time.Minute
	// Answer is how long Redis is waited for.
	Answer = 2 * time.Second
	// readersShare is the percentage of the calls that is kept for readers.
	readersShare = 5
	// maxWindow bounds what a vendor may say.
	maxWindow = 24 * time.Hour
)

var (
	//go:embed prelude.lua
	prelude string
	//go:embed take.lua
	takeLua string
	//go:embed done.lua
	doneLua string
)

// ErrReply says that Redis answered something else than the script does.
var ErrReply = errors.New("unexpected reply")

// Shared is a budget that all processes share through Redis. It is safe for
// concurrent use and for a Redis Cluster.
type Shared struct {
	rdb        redis.Scripter
	metrics    *Metrics
	log        *slog.Logger
	take, done *redis.Script
}

var _ subscriptions.Budget = (*Shared)(nil)

// Open loads the scripts. Those that Redis 7 should run at full memory say so,
// unless the server knows no such headers. metrics may be nil.
func Open(ctx context.Context, rdb redis.Scripter, metrics *Metrics, log *slog.Logger) (*Shared, error) {
	b := &Shared{rdb: rdb, metrics: metrics, log: log}
	var err error
	for _, header := range []string{"#!lua flags=allow-oom\n", ""} {
		b.take, b.done = redis.NewScript(prelude+takeLua), redis.NewScript(header+prelude+doneLua)
		if err = errors.Join(b.take.Load(ctx, rdb).Err(), b.done.Load(ctx, rdb).Err()); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("open budget: load scripts: %w", err)
}

// call is a call that was granted.
type call struct {
	b     *Shared
	lane  subscriptions.Lane
	usual subscriptions.Window
	id    string
	at    string // when it was granted, by Redis's clock
}

// keysOf lists the lane's keys, which are all in one slot of a cluster.
func keysOf(l subscriptions.Lane) []string {
	base := fmt.Sprintf("budget:{%s:%s}:%s:", events.Escape(string(l.Provider)), events.Escape(l.Identity),
		events.Escape(l.Group))
	keys := []string{base + "s", base + "l"}
	for p := cache.ForReader; p <= cache.ForSweep; p++ {
		keys = append(keys, base+"w"+strconv.Itoa(int(p)))
	}
	return keys
}

// Take asks for one call now, see [subscriptions.Budget].
func (b *Shared) Take(
	ctx context.Context, l subscriptions.Lane, usual subscriptions.Window,
) (subscriptions.Call, error) {
	ctx, cancel := context.WithTimeout(ctx, Answer)
	defer cancel()
	c := &call{b: b, lane: l, usual: usual, id: rand.Text()}
	purpose := min(max(cache.PurposeOf(ctx), cache.ForReader), cache.ForSweep)
	reply, err := b.take.Run(ctx, b.rdb, keysOf(l), c.id, int(purpose), usual.Calls,
		usual.Length.Microseconds(), Longest.Microseconds(), readersShare).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("take a %s call: %w", l.Group, err)
	}
	if len(reply) != 4 {
		return nil, fmt.Errorf("take a %s call: %w: %q", l.Group, ErrReply, reply)
	}
	b.metrics.taken(l, reply[0], reply[2], reply[3])
	if reply[0] == "granted" {
		c.at = reply[1]
		return c, nil
	}
	wait, err := strconv.ParseInt(reply[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("take a %s call: %w: %q", l.Group, ErrReply, reply)
	}
	until := time.Now().Add(time.Duration(wait) * time.Microsecond)
	return nil, &subscriptions.Later{Until: until, Group: l.Group}
}

// Done learns from the reply, even if ctx has ended. If Redis is away the slot
// stays taken up for [Longest] and a window.
func (c *call) Done(ctx context.Context, said subscriptions.Said) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Answer)
	defer cancel()
	remaining := -1
	if said.Told {
		remaining = said.Remaining
	}
	unsent := 0
	if said.Unsent {
		unsent = 1
	}
	err := c.b.done.Run(ctx, c.b.rdb, keysOf(c.lane), c.id, c.at, c.usual.Calls, c.usual.Length.Microseconds(),
		Longest.Microseconds(), unsent, said.Limit, min(said.Window, maxWindow).Microseconds(), remaining,
		min(said.Penalty, maxWindow).Microseconds()).Err()
	if err != nil {
		c.b.log.WarnContext(ctx, "reply not noted in the budget", "provider", c.lane.Provider,
			"group", c.lane.Group, "error", err)
	}
}

// Life is not known yet.
func (c *call) Life() time.Duration { return 0 }
