package fence_test

import (
	"testing"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// Until the drain that a new fence needs is done, on the very primary that has
// the fence, what the copy holds is nobody's answer.

func TestBeginHandsOutNothingWhileTheDrainIsOwed(t *testing.T) {
	t.Parallel()
	p, r := pair(t)
	p.store("42")
	eventually(t, "the replica's copy", func() bool { return r.alive("42") })
	r.promote()
	p.invalidate(events.SubjectTag("42")) // the copy never sees it
	meanwhile := &before{script: 2, do: func() {
		if b := r.begin(cache.EntryName(ref("42")), fence.Want{}); b.Live != nil {
			t.Errorf("a change was applied, and begin hands out %v", b.Live)
		}
	}}
	slow := interrupted(t, r.db.Addr, meanwhile)
	_, err := slow.Begin(t.Context(), home, cache.EntryName(ref("43")), fence.Want{})
	if err != nil || meanwhile.ran < 2 {
		t.Fatalf("%v after %d scripts", err, meanwhile.ran)
	}
}

// The primary is replaced at any point of a drain; the worker goes on at the
// new one, which owes a drain of its own.
func TestADrainDoesNotVouchForAnotherPrimary(t *testing.T) {
	t.Parallel()
	for script, done := 2, false; !done; script++ {
		s := twin(t)
		w := open(t, s.DB)
		for _, subject := range []string{"1", "2", "3", "4", "42"} {
			w.store(subject)
		}
		if err := s.copy.detach(); err != nil {
			t.Fatal(err)
		}
		w.invalidate(events.SubjectTag("42")) // the copy never sees it
		w.del(w.keys.Fence(home))             // so that the primary is drained
		failover := &before{script: script, do: func() {
			if err := s.copy.promote(); err != nil {
				t.Error(err)
			}
		}}
		slow := interrupted(t, s.Addr, failover).Bounded(2, 1000)
		if _, err := slow.Invalidate(t.Context(), home, events.RoleTag("7")); err != nil {
			t.Fatal(err)
		}
		if done = failover.ran < script; done {
			continue // it never came to the failover
		}
		if err := w.Recover(w.ctx, nil); err != nil {
			t.Fatal(err)
		}
		if w.alive("42") {
			t.Errorf("failover before script %d of %d: recovered, and still there", script, failover.ran)
		}
	}
}
