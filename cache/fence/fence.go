package fence

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// The bounds of the protocol.
const (
	// LongestFetch is how long a fetch may take, its parts included.
	LongestFetch = 20 * time.Second
	// LeaseLife outlasts the longest fetch. A lease with more life left than
	// this was written by another clock and is void.
	LeaseLife = 25 * time.Second
	// Window is how long stamps are kept at least.
	Window = cache.Ceiling + LongestFetch
	// Chunk is how many names one call of invalidate unlinks at most.
	Chunk = 500
	// MaxTags is how many tags one entry may carry.
	MaxTags = 1000
	// maxMembers bounds a fence, about 120 B a member. Beyond it the oldest
	// stamps go, and the floor rises.
	maxMembers = 200_000
)

// ErrIndexLost says that an index was missing; the tenant has been drained
// because of it. It is for logs.
var ErrIndexLost = errors.New("index lost")

// ErrReply says that a script answered what this package cannot read: a bug
// of ours, or another's hand in our keys. Asking again does not mend it.
var ErrReply = errors.New("unreadable reply of a script")

// Redis is what a Store asks of a client; every client of go-redis is one.
type Redis interface {
	redis.Scripter
	Ping(ctx context.Context) *redis.StatusCmd
	ZRangeByScore(ctx context.Context, key string, by *redis.ZRangeBy) *redis.StringSliceCmd
}

// Store runs the scripts on one Redis. It is safe for concurrent use.
type Store struct {
	// Replicas is how many replicas must have an invalidation before
	// [Store.Invalidate] returns without error; set before first use, 0 for
	// none. ReplicaWait is how long it waits for them.
	Replicas    int
	ReplicaWait time.Duration

	rdb     Redis
	keys    cache.Keys
	scripts scripts
	oomSafe bool
	// Chunk and maxMembers; a test sets less.
	chunk, members int
}

// Open loads the scripts. rdb must speak to primaries.
func Open(ctx context.Context, rdb Redis, keys cache.Keys) (*Store, error) {
	s, headers, err := loadScripts(ctx, rdb)
	if err != nil {
		return nil, err
	}
	return &Store{rdb: rdb, keys: keys, scripts: s, oomSafe: headers, chunk: Chunk, members: maxMembers}, nil
}

// OOMSafe says whether invalidation works at full memory on this server. It
// is false on servers that know no script headers, such as a stand-in.
func (s *Store) OOMSafe() bool { return s.oomSafe }

// Want is what an entry must be to satisfy. Its zero value: any live one.
type Want struct {
	// After demands a fetch begun after this instant of Redis's clock.
	After time.Time
	// Now demands a fetch begun after this very call.
	Now bool
	// Version demands at least this version. One that is above the tenant's
	// last number works like Now.
	Version cache.Version
	// Watch names tags whose last changes matter: those that a part is computed
	// from, so that a part is fetched again once its source has settled; for an
	// entry those that [Lease.Needs] is to be asked about.
	Watch []events.Tag
}

// Begun is what begin found.
type Begun struct {
	// Clock is Redis's time at the call.
	Clock time.Time
	// Live holds the fields of what satisfies; nil if nothing does.
	Live map[string]string
	// Lease is ours; nil if Live, or if another is fetching.
	Lease *Lease
	// Other is when another's fetch began, and OtherLeft how long its lease
	// lasts, if neither Live nor Lease is set.
	Other     time.Time
	OtherLeft time.Duration
	// Drained says that the fence had been lost, and that entries which it had
	// vouched for were dropped.
	Drained bool
}

// Lease is the right to fetch one entry or part.
type Lease struct {
	Home  events.Home
	Name  cache.Name
	AsOf  time.Time
	Stamp cache.Stamp
	// changed is the number of the last change of each tag that was watched,
	// 0 if none is known.
	changed map[events.Tag]cache.Version
	nonce   string
}

// grace is how long a begin that was called off may take to say whether it
// took the lease.
const grace = 2 * time.Second

// Changed is the number of the last change of a tag that was watched, 0 if
// none is known.
func (l *Lease) Changed(tag events.Tag) cache.Version { return l.changed[tag] }

// Needs is the lowest number under which something that is computed from a
// tag that was watched is of use now: after the last change, and after the
// times at which the source is looked at again, as far as these have come.
func (l *Lease) Needs(tag events.Tag) cache.Version { return needs(l.changed[tag], l.Stamp.Number) }

// needs is the lowest number of use at the number now, after a change at another.
func needs(at, now cache.Version) cache.Version {
	if at == 0 {
		return 0
	}
	for _, d := range []time.Duration{cache.Settled, cache.Soon} {
		if then := at + cache.Version(d.Microseconds()); now >= then {
			return then
		}
	}
	return at
}

// Begin asks for an entry or part. If the tenant's fence is missing it is made
// anew and the tenant is drained, before the lease is taken.
//
// When ctx ends, Begin waits up to 2 s for the reply under way, and gives back
// the lease that it brings: nobody else could, and all readers of the entry
// would wait for its end.
func (s *Store) Begin(ctx context.Context, h events.Home, n cache.Name, w Want) (Begun, error) {
	if err := ctx.Err(); err != nil {
		return Begun{}, fmt.Errorf("begin %s %s: %w", h, n, err)
	}
	within, cancel := outlasting(ctx, grace)
	defer cancel()
	b, err := s.beginDrained(within, h, n, w)
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("begin %s %s: %w", h, n, ctx.Err())
		if b.Lease != nil {
			err = errors.Join(err, s.Release(within, b.Lease))
		}
		return Begun{}, err
	}
	return b, err
}

// outlasting returns a context that ends d after ctx does.
func outlasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			cancel()
		case <-within.Done():
		}
	})
	return within, func() { stop(); cancel() }
}

func (s *Store) beginDrained(ctx context.Context, h events.Home, n cache.Name, w Want) (Begun, error) {
	b, made, err := s.begin(ctx, h, n, w)
	if err != nil || !made {
		return b, err
	}
	in, err := s.vouch(ctx, h)
	if err != nil {
		return Begun{}, fmt.Errorf("begin %s %s: fence made anew: %w", h, n, err)
	}
	if err := s.Release(ctx, b.Lease); err != nil { // the drain has made it useless
		return Begun{}, err
	}
	b, _, err = s.begin(ctx, h, n, w)
	b.Drained = len(in.Alive) > 0
	return b, err
}

func (s *Store) begin(ctx context.Context, h events.Home, n cache.Name, w Want) (b Begun, made bool, err error) {
	nonce := newNonce()
	keys := []string{s.keys.Fence(h), s.keys.Named(h, n), s.keys.Lease(h, n)}
	asOf := int64(0)
	switch {
	case w.Now:
		asOf = -1
	case !w.After.IsZero():
		asOf = w.After.UnixMilli()
	}
	args := []any{
		nonce, newNonce(), asOf, w.Version.String(), LeaseLife.Milliseconds(), cache.Ceiling.Milliseconds(),
		flag(!n.IsEntry()), cache.Soon.Microseconds(), cache.Settled.Microseconds(),
	}
	for _, t := range w.Watch {
		args = append(args, cache.TagName(t))
	}
	reply, err := s.scripts.begin.Run(ctx, s.rdb, keys, args...).StringSlice()
	if err != nil {
		return Begun{}, false, fmt.Errorf("begin %s %s: %w", h, n, err)
	}
	if len(reply) < 2 {
		return Begun{}, false, fmt.Errorf("begin %s %s: %w: %q", h, n, ErrReply, reply)
	}
	b.Clock = millis(reply[1])
	switch rest := reply[2:]; reply[0] {
	case "live":
		b.Live = make(map[string]string, len(rest)/2)
		for i := 0; i+1 < len(rest); i += 2 {
			b.Live[rest[i]] = rest[i+1]
		}
	case "busy":
		b.Other, b.OtherLeft = millis(rest[0]), time.Duration(number(rest[1]))*time.Millisecond
	default:
		stamp := cache.Stamp{Number: cache.Version(number(rest[0])), Fence: cache.FenceID(number(rest[1]))}
		b.Lease = &Lease{Home: h, Name: n, AsOf: b.Clock, Stamp: stamp, nonce: nonce, changed: map[events.Tag]cache.Version{}}
		for i, t := range w.Watch[:min(len(w.Watch), len(rest)-3)] {
			b.Lease.changed[t] = cache.Version(number(rest[3+i]))
		}
		made = rest[2] == "1"
	}
	return b, made, nil
}

// Release gives a lease back, so that the next may fetch at once.
func (s *Store) Release(ctx context.Context, l *Lease) error {
	key := s.keys.Lease(l.Home, l.Name)
	if err := s.scripts.release.Run(ctx, s.rdb, []string{key}, l.nonce).Err(); err != nil {
		return fmt.Errorf("release %s %s: %w", l.Home, l.Name, err)
	}
	return nil
}

// newNonce is 52 random bits, never zero: what a sorted set's score holds.
func newNonce() string {
	var b [8]byte
	rand.Read(b[:])
	return strconv.FormatUint(binary.BigEndian.Uint64(b[:])>>12|1, 10)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// number reads a number that a script of ours has written.
func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// FieldStored is when an entry was stored, in unix ms: for the worker's own use.
const FieldStored = "_stored"

func millis(s string) time.Time { return time.UnixMilli(int64(number(s))) }

// instant is millis of what may be missing, which is 0.
func instant(s string) time.Time {
	if s == "0" {
		return time.Time{}
	}
	return millis(s)
}

// thingOf turns the name of something used on the way into its part's name.
func thingOf(name string) string {
	if name == "" {
		return ""
	}
	return string(cache.PartName(name))
}

// nameOf is its inverse.
func nameOf(thing string) string {
	name, err := events.Unescape(strings.TrimPrefix(thing, "p:"))
	if err != nil {
		return thing
	}
	return name
}

// StampOf reads under which number a live part was stored, from its fields.
func StampOf(live map[string]string) (cache.Stamp, error) {
	v, err := cache.ParseVersion(live[cache.FieldVersion])
	if err != nil {
		return cache.Stamp{}, err
	}
	id, err := strconv.ParseUint(live["_fence"], 10, 64)
	if err != nil {
		return cache.Stamp{}, fmt.Errorf("fence nonce %.40q of a part", live["_fence"])
	}
	return cache.Stamp{Number: v, Fence: cache.FenceID(id)}, nil
}

// LifeOf reads from the fields of a live part when its fetch began and when it
// ends.
func LifeOf(live map[string]string) (asOf, until time.Time) {
	return millis(live[cache.FieldAsOf]), millis(live[cache.FieldUntil])
}
