package fence_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// contents is all that Redis holds, as text.
func (w *world) contents() map[string]string {
	w.t.Helper()
	keys, err := w.db.Keys(w.ctx, "*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for _, k := range keys {
		if w.db.Type(w.ctx, k).Val() == "hash" {
			all[k] = fmt.Sprint(w.db.HGetAll(w.ctx, k).Val())
			continue
		}
		all[k] = fmt.Sprint(w.db.ZRangeWithScores(w.ctx, k, 0, -1).Val())
	}
	return all
}

// unwritten fails if a look has written something.
func (w *world) unwritten(look func()) {
	w.t.Helper()
	before := w.contents()
	look()
	if diff := cmp.Diff(before, w.contents()); diff != "" {
		w.t.Errorf("the look has written (-before +after):\n%s", diff)
	}
}

func (w *world) glance(watch ...events.Tag) (g fence.Glance) {
	w.t.Helper()
	w.unwritten(func() {
		var err error
		if g, err = w.Glance(w.ctx, home, watch...); err != nil {
			w.t.Fatal(err)
		}
	})
	return g
}

// reach lists what stands under the tags by name.
func (w *world) reach(tags ...events.Tag) (names []string) {
	w.t.Helper()
	w.unwritten(func() {
		r, err := w.Reach(w.ctx, home, tags...)
		if err != nil || r.Cut {
			w.t.Fatalf("cut %v, %v", r.Cut, err)
		}
		for _, s := range r.Standing {
			names = append(names, strings.TrimSuffix(string(s.Subject)+"/"+string(s.Resource), "/"))
			if left := s.Until.Sub(r.Clock); left <= 0 || left > time.Minute {
				w.t.Errorf("%s ends in %s", s.Ref, left)
			}
		}
	})
	return names
}

func TestGlanceShowsTheFence(t *testing.T) {
	each(t, func(w *world) {
		subject, role := events.SubjectTag("42"), events.RoleTag("7")
		if g := w.glance(subject); g.Stamp != (cache.Stamp{}) || g.Needs(subject) != 0 {
			t.Errorf("without a fence: %+v", g)
		}
		w.store("41")
		number := w.invalidate(subject).Number
		lease := w.lease(cache.EntryName(ref("43")))
		g := w.glance(subject, role)
		if g.Stamp != lease.Stamp {
			t.Errorf("stamp %+v, want that of the last begin %+v", g.Stamp, lease.Stamp)
		}
		if got := g.Needs(subject); got != number {
			t.Errorf("needs %s, want the number of the change %s", got, number)
		}
		if got := g.Needs(role); got != 0 {
			t.Errorf("needs %s of what never changed", got)
		}
		if g := w.glance(); g.Stamp != lease.Stamp {
			t.Errorf("without tags: %+v", g)
		}
	})
}

func TestReachListsWhatIsAlive(t *testing.T) {
	each(t, func(w *world) {
		role, group := events.RoleTag("7"), events.GroupTag("9")
		for _, s := range []string{"44", "42", "43", "45"} {
			w.store(s, role, group)
		}
		w.store("50", group)
		part := w.lease(cache.PartName("role:7"))
		w.commit(part, fence.Fill{Fields: []string{"data", "x"}, Tags: []events.Tag{role}, Life: time.Minute})
		r := events.Ref{Home: home, Subject: "42", Resource: "folder:11"}
		if o := w.commit(w.lease(cache.EntryName(r)), fill(role)); !o.Stored {
			t.Fatalf("%+v", o)
		}
		w.invalidate(events.SubjectTag("43"))
		w.del(w.keys.Entry(ref("44")))
		if diff := cmp.Diff([]string{"42", "42/folder:11", "45"}, w.reach(role, role)); diff != "" {
			t.Errorf("role (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"42", "42/folder:11", "45", "50"}, w.reach(role, group)); diff != "" {
			t.Errorf("role and group (-want +got):\n%s", diff)
		}
		if got := w.reach(events.RoleTag("8")); got != nil {
			t.Errorf("under a tag of nobody: %q", got)
		}
		if got := w.reach(); got != nil {
			t.Errorf("under no tag: %q", got)
		}
	})
}

// Many end at the same instant: pages must neither stop nor turn in a circle.
func TestReachOfMany(t *testing.T) {
	each(t, func(w *world) {
		const many = 2500
		now := time.Now()
		p := w.db.Pipeline()
		for i := range many {
			r := ref(strconv.Itoa(10_000 + i))
			until := now.Add(30 * time.Second)
			if i%3 == 0 {
				until = until.Add(time.Duration(i) * time.Millisecond)
			}
			p.ZAdd(w.ctx, w.keys.Index(home, events.RoleTag("7")),
				redis.Z{Score: float64(until.UnixMilli()), Member: string(cache.EntryName(r))})
			p.HSet(w.ctx, w.keys.Entry(r), "_until", until.UnixMilli())
			p.PExpire(w.ctx, w.keys.Entry(r), 30*time.Second)
		}
		if _, err := p.Exec(w.ctx); err != nil {
			t.Fatal(err)
		}
		names := w.reach(events.RoleTag("7"))
		if len(names) != many || names[0] != "10000" || !slices.IsSorted(names) {
			t.Errorf("%d names, want %d in order", len(names), many)
		}
	})
}

func TestTagsOfAnEntry(t *testing.T) {
	each(t, func(w *world) {
		for i := range 1100 {
			w.store(strconv.Itoa(1000+i), events.RoleTag("8"))
		}
		w.store("42", events.RoleTag("7"), events.GroupTag("a:b"), events.AppTag)
		w.unwritten(func() {
			tags, err := w.Tags(w.ctx, ref("42"))
			want := []events.Tag{
				events.AppTag, events.GroupTag("a:b"), events.RoleTag("7"), events.SubjectTag("42"), events.TenantTag,
			}
			if diff := cmp.Diff(want, tags); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
		if tags, err := w.Tags(w.ctx, ref("43")); tags != nil || err != nil {
			t.Errorf("of nothing: %v, %v", tags, err)
		}
	})
}

func TestPeekReadsAnEntry(t *testing.T) {
	each(t, func(w *world) {
		o := w.store("42")
		w.unwritten(func() {
			fields, clock, err := w.Peek(w.ctx, ref("42"))
			if err != nil || fields["_version"] != o.Version.String() || o.Until.Sub(clock) > time.Minute {
				t.Errorf("%v at %s, %v", fields, clock, err)
			}
			if fields, _, err := w.Peek(w.ctx, ref("43")); len(fields) > 0 || err != nil {
				t.Errorf("of nothing: %v, %v", fields, err)
			}
		})
	})
}

// Whoever asks what stands must not keep it alive.
func TestReachIsNoReader(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	w.store("42")
	idle := func() time.Duration { return w.db.ObjectIdleTime(w.ctx, w.keys.Entry(ref("42"))).Val() }
	for end := time.Now().Add(20 * time.Second); idle() < 2*time.Second; <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never idle")
		}
	}
	r, err := w.Reach(w.ctx, home, events.SubjectTag("42"))
	if err != nil || len(r.Standing) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := idle(); got < 2*time.Second {
		t.Errorf("idle for %s after it: it counted as a reader", got)
	}
	if s := r.Standing[0]; s.Told && s.Idle < 2*time.Second {
		t.Errorf("it is told to be idle for %s", s.Idle)
	}
}

// quiet gives a stand-in what Redis has since 7.2, and notes what is read aloud.
type quiet struct {
	mu    sync.Mutex
	on    map[*server.Peer]bool
	aloud []string
}

func (q *quiet) hear(c *server.Peer, cmd string, args ...string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case cmd == "CLIENT" && len(args) == 2 && strings.EqualFold(args[0], "no-touch"):
		q.on[c] = strings.EqualFold(args[1], "on")
		c.WriteOK()
		return true
	case strings.HasPrefix(cmd, "H") && cmd != "HELLO" && !q.on[c]:
		q.aloud = append(q.aloud, cmd)
	}
	return false
}

func (q *quiet) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.aloud = nil
}

func TestWhereRedisCanIsReadQuietly(t *testing.T) {
	t.Parallel()
	db := cachetest.StandIn(t)
	q := &quiet{on: map[*server.Peer]bool{}}
	db.Mini.Server().SetPreHook(q.hear)
	w := open(t, db)
	o := w.store("42", events.RoleTag("7"))
	q.forget()
	if _, _, err := w.Peek(w.ctx, ref("42")); err != nil {
		t.Fatal(err)
	}
	r, err := w.Reach(w.ctx, home, events.RoleTag("7"))
	if err != nil || len(r.Standing) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	s := r.Standing[0]
	if !s.Told || s.Basis != "test" || s.Stored.IsZero() || s.Stored.After(o.Until) {
		t.Errorf("%+v", s)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, still := range q.on {
		if still {
			t.Error("a connection was left that counts as no reader")
		}
	}
	if len(q.on) == 0 || len(q.aloud) > 0 {
		t.Errorf("%d connections, read aloud: %q", len(q.on), q.aloud)
	}
}
