package fence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// Alive is an entry that existed when it was unlinked.
type Alive struct {
	events.Ref
	// Until is the deadline it had.
	Until time.Time
}

// Invalidated is what an invalidation did.
type Invalidated struct {
	// Number from which on reads of the primary reflect the change.
	Number cache.Version
	// Alive lists the entries that somebody may miss.
	Alive []Alive
	// Drained says that the whole tenant was dropped, because its fence or an
	// index was lost; Why names which.
	Drained bool
	Why     string
}

// whyMade is why a tenant was drained whose fence was missing, or of another
// history of Redis.
const whyMade = "fence made anew"

// Invalidate makes unusable what was computed from the tags. When it returns
// without error, nothing older can be read or stored any more, and enough
// replicas have that too. With an error it may be partly done; doing it again
// is safe. With [ErrReplicas] it is done on the primary.
func (s *Store) Invalidate(ctx context.Context, h events.Home, tags ...events.Tag) (Invalidated, error) {
	if s.Replicas == 0 {
		return s.invalidate(ctx, h, tags)
	}
	on, conn, err := s.pinned(ctx, h)
	if err != nil {
		return Invalidated{}, fmt.Errorf("invalidate %s: %w", h, err)
	}
	in, err := on.invalidate(ctx, h, tags)
	if err == nil {
		err = s.awaitReplicas(ctx, conn)
	}
	return in, errors.Join(err, conn.Close())
}

func (s *Store) invalidate(ctx context.Context, h events.Home, tags []events.Tag) (Invalidated, error) {
	var in Invalidated
	tags = unique(tags) // one that is named twice would look lost the second time
	for len(tags) > 0 {
		n := min(len(tags), s.chunk)
		if err := s.drop(ctx, h, tags[:n], &in); err != nil {
			return in, fmt.Errorf("invalidate %s: %w", h, err)
		}
		tags = tags[n:]
	}
	return in, nil
}

// drop invalidates one chunk of tags until nothing remains, and mends what
// turns out to be lost.
func (s *Store) drop(ctx context.Context, h events.Home, tags []events.Tag, in *Invalidated) error {
	var first cache.Version
	for {
		r, err := s.call(ctx, h, tags, first, modeDrop)
		if err != nil {
			return err
		}
		in.add(h, r)
		first = r.number
		switch {
		case r.made:
			in.Drained, in.Why = true, whyMade
			if err := s.settle(ctx, h, in); err != nil {
				return err
			}
		case r.lost != "":
			tag, err := cache.ParseTagName(r.lost)
			if err != nil {
				return fmt.Errorf("%w: lost %q: %w", ErrReply, r.lost, err)
			}
			in.Drained, in.Why = true, ErrIndexLost.Error()+": "+tag.String()
			if err := s.mend(ctx, h, tag, in); err != nil {
				return err
			}
		}
		if !r.more && r.lost == "" {
			return nil
		}
	}
}

// settle drains the tenant after its fence was lost, and only then notes that
// it did: should we end before, the next to come does it.
func (s *Store) settle(ctx context.Context, h events.Home, in *Invalidated) error {
	tenant := []events.Tag{events.TenantTag}
	number, err := s.unlinkAll(ctx, h, tenant, modeDrain, in)
	if err != nil {
		return fmt.Errorf("drain under a new fence: %w", err)
	}
	r, err := s.call(ctx, h, tenant, number, modeSettled)
	in.add(h, r)
	return err
}

func unique(tags []events.Tag) []events.Tag {
	seen := make(map[events.Tag]bool, len(tags))
	out := make([]events.Tag, 0, len(tags))
	for _, t := range tags {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}

// What a call of invalidate says in its eighth argument.
const (
	modeDrop    = "0"
	modeMended  = "1"
	modeSettled = "2"
	modeDrain   = "3"
)

// mend drains the tenant after the index of a tag was lost: what it listed
// cannot be found through it. Where it is the tenant's own index, the others
// list everything between them.
func (s *Store) mend(ctx context.Context, h events.Home, lost events.Tag, in *Invalidated) error {
	var err error
	if lost == events.TenantTag {
		err = s.dropIndexed(ctx, h, in)
	} else {
		err = s.drop(ctx, h, []events.Tag{events.TenantTag}, in)
	}
	if err != nil {
		return fmt.Errorf("drain after %w: %w", ErrIndexLost, err)
	}
	r, err := s.call(ctx, h, []events.Tag{lost}, 0, modeMended)
	in.add(h, r)
	return err
}

// dropIndexed drops what any index but the tenant's lists.
func (s *Store) dropIndexed(ctx context.Context, h events.Home, in *Invalidated) error {
	rest, err := s.indexed(ctx, h)
	if err != nil {
		return err
	}
	for len(rest) > 0 {
		n := min(len(rest), s.chunk)
		if _, err := s.unlinkAll(ctx, h, rest[:n], modeDrop, in); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// unlinkAll is drop without mending. It returns the number of its last call.
func (s *Store) unlinkAll(
	ctx context.Context, h events.Home, tags []events.Tag, mode string, in *Invalidated,
) (number cache.Version, err error) {
	for {
		r, err := s.call(ctx, h, tags, number, mode)
		if err != nil {
			return 0, err
		}
		in.add(h, r)
		if number = r.number; !r.more {
			return number, nil
		}
	}
}

// indexed lists the tags that should have an index now, but the tenant's.
func (s *Store) indexed(ctx context.Context, h events.Home) ([]events.Tag, error) {
	members, err := s.rdb.ZRangeByScore(ctx, s.keys.Fence(h), &redis.ZRangeBy{Min: "1", Max: "100000000000000"}).Result()
	if err != nil {
		return nil, fmt.Errorf("list indexes: %w", err)
	}
	var tags []events.Tag
	for _, m := range members {
		t, err := cache.ParseTagName(m[2:])
		if err != nil {
			return nil, fmt.Errorf("list indexes: %w: %w", ErrReply, err)
		}
		if t != events.TenantTag {
			tags = append(tags, t)
		}
	}
	return tags, nil
}

type dropped struct {
	number     cache.Version
	made, more bool
	lost       string
	names      []string // name and deadline in turn
}

func (s *Store) call(
	ctx context.Context, h events.Home, tags []events.Tag, first cache.Version, mode string,
) (dropped, error) {
	keys := make([]string, 1, len(tags)+1)
	keys[0] = s.keys.Fence(h)
	args := make([]any, 8, len(tags)+8)
	copy(args, []any{
		s.keys.Base(h), s.keys.Changed(h), newNonce(), first.String(), s.chunk,
		Window.Microseconds(), s.members, mode,
	})
	for _, t := range tags {
		keys = append(keys, s.keys.Index(h, t))
		args = append(args, cache.TagName(t))
	}
	r, err := s.scripts.invalidate.Run(ctx, s.rdb, keys, args...).Slice()
	if err != nil {
		return dropped{}, err
	}
	if len(r) < 4 || len(r)%2 != 0 {
		return dropped{}, fmt.Errorf("%w: %d values", ErrReply, len(r))
	}
	d := dropped{made: r[1] == int64(1), more: r[2] == int64(1)}
	text, _ := r[0].(string)
	d.number = cache.Version(number(text))
	d.lost, _ = r[3].(string)
	for _, v := range r[4:] {
		name, _ := v.(string)
		d.names = append(d.names, name)
	}
	return d, nil
}

func (in *Invalidated) add(h events.Home, d dropped) {
	in.Number = max(in.Number, d.number)
	for i := 0; i+1 < len(d.names); i += 2 {
		ref, err := cache.Name(d.names[i]).Ref(h)
		if err != nil {
			continue // not an entry that we could have written: gone, and nobody's
		}
		ms, _ := strconv.ParseFloat(d.names[i+1], 64)
		in.Alive = append(in.Alive, Alive{ref, time.UnixMilli(int64(ms))})
	}
}
