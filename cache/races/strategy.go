package races

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// Redis is what the strategies ask of a client. Those of go-redis have it, and
// that of the model.
type Redis interface {
	fence.Redis
	Get(ctx context.Context, key string) *redis.StringCmd
	Set(ctx context.Context, key string, value any, life time.Duration) *redis.StatusCmd
	SetNX(ctx context.Context, key string, value any, life time.Duration) *redis.BoolCmd
	Del(ctx context.Context, keys ...string) *redis.IntCmd
	HMGet(ctx context.Context, key string, fields ...string) *redis.SliceCmd
}

// answer is what is known of a subject: the values of its own fact and of those
// that are shared.
type answer struct{ own, role, app int }

func (a answer) String() string { return fmt.Sprintf("%d,%d,%d", a.own, a.role, a.app) }

func parseAnswer(text string) (a answer, err error) {
	_, err = fmt.Sscanf(text, "%d,%d,%d", &a.own, &a.role, &a.app)
	return a, err
}

// step is what a strategy says when a fill begins.
type step int

const (
	goOn step = iota // fetch
	hit              // somebody stored it meanwhile
	wait             // somebody else is fetching
)

// fetch is one fill on its way.
type fetch struct {
	subject int
	began   time.Time // by the clock of the worker that fetches
	seen    answer
	token   string // of b: whose lock it is
	// The rest is of d.
	lease               *fence.Lease
	part                *fence.Lease // of the role's part, if this fetch brings it
	used                []fence.Used
	tags                []events.Tag // of what this fetch read itself
	old                 bool         // something older than the fetch went into it
	partAsOf, partUntil time.Time
}

// provider answers what a fact's value is now.
type provider func(fact int) int

// strategy is a way to keep a cache, for one tenant.
type strategy interface {
	// read is what an application does first.
	read(ctx context.Context, subject int, now time.Time) (answer, bool, error)
	// begin is asked by a worker on a miss.
	begin(ctx context.Context, f *fetch) (step, answer, error)
	// fetch asks the provider.
	fetch(ctx context.Context, f *fetch, ask provider) error
	// store keeps what was fetched. again says that it should be fetched anew.
	store(ctx context.Context, f *fetch) (stored, again bool, err error)
	// apply does what a notice calls for; changed is the provider's own time.
	apply(ctx context.Context, fact int, changed time.Time) error
	// entry and lock are keys: they expire in time, or when the run deletes them.
	entry(subject int) string
	lock(subject int) string
	// keys lists all that it may have written.
	keys() []string
}

// aside is (a), cache-aside as every manual has it: read, on a miss fetch and
// SET with a time to live; on a notice DEL.
//
// It fails because DEL finds nothing to delete while a fetch is under way: what
// was read before the change is stored after it, and lives its whole life.
type aside struct {
	rdb      Redis
	base     string
	subjects int
}

func (a *aside) entry(subject int) string { return fmt.Sprintf("%se:%d", a.base, subject) }
func (a *aside) lock(int) string          { return "" }

func (a *aside) keys() (all []string) {
	for i := range a.subjects {
		all = append(all, a.entry(i))
	}
	return all
}

// touched lists the entries that a fact went into.
func (a *aside) touched(fact int) []string {
	if fact >= role {
		return (&aside{a.rdb, a.base, a.subjects}).keys()
	}
	return []string{a.entry(fact)}
}

func (a *aside) read(ctx context.Context, subject int, _ time.Time) (answer, bool, error) {
	text, err := a.rdb.Get(ctx, a.entry(subject)).Result()
	if errors.Is(err, redis.Nil) {
		return answer{}, false, nil
	}
	if err != nil {
		return answer{}, false, err
	}
	got, err := parseAnswer(text)
	return got, err == nil, err
}

func (a *aside) begin(context.Context, *fetch) (step, answer, error) { return goOn, answer{}, nil }

func (a *aside) fetch(_ context.Context, f *fetch, ask provider) error {
	f.seen = answer{ask(f.subject), ask(role), ask(app)}
	return nil
}

func (a *aside) store(ctx context.Context, f *fetch) (stored, again bool, err error) {
	err = a.rdb.Set(ctx, a.entry(f.subject), f.seen.String(), life).Err()
	return err == nil, false, err
}

func (a *aside) apply(ctx context.Context, fact int, _ time.Time) error {
	return a.rdb.Del(ctx, a.touched(fact)...).Err()
}

// locked is (b): one fetch at a time under a lock whose life outlasts the
// longest fetch, with a token so that nobody gives another's lock back, the
// entry looked at once more under the lock, and stored only by who holds it.
//
// It spares the provider. It fails like (a): the lock keeps fetchers apart from
// each other, and not from the notice.
type locked struct {
	aside
	unlock *redis.Script
	tokens int
}

const (
	lockLife = fence.LeaseLife
	// lockedStore sets KEYS[1] to ARGV[2] for ARGV[3] ms and gives the lock KEYS[2]
	// back, if that still is ARGV[1]'s.
	lockedStore = `if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1`
	// lockedBack gives the lock KEYS[1] back, if it still is ARGV[1]'s.
	lockedBack = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`
)

func (l *locked) lock(subject int) string { return fmt.Sprintf("%sl:%d", l.base, subject) }

func (l *locked) keys() []string {
	all := l.aside.keys()
	for i := range l.subjects {
		all = append(all, l.lock(i))
	}
	return all
}

func (l *locked) begin(ctx context.Context, f *fetch) (step, answer, error) {
	l.tokens++
	f.token = fmt.Sprint(l.tokens)
	ours, err := l.rdb.SetNX(ctx, l.lock(f.subject), f.token, lockLife).Result()
	if err != nil || !ours {
		return wait, answer{}, err
	}
	got, ok, err := l.read(ctx, f.subject, time.Time{})
	if err != nil || !ok {
		return goOn, answer{}, err
	}
	return hit, got, redis.NewScript(lockedBack).Run(ctx, l.rdb, []string{l.lock(f.subject)}, f.token).Err()
}

func (l *locked) store(ctx context.Context, f *fetch) (stored, again bool, err error) {
	keys := []string{l.entry(f.subject), l.lock(f.subject)}
	n, err := l.unlock.Run(ctx, l.rdb, keys, f.token, f.seen.String(), life.Milliseconds()).Int()
	return n == 1, false, err
}

// stamped is (c): a fetch carries the time at which it began, a notice leaves
// behind the time at which the provider changed, for longer than any entry or
// fetch lives, and a fetch that did not begin later is not stored. Both are
// one script each.
//
// It fails where two clocks are compared that differ: a worker's that is ahead
// lets a fetch that began before the change look as if it had begun after it.
// And it fails where the mark is lost, by a flush or a failover, for nothing
// tells a lost mark from none.
type stamped struct {
	aside
	put, mark *redis.Script
}

const (
	markLife = life + 2*fence.LongestFetch
	// stampedPut sets KEYS[1] to ARGV[2] for ARGV[3] ms unless one of the marks
	// KEYS[2..] is ARGV[1] or later.
	stampedPut = `for i = 2, #KEYS do
  local mark = redis.call('GET', KEYS[i])
  if mark and tonumber(mark) >= tonumber(ARGV[1]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`
	// stampedMark raises the mark KEYS[1] to ARGV[1] for ARGV[2] ms and deletes
	// the entries KEYS[2..].
	stampedMark = `local mark = redis.call('GET', KEYS[1])
local time = ARGV[1]
if mark and tonumber(mark) > tonumber(time) then time = mark end
redis.call('SET', KEYS[1], time, 'PX', ARGV[2])
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
return 1`
)

func (s *stamped) markOf(fact int) string { return fmt.Sprintf("%sm:%d", s.base, fact) }

func (s *stamped) keys() []string {
	all := s.aside.keys()
	for fact := range facts {
		all = append(all, s.markOf(fact))
	}
	return all
}

func (s *stamped) store(ctx context.Context, f *fetch) (stored, again bool, err error) {
	keys := []string{s.entry(f.subject), s.markOf(f.subject), s.markOf(role), s.markOf(app)}
	n, err := s.put.Run(ctx, s.rdb, keys, f.began.UnixMicro(), f.seen.String(), life.Milliseconds()).Int()
	return n == 1, n == 0, err
}

func (s *stamped) apply(ctx context.Context, fact int, changed time.Time) error {
	keys := slices.Insert(s.touched(fact), 0, s.markOf(fact))
	return s.mark.Run(ctx, s.rdb, keys, changed.UnixMicro(), markLife.Milliseconds()).Err()
}
