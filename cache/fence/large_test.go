package fence_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

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
		chunk := fence.Chunk
		if w.db.Mini != nil {
			chunk = 50 // it is slow
		}
		w.Store = w.Bounded(chunk, 200_000)
		n := 3*chunk + chunk/2
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
