package budget

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// MaxStandings is how many lanes [Shared.Standings] tells of at most; of more,
// which ones is chance.
const MaxStandings = 1000

// Standing is how a lane stands now.
type Standing struct {
	Lane subscriptions.Lane
	// Window in force: as the vendor told, else the usual one. No calls: no limit.
	Window subscriptions.Window
	// Used is how many of its calls are taken up.
	Used int
	// Waiting callers, by [cache.Purpose].
	Waiting [purposes]int
	// Closed is until when no call is granted; zero if it is open.
	Closed time.Time
	// Busy is how many callers asked within [cache.Ceiling] to start a life of an
	// entry, and Life the shortest at which the lane has calls enough for them,
	// see [subscriptions.Call]; if it is the ceiling, even that may not suffice.
	Busy int
	Life time.Duration
}

// Standings tells of the provider's lanes that were used within a day, in order.
// It goes through all names of keys, so it is for an operator now and then.
func (b *Shared) Standings(ctx context.Context, p events.Provider) ([]Standing, error) {
	lanes, err := b.lanes(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("budgets of %s: %w", p, err)
	}
	all := make([]Standing, 0, len(lanes))
	for _, l := range lanes {
		s, err := b.standing(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("budget of %s %s: %w", p, l.Group, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// lanes finds the lanes of which something is known, each once.
func (b *Shared) lanes(ctx context.Context, p events.Provider) ([]subscriptions.Lane, error) {
	var mu sync.Mutex
	found := map[subscriptions.Lane]bool{}
	scan := func(ctx context.Context, c redis.Cmdable) error {
		keys := c.Scan(ctx, 0, "budget:{"+events.Escape(string(p))+":*}:*:s", 1000).Iterator()
		for keys.Next(ctx) {
			mu.Lock()
			if l, ok := laneOf(keys.Val()); ok && len(found) < MaxStandings {
				found[l] = true
			}
			full := len(found) == MaxStandings
			mu.Unlock()
			if full {
				return nil
			}
		}
		return keys.Err()
	}
	var err error
	if cluster, ok := b.rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return scan(ctx, c) })
	} else {
		err = scan(ctx, b.rdb)
	}
	lanes := make([]subscriptions.Lane, 0, len(found))
	for l := range found {
		lanes = append(lanes, l)
	}
	slices.SortFunc(lanes, func(a, b subscriptions.Lane) int {
		return cmp.Or(cmp.Compare(a.Identity, b.Identity), cmp.Compare(a.Group, b.Group))
	})
	return lanes, err
}

// laneOf is whose state the key holds; see keysOf.
func laneOf(key string) (l subscriptions.Lane, ok bool) {
	rest, ok1 := strings.CutPrefix(key, "budget:{")
	owner, group, ok2 := strings.Cut(strings.TrimSuffix(rest, ":s"), "}:")
	provider, identity, ok3 := strings.Cut(owner, ":")
	var errs [3]error
	provider, errs[0] = events.Unescape(provider)
	l.Provider = events.Provider(provider)
	l.Identity, errs[1] = events.Unescape(identity)
	l.Group, errs[2] = events.Unescape(group)
	return l, ok1 && ok2 && ok3 && errs == [3]error{}
}

func (b *Shared) standing(ctx context.Context, l subscriptions.Lane) (s Standing, err error) {
	ctx, cancel := context.WithTimeout(ctx, Answer)
	defer cancel()
	told, err := b.run(ctx, b.look, l, subscriptions.Window{}).Int64Slice()
	if err != nil {
		return s, err
	}
	if len(told) != 6+purposes {
		return s, fmt.Errorf("%w: %v", ErrReply, told)
	}
	length := func(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
	s = Standing{Lane: l, Window: subscriptions.Window{Calls: int(told[0]), Length: length(told[1])},
		Used: int(told[2]), Busy: int(told[4]), Life: length(told[5])}
	if told[3] > 0 {
		s.Closed = time.Now().Add(length(told[3]))
	}
	for p := range s.Waiting {
		s.Waiting[p] = int(told[6+p])
	}
	return s, nil
}
