package budget

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
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
	// maxBusy is how many callers a lane remembers to tell a life, of those who
	// came back and of others.
	maxBusy  = 20_000
	purposes = int(cache.ForSweep) + 1
)

var (
	//go:embed prelude.lua
	prelude string
	//go:embed take.lua
	takeLua string
	//go:embed done.lua
	doneLua string
	//go:embed look.lua
	lookLua string
)

// ErrReply says that Redis answered something else than the script does.
var ErrReply = errors.New("unexpected reply")

// Shared is a budget that all processes share through Redis. It is safe for
// concurrent use and for a Redis Cluster.
type Shared struct {
	rdb              redis.UniversalClient
	metrics          *Metrics
	log              *slog.Logger
	take, done, look *redis.Script
}

var _ subscriptions.Budget = (*Shared)(nil)

// Open loads the scripts. Those that Redis 7 should run at full memory say so,
// unless the server knows no such headers. metrics may be nil.
func Open(
	ctx context.Context, rdb redis.UniversalClient, metrics *Metrics, log *slog.Logger,
) (*Shared, error) {
	b := &Shared{rdb: rdb, metrics: metrics, log: log}
	if err := b.load(ctx, prelude); err != nil {
		return nil, err
	}
	return b, nil
}

// load loads the scripts, each after the prelude.
func (b *Shared) load(ctx context.Context, prelude string) (err error) {
	b.take, b.look = redis.NewScript(prelude+takeLua), redis.NewScript(prelude+lookLua)
	for _, header := range []string{"#!lua flags=allow-oom\n", ""} {
		b.done = redis.NewScript(header + prelude + doneLua)
		err = nil
		for _, s := range []*redis.Script{b.take, b.done, b.look} {
			err = errors.Join(err, s.Load(ctx, b.rdb).Err())
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("open budget: load scripts: %w", err)
}

// call is a call that was granted.
type call struct {
	b     *Shared
	lane  subscriptions.Lane
	usual subscriptions.Window
	id    string
	at    string // when it was granted, by Redis's clock
	life  time.Duration
}

// keysOf lists the lane's keys, which are all in one slot of a cluster.
func keysOf(l subscriptions.Lane) []string {
	base := fmt.Sprintf("budget:{%s:%s}:%s:", events.Escape(string(l.Provider)), events.Escape(l.Identity),
		events.Escape(l.Group))
	keys := []string{base + "s", base + "l", base + "c", base + "r"}
	for _, kind := range []string{"w", "q"} {
		for p := range purposes {
			keys = append(keys, base+kind+strconv.Itoa(p))
		}
	}
	return keys
}

// run runs a script on the lane with the arguments that all have, and its own.
func (b *Shared) run(
	ctx context.Context, s *redis.Script, l subscriptions.Lane, usual subscriptions.Window, own ...any,
) *redis.Cmd {
	args := append([]any{usual.Calls, usual.Length.Microseconds(), Longest.Microseconds(),
		cache.MinLife.Microseconds(), cache.Ceiling.Microseconds(), subscriptions.Share}, own...)
	return s.Run(ctx, b.rdb, keysOf(l), args...)
}

// member stands for a caller, whatever the length of its name; without one it is
// the call itself.
func member(caller, id string) string {
	if caller == "" {
		return id
	}
	sum := sha256.Sum256([]byte(caller))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Take asks for one call now, see [subscriptions.Budget].
func (b *Shared) Take(
	ctx context.Context, l subscriptions.Lane, usual subscriptions.Window,
) (subscriptions.Call, error) {
	ctx, cancel := context.WithTimeout(ctx, Answer)
	defer cancel()
	c := &call{b: b, lane: l, usual: usual, id: rand.Text()}
	caller, purpose := cache.CallerOf(ctx), min(max(cache.PurposeOf(ctx), cache.ForReader), cache.ForSweep)
	busy := 0
	if caller != "" && (purpose == cache.ForReader || purpose == cache.ForUpkeep) {
		busy = maxBusy
	}
	reply, err := b.run(ctx, b.take, l, usual,
		c.id, member(caller, c.id), int(purpose), readersShare, busy).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("take a %s call: %w", l.Group, err)
	}
	if len(reply) != 5 {
		return nil, fmt.Errorf("take a %s call: %w: %q", l.Group, ErrReply, reply)
	}
	us, err := strconv.ParseInt(reply[4], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("take a %s call: %w: %q", l.Group, ErrReply, reply)
	}
	told := time.Duration(us) * time.Microsecond
	b.metrics.taken(l, reply[0], reply[2], reply[3])
	if reply[0] == "granted" {
		c.at, c.life = reply[1], told
		return c, nil
	}
	return nil, &subscriptions.Later{Until: time.Now().Add(told), Group: l.Group}
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
	err := c.b.run(ctx, c.b.done, c.lane, c.usual, c.id, c.at, unsent, said.Limit,
		min(said.Window, maxWindow).Microseconds(), remaining, min(said.Penalty, maxWindow).Microseconds()).Err()
	if err != nil {
		c.b.log.WarnContext(ctx, "reply not noted in the budget", "provider", c.lane.Provider,
			"group", c.lane.Group, "error", err)
	}
}

// Life is computed from who asked lately, see [subscriptions.Call].
func (c *call) Life() time.Duration { return c.life }
