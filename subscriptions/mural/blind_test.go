package mural_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

// Published and not kept, then looked at again: the stream must not take what is
// different by then for a repetition.
func TestAnotherStateFromTheSameCursorIsAnotherChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		must(t, s.sim.SetMuralMember(board(12), "u6", muralsim.BoardMember{Owner: true, Facilitator: true}))
		for level := range 3 {
			_, _, cursor := s.poll(t, nil)
			for range level {
				cursor = mural.Raised(cursor)
			}
			must(t, s.sim.SetMuralMember(board(12), "u6", muralsim.BoardMember{Owner: true}))
			_, first, _ := s.poll(t, cursor)
			_, again, _ := s.poll(t, cursor)
			must(t, s.sim.SetMuralMember(board(12), "u6", muralsim.BoardMember{}))
			_, second, _ := s.poll(t, cursor)
			if first.ID != again.ID || first.ID == second.ID || second.ID == "" {
				t.Errorf("level %d: ids %s, %s, then %s", level, first.ID, again.ID, second.ID)
			}
			must(t, s.sim.SetMuralMember(board(12), "u6", muralsim.BoardMember{Owner: true, Facilitator: true}))
		}
	})
}

func TestAPollerOutsideTheWorkspaceProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		blind := func(cursor []byte) {
			t.Helper()
			_, _, err := s.Poll(t.Context(), cursor)
			if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(err.Error(), "poller u2") {
				t.Errorf("a poll that sees nothing yields %v", err)
			}
		}
		_, _, cursor := s.poll(t, nil)
		must(t, s.sim.SetWorkspaceRole(space, "u2", ""))
		blind(nil)
		tags, _, cursor := s.poll(t, cursor)
		if diff := cmp.Diff([]string{"tenant"}, tags); diff != "" {
			t.Errorf("it is gone (-want +got):\n%s", diff)
		}
		blind(cursor)
		blind(cursor)
		must(t, s.sim.SetWorkspaceRole(space, "u2", muralsim.Member))
		tags, _, cursor = s.poll(t, cursor)
		if diff := cmp.Diff([]string{"tenant"}, tags); diff != "" {
			t.Errorf("it is back (-want +got):\n%s", diff)
		}
		if tags, _, _ = s.poll(t, cursor); tags != nil {
			t.Errorf("told again: %q", tags)
		}
	})
}

// What is seen for the first time by the second poll may have changed during the
// first one.
func TestTheEndOfALongFirstSweepTellsOfTheTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		for range 250 {
			_, err := s.sim.AddMural(muralsim.Board{WorkspaceID: space, RoomID: openRoom, CreatedBy: "u1"})
			must(t, err)
		}
		tags, _, cursor := s.poll(t, nil)
		if tags != nil {
			t.Errorf("the first poll finds %q", tags)
		}
		must(t, s.sim.SetMuralMember(board(14), "u3", muralsim.BoardMember{}))
		_, c, _ := s.poll(t, cursor)
		tags, again, cursor := s.poll(t, cursor)
		if !slices.Equal(tags, []string{"tenant"}) || c.ID != again.ID {
			t.Errorf("%q, ids %s and %s", tags, c.ID, again.ID)
		}
		if tags, _ = s.sweep(t, cursor); tags != nil {
			t.Errorf("told again: %q", tags)
		}
	})
}

// failing answers the members of a mural with 500 while broken.
func failing(s *stage, id string, broken *bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if *broken && strings.HasSuffix(r.URL.Path, id+"/users") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		s.sim.ServeHTTP(w, r)
	})
}

func TestAListThatStaysUnreadableIsAnError(t *testing.T) {
	for murals, name := range map[int]string{0: "sweeps of one poll", 250: "sweeps of several polls"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { staysUnreadable(t, murals) })
		})
	}
}

func staysUnreadable(t *testing.T, murals int) {
	s := newStage(t, muralsim.Options{})
	for range murals {
		_, err := s.sim.AddMural(muralsim.Board{WorkspaceID: space, RoomID: openRoom, CreatedBy: "u1"})
		must(t, err)
	}
	broken := false
	s.front = failing(s, board(12), &broken)
	s = another(t, s, config()).consent(t, "u2")
	_, cursor := s.sweep(t, nil)
	broken = true
	must(t, s.sim.SetMuralMember(board(12), "u2", muralsim.BoardMember{}))
	for range 3 { // two are forgiven; the error of the third is after its last poll
		_, kept, good := s.pollTo(t, cursor, 1+murals/150)
		cursor = kept
		if !good {
			break
		}
	}
	if _, _, err := s.Poll(t.Context(), cursor); err == nil || !strings.Contains(err.Error(), board(12)) {
		t.Fatalf("the list cannot be read, and a poll yields %v", err)
	}
	// The one is looked at by the first poll of a sweep, the other by the last.
	for _, id := range []string{board(11), board(14)} {
		must(t, s.sim.SetMuralMember(id, "u2", muralsim.BoardMember{}))
		var tags []string
		tags, cursor, _ = s.pollTo(t, cursor, 6)
		if diff := cmp.Diff([]string{"mural:" + id, "subject:u2"}, tags); diff != "" {
			t.Errorf("of the others (-want +got):\n%s", diff)
		}
	}
	broken = false
	tags, cursor, _ := s.pollTo(t, cursor, 6)
	if !slices.Contains(tags, "mural:"+board(12)) {
		t.Errorf("it is readable again: %q", tags)
	}
	if _, _, good := s.pollTo(t, cursor, 6); !good {
		t.Error("all can be read, and the last poll is no good one")
	}
}

// pollTo polls as the loop does, which keeps the cursor after an error, and says
// whether the last poll was a good one.
func (s *stage) pollTo(t *testing.T, cursor []byte, polls int) (tags []string, kept []byte, good bool) {
	t.Helper()
	for range polls {
		changes, next, err := s.Poll(t.Context(), cursor)
		if good = err == nil; good {
			cursor = next
		}
		for _, c := range changes {
			tags = append(tags, texts(c.Tags)...)
		}
		time.Sleep(s.Interval())
	}
	return tags, cursor, good
}

// endless lists somebody else on each page, and there is always a next one.
func endless(s *stage) http.Handler {
	pages := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/users") {
			s.sim.ServeHTTP(w, r)
			return
		}
		pages++
		fmt.Fprintf(w, `{"value":[{"id":"x%d","permissions":{"owner":false}},{"id":"u2","permissions":`+
			`{"owner":false,"facilitator":true}}],"next":"n%d"}`, pages, pages)
	})
}

func TestWhoIsBehindTheReadPartOfAListIsUnknown(t *testing.T) {
	for name, c := range map[string]struct{ user, resource, want string }{
		"the poller's, a room":  {"u3", "room:" + private, "member-list [] []"},
		"the poller's, a mural": {"u3", "mural:" + board(11), "member-list [] []"},
		"own, a room":           {"u1", "room:" + open, "own-token [scope] [permission/view role/owner]"},
		"own, a mural":          {"u1", "mural:" + board(11), "own-token [scope] [permission/view]"},
		"who is before its end": {"u2", "mural:" + board(11),
			"own-token [role scope] [permission/view role/facilitator role/member]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{UserLimit: -1})
				s.front = endless(s)
				s = another(t, s, config()).consent(t, "u2", "u1")
				a, _ := s.read(t, c.user, c.resource)
				if got := short(a); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				why := a.Why[cache.NewGrant(cache.Role, "owner")] + a.Why[cache.NewGrant(cache.Role, "member")]
				if c.user != "u2" && !strings.Contains(why, "longer than is read") {
					t.Errorf("why: %v", a.Why)
				}
			})
		})
	}
}
