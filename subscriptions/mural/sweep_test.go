package mural_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

func TestALongSweepTakesSeveralPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		var ids []string
		for i := range 450 {
			room := int64(openRoom + i%2)
			id, err := s.sim.AddMural(muralsim.Board{RoomID: room, CreatedBy: "u2",
				Members: map[string]muralsim.BoardMember{"u2": {Owner: true}}})
			must(t, err)
			ids = append(ids, id)
		}
		if s.Delay() != 0 {
			t.Errorf("delay is %s before anything was seen", s.Delay())
		}
		began := time.Now()
		tags, cursor := s.sweep(t, nil)
		calls := s.sim.Calls("getMuralUsers")
		if !slices.Equal(tags, []string{"tenant"}) || calls != 454 || time.Since(began) < 450*40*time.Millisecond {
			t.Errorf("%q, %d murals in %s", tags, calls, time.Since(began))
		}
		// 3 polls, each 10 s (11 at most) after the last one; 200 calls are 10 s.
		if d := s.Delay(); d < 3*(11+8)*time.Second || d > 4*(11+13)*time.Second {
			t.Errorf("delay %s", d)
		}
		if other := another(t, s, config()); other.Delay() != 0 {
			t.Errorf("another worker cannot know")
		} else if _, _, _ = other.poll(t, cursor); other.Delay() == 0 {
			t.Error("it does not know from the cursor")
		}
		for _, id := range []string{ids[0], ids[1], ids[449]} {
			must(t, s.sim.SetMuralMember(id, "u3", muralsim.BoardMember{}))
		}
		tags, _ = s.sweep(t, cursor)
		want := []string{"mural:" + ids[0], "mural:" + ids[1], "mural:" + ids[449], "subject:u3"}
		slices.Sort(want)
		if diff := cmp.Diff(want, tags); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A room whose bucket is filled by several polls.
func TestALongSweepOfBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		var ids []string
		for range 250 {
			id, err := s.sim.AddMural(muralsim.Board{RoomID: openRoom, CreatedBy: "u2"})
			must(t, err)
			ids = append(ids, id)
		}
		_, _, cursor := s.poll(t, nil)
		if _, cursor = s.sweep(t, mural.Raised(mural.Raised(cursor))); mural.CursorLevel(cursor) != 2 {
			t.Fatalf("level %d", mural.CursorLevel(cursor))
		}
		for range 2 {
			var tags []string
			if tags, cursor = s.sweep(t, cursor); tags != nil || mural.CursorLevel(cursor) != 2 {
				t.Errorf("nothing has changed, but %q at level %d", tags, mural.CursorLevel(cursor))
			}
		}
		for _, id := range []string{ids[0], ids[249]} {
			must(t, s.sim.SetMuralMember(id, "u3", muralsim.BoardMember{}))
			var tags []string
			if tags, cursor = s.sweep(t, cursor); !slices.Equal(tags, []string{"room:" + open}) {
				t.Errorf("%q", tags)
			}
		}
	})
}

// Names that are too long to be kept: what differs is told all the same, but not
// who.
func TestACursorStaysWithinItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		var last string
		for i := range 250 {
			members := map[string]muralsim.BoardMember{"u2": {Owner: true}}
			for j := range 5 {
				id := fmt.Sprintf("%s%03d%d", strings.Repeat("w", 250), i, j)
				s.sim.PutUser(muralsim.User{ID: id})
				members[id] = muralsim.BoardMember{}
			}
			id, err := s.sim.AddMural(muralsim.Board{RoomID: openRoom, CreatedBy: "u2", Members: members})
			must(t, err)
			last = id
		}
		_, cursor := s.sweep(t, nil)
		if tags, again := s.sweep(t, cursor); tags != nil || len(again) > mural.MaxCursor {
			t.Errorf("nothing has changed, but %q, and a cursor of %d bytes", tags, len(again))
		}
		must(t, s.sim.SetMuralMember(last, "u3", muralsim.BoardMember{}))
		if tags, _ := s.sweep(t, cursor); !slices.Contains(tags, "mural:"+last) || slices.Contains(tags, "tenant") {
			t.Errorf("%q", tags)
		}
	})
}
