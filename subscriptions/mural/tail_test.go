package mural_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

var _ subscriptions.Tail = (*mural.Provider)(nil)

const (
	openRoom    = 1650000000001
	privateRoom = 1650000000002
)

// poll polls once, and wants at most one change that can be published.
func (s *stage) poll(t *testing.T, cursor []byte) (tags []string, c events.Change, next []byte) {
	t.Helper()
	changes, next, err := s.Poll(t.Context(), cursor)
	if err != nil || len(changes) > 1 || len(next) == 0 || len(next) > mural.MaxCursor {
		t.Fatalf("%d changes, cursor of %d bytes, %v", len(changes), len(next), err)
	}
	if len(changes) == 0 {
		return nil, c, next
	}
	c = changes[0]
	must(t, c.Validate())
	if c.Home != home || c.Source != events.Tail || c.Received.IsZero() || len(c.Reasons) == 0 {
		t.Errorf("change %+v", c)
	}
	return texts(c.Tags), c, next
}

// sweep polls until a sweep ends, and gathers all tags.
func (s *stage) sweep(t *testing.T, cursor []byte) (tags []string, next []byte) {
	t.Helper()
	for range 100 {
		before := s.calls()
		found, _, now := s.poll(t, cursor)
		if n := s.calls() - before; n > 201 { // and a refresh
			t.Errorf("%d calls in a poll", n)
		}
		tags, cursor = append(tags, found...), now
		if strings.Contains(string(cursor), `"polls":0`) {
			slices.Sort(tags)
			return slices.Compact(tags), cursor
		}
	}
	t.Fatal("the sweep does not end")
	return nil, nil
}

// TestPollTells runs through the same steps with cursors that remember more or
// less.
func TestPollTells(t *testing.T) {
	for level, name := range []string{"names", "digests", "buckets"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { pollTells(t, level) })
		})
	}
}

func pollTells(t *testing.T, level int) {
	s := newStage(t, muralsim.Options{}).consent(t, "u2")
	tags, _, cursor := s.poll(t, nil)
	if tags != nil {
		t.Errorf("the first look finds %q", tags)
	}
	for range level {
		cursor = mural.Raised(cursor)
	}
	if tags, _, cursor = s.poll(t, cursor); tags != nil {
		t.Errorf("nothing has changed, but %q", tags)
	}
	for _, step := range steps(s) {
		for range level - max(mural.CursorLevel(cursor), 0) { // a short one remembers more again
			cursor = mural.Raised(cursor)
		}
		must(t, step.do())
		tags, c, next := s.poll(t, cursor)
		want := step.want[min(level, len(step.want)-1)]
		if diff := cmp.Diff(strings.Fields(want), tags); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
		_, again, _ := s.poll(t, cursor)
		if again.ID != c.ID || c.ID == "" {
			t.Errorf("%s: the same look has the ids %s and %s", step.name, c.ID, again.ID)
		}
		cursor = next
		if tags, _, cursor = s.poll(t, next); tags != nil {
			t.Errorf("%s: told again: %q", step.name, tags)
		}
	}
}

// step is a change, and what is told of it by the level of the cursor.
type step struct {
	name string
	do   func() error
	want []string
}

func steps(s *stage) []step {
	roomTag, otherRoom := "room:"+private, "room:"+open
	tag := func(n int) string { return "mural:" + board(n) }
	return append([]step{
		{"a member is added to a mural", func() error {
			return s.sim.SetMuralMember(board(13), "u5", muralsim.BoardMember{})
		}, []string{tag(13) + " subject:u5", tag(13), roomTag}},
		{"and made facilitator", func() error {
			return s.sim.SetMuralMember(board(13), "u5", muralsim.BoardMember{Facilitator: true})
		}, []string{tag(13) + " subject:u5", tag(13), roomTag}},
		{"and an owner, while another is not any more", func() error {
			return errors.Join(s.sim.SetMuralMember(board(13), "u5", muralsim.BoardMember{Owner: true}),
				s.sim.SetMuralMember(board(13), "u3", muralsim.BoardMember{}))
		}, []string{tag(13) + " subject:u3 subject:u5", tag(13), roomTag}},
		{"and removed", func() error {
			return s.sim.RemoveMuralMember(board(13), "u5")
		}, []string{tag(13) + " subject:u5", tag(13), roomTag}},
		{"the settings for visitors change", func() error {
			return s.sim.SetVisitors(board(11), "write", "write")
		}, []string{tag(11), tag(11), otherRoom}},
		{"those for members of the workspace", func() error {
			return s.sim.SetVisitors(board(11), "write", "read")
		}, []string{tag(11), tag(11), otherRoom}},
		{"a member is added to a room", func() error {
			return s.sim.SetRoomMember(privateRoom, "u4", muralsim.RoomMember{})
		}, []string{roomTag + " subject:u4", roomTag, roomTag}},
		{"a member leaves a room, and its murals", func() error {
			return s.sim.RemoveRoomMember(privateRoom, "u3")
		}, []string{tag(13) + " " + tag(14) + " " + roomTag + " subject:u3",
			tag(13) + " " + tag(14) + " " + roomTag, roomTag}},
	}, moreSteps(s)...)
}

func moreSteps(s *stage) []step {
	roomTag, otherRoom := "room:"+private, "room:"+open
	tag := func(n int) string { return "mural:" + board(n) }
	return []step{
		{"a mural is archived", func() error {
			return s.patch(board(12), `{"status":"archived"}`)
		}, []string{tag(12), tag(12), otherRoom}},
		{"and active again", func() error {
			return s.patch(board(12), `{"status":"active"}`)
		}, []string{tag(12), tag(12), otherRoom}},
		{"a mural is deleted", func() error {
			return s.sim.DeleteMural(board(11))
		}, []string{tag(11), tag(11), otherRoom}},
		{"a room is made open", func() error {
			return s.patchRoom(private, `{"type":"open"}`)
		}, []string{tag(13) + " " + tag(14) + " " + roomTag, tag(13) + " " + tag(14) + " " + roomTag, roomTag}},
		{"the workspace is locked", func() error {
			w := workspace()
			w.Locked = true
			return s.sim.PutWorkspace(w)
		}, []string{"tenant"}},
		{"a room is added", func() error {
			return s.sim.PutRoom(muralsim.Room{ID: 1650000000003, WorkspaceID: space, Type: "private", CreatedBy: "u2",
				Members: map[string]muralsim.RoomMember{"u2": {Owner: true}}})
		}, []string{"room:1650000000003"}},
		{"a room is deleted", func() error {
			return s.sim.DeleteRoom(privateRoom)
		}, []string{tag(13) + " " + tag(14) + " " + roomTag, tag(13) + " " + tag(14) + " " + roomTag, roomTag}},
		{"the poller leaves a room", func() error {
			return s.sim.RemoveRoomMember(1650000000003, "u2")
		}, []string{"room:1650000000003"}},
	}
}

func (s *stage) calls() (all int) {
	for _, n := range s.sim.AllCalls() {
		all += n
	}
	return all
}

// What goes back and forth must not be taken for a repetition by the stream.
func TestChangesHaveTheirOwnIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		_, _, cursor := s.poll(t, nil)
		_, _, cursor = s.poll(t, cursor)
		seen := map[string]bool{}
		for i := range 6 {
			must(t, s.sim.SetMuralMember(board(13), "u3", muralsim.BoardMember{Facilitator: i%2 == 1}))
			var c events.Change
			_, c, cursor = s.poll(t, cursor)
			seen[c.ID] = true
		}
		if len(seen) != 6 {
			t.Errorf("6 changes have %d ids", len(seen))
		}
	})
}

// A vendor that lists archived murals too.
func TestAnArchivedMuralInAListIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		_, _, cursor := s.poll(t, nil)
		s.front = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reply := httptest.NewRecorder()
			s.sim.ServeHTTP(reply, r)
			w.WriteHeader(reply.Code)
			fmt.Fprint(w, strings.ReplaceAll(reply.Body.String(), `"status":"active"`, `"status":"archived"`))
		})
		tags, _, _ := another(t, s, config()).poll(t, cursor)
		want := []string{"mural:" + board(11), "mural:" + board(12), "mural:" + board(13), "mural:" + board(14)}
		if diff := cmp.Diff(want, tags); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestAPollObeysBothLimits(t *testing.T) {
	for name, o := range map[string]muralsim.Options{
		"of the user": {UserLimit: 5}, "of the app": {AppLimit: 8},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, o).consent(t, "u2")
				var cursor []byte
				refused := 0
				for range 40 {
					_, next, err := s.Poll(t.Context(), cursor)
					var later *subscriptions.Later
					switch {
					case errors.As(err, &later):
						refused++
						time.Sleep(time.Until(later.Until)) // of the bubble's clock
					case err != nil:
						t.Fatal(err)
					default:
						cursor = next
					}
					if s.Delay() > 0 {
						if refused > 12 {
							t.Errorf("%d polls were refused", refused)
						}
						return
					}
				}
				t.Errorf("the sweep does not end, %d polls were refused", refused)
			})
		})
	}
}

func TestAPollGoesOnAfterAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		_, _, cursor := s.poll(t, nil)
		// One list cannot be read: it is passed over, the others are told of.
		must(t, s.sim.SetMuralMember(board(14), "u2", muralsim.BoardMember{}))
		must(t, s.sim.Fault(muralsim.Fault{Operation: "getMuralUsers", Kind: muralsim.Status, Status: 500,
			Count: 3}))
		tags, _, cursor := s.poll(t, cursor)
		if diff := cmp.Diff([]string{"mural:" + board(14), "subject:u2"}, tags); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// Nothing can be read: that is an error, and the cursor stays.
		must(t, s.sim.Fault(muralsim.Fault{Kind: muralsim.Status, Status: 503}))
		if _, _, err := s.Poll(t.Context(), cursor); err == nil {
			t.Error("no error")
		}
		s.sim.ClearFaults()
		if tags, _, _ := s.poll(t, cursor); tags != nil {
			t.Errorf("nothing has changed, but %q", tags)
		}
	})
}

func TestAPollTellsWhatItFoundBeforeAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		_, _, cursor := s.poll(t, nil)
		must(t, s.sim.SetMuralMember(board(11), "u3", muralsim.BoardMember{}))
		must(t, s.sim.SetMuralMember(board(14), "u2", muralsim.BoardMember{}))
		seen := s.sim.Calls("getMuralUsers")
		s.front = cutAfter(s, seen+1)
		cut := another(t, s, config())
		tags, _, cursor := cut.poll(t, cursor)
		if diff := cmp.Diff([]string{"mural:" + board(11), "subject:u3"}, tags); diff != "" {
			t.Errorf("before the fault (-want +got):\n%s", diff)
		}
		tags, _, _ = s.poll(t, cursor)
		if diff := cmp.Diff([]string{"mural:" + board(14), "subject:u2"}, tags); diff != "" {
			t.Errorf("after it (-want +got):\n%s", diff)
		}
	})
}

func TestAPageTokenThatExpiresBeginsTheListAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		members := map[string]muralsim.RoomMember{"u2": {Owner: true}}
		for i := range 150 {
			s.sim.PutUser(muralsim.User{ID: fmt.Sprintf("w%03d", i)})
			members[fmt.Sprintf("w%03d", i)] = muralsim.RoomMember{}
		}
		must(t, s.sim.PutRoom(muralsim.Room{ID: privateRoom, WorkspaceID: space, Type: "private", CreatedBy: "u2",
			Members: members}))
		s.front = expireOnce(s)
		twice := another(t, s, config())
		tags, _, cursor := twice.poll(t, nil)
		if n := s.sim.Calls("getRoomMembers"); tags != nil || n != 1+4 {
			t.Errorf("%q, %d pages", tags, n)
		}
		if tags, _, _ = s.poll(t, cursor); tags != nil {
			t.Errorf("nothing has changed, but %q", tags)
		}
	})
}

func TestACursorThatIsUnreadableTellsOfTheTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		for _, bad := range []string{"x", "{}", `{"v":2,"rooms":{}}`, `{"v":1,"rooms":{"x":{}}}`,
			`{"v":1,"rooms":{"1":{"d":"x","m":[4]}},"users":["u1"]}`} {
			tags, _, next := s.poll(t, []byte(bad))
			if !slices.Equal(tags, []string{"tenant"}) {
				t.Errorf("%s: %q", bad, tags)
			}
			if tags, _, _ = s.poll(t, next); tags != nil {
				t.Errorf("%s: told again: %q", bad, tags)
			}
		}
	})
}

func TestPollSaysWhatAPersonMustMend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{})
		for _, step := range []struct {
			do   func()
			want string
		}{
			{func() {}, "rescind grants put"},
			{func() { s.consentTo(t, "u2", "identity:read", "workspaces:read") },
				"rooms:read, murals:read, users:read"},
			{func() { s.sim.DropGrant("u2") }, "rescind grants put"},
		} {
			step.do()
			_, _, err := s.Poll(t.Context(), nil)
			if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(err.Error(), step.want) {
				t.Errorf("%v does not say %q", err, step.want)
			}
		}
		s.consent(t, "u2")
		s.poll(t, nil)
	})
}
