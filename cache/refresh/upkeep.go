package refresh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// Scheduler keeps one pending look for each entry; a later one replaces it.
type Scheduler interface {
	EnqueueAt(ctx context.Context, t stream.Task, at time.Time) (accepted bool, err error)
}

const (
	// readSlack: an entry counts as read if it was used later than this after it
	// was stored; Redis tells it in whole seconds.
	readSlack = 2 * time.Second
	// after a time at which a fetch would confirm, by a clock that may be behind.
	margin = 50 * time.Millisecond
)

// lead is how long before its deadline an entry that is in use is fetched
// again: a sixth of its life, 2 s to 10 s.
func lead(life time.Duration) time.Duration {
	return min(max(life/6, 2*time.Second), 10*time.Second)
}

// plan asks for the next look at an entry that was just stored: to confirm it,
// or shortly before its deadline to renew it if it was read. One at a time is
// pending; each look plans the next.
func (f *Filler) plan(ref events.Ref, r Result) {
	if f.Later == nil {
		return
	}
	now := time.Now()
	l := lead(r.Until.Sub(r.AsOf))
	at := r.Until.Add(-l - rand.N(l/4))
	if confirm := now.Add(r.wait + margin); !r.changed.IsZero() && (confirm.Before(at) || f.idleless.Load()) {
		at = confirm
	} else if f.idleless.Load() {
		return
	}
	if !at.Before(r.Until) {
		return
	}
	ctx, cancel := context.WithTimeout(f.base, queueLimit)
	defer cancel()
	t := stream.Task{Ref: ref, Until: r.Until, Look: true, Since: r.changed, Asked: now, Reason: "upkeep"}
	if _, err := f.Later.EnqueueAt(ctx, t, at); err != nil && ctx.Err() == nil {
		f.Log.WarnContext(ctx, "no look planned", "provider", ref.Provider, "tenant", ref.Tenant,
			"subject", ref.Subject, "error", err) // a miss to come
	}
}

// standing is an entry as a look finds it.
type standing struct {
	cache.Entry
	now  time.Time // by Redis's clock
	read bool      // since it was stored
}

// stands reads an entry without counting as a reader; ok is false if there is
// none. A store that cannot tell when an entry was read switches renewal off.
func (f *Filler) stands(ctx context.Context, ref events.Ref) (s standing, ok bool, err error) {
	key := f.Keys.Entry(ref)
	pipe := f.Redis.Pipeline()
	idle := pipe.ObjectIdleTime(ctx, key) // before the reading, which ends the idleness
	clock := pipe.Time(ctx)
	fields := pipe.HGetAll(ctx, key)
	if _, err := pipe.Exec(ctx); err != nil && fields.Err() != nil {
		return s, false, fmt.Errorf("look at %s: %w: %w", ref, ErrStore, err)
	}
	if s.Entry, err = cache.Decode(fields.Val()); err != nil {
		return s, false, nil // none, or as good as none
	}
	s.now = clock.Val()
	if err := idle.Err(); err != nil && !errors.Is(err, redis.Nil) {
		f.blind(ctx, err)
		return s, true, nil
	}
	ms, err := strconv.ParseInt(fields.Val()[fence.FieldStored], 10, 64)
	s.read = err == nil && idle.Val()+readSlack < s.now.Sub(time.UnixMilli(ms))
	return s, true, nil
}

// blind notes that the store cannot tell what is read.
func (f *Filler) blind(ctx context.Context, why error) {
	if strings.HasPrefix(why.Error(), "ERR") && f.idleless.CompareAndSwap(false, true) {
		f.Metrics.renewing(false)
		f.Log.WarnContext(ctx, "renewal is off: redis cannot tell which entries are read", "error", why)
	}
}

// look confirms or renews an entry, whichever is due, or lets it go.
func (w *Worker) look(ctx context.Context, t stream.Task) {
	s, ok, err := w.Filler.stands(ctx, t.Ref)
	switch {
	case err != nil:
		w.again(ctx, t, err)
	case !ok: // dropped by a change; its own refresh may have been replaced by this
		t.Look = false
		w.Refresh(ctx, t)
	case s.Until.Sub(s.now) <= 2*lead(s.Until.Sub(s.AsOf)) && s.read:
		w.upkeep(ctx, t, s, wish{fresh: true, purpose: cache.ForUpkeep}, "renewed")
	case unconfirmed(s.Entry, t.Since, s.now):
		w.upkeep(ctx, t, s, wish{limit: s.Until, fresh: true, purpose: cache.ForUpkeep}, "confirmed")
	default:
		w.Metrics.upkept(t.Provider, "unread")
	}
}

// unconfirmed says whether a fetch now would be nearer to confirming than the
// entry is.
func unconfirmed(e cache.Entry, since, now time.Time) bool {
	for _, d := range []time.Duration{cache.Soon, cache.Settled} {
		if at := since.Add(d); !since.IsZero() && e.AsOf.Before(at) && !now.Before(at) {
			return true
		}
	}
	return false
}

// upkeep fetches an entry that stands, and says how late the provider was if
// it changed its word without another change.
func (w *Worker) upkeep(ctx context.Context, t stream.Task, before standing, as wish, outcome string) {
	ctx, cancel := context.WithTimeout(ctx, fence.LongestFetch)
	defer cancel()
	r, err := w.Filler.get(ctx, t.Ref, as)
	if err != nil {
		w.again(ctx, t, err)
		return
	}
	if !t.Since.IsZero() && r.Fetched && r.Stored && !same(before.Facts, r.Facts) {
		outcome = "corrected"
		w.late(ctx, t, r)
	}
	w.Metrics.upkept(t.Provider, outcome)
	w.lookedAt(t, r)
}

// same compares what is granted and why not.
func same(a, b cache.Facts) bool {
	return maps.Equal(a.Grants, b.Grants) && maps.Equal(a.Why, b.Why) &&
		slices.Equal(slices.Sorted(slices.Values(a.Covers)), slices.Sorted(slices.Values(b.Covers)))
}

// late counts the provider's lateness, and tells all who keep something of the
// subject by a change of our own.
func (w *Worker) late(ctx context.Context, t stream.Task, r Result) {
	by := r.AsOf.Sub(t.Since)
	w.Metrics.late(t.Provider, by)
	w.Log.InfoContext(ctx, "the provider was late", "provider", t.Provider, "tenant", t.Tenant,
		"subject", t.Subject, "resource", t.Resource, "seconds", by.Seconds())
	id := events.ChangeID(t.Home, fmt.Sprintf("late:%s:%s:%s", t.Subject, t.Resource, r.Version))
	w.lateBy(t, r, by, id)
	if w.Changes == nil {
		return
	}
	c := events.Change{
		ID:   id,
		Home: t.Home, Source: events.Sweep, Tags: []events.Tag{events.SubjectTag(t.Subject)}, Received: time.Now().UTC(),
	}
	if _, err := w.Changes.Publish(ctx, c); err != nil {
		w.Log.WarnContext(ctx, "correction not published", "change_id", c.ID, "error", err) // the entry itself is right
	}
}
