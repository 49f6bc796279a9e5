package fence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// The cap of the fence, and what becomes of numbers when the clock is set back.

// manyTags are tags of subjects, numbered from first on.
func manyTags(first, n int) []events.Tag {
	tags := make([]events.Tag, n)
	for i := range tags {
		tags[i] = events.SubjectTag(events.Subject(fmt.Sprint(first + i)))
	}
	return tags
}

func (w *world) score(member string) float64 {
	w.t.Helper()
	f, err := w.db.ZScore(w.ctx, w.keys.Fence(home), member).Result()
	if err != nil {
		w.t.Fatalf("%s of the fence: %v", member, err)
	}
	return f
}

func TestTheCapHolds(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	const most = 500
	w.Store = w.Bounded(fence.Chunk, most)
	under := w.lease(cache.EntryName(ref("fetch")))
	floor := w.score("f")
	for i := range 4 {
		w.invalidate(manyTags(1500*i, 1500)...)
		members, err := w.db.ZCard(w.ctx, w.keys.Fence(home)).Result()
		if err != nil || members > most+fence.Chunk {
			t.Fatalf("%d members after %d tags, the cap is %d (%v)", members, 1500*(i+1), most, err)
		}
		if now := w.score("f"); now <= floor {
			t.Errorf("stamps were forgotten, and the floor is still %.0f", now)
		} else {
			floor = now
		}
	}
	if floor > w.score("n") {
		t.Error("the floor is above the last number")
	}
	if o := w.commit(under, fill(events.SubjectTag("0"))); o.Refused != "floor" {
		t.Errorf("a fetch from before what was forgotten: %+v", o)
	}
	w.store("0") // a fetch from after it
}

// What is listed is not what the cap is for: a tenant with more live entries
// than that still stores, whatever else changes.
func TestLiveIndexesAreNotPruned(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	const most, entries = 50, 150
	w.Store = w.Bounded(fence.Chunk, most)
	for i := range entries {
		w.store(fmt.Sprint(i))
	}
	floor := w.score("f")
	for i := range most / 2 {
		l := w.lease(cache.EntryName(ref("fetch")))
		w.invalidate(events.RoleTag(fmt.Sprint(i))) // somebody else's change
		if o := w.commit(l, fill(events.SubjectTag("fetch"))); !o.Stored {
			t.Fatalf("change %d, of another role: %+v", i, o)
		}
	}
	if now := w.score("f"); now != floor {
		t.Errorf("the floor rose from %.0f to %.0f though the stamps are few", floor, now)
	}
	for i := range 2 * most {
		w.invalidate(events.RoleTag(fmt.Sprint(i)))
	}
	for i := range entries {
		if w.score("i:subject:" + fmt.Sprint(i)); !w.alive(fmt.Sprint(i)) {
			t.Fatalf("entry %d is gone", i)
		}
	}
	if in := w.invalidate(events.SubjectTag("7")); len(in.Alive) != 1 || in.Drained {
		t.Errorf("an entry from before the cap was met: %+v", in)
	}
}

// A continuation carries a number that lies above all of a fence that was made
// anew by an earlier clock: it must not stamp with it, or nothing could be
// stored until the clock is there again.
func TestContinuationAboveAFenceOfAnEarlierClock(t *testing.T) {
	db := cachetest.StandIn(t)
	w := open(t, db)
	start := time.Now()
	db.Mini.SetTime(start)
	role := events.RoleTag("7")
	for i := range 5 {
		w.store(fmt.Sprint(i), role)
	}
	meanwhile := &before{script: 2, do: func() {
		db.Mini.SetTime(start.Add(-10 * time.Minute))
		w.del(w.keys.Fence(home))
		w.lease(cache.EntryName(ref("9")))
		for i := range 5 { // so that something remains to be dropped
			w.store(fmt.Sprint(i), role)
		}
	}}
	in, err := interrupted(t, db.Addr, meanwhile).Bounded(2, 1000).Invalidate(t.Context(), home, role)
	if err != nil || meanwhile.ran < 4 {
		t.Fatalf("%v after %d scripts", err, meanwhile.ran)
	}
	for i := range 5 {
		if w.alive(fmt.Sprint(i)) {
			t.Errorf("entry %d survived", i)
		}
	}
	if stamp := w.score("t:role:7"); stamp > w.score("n") {
		t.Errorf("stamped %.0f, above the last number %.0f (%+v)", stamp, w.score("n"), in)
	}
	db.Mini.SetTime(start.Add(-5 * time.Minute))
	w.store("1", role)
}
