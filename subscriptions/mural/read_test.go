package mural_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

func TestReadWithTheOwnToken(t *testing.T) {
	for name, c := range map[string]struct{ user, resource, want string }{
		"an owner": {"u1", "mural:" + board(11), "own-token [permission role scope] " +
			"[permission/edit permission/view role/facilitator role/member role/owner]"},
		"a facilitator, who may edit or not": {"u2", "mural:" + board(11), "own-token [role scope] " +
			"[permission/view role/facilitator role/member]"},
		"a guest in the list": {"u5", "mural:" + board(14), "own-token [role scope] [permission/view role/member]"},
		"not in the list, members may write": {"u4", "mural:" + board(11), "own-token [permission role scope] " +
			"[permission/edit permission/view]"},
		"not in the list, members may read": {"u4", "mural:" + board(12), "own-token [permission role scope] " +
			"[permission/view]"},
		"not in the list, but in the room's": {"u1", "mural:" + board(12), "own-token [role scope] " +
			"[permission/view]"},
		"in the room, members may nothing": {"u2", "mural:" + board(14),
			"own-token [role scope] [permission/view]"},
		"who does not see the mural": {"u4", "mural:" + board(13), "no-access [permission role scope] []"},
		"a mural that is not":        {"u1", "mural:" + space + ".1", "no-access [permission role scope] []"},
		"a room's owner": {"u2", "room:" + private, "own-token [role scope] " +
			"[permission/view role/member role/owner]"},
		"a room's member": {"u3", "room:" + private,
			"own-token [role scope] [permission/view role/member]"},
		"an open room, not in its list": {"u4", "room:" + open, "own-token [role scope] [permission/view]"},
		"who does not see the room":     {"u4", "room:" + private, "no-access [permission role scope] []"},
		"the workspace":                 {"u3", "", "own-token [scope] [role/member]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{}).consent(t, c.user)
				a, used := s.read(t, c.user, c.resource)
				if got := short(a); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				if _, ok := a.Grants["scope/murals:read"]; !ok {
					t.Errorf("no scope among %v", a.Grants)
				}
				if want := []string{"app", "subject:" + c.user}; !slices.Equal(used.tags, want) {
					t.Errorf("the token's tags are %q", used.tags)
				}
			})
		})
	}
}

func TestReadWithThePollersToken(t *testing.T) {
	for name, c := range map[string]struct{ user, resource, want string }{
		"an owner": {"u1", "mural:" + board(11),
			"member-list [role] [role/facilitator role/member role/owner]"},
		"in the list":   {"u3", "mural:" + board(12), "member-list [role] [role/member]"},
		"not in it":     {"u4", "mural:" + board(12), "member-list [role] []"},
		"room's member": {"u3", "room:" + private, "member-list [] [role/member]"},
		"not in it too": {"u4", "room:" + private, "member-list [role] []"},
		"the workspace": {"u3", "", "unseen [] []"},
		"unseen mural":  {"u3", "mural:" + space + ".1", "unseen [] []"},
		"unseen room":   {"u3", "room:1", "unseen [] []"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{}).consent(t, "u2")
				a, used := s.read(t, c.user, c.resource)
				if got := short(a); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				if !slices.Equal(used.tags, []string{"app"}) {
					t.Errorf("the token's tags are %q", used.tags)
				}
			})
		})
	}
}

func TestReadNamesWhatItRestsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2", "u1")
		for _, user := range []string{"u1", "u3"} { // own token, the poller's
			a, _ := s.read(t, user, "mural:"+board(11))
			if want := []string{"mural:" + board(11), "room:" + open}; !slices.Equal(texts(a.Tags), want) {
				t.Errorf("%s: %q", user, texts(a.Tags))
			}
			a, _ = s.read(t, user, "room:"+open)
			if !slices.Equal(texts(a.Tags), []string{"room:" + open}) {
				t.Errorf("%s: %q", user, texts(a.Tags))
			}
		}
	})
}

func TestReadSaysWhyItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		for _, c := range []struct {
			user, resource string
			grant          cache.Grant
			want           string
		}{
			{"u2", "mural:" + board(11), "permission/edit", "the list of members"},
			{"u2", "mural:" + board(14), "permission/edit", "beyond the default"},
			{"u3", "mural:" + board(12), "permission/view", "a token of the subject's own"},
			{"u3", "room:" + private, "role/owner", "a token of the subject's own"},
			{"u3", "room:1", "role/member", "the poller does not see it"},
			{"u2", "", "role/admin", "administrator"},
		} {
			a, _ := s.read(t, c.user, c.resource)
			if !strings.Contains(a.Why[c.grant], c.want) {
				t.Errorf("%s %s: %v", c.user, c.resource, a.Why)
			}
			if slices.Contains(a.Covers, c.grant.Kind()) {
				t.Errorf("%s %s: %s is covered, so it would be denied", c.user, c.resource, c.grant)
			}
		}
	})
}

func TestReadOfAClosedWorkspaceDenies(t *testing.T) {
	for word, close := range map[string]func(*muralsim.Workspace){
		"suspended": func(w *muralsim.Workspace) { w.Suspended = true },
		"locked":    func(w *muralsim.Workspace) { w.Locked = true },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, muralsim.Options{}).consent(t, "u3")
			w := workspace()
			close(&w)
			must(t, s.sim.PutWorkspace(w))
			a, _ := s.read(t, "u3", "")
			if got := short(a); got != "own-token [role scope] []" || !strings.Contains(a.Why["role/member"], word) {
				t.Errorf("%s: %s, %v", word, got, a.Why)
			}
		})
	}
}

// workspace is that of the simulator's world.
func workspace() muralsim.Workspace {
	return muralsim.Workspace{ID: space, Name: "Rescind", CompanyID: "c1", Domain: "rescind.test",
		CreatedBy: "u1",
		Members: map[string]string{"u1": muralsim.Admin, "u2": muralsim.Member, "u3": muralsim.Member,
			"u4": muralsim.Member, "u5": muralsim.Guest, "u6": muralsim.Guest}}
}

func TestARightByTheVisitorsLinkEndsWithIt(t *testing.T) {
	for name, c := range map[string]struct {
		visitors string
		lasts    time.Duration
		want     string
		caps     bool
	}{
		"write": {"write", time.Hour,
			"own-token [permission role scope] [permission/edit permission/view]", true},
		"read":        {"read", time.Hour, "own-token [role scope] [permission/view]", true},
		"write, over": {"write", -time.Hour, "own-token [role scope] [permission/view]", false},
		"write, no end": {"write", 0, "own-token [permission role scope] [permission/edit permission/view]",
			false},
		"none":            {"none", time.Hour, "own-token [role scope] [permission/view]", false},
		"an unknown word": {"some", time.Hour, "own-token [role scope] [permission/view]", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{}).consent(t, "u6")
				must(t, s.sim.SetRoomMember(1650000000002, "u6", muralsim.RoomMember{}))
				b := muralsim.Board{RoomID: 1650000000002, CreatedBy: "u2", Visitors: c.visitors,
					Members: map[string]muralsim.BoardMember{"u2": {Owner: true}}}
				if c.lasts != 0 {
					b.ExpiresOn = time.Now().Add(c.lasts).UnixMilli()
				}
				id, err := s.sim.AddMural(b)
				must(t, err)
				a, _ := s.read(t, "u6", "mural:"+id)
				if got := short(a); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				if capped := a.Expires.UnixMilli() == b.ExpiresOn; !a.Expires.IsZero() != c.caps || capped != c.caps {
					t.Errorf("ends %s", a.Expires)
				}
			})
		})
	}
}

func TestWhatChangesIsSeenByTheNextRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u3")
		const target = "own-token [role scope] "
		for _, step := range []struct {
			do   func() error
			want string
		}{
			{func() error { return nil }, target + "[permission/view role/facilitator role/member]"},
			{func() error {
				return s.sim.SetMuralMember(board(13), "u3", muralsim.BoardMember{})
			}, target + "[permission/view role/member]"},
			{func() error { return s.sim.RemoveMuralMember(board(13), "u3") }, target + "[permission/view]"},
			{func() error {
				return s.sim.RemoveRoomMember(1650000000002, "u3")
			}, "no-access [permission role scope] []"},
		} {
			must(t, step.do())
			a, _ := s.read(t, "u3", "mural:"+board(13))
			if got := short(a); got != step.want {
				t.Errorf("got  %s\nwant %s", got, step.want)
			}
		}
	})
}

func TestAMissingScopeIsNotTheSubjectsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{})
		s.consentTo(t, "u1", "identity:read", "workspaces:read")
		for resource, g := range map[string]cache.Grant{"mural:" + board(11): "permission/view",
			"room:" + open: "role/owner"} {
			a, _ := s.read(t, "u1", resource)
			if got := short(a); got != "own-token [scope] []" || !strings.Contains(a.Why[g], "lacks the scope") {
				t.Errorf("%s: %s, %v", resource, got, a.Why)
			}
		}
		s.consentTo(t, "u1", "identity:read", "murals:read", "rooms:read")
		anew := newSession(200)
		anew.needs = 200 // the app, or the subject, has changed
		a, err := s.Read(t.Context(), ref("u1", "mural:"+board(11)), anew)
		if got := short(a); err != nil || got != "own-token [scope] [permission/view]" {
			t.Errorf("without users:read: %s, %v", got, err)
		}
	})
}

func ref(user, resource string) events.Ref {
	return events.Ref{Home: home, Subject: events.Subject(user), Resource: events.Resource(resource)}
}

func TestAScopeThatTheAppGaveUpStaysInTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u1")
		s.sim.SetScopes("identity:read")
		anew := newSession(200)
		anew.needs = 200
		a, err := s.Read(t.Context(), ref("u1", ""), anew)
		if _, still := a.Grants["scope/murals:write"]; err != nil || !still || s.sim.Calls("token") != 2 {
			t.Errorf("%v, %v, %d tokens", a.Grants, err, s.sim.Calls("token"))
		}
	})
}

func TestReadRefusesWhatItCannotBeAskedFor(t *testing.T) {
	s := newStage(t, muralsim.Options{})
	for _, r := range []events.Ref{
		{}, ref("", ""), ref("u1", "folder:1"), ref("u1", ":"), ref("u1", "room:"), ref("u1", "room:12a"),
		ref("u1", "room:../users"), ref("u1", "mural:other.1"), ref("u1", "mural:"+space), ref("u1",
			"mural:"+space+"."),
		ref("u1", "mural:"+space+"./../x"), {Home: events.Home{Provider: "mural", Tenant: "other"}, Subject: "u1"},
	} {
		if a, err := s.Read(t.Context(), r, newSession(1)); err == nil {
			t.Errorf("%s: %s", r, short(a))
		}
	}
	if calls := s.sim.AllCalls(); len(calls) != 0 {
		t.Errorf("calls were made: %v", calls)
	}
}

func TestReadSaysWhoMustMendWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{})
		_, err := s.Read(t.Context(), ref("u1", ""), newSession(1))
		if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(fmt.Sprint(err),
			"rescind grants put") {
			t.Errorf("without any grant: %v", err)
		}
		s.consentTo(t, "u2", "identity:read", "murals:read")
		_, err = s.Read(t.Context(), ref("u1", "mural:"+board(11)), newSession(1))
		if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(fmt.Sprint(err), "users:read") {
			t.Errorf("the poller lacks scopes: %v", err)
		}
		must(t, s.sim.Fault(muralsim.Fault{Operation: "getMuralById", Kind: muralsim.Status, Status: 500,
			Count: 3}))
		s.consent(t, "u1")
		_, err = s.Read(t.Context(), ref("u1", "mural:"+board(11)), newSession(1))
		if err == nil || errors.Is(err, subscriptions.ErrMisconfigured) {
			t.Errorf("the vendor is down: %v", err)
		}
	})
}

func TestListsAreReadToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{Quirks: muralsim.Quirks{NullNext: true,
			LimitBelow100: true}}).consent(t, "u2")
		members := map[string]muralsim.BoardMember{"u2": {Owner: true}}
		for i := range 250 {
			u := muralsim.User{ID: fmt.Sprintf("w%03d", i), Username: fmt.Sprint(i)}
			s.sim.PutUser(u)
			members[u.ID] = muralsim.BoardMember{Facilitator: i == 249}
		}
		id, err := s.sim.AddMural(muralsim.Board{RoomID: 1650000000001, CreatedBy: "u2", Members: members})
		must(t, err)
		a, _ := s.read(t, "w249", "mural:"+id)
		if got := short(a); got != "member-list [role] [role/facilitator role/member]" ||
			s.sim.Calls("getMuralUsers") != 3 {
			t.Errorf("%s after %d pages", got, s.sim.Calls("getMuralUsers"))
		}
	})
}

func TestCostsAreWhatReadingTakesAtMost(t *testing.T) {
	for _, c := range mural.Costs() {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, muralsim.Options{}).consent(t, "u2")
			user := "u3" // by the poller's
			if c.As == subscriptions.OwnToken {
				user = "u4"
				s.consent(t, user)
			}
			before := s.sim.AllCalls()
			a, _ := s.read(t, user, "mural:"+board(12))
			calls := 0
			for op, n := range s.sim.AllCalls() {
				if op != "token" {
					calls += n - before[op]
				}
			}
			if diff := cmp.Diff(calls, c.Calls[0].Calls); diff != "" || a.Basis != c.Basis {
				t.Errorf("%s as %s: (-made +cost)\n%s", a.Basis, c.As, diff)
			}
		})
	}
}
