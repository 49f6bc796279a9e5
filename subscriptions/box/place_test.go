package box_test

import (
	"github.com/rescindhq/rescind/subscriptions"
	"slices"
	"testing"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/box"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// drops says whether a change drops an entry, which has the tags of its subject and
// its tenant besides its own.
func drops(c events.Change, a cache.Answer, who events.Subject) bool {
	all := append(slices.Clone(a.Tags), events.SubjectTag(who), events.TenantTag, events.AppTag)
	return slices.ContainsFunc(c.Tags, func(t events.Tag) bool { return slices.Contains(all, t) })
}

// below adds a user whose only collaboration is on a folder below the watched one.
func (s *stage) below(t *testing.T) events.Subject {
	t.Helper()
	id, err := s.sim.AddUser(boxsim.User{ID: "204", Name: "Deep Down"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.sim.Invite(boxsim.Collaboration{User: id, Item: boxsim.FolderDrafts, Role: "editor"})
	if err != nil {
		t.Fatal(err)
	}
	return events.Subject(id)
}

// TestWhatHappensAboveEndsWhatIsBelow, by the events alone: also for who came in below
// the folder of which they tell, and does not see it.
func TestWhatHappensAboveEndsWhatIsBelow(t *testing.T) {
	for name, do := range map[string]func(s *stage) error{
		"folder above trashed": func(s *stage) error { return s.sim.Trash(boxsim.FolderPlans) },
		"only owners invite":   func(s *stage) error { return s.sim.Restrict(boxsim.FolderProjects, true, false) },
		"owner deleted":        func(s *stage) error { return s.sim.DeleteUser(boxsim.OwnerUser, true) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, boxsim.Options{Quirks: boxsim.Quirks{TidyEvents: true}}, nil)
			who, on := s.below(t), file(boxsim.FileDraft)
			_, cursor, err := s.Poll(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			was := s.read(t, who, on)
			if err := do(s); err != nil {
				t.Fatal(err)
			}
			told, _, err := s.Poll(t.Context(), cursor)
			if err != nil {
				t.Fatal(err)
			}
			if spellGrants(was, cache.Permission) == spellGrants(s.read(t, who, on), cache.Permission) {
				t.Fatal("nothing has changed")
			}
			if !slices.ContainsFunc(told, func(c events.Change) bool { return drops(c, was, who) }) {
				t.Errorf("tags %q, told %+v", spell(was.Tags), told)
			}
		})
	}
}

// TestNoticesFromAboveDropWhatIsBelow, and not only what shows the folder: of one that
// is deleted for good, which no event tells, and of the webhook's own end.
func TestNoticesFromAboveDropWhatIsBelow(t *testing.T) {
	for reason, tags := range map[string]string{
		"FOLDER.DELETED": "folder:0 folder:1002", "WEBHOOK.DELETED": "tenant",
	} {
		t.Run(reason, func(t *testing.T) {
			s := newStage(t, boxsim.Options{}, nil)
			made, err := s.Create(t.Context(), subscriptions.Order{Address: s.address, Want: "folder:1001", Secret: subscriptions.NewSecret("registration-hunter2")})
			if err != nil {
				t.Fatal(err)
			}
			who := s.below(t)
			s.next(t, "subject:"+string(who))
			a := s.read(t, who, file(boxsim.FileDraft))
			if reason == "FOLDER.DELETED" {
				err = s.sim.Delete(boxsim.FolderPlans)
			} else {
				err = s.sim.DeleteWebhook(made.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
			if c := s.next(t, tags); !drops(c, a, who) || !slices.Equal(c.Reasons, []string{reason}) {
				t.Errorf("%v drops %q", c.Reasons, spell(c.Tags))
			}
		})
	}
}

// TestOnlyAnOwnersPlaceIsWhollyKnown: everybody's path begins with a root.
func TestOnlyAnOwnersPlaceIsWhollyKnown(t *testing.T) {
	const (
		root, path = `{"type":"folder","id":"0"}`, `{"type":"folder","id":"11"}`
		mine       = `{"type":"user","id":"42"}`
	)
	for name, c := range map[string]struct{ owner, path, want string }{
		"the owner":          {mine, root + "," + path, "folder:11 folder:30 group:9"},
		"the owner, no root": {mine, path, "folder:0 folder:11 folder:30 group:9"},
		"the owner, no path": {mine, ``, "folder:0 folder:30 group:9"},
		"another's": {`{"type":"user","id":"7"}`, root + "," + path,
			"folder:0 folder:11 folder:30 group:9"},
		"nobody says whose": {`null`, root + "," + path, "folder:0 folder:11 folder:30 group:9"},
		"an owner without a type": {`{"id":"42"}`, root + "," + path,
			"folder:0 folder:11 folder:30 group:9"},
	} {
		t.Run(name, func(t *testing.T) {
			w := furnished(t, testConfig(), "")
			w.vendor.says("GET /folders/30", 200, `{"type":"folder","id":"30","item_status":"active","owned_by":`+
				c.owner+`,"permissions":{},"path_collection":{"entries":[`+c.path+`]}}`)
			if got := spell(w.read(t, "folder:30").Tags); got != c.want {
				t.Errorf("tags %q, want %q", got, c.want)
			}
		})
	}
}

// TestMembershipsThatAreHiddenDenyNothing: the user was just read.
func TestMembershipsThatAreHiddenDenyNothing(t *testing.T) {
	w := furnished(t, testConfig(), "")
	w.vendor.says("GET /users/42/memberships", 404, `{"type":"error","status":404,"code":"not_found"}`)
	if a, err := w.Read(t.Context(), ref("42", ""), newSession(100)); err == nil {
		t.Errorf("%s, covers %q", a.Basis, spellCovers(a))
	}
	w.vendor.says("GET /users/42", 404, `{"type":"error","status":404,"code":"not_found"}`)
	if a := w.read(t, ""); a.Basis != box.BasisNotFound {
		t.Errorf("neither is shown: %s", a.Basis)
	}
}

// TestWhatIsNotToldOfAUserIsUnknown: a role if no enterprise is told, and everything
// under a status of tomorrow.
func TestWhatIsNotToldOfAUserIsUnknown(t *testing.T) {
	w := furnished(t, testConfig(), "")
	w.vendor.says("GET /users/42", 200, `{"id":"42","login":"a@b.c","role":"admin","status":"active"}`)
	if a := w.read(t, ""); slices.Contains(a.Covers, cache.Role) || a.Why["role/admin"] == "" {
		t.Errorf("covers %q, why %v", spellCovers(a), a.Why)
	}
	w = furnished(t, testConfig(), `,"status":"of_tomorrow"`)
	if a := w.read(t, "folder:30"); len(a.Covers) > 0 || len(a.Grants) > 0 || a.Why["permission/*"] == "" {
		t.Errorf("covers %q, why %v", spellCovers(a), a.Why)
	}
}
