package fence

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// Used is something that went into an answer and was obtained under a number
// of its own: a part, or a token kept elsewhere.
type Used struct {
	Name  string
	Stamp cache.Stamp
	Tags  []events.Tag
}

// Fill is what a fetch brought.
type Fill struct {
	// Fields and values in turn; see [cache.Facts.Fields].
	Fields []string
	// Tags of what was read in the fetch itself. The tenant's is always added.
	Tags []events.Tag
	Used []Used
	// Life is how long it may be kept, counted from the start of the fetch.
	Life time.Duration
	// Limit is a deadline not to be exceeded: the provider's own, that of a part,
	// or that of the entry which is replaced. Zero means none.
	Limit time.Time
	// AsOf is when the oldest of the parts was fetched; zero if there is none.
	// The entry's is the earlier of this and the start of the fetch.
	AsOf time.Time
}

// Outcome is what commit did.
type Outcome struct {
	// Stored says that the entry is in Redis now.
	Stored bool
	// Late says that it was right but its life is over already.
	Late bool
	// Refused names what refused it, for people: "lease", "fence", "floor",
	// "tag role:7", "index role:7".
	Refused string
	// Thing is the name of what must be obtained anew; empty if it is the
	// fetch itself.
	Thing string

	AsOf, Until time.Time
	Version     cache.Version
	// Confirmed says that no tag had changed for [cache.Settled] before it was
	// fetched. Changed is the last change that is known to have come later than
	// that, zero if none is, and Wait then how long from now a fetch should wait
	// to find the source further.
	Confirmed bool
	Changed   time.Time
	Wait      time.Duration
}

// Commit stores a fill under its lease, or says why it may be stale. The lease
// is gone afterwards. If an index turns out to be lost the tenant is drained.
func (s *Store) Commit(ctx context.Context, l *Lease, f Fill) (Outcome, error) {
	args, keys, err := s.commitArgs(l, f)
	if err != nil {
		return Outcome{}, fmt.Errorf("commit %s %s: %w", l.Home, l.Name, err)
	}
	reply, err := s.scripts.commit.Run(ctx, s.rdb, keys, args...).StringSlice()
	if err != nil {
		return Outcome{}, fmt.Errorf("commit %s %s: %w", l.Home, l.Name, err)
	}
	if len(reply) < 4 {
		return Outcome{}, fmt.Errorf("commit %s %s: %w: %q", l.Home, l.Name, ErrReply, reply)
	}
	if reply[0] != "refused" {
		if len(reply) < 8 {
			return Outcome{}, fmt.Errorf("commit %s %s: %w: %q", l.Home, l.Name, ErrReply, reply)
		}
		return Outcome{
			Stored: reply[0] == "stored", Late: reply[0] == "late",
			AsOf: millis(reply[2]), Until: millis(reply[3]),
			Version: cache.Version(number(reply[4])), Confirmed: reply[5] == "1",
			Changed: instant(reply[6]), Wait: time.Duration(number(reply[7])) * time.Millisecond,
		}, nil
	}
	return s.refused(ctx, l, reply[2], reply[3])
}

// refused explains a refusal, and mends an index that was lost.
func (s *Store) refused(ctx context.Context, l *Lease, what, thing string) (Outcome, error) {
	kind, text, isTag := cutTag(what)
	if !isTag {
		return Outcome{Refused: what, Thing: nameOf(thing)}, nil
	}
	tag, err := cache.ParseTagName(text)
	if err != nil {
		return Outcome{}, fmt.Errorf("commit %s %s: %w: refused by %q: %w", l.Home, l.Name, ErrReply, what, err)
	}
	if kind == "index" {
		if err := s.mend(ctx, l.Home, tag, new(Invalidated)); err != nil {
			return Outcome{}, fmt.Errorf("commit %s %s: %w", l.Home, l.Name, err)
		}
	}
	return Outcome{Refused: kind + " " + tag.String(), Thing: nameOf(thing)}, nil
}

func cutTag(what string) (kind, text string, ok bool) {
	for _, kind := range []string{"tag", "index"} {
		if n := len(kind) + 1; len(what) > n && what[:n] == kind+":" {
			return kind, what[n:], true
		}
	}
	return "", "", false
}

func (s *Store) commitArgs(l *Lease, f Fill) (args []any, keys []string, err error) {
	if err := cache.CheckLife(f.Life); l.Name.IsEntry() && err != nil {
		return nil, nil, err
	}
	if ref, err := l.Name.Ref(l.Home); err == nil {
		// So that an entry is found even if the tenant's index is lost.
		f.Tags = append(slices.Clone(f.Tags), events.SubjectTag(ref.Subject))
	}
	tags := oldest(l.Stamp.Number, f)
	if len(tags) > MaxTags {
		return nil, nil, fmt.Errorf("%d tags, the limit is %d", len(tags), MaxTags)
	}
	keys = []string{s.keys.Fence(l.Home), s.keys.Named(l.Home, l.Name), s.keys.Lease(l.Home, l.Name)}
	args = []any{
		s.keys.Base(l.Home), string(l.Name), s.keys.Changed(l.Home), l.nonce,
		LeaseLife.Milliseconds(), cache.Ceiling.Milliseconds(), f.Life.Milliseconds(), unixMilli(f.Limit), unixMilli(f.AsOf),
		cache.Soon.Microseconds(), cache.Settled.Microseconds(), Window.Microseconds(), s.members, len(tags),
	}
	for _, t := range tags {
		n := t.number
		if t.thing == "" {
			n = 0 // the script takes the lease's own
		}
		keys = append(keys, s.keys.Index(l.Home, t.tag))
		args = append(args, cache.TagName(t.tag), n.String(), thingOf(t.thing))
	}
	args = append(args, len(f.Used))
	for _, u := range f.Used {
		args = append(args, thingOf(u.Name), u.Stamp.Number.String(), uint64(u.Stamp.Fence))
	}
	for _, v := range f.Fields {
		args = append(args, v)
	}
	return args, keys, nil
}

type stampedTag struct {
	tag    events.Tag
	number cache.Version
	thing  string // what the number is that of; empty if the fetch itself
}

// oldest lists every tag once, the tenant's first, with the number that must
// bear the comparison: the oldest of what it came with. own is the lease's.
func oldest(own cache.Version, f Fill) []stampedTag {
	tags := []stampedTag{{tag: events.TenantTag, number: own}}
	at := map[events.Tag]int{events.TenantTag: 0}
	add := func(one stampedTag) {
		i, ok := at[one.tag]
		switch {
		case !ok:
			at[one.tag] = len(tags)
			tags = append(tags, one)
		case tags[i].number > one.number:
			tags[i] = one
		}
	}
	for _, t := range f.Tags {
		add(stampedTag{tag: t, number: own})
	}
	for _, u := range f.Used {
		add(stampedTag{events.TenantTag, u.Stamp.Number, u.Name})
		for _, t := range u.Tags {
			add(stampedTag{t, u.Stamp.Number, u.Name})
		}
	}
	return tags
}

// unixMilli is 0 for the zero time.
func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
