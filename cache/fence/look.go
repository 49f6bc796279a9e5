package fence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

const (
	// maxReach bounds how many names one [Store.Reach] looks at.
	maxReach = 100_000
	// page is how much of a sorted set, and how many keys, one round trip reads.
	page = 1000
)

// Standing is an entry that is alive.
type Standing struct {
	events.Ref
	Until time.Time
	// Told says that the rest is known.
	Told bool
	// Basis is how the entry was learnt, Stored when, and Idle for how long
	// nobody has read it, in whole seconds.
	Basis  string
	Stored time.Time
	Idle   time.Duration
}

// Reached is what stands under some tags.
type Reached struct {
	Clock    time.Time // Redis's
	Standing []Standing
	// Cut says that there was more than is looked at.
	Cut bool
}

// Reach lists the entries that are alive under any of the tags, in the order of
// their names; of more than 100,000 that are listed the rest is cut. It writes
// nothing and does not count as a reader. What cannot be read without counting as
// one, which takes Redis 7.2, is left out.
func (s *Store) Reach(ctx context.Context, h events.Home, tags ...events.Tag) (Reached, error) {
	r, err := s.reach(ctx, h, unique(tags))
	if err != nil {
		return Reached{}, fmt.Errorf("reach of %s: %w", h, err)
	}
	return r, nil
}

func (s *Store) reach(ctx context.Context, h events.Home, tags []events.Tag) (r Reached, err error) {
	one, err := s.primary(ctx, h)
	if err != nil {
		return r, err
	}
	if r.Clock, err = one.Time(ctx).Result(); err != nil {
		return r, err
	}
	refs := map[cache.Name]events.Ref{}
	for _, t := range tags {
		err := paged(ctx, one, s.keys.Index(h, t), r.Clock, func(members []string) (bool, error) {
			for _, m := range members {
				if ref, err := cache.Name(m).Ref(h); err == nil { // else it is a part
					refs[cache.Name(m)] = ref
				}
			}
			r.Cut = len(refs) > maxReach
			return !r.Cut, nil
		})
		if err != nil {
			return r, err
		}
		if r.Cut {
			break
		}
	}
	quiet, err := hushes(ctx, one)
	if err != nil {
		return r, err
	}
	names := slices.Sorted(maps.Keys(refs))
	for some := range slices.Chunk(names, page) {
		found, err := s.standing(ctx, one, h, some, quiet)
		if err != nil {
			return r, err
		}
		for i, st := range found {
			if st.Until.After(r.Clock) {
				st.Ref = refs[some[i]]
				r.Standing = append(r.Standing, st)
			}
		}
	}
	return r, nil
}

// standing looks at some entries; the deadline of one that is not alive is zero.
func (s *Store) standing(
	ctx context.Context, one *redis.Client, h events.Home, names []cache.Name, quiet bool,
) ([]Standing, error) {
	lefts, idles := make([]*redis.DurationCmd, len(names)), make([]*redis.DurationCmd, len(names))
	heads := make([]*redis.SliceCmd, len(names))
	var clock *redis.TimeCmd
	err := hushed(ctx, one, quiet, func(p redis.Pipeliner) {
		clock = p.Time(ctx)
		for i, n := range names {
			key := s.keys.Named(h, n)
			idles[i], lefts[i] = p.ObjectIdleTime(ctx, key), p.PTTL(ctx, key) // so that a stand-in tells it too
			if quiet {
				heads[i] = p.HMGet(ctx, key, FieldStored, cache.FieldBasis)
			}
		}
	})
	if err == nil {
		err = clock.Err()
	}
	if err != nil {
		return nil, err
	}
	all := make([]Standing, len(names))
	for i := range names {
		left, err := lefts[i].Result()
		if err != nil {
			return nil, err
		}
		if left <= 0 || left > cache.Ceiling {
			continue
		}
		all[i] = Standing{Until: clock.Val().Add(left)}
		if quiet && heads[i].Err() == nil && idles[i].Err() == nil {
			all[i].tell(heads[i].Val(), idles[i].Val())
		}
	}
	return all, nil
}

// tell notes what only a reading shows.
func (st *Standing) tell(head []any, idle time.Duration) {
	stored, _ := head[0].(string)
	ms, err := strconv.ParseInt(stored, 10, 64)
	if err != nil {
		return
	}
	st.Basis, _ = head[1].(string)
	st.Told, st.Stored, st.Idle = true, time.UnixMilli(ms), idle
}

// Peek reads all fields of an entry, none if it is missing, and Redis's clock.
// It does not count as a reader, but before Redis 7.2, which lets nobody read so.
func (s *Store) Peek(ctx context.Context, r events.Ref) (map[string]string, time.Time, error) {
	fields, clock, err := s.peek(ctx, r)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("peek at %s: %w", r, err)
	}
	return fields, clock, nil
}

func (s *Store) peek(ctx context.Context, r events.Ref) (map[string]string, time.Time, error) {
	one, err := s.primary(ctx, r.Home)
	if err != nil {
		return nil, time.Time{}, err
	}
	quiet, err := hushes(ctx, one)
	if err != nil {
		return nil, time.Time{}, err
	}
	var clock *redis.TimeCmd
	var fields *redis.MapStringStringCmd
	err = hushed(ctx, one, quiet, func(p redis.Pipeliner) {
		clock, fields = p.Time(ctx), p.HGetAll(ctx, s.keys.Entry(r))
	})
	return fields.Val(), clock.Val(), errors.Join(err, clock.Err(), fields.Err())
}

// Tags lists the tags whose change would drop an entry that stands, in order: the
// indexes that list it. What it was computed from is among them; so may be what an
// entry before it was, until that one's deadline. It writes nothing. An entry is
// listed under no other subject than its own.
func (s *Store) Tags(ctx context.Context, r events.Ref) ([]events.Tag, error) {
	tags, err := s.tags(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", r, err)
	}
	return tags, nil
}

func (s *Store) tags(ctx context.Context, r events.Ref) (tags []events.Tag, err error) {
	one, err := s.primary(ctx, r.Home)
	if err != nil {
		return nil, err
	}
	clock, err := one.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	seen := map[events.Tag]bool{}
	err = paged(ctx, one, s.keys.Fence(r.Home), clock, func(members []string) (bool, error) {
		var ask []events.Tag
		for _, m := range members {
			t, err := cache.ParseTagName(strings.TrimPrefix(m, "i:"))
			others := t.Kind == events.KindSubject && t.ID != string(r.Subject)
			if err == nil && !others && !seen[t] {
				seen[t] = true
				ask = append(ask, t)
			}
		}
		found, err := s.listing(ctx, one, r, ask)
		tags = append(tags, found...)
		return true, err
	})
	slices.SortFunc(tags, func(a, b events.Tag) int { return strings.Compare(a.String(), b.String()) })
	return tags, err
}

// listing are those tags whose index lists an entry.
func (s *Store) listing(
	ctx context.Context, one *redis.Client, r events.Ref, tags []events.Tag,
) (found []events.Tag, err error) {
	if len(tags) == 0 {
		return nil, nil
	}
	cmds, err := one.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, t := range tags {
			p.ZScore(ctx, s.keys.Index(r.Home, t), string(cache.EntryName(r)))
		}
		return nil
	})
	if own(nil, err) != nil {
		return nil, err
	}
	for i, c := range cmds {
		switch err := c.Err(); {
		case err == nil:
			found = append(found, tags[i])
		case !errors.Is(err, redis.Nil):
			return nil, err
		}
	}
	return found, nil
}

// paged gives the members of a sorted set whose scores are deadlines from now on,
// some at a time, until each says that it has enough. Of what
// changes meanwhile only that is missed whose deadline is drawn in.
func paged(
	ctx context.Context, one *redis.Client, key string, now time.Time, each func([]string) (bool, error),
) error {
	by := &redis.ZRangeBy{Min: strconv.FormatInt(now.UnixMilli(), 10), Max: "100000000000000", Count: page}
	for {
		some, err := one.ZRangeByScoreWithScores(ctx, key, by).Result()
		if err != nil {
			return err
		}
		members, same := make([]string, len(some)), 0
		for i, z := range some {
			members[i], _ = z.Member.(string)
			if z.Score == some[len(some)-1].Score {
				same++
			}
		}
		more, err := each(members)
		if err != nil || !more || len(some) < page {
			return err
		}
		// Many may end at one instant, with a part that they share.
		last := strconv.FormatFloat(some[page-1].Score, 'f', -1, 64)
		if last != by.Min {
			by.Min, by.Offset = last, 0
		}
		by.Offset += int64(same)
	}
}

// hushes says whether Redis can be read without counting as a reader.
func hushes(ctx context.Context, one *redis.Client) (bool, error) {
	err := hushed(ctx, one, true, func(redis.Pipeliner) {})
	var said redis.Error
	if errors.As(err, &said) {
		return false, nil // it does not know how, or not for us
	}
	return err == nil, err
}

// hushed runs commands on one connection, which counts as no reader meanwhile if
// quiet. The connection is as before at the end, or is closed. What each command
// said is its own to tell.
func hushed(ctx context.Context, one *redis.Client, quiet bool, do func(redis.Pipeliner)) error {
	p := one.Pipeline()
	if !quiet {
		do(p)
		return own(p.Exec(ctx))
	}
	on := p.Do(ctx, "client", "no-touch", "on")
	do(p)
	off := p.Do(ctx, "client", "no-touch", "off")
	_, err := p.Exec(ctx)
	if on.Err() != nil || off.Err() != nil {
		return errors.Join(on.Err(), off.Err())
	}
	return own(nil, err)
}

// own leaves out what a single command said.
func own(_ []redis.Cmder, err error) error {
	var said redis.Error
	if errors.As(err, &said) {
		return nil
	}
	return err
}
