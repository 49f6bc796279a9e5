package fence_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

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
	return &world{t: t, db: db, Store: openStore(t, db), ctx: t.Context()}
}

func openStore(t testing.TB, db cachetest.DB) *fence.Store {
	t.Helper()
	s, err := fence.Open(context.Background(), db.UniversalClient, cache.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	return s
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
		if e.Judge(e.AsOf, "permission/Read") != cache.Granted ||
			e.Judge(e.AsOf, "permission/Write") != cache.Denied {
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
		o := w.commit(l, fence.Fill{
			Fields: []string{"data", "x"}, Tags: []events.Tag{events.RoleTag("7")}, Life: time.Minute,
		})
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
