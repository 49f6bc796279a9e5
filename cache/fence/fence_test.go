package fence_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

// world is a store with the words the tests speak.
type world struct {
	t  *testing.T
	db cachetest.DB
	*fence.Store
	keys cache.Keys
	ctx  context.Context
}

func open(t *testing.T, db cachetest.DB) *world {
	t.Helper()
	s, err := fence.Open(t.Context(), db, cache.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, db: db, Store: s, ctx: t.Context()}
}

func each(t *testing.T, test func(w *world)) {
	t.Helper()
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) { test(open(t, db)) })
}

func ref(subject string) events.Ref { return events.Ref{Home: home, Subject: events.Subject(subject)} }

func (w *world) begin(n cache.Name, want fence.Want) fence.Begun {
	w.t.Helper()
	b, err := w.Begin(w.ctx, home, n, want)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// lease begins a fetch that must be granted.
func (w *world) lease(n cache.Name) *fence.Lease {
	w.t.Helper()
	b := w.begin(n, fence.Want{Now: true})
	if b.Lease == nil {
		w.t.Fatalf("begin %s: no lease: %+v", n, b)
	}
	return b.Lease
}

func fill(tags ...events.Tag) fence.Fill {
	return fence.Fill{
		Fields: []string{"_covers", "permission", "_basis", "test", "permission/Read", "*"},
		Tags:   tags, Life: time.Minute,
	}
}

func (w *world) commit(l *fence.Lease, f fence.Fill) fence.Outcome {
	w.t.Helper()
	o, err := w.Commit(w.ctx, l, f)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) invalidate(tags ...events.Tag) fence.Invalidated {
	w.t.Helper()
	in, err := w.Invalidate(w.ctx, home, tags...)
	if err != nil {
		w.t.Fatal(err)
	}
	return in
}

// store fetches and commits an entry that must be accepted.
func (w *world) store(subject string, tags ...events.Tag) fence.Outcome {
	w.t.Helper()
	tags = append([]events.Tag{events.SubjectTag(events.Subject(subject))}, tags...)
	o := w.commit(w.lease(cache.EntryName(ref(subject))), fill(tags...))
	if !o.Stored {
		w.t.Fatalf("store %s: %+v", subject, o)
	}
	return o
}

func (w *world) exists(key string) bool {
	w.t.Helper()
	n, err := w.db.Exists(w.ctx, key).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	return n == 1
}

func (w *world) alive(subject string) bool { return w.exists(w.keys.Entry(ref(subject))) }

func (w *world) del(key string) {
	w.t.Helper()
	if err := w.db.Del(w.ctx, key).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func TestFill(t *testing.T) {
	each(t, func(w *world) {
		o := w.store("42", events.RoleTag("7"))
		got, err := w.db.HGetAll(w.ctx, w.keys.Entry(ref("42"))).Result()
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := cache.Decode(got)
		if err != nil {
			w.t.Fatal(err)
		}
		if e.Version != o.Version || !e.Until.Equal(o.Until) || !e.AsOf.Equal(o.AsOf) || e.Basis != "test" {
			w.t.Errorf("entry %+v, outcome %+v", e, o)
		}
		if got := e.Until.Sub(e.AsOf); got != time.Minute {
			w.t.Errorf("life %s, want 1m", got)
		}
		if e.Judge(e.AsOf, "permission/Read") != cache.Granted || e.Judge(e.AsOf, "permission/Write") != cache.Denied {
			w.t.Errorf("judged wrong: %+v", e)
		}
		ttl := w.db.PTTL(w.ctx, w.keys.Entry(ref("42"))).Val()
		if ttl > time.Minute || ttl < 50*time.Second {
			w.t.Errorf("key expires in %s", ttl)
		}
		if w.exists(w.keys.Lease(home, cache.EntryName(ref("42")))) {
			w.t.Error("the lease is still there")
		}
	})
}

func TestFillRefusedAfterInvalidationOf(t *testing.T) {
	tags := map[string]events.Tag{
		"a role":      events.RoleTag("7"),
		"the subject": events.SubjectTag("42"),
		"the tenant":  events.TenantTag,
		"the app":     events.AppTag,
	}
	each(t, func(w *world) {
		for name, tag := range tags {
			l := w.lease(cache.EntryName(ref("42")))
			w.invalidate(tag)
			o := w.commit(l, fill(events.SubjectTag("42"), events.RoleTag("7"), events.AppTag))
			if o.Stored || o.Refused != "tag "+tag.String() {
				w.t.Errorf("%s: got %+v", name, o)
			}
			if w.alive("42") || w.exists(w.keys.Lease(home, l.Name)) {
				w.t.Errorf("%s: the refusal left an entry or its lease", name)
			}
			if again := w.store("42", tag); again.Version <= o.Version {
				w.t.Errorf("%s: version %d after %d", name, again.Version, o.Version)
			}
			w.del(w.keys.Entry(ref("42")))
		}
		l := w.lease(cache.EntryName(ref("42")))
		w.invalidate(events.RoleTag("8"), events.SubjectTag("43"))
		if o := w.commit(l, fill(events.RoleTag("7"))); !o.Stored {
			w.t.Errorf("refused because of other tags: %+v", o)
		}
	})
}

func TestParts(t *testing.T) {
	part := cache.PartName("role:7")
	store := func(w *world) fence.Used {
		l := w.lease(part)
		o := w.commit(l, fence.Fill{Fields: []string{"data", "x"}, Tags: []events.Tag{events.RoleTag("7")}, Life: time.Minute})
		if !o.Stored {
			w.t.Fatalf("store part: %+v", o)
		}
		return fence.Used{Name: "role:7", Stamp: l.Stamp, Tags: []events.Tag{events.RoleTag("7")}}
	}
	each(t, func(w *world) {
		used := store(w)
		if b := w.begin(part, fence.Want{}); b.Live["data"] != "x" {
			w.t.Errorf("part is not live: %+v", b)
		}
		f := fill(events.SubjectTag("42"))
		f.Used = []fence.Used{used}
		l := w.lease(cache.EntryName(ref("42")))
		o := w.commit(l, f)
		if !o.Stored || o.Version != used.Stamp.Number {
			w.t.Errorf("version %d, want the part's %d (%+v)", o.Version, used.Stamp.Number, o)
		}

		// The role changes after the part was read and before the entry's
		// fetch began: the number that counts is the part's.
		w.invalidate(events.RoleTag("7"))
		if w.alive("42") || w.exists(w.keys.Named(home, part)) {
			w.t.Error("entry or part survived")
		}
		l = w.lease(cache.EntryName(ref("42")))
		if o := w.commit(l, f); o.Refused != "tag role:7" || o.Thing != "role:7" {
			w.t.Errorf("stale part: got %+v", o)
		}
		w.invalidate(events.TenantTag)
		l = w.lease(cache.EntryName(ref("42")))
		if o := w.commit(l, f); o.Stored {
			w.t.Errorf("part older than the tenant's change: got %+v", o)
		}
		f.Used[0] = store(w)
		f.Tags = append(f.Tags, events.RoleTag("7"))
		if o := w.commit(w.lease(l.Name), f); !o.Stored {
			w.t.Errorf("fresh part: got %+v", o)
		}
	})
}

func TestRefusedPartIsUnlinked(t *testing.T) {
	each(t, func(w *world) {
		part := cache.PartName("token:service")
		l := w.lease(part)
		w.commit(l, fence.Fill{Fields: []string{"data", "x"}, Life: time.Minute})
		f := fill(events.SubjectTag("42"))
		f.Used = []fence.Used{{Name: "token:service", Stamp: l.Stamp, Tags: []events.Tag{events.AppTag}}}
		w.invalidate(events.AppTag) // the part does not list it, the use does
		if o := w.commit(w.lease(cache.EntryName(ref("42"))), f); o.Thing != "token:service" || o.Stored {
			w.t.Errorf("got %+v", o)
		}
		if w.exists(w.keys.Named(home, part)) {
			w.t.Error("the refused part is still there")
		}
	})
}

func TestLease(t *testing.T) {
	name := cache.EntryName(ref("42"))
	each(t, func(w *world) {
		first := w.lease(name)
		if b := w.begin(name, fence.Want{}); b.Lease != nil || b.Live != nil || !b.Other.Equal(first.AsOf) {
			w.t.Errorf("a second begin got %+v", b)
		}
		key := w.keys.Lease(home, name)

		w.del(key) // lost
		if o := w.commit(first, fill()); o.Refused != "lease" {
			w.t.Errorf("lost lease: %+v", o)
		}
		second := w.lease(name) // taken over
		if o := w.commit(first, fill()); o.Refused != "lease" {
			w.t.Errorf("lease taken over: %+v", o)
		}
		if o := w.commit(second, fill()); !o.Stored {
			w.t.Errorf("the new holder: %+v", o)
		}
		if o := w.commit(second, fill()); o.Refused != "lease" {
			w.t.Errorf("the same lease twice: %+v", o)
		}
		third := w.lease(name) // void: more life left than a lease has
		w.db.PExpire(w.ctx, key, time.Hour)
		if o := w.commit(third, fill()); o.Refused != "lease" {
			w.t.Errorf("void lease: %+v", o)
		}
		w.lease(name)
		w.db.PExpire(w.ctx, key, time.Hour)
		w.lease(name) // a void one hinders nobody
		w.del(key)

		if err := w.Release(w.ctx, w.lease(name)); err != nil {
			w.t.Error(err)
		}
		if w.exists(key) {
			w.t.Error("released, and still there")
		}
		fourth := w.lease(name)
		if err := w.Release(w.ctx, third); err != nil || !w.exists(key) {
			w.t.Errorf("released another's lease (%v)", err)
		}
		_ = fourth
	})
}

// A begin that is sent again because its reply was lost gets its own lease.
func TestLeaseOfARepeatedBegin(t *testing.T) {
	each(t, func(w *world) {
		repeat := &repeater{}
		switch db := w.db.UniversalClient.(type) {
		case *redis.Client:
			db.AddHook(repeat)
		case *redis.ClusterClient:
			db.AddHook(repeat)
		}
		w.store("41") // the fence's making is repeated too
		l := w.lease("e:42")
		if repeat.n == 0 {
			w.t.Fatal("nothing was repeated")
		}
		if o := w.commit(l, fill()); !o.Stored {
			w.t.Errorf("got %+v", o)
		}
	})
}

// repeater sends every script that takes three keys, hence every begin, twice.
type repeater struct {
	redis.Hook
	n int
}

func (r *repeater) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *repeater) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *repeater) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "evalsha" && args[2] == 3 && r.n < 2 {
			r.n++
			if err := next(ctx, redis.NewCmd(ctx, args...)); err != nil {
				return err
			}
		}
		return next(ctx, cmd)
	}
}

func TestLeaseExpires(t *testing.T) {
	db := cachetest.StandIn(t)
	w := open(t, db)
	l := w.lease("e:42")
	db.Mini.FastForward(fence.LeaseLife + time.Millisecond)
	if o := w.commit(l, fill()); o.Refused != "lease" {
		t.Errorf("got %+v", o)
	}
	w.lease("e:42")
}

func TestLevels(t *testing.T) {
	each(t, func(w *world) {
		name := cache.EntryName(ref("42"))
		o := w.store("42")
		if b := w.begin(name, fence.Want{}); b.Live == nil {
			w.t.Errorf("a live entry did not satisfy: %+v", b)
		}
		if b := w.begin(name, fence.Want{Version: o.Version}); b.Live == nil {
			w.t.Errorf("its own version did not satisfy: %+v", b)
		}
		if b := w.begin(name, fence.Want{After: o.AsOf.Add(-time.Millisecond)}); b.Live == nil {
			w.t.Errorf("an older as-of did not satisfy: %+v", b)
		}
		for what, want := range map[string]fence.Want{
			"now": {Now: true}, "as-of": {After: o.AsOf}, "a version to come": {Version: o.Version + 1e12},
		} {
			b := w.begin(name, want)
			if b.Lease == nil {
				w.t.Fatalf("%s: satisfied by an entry that is too old: %+v", what, b)
			}
			if err := w.Release(w.ctx, b.Lease); err != nil {
				w.t.Fatal(err)
			}
		}
	})
}

func TestFenceLost(t *testing.T) {
	each(t, func(w *world) {
		w.store("41")
		l := w.lease(cache.EntryName(ref("42")))
		w.del(w.keys.Fence(home))
		if o := w.commit(l, fill()); o.Refused != "fence" {
			w.t.Errorf("no fence: %+v", o)
		}
		b := w.begin(cache.EntryName(ref("43")), fence.Want{})
		if !b.Drained || w.alive("41") {
			w.t.Errorf("the tenant was not drained: %+v", b)
		}
		if b.Lease == nil {
			w.t.Fatalf("no lease: %+v", b)
		}
		if o := w.commit(b.Lease, fill()); !o.Stored {
			w.t.Errorf("after the drain: %+v", o)
		}

		w.store("41")
		w.del(w.keys.Fence(home))
		in := w.invalidate(events.SubjectTag("nobody"))
		if !in.Drained || w.alive("41") || w.alive("43") {
			w.t.Errorf("invalidation over a lost fence: %+v", in)
		}
	})
}

func TestFenceMadeAnew(t *testing.T) {
	each(t, func(w *world) {
		l := w.lease(cache.EntryName(ref("42")))
		w.del(w.keys.Fence(home))
		w.invalidate(events.SubjectTag("nobody")) // makes another
		if o := w.commit(l, fill()); o.Refused != "fence" {
			w.t.Errorf("a lease of the old fence: %+v", o)
		}
		l = w.lease(cache.EntryName(ref("42")))
		f := fill()
		f.Used = []fence.Used{{Name: "token:x", Stamp: cache.Stamp{Number: l.Stamp.Number, Fence: l.Stamp.Fence + 1}}}
		if o := w.commit(l, f); o.Refused != "fence" || o.Thing != "token:x" {
			w.t.Errorf("a part of another fence: %+v", o)
		}
	})
}

func TestFencePruned(t *testing.T) {
	db := cachetest.StandIn(t)
	w := open(t, db)
	start := time.Now()
	at := func(d time.Duration) { db.Mini.SetTime(start.Add(d)) }
	at(0)
	old := w.lease("e:42")
	w.invalidate(events.RoleTag("7"))
	w.invalidate(events.RoleTag("8"))
	at(fence.Window + time.Minute)
	w.invalidate(events.RoleTag("9")) // prunes 7 and 8
	members, err := db.ZRange(t.Context(), w.keys.Fence(home), 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(members, "t:role:7") || !slices.Contains(members, "t:role:9") {
		t.Errorf("fence holds %q", members)
	}
	// The stamp that would have refused it is forgotten; the floor is not.
	if o := w.commit(old, fill(events.RoleTag("7"))); o.Refused != "floor" {
		t.Errorf("got %+v", o)
	}
	f := fill()
	l := w.lease("e:42")
	f.Used = []fence.Used{{Name: "role:7", Stamp: old.Stamp}}
	if o := w.commit(l, f); o.Refused != "floor" || o.Thing != "role:7" {
		t.Errorf("a part below the floor: %+v", o)
	}
}

func TestConfirmed(t *testing.T) {
	db := cachetest.StandIn(t)
	w := open(t, db)
	start := time.Now()
	at := func(d time.Duration) { db.Mini.SetTime(start.Add(d)) }
	at(0)
	w.invalidate(events.RoleTag("7"))
	at(cache.Settled - time.Second)
	if o := w.store("42", events.RoleTag("7")); o.Confirmed {
		t.Error("confirmed too early")
	}
	at(cache.Settled + time.Second)
	if o := w.store("42", events.RoleTag("7")); !o.Confirmed {
		t.Error("not confirmed though settled")
	}
}

func TestDeadlines(t *testing.T) {
	each(t, func(w *world) {
		name := cache.EntryName(ref("42"))
		for life, ok := range map[time.Duration]bool{
			cache.Ceiling: true, cache.Ceiling + time.Millisecond: false, 0: false, cache.MinLife: true,
		} {
			l := w.lease(name)
			f := fill()
			f.Life = life
			o, err := w.Commit(w.ctx, l, f)
			if (err == nil) != ok || o.Stored != ok {
				w.t.Errorf("life %s: stored %v, error %v", life, o.Stored, err)
			}
			if err := w.Release(w.ctx, l); err != nil {
				w.t.Fatal(err)
			}
		}
		l := w.lease(name)
		f := fill()
		f.Limit = l.AsOf.Add(17 * time.Second)
		if o := w.commit(l, f); o.Until != f.Limit.Truncate(time.Millisecond) {
			w.t.Errorf("until %s, want the limit %s", o.Until, f.Limit)
		}
		w.del(w.keys.Entry(ref("42")))
		l = w.lease(name)
		f.Limit = l.AsOf.Add(-time.Second)
		if o := w.commit(l, f); !o.Late || o.Stored || w.alive("42") {
			w.t.Errorf("a life that is over: %+v", o)
		}
	})
}

// longestBlock measures, by the server's own clock, how long one call keeps it
// busy at most. The stand-in cannot tell.
func (w *world) longestBlock() func() time.Duration {
	w.t.Helper()
	if w.db.Mini != nil {
		return func() time.Duration { return 0 }
	}
	for name, value := range map[string]string{"slowlog-log-slower-than": "0", "slowlog-max-len": "10000"} {
		if err := w.db.ConfigSet(w.ctx, name, value).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
	return func() (longest time.Duration) {
		logs, err := w.db.SlowLogGet(w.ctx, 10000).Result()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, l := range logs {
			if strings.EqualFold(l.Args[0], "evalsha") {
				longest = max(longest, l.Duration)
			}
		}
		if longest == 0 {
			w.t.Error("no call was measured")
		}
		return longest
	}
}

func TestLargeTag(t *testing.T) {
	each(t, func(w *world) {
		const n = 1700
		for i := range n {
			w.store(fmt.Sprint(i), events.RoleTag("7"))
		}
		w.store("other")
		longest := w.longestBlock()
		in := w.invalidate(events.RoleTag("7"))
		w.t.Logf("%d names, longest block %s", n, longest())
		if len(in.Alive) != n {
			w.t.Errorf("%d were alive, want %d", len(in.Alive), n)
		}
		for _, a := range in.Alive {
			if a.Until.IsZero() || w.exists(w.keys.Entry(a.Ref)) {
				w.t.Fatalf("%+v is still there, or had no deadline", a)
			}
		}
		if !w.alive("other") {
			w.t.Error("an entry without the tag went too")
		}
		again := w.invalidate(events.RoleTag("7"))
		if len(again.Alive) != 0 || again.Number <= in.Number || !w.alive("other") {
			w.t.Errorf("replayed: %d alive, number %d after %d", len(again.Alive), again.Number, in.Number)
		}
	})
}

func TestManyTagsInOneChange(t *testing.T) {
	each(t, func(w *world) {
		w.store("9999")
		tags := make([]events.Tag, 10_000)
		for i := range tags {
			tags[i] = events.SubjectTag(events.Subject(fmt.Sprint(i)))
		}
		if in := w.invalidate(tags...); len(in.Alive) != 1 || w.alive("9999") {
			w.t.Errorf("got %d alive", len(in.Alive))
		}
	})
}

func TestNastyNames(t *testing.T) {
	nasty := []string{
		"fence", "f", "e:f", ":", "{x}", "%3A", "a:b{c}%", "line\nbreak", "\x00", "ünï", "*", "> .", "changed",
		strings.Repeat("x", events.MaxID),
	}
	each(t, func(w *world) {
		for i, s := range nasty {
			w.store(s, events.RoleTag(s))
			r := ref(s)
			r.Resource = events.Resource(nasty[len(nasty)-1-i])
			if o := w.commit(w.lease(cache.EntryName(r)), fill(events.SubjectTag(r.Subject))); !o.Stored {
				w.t.Errorf("%q: %+v", s, o)
			}
		}
		for _, s := range nasty {
			in := w.invalidate(events.SubjectTag(events.Subject(s)))
			if len(in.Alive) != 2 {
				w.t.Errorf("%q: %d entries alive, want 2", s, len(in.Alive))
			}
			for _, a := range in.Alive {
				if a.Subject != events.Subject(s) {
					w.t.Errorf("%q came back as %q", s, a.Subject)
				}
			}
		}
		if in := w.invalidate(events.TenantTag); len(in.Alive) != 0 || in.Drained {
			w.t.Errorf("something was left: %+v", in)
		}
	})
}

func TestIndexLost(t *testing.T) {
	each(t, func(w *world) {
		for _, lost := range []events.Tag{events.RoleTag("7"), events.SubjectTag("42"), events.TenantTag} {
			w.store("42", events.RoleTag("7"))
			w.store("43")
			w.del(w.keys.Index(home, lost))
			if in := w.invalidate(lost); !in.Drained || w.alive("42") {
				w.t.Errorf("%s: %+v, alive %v", lost, in, w.alive("42"))
			}
			w.store("42", events.RoleTag("7"))

			// A commit notices too: what the lost index listed must not hide
			// behind the new one.
			w.store("43", lost)
			w.del(w.keys.Index(home, lost))
			o := w.commit(w.lease(cache.EntryName(ref("44"))), fill(lost))
			if o.Refused != "index "+lost.String() || w.alive("42") {
				w.t.Errorf("%s: commit over a lost index: %+v", lost, o)
			}
			w.store("44", lost)
		}
	})
}

func TestPublished(t *testing.T) {
	each(t, func(w *world) {
		sub := w.db.Subscribe(w.ctx, w.keys.Changed(home))
		defer sub.Close()
		if _, err := sub.Receive(w.ctx); err != nil {
			w.t.Fatal(err)
		}
		next := func() string {
			w.t.Helper()
			m, err := sub.ReceiveMessage(w.ctx)
			if err != nil {
				w.t.Fatal(err)
			}
			return m.Payload
		}
		w.store("42")
		want := w.keys.Entry(ref("42"))
		if got := next(); got != want {
			w.t.Errorf("commit published %q, want %q", got, want)
		}
		w.invalidate(events.SubjectTag("42"))
		if got := next(); got != want {
			w.t.Errorf("invalidate published %q, want %q", got, want)
		}
	})
}

func TestFullMemory(t *testing.T) {
	db := cachetest.Redis(t)
	w := open(t, db)
	w.store("42", events.RoleTag("7"))
	w.lease("e:43")
	if err := db.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if !w.OOMSafe() {
		t.Error("a real Redis must take script headers")
	}
	l := w.lease("e:44")
	if o, err := w.Commit(t.Context(), l, fill(events.RoleTag("7"))); err == nil {
		t.Errorf("a commit at full memory: %+v", o)
	}
	if in := w.invalidate(events.RoleTag("7")); len(in.Alive) != 1 || w.alive("42") {
		t.Errorf("an invalidation at full memory: %+v", in)
	}
	db.ConfigSet(t.Context(), "maxmemory", "0")
	if o := w.commit(l, fill(events.RoleTag("7"))); o.Refused != "tag role:7" {
		t.Errorf("the stamp set at full memory did not hold: %+v", o)
	}
}

func TestCheckServer(t *testing.T) {
	db := cachetest.Redis(t)
	if err := fence.CheckServer(t.Context(), db); err != nil {
		t.Errorf("a redis as promised: %v", err)
	}
	for name, value := range map[string]string{
		"maxmemory-policy": "allkeys-lru", "save": "60 1", "appendonly": "yes",
	} {
		old := db.ConfigGet(t.Context(), name).Val()[name]
		if err := db.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
		err := fence.CheckServer(t.Context(), db)
		if !errors.Is(err, fence.ErrPolicy) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s = %s: got %v", name, value, err)
		}
		db.ConfigSet(t.Context(), name, old)
	}
	if err := fence.CheckServer(t.Context(), cachetest.Cluster(t)); err != nil {
		t.Errorf("a cluster as promised: %v", err)
	}
	if err := fence.CheckServer(t.Context(), cachetest.StandIn(t)); err == nil {
		t.Error("a stand-in passed for a redis as promised")
	}
}
