package box_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// limit is of every wait for what must come.
const limit = 15 * time.Second

// stage is a provider before the simulator, with a listener beside it.
type stage struct {
	*box.Provider
	sim     *boxsim.Box
	address string
	changes chan events.Change
	refused chan error
}

// newStage watches the folder of projects. edit changes the configuration, if it
// is given.
func newStage(t *testing.T, o boxsim.Options, edit func(*box.Config)) *stage {
	t.Helper()
	s := &stage{sim: boxsim.New(o), changes: make(chan events.Change, 64), refused: make(chan error, 64)}
	api, listener := httptest.NewServer(s.sim), httptest.NewServer(http.HandlerFunc(s.listen))
	s.address = listener.URL
	transport := &http.Transport{}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.sim.Close(ctx); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
		transport.CloseIdleConnections()
		listener.Close()
		api.Close()
	})
	c := box.Config{Enterprise: home.Tenant, BaseURL: api.URL, ClientID: "rescind-dev",
		ClientSecret:  subscriptions.NewSecret("rescind-dev-secret"),
		SignatureKey:  subscriptions.NewSecret("sim-primary-key"),
		SignatureKey2: subscriptions.NewSecret("sim-secondary-key"),
		Watch:         []string{"folder:" + boxsim.FolderProjects}, Scopes: []string{"root_readwrite"}}
	if edit != nil {
		edit(&c)
	}
	var err error
	s.Provider, err = box.New(c, subscriptions.Deps{HTTP: &http.Client{Transport: transport}, Vault: newMemory(),
		Budget: budget.NewLocal(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listen answers as a listener would.
func (s *stage) listen(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	d := subscriptions.Delivery{Home: home, Header: r.Header, Body: body, Received: time.Now()}
	_, err2 := s.Verify(d)
	c, ok, err3 := s.Translate(d)
	if err := errors.Join(err, err2, err3); err != nil {
		s.refused <- err
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if ok {
		s.changes <- c
	}
}

// next waits for a change with these tags; others may come before it.
func (s *stage) next(t *testing.T, tags string) events.Change {
	t.Helper()
	var others []string
	for end := time.After(limit); ; {
		select {
		case c := <-s.changes:
			if spell(c.Tags) == tags {
				return c
			}
			others = append(others, spell(c.Tags))
		case err := <-s.refused:
			t.Fatalf("refused: %v", err)
		case <-end:
			t.Fatalf("no change of %q came, but %q", tags, others)
		}
	}
}

func (s *stage) read(t *testing.T, subject events.Subject, on events.Resource) cache.Answer {
	t.Helper()
	a, err := s.Read(t.Context(), ref(subject, on), newSession(100))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fields(); err != nil {
		t.Fatal(err)
	}
	return a
}

// says compares what an answer grants of a kind, and how it was learnt.
func says(t *testing.T, a cache.Answer, basis string, kind cache.Kind, want string) {
	t.Helper()
	if got := spellGrants(a, kind); got != want || a.Basis != basis || !slices.Contains(a.Covers, kind) {
		t.Errorf("%s by %s of %v: %q, want %q by %s", kind, a.Basis, a.Covers, got, want, basis)
	}
}

// folder and file are resources of the simulator's.
func folder(id string) events.Resource { return events.Resource("folder:" + id) }
func file(id string) events.Resource   { return events.Resource("file:" + id) }

const (
	viewerOfFile = "can_annotate can_comment can_download can_preview can_share can_view_annotations_all " +
		"can_view_annotations_self"
	editorOfFolder = "can_delete can_download can_invite_collaborator can_rename can_set_share_access " +
		"can_share can_upload"
)

func TestSimulatedUsers(t *testing.T) {
	s := newStage(t, boxsim.Options{}, nil)
	for id, want := range map[events.Subject]string{
		boxsim.AdminUser: "admin", boxsim.CoadminUser: "coadmin", boxsim.MemberUser: "user",
		boxsim.ExternalUser: "", // what it is elsewhere is nothing here
	} {
		says(t, s.read(t, id, ""), box.BasisUser, cache.Role, want)
	}
	a := s.read(t, boxsim.MemberUser, "")
	says(t, a, box.BasisUser, box.Group, "11=member")
	says(t, a, box.BasisUser, cache.Scope, "root_readonly root_readwrite")
	if spell(a.Tags) != "group:11" {
		t.Errorf("tags %q", spell(a.Tags))
	}
	if why := s.read(t, boxsim.CoadminUser, "").Why["permission/*"]; why == "" {
		t.Error("a co-admin's rights are not said to be unknown")
	}
	gone := s.read(t, "4711", "")
	says(t, gone, box.BasisNotFound, cache.Role, "")
	if a := s.read(t, boxsim.ServiceUser, folder(boxsim.FolderProjects)); len(a.Covers) > 1 ||
		spellGrants(a, cache.Permission) != "" || a.Why["permission/*"] == "" {
		t.Errorf("the service account: %+v", a)
	}
}

// TestSimulatedChangesShowInTheNextReading: whatever is changed over there, what is
// read next says so, whichever way it is read.
func TestSimulatedChangesShowInTheNextReading(t *testing.T) {
	for as, basis := range map[string]string{box.AsUser: box.BasisItemAsUser, box.AsToken: box.BasisItem} {
		t.Run(as, func(t *testing.T) {
			s := newStage(t, boxsim.Options{}, func(c *box.Config) { c.As = as })
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			plans, roadmap := folder(boxsim.FolderPlans), file(boxsim.FileRoadmap)
			a := s.read(t, boxsim.MemberUser, roadmap)
			says(t, a, basis, cache.Permission, viewerOfFile)
			if got := spell(a.Tags); got != "file:2001 folder:0 folder:1001 folder:1002 group:11" {
				t.Errorf("tags %q", got)
			}
			must(s.sim.SetCollaborationRole("32", "previewer"))
			says(t, s.read(t, boxsim.MemberUser, roadmap), basis, cache.Permission,
				"can_annotate can_comment can_preview can_view_annotations_all can_view_annotations_self")
			must(s.sim.Leave(boxsim.MemberUser, boxsim.GroupSupport))
			a = s.read(t, boxsim.MemberUser, roadmap)
			says(t, a, basis, cache.Permission, "")
			if got := spell(a.Tags); got != "file:2001 folder:0" || a.Why["permission/can_download"] != "not_found" {
				t.Errorf("denied: tags %q, why %v", got, a.Why)
			}
			says(t, s.read(t, boxsim.EditorUser, plans), basis, cache.Permission, editorOfFolder)
			must(s.sim.SetStatus(boxsim.EditorUser, "cannot_delete_edit"))
			a = s.read(t, boxsim.EditorUser, plans)
			says(t, a, basis, cache.Permission,
				"can_download can_invite_collaborator can_set_share_access can_share can_upload")
			if a.Why["permission/can_delete"] != "status cannot_delete_edit" {
				t.Errorf("why: %v", a.Why)
			}
			must(s.sim.SetStatus(boxsim.EditorUser, "inactive"))
			a = s.read(t, boxsim.EditorUser, plans)
			says(t, a, box.BasisUser, cache.Permission, "")
			if a.Why["permission/can_download"] != "status inactive" {
				t.Errorf("why: %v", a.Why)
			}
			must(s.sim.SetStatus(boxsim.EditorUser, "active"))
			must(s.sim.Trash(boxsim.FolderPlans))
			a = s.read(t, boxsim.EditorUser, plans)
			says(t, a, basis, cache.Permission, "")
			if a.Why["permission/can_download"] != "trashed" {
				t.Errorf("why: %v", a.Why)
			}
			must(s.sim.Restore(boxsim.FolderPlans))
			must(s.sim.SetRole(boxsim.EditorUser, "coadmin"))
			says(t, s.read(t, boxsim.EditorUser, ""), box.BasisUser, cache.Role, "coadmin")
			must(s.sim.RollOut(boxsim.EditorUser))
			says(t, s.read(t, boxsim.EditorUser, ""), box.BasisUser, cache.Role, "")
			if a = s.read(t, boxsim.EditorUser, plans); slices.Contains(a.Covers, cache.Permission) ||
				len(a.Grants) > 2 {
				t.Errorf("one of another enterprise: %+v", a)
			}
			must(s.sim.DeleteUser(boxsim.EditorUser, true))
			says(t, s.read(t, boxsim.EditorUser, plans), box.BasisNotFound, cache.Permission, "")
		})
	}
}

// TestSimulatedExpiry: an answer ends with the first collaboration that carries it.
func TestSimulatedExpiry(t *testing.T) {
	s := newStage(t, boxsim.Options{}, nil)
	if a := s.read(t, boxsim.MemberUser, file(boxsim.FileRoadmap)); !a.Expires.IsZero() {
		t.Errorf("ends %s, for no reason", a.Expires)
	}
	soon := time.Now().Add(90 * time.Second).Truncate(time.Second)
	if err := s.sim.SetExpiry("31", soon.Add(-time.Minute)); err != nil { // another user's
		t.Fatal(err)
	}
	if err := s.sim.SetExpiry("32", soon); err != nil { // the group's
		t.Fatal(err)
	}
	if a := s.read(t, boxsim.MemberUser, file(boxsim.FileRoadmap)); !a.Expires.Equal(soon) {
		t.Errorf("ends %s, want %s", a.Expires, soon)
	}
}

// TestSimulatedEvents: what no webhook tells comes by the tail, whatever disorder
// and repetitions Box is capable of.
func TestSimulatedEvents(t *testing.T) {
	for name, q := range map[string]boxsim.Quirks{"untidy": {}, "tidy": {TidyEvents: true}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, boxsim.Options{Quirks: q}, nil)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			changes, cursor, err := s.Poll(t.Context(), nil)
			if err != nil || len(changes) != 0 {
				t.Fatalf("the first poll: %v, %v", changes, err)
			}
			seen := map[string]int{}
			poll := func() string {
				t.Helper()
				changes, next, err := s.Poll(t.Context(), cursor)
				must(err)
				cursor = next
				var tags []events.Tag
				for _, c := range changes {
					seen[c.ID]++
					if seen[c.ID] == 1 { // the stream knows it already
						tags = append(tags, c.Tags...)
					}
				}
				return spell(tags)
			}
			before := "" // what comes twice is told again
			expect := func(want string) {
				t.Helper()
				got := poll()
				for _, tag := range strings.Fields(got) {
					if !strings.Contains(want, tag) && (q.TidyEvents || !strings.Contains(before, tag)) {
						t.Errorf("got %q, want %q", got, want)
					}
				}
				for _, tag := range strings.Fields(want) {
					if !strings.Contains(got, tag) {
						t.Errorf("got %q, want %q", got, want)
					}
				}
				before += " " + want
			}
			expect("")
			must(s.sim.SetRole(boxsim.OwnerUser, "coadmin"))
			must(s.sim.SetStatus(boxsim.EditorUser, "inactive"))
			expect("subject:201 subject:202")
			must(s.sim.Leave(boxsim.MemberUser, boxsim.GroupSupport))
			expect("subject:203")
			must(s.sim.DeleteGroup(boxsim.GroupSales))
			expect("group:12")
			must(s.sim.SetCollaborationRole("33", "editor"))
			expect("subject:301")
			must(s.sim.Authorize(""))
			expect("app")
			s.sim.EmitEvent(boxsim.Event{Type: "DOWNLOAD", By: boxsim.EditorUser})
			expect("")
			s.sim.EmitEvent(boxsim.Event{Type: "OF_TOMORROW", By: boxsim.EditorUser})
			expect("tenant")
			for n := range 300 { // more than a page
				s.sim.EmitEvent(boxsim.Event{Type: "EDIT_USER",
					Source: map[string]any{"type": "user", "id": []string{"7", "8"}[n%2]}})
			}
			expect("subject:7 subject:8")
			expect("")
		})
	}
}

// TestSimulatedTrouble: dead tokens are replaced, limits and outages obeyed, and
// what is missing on our side is never a denial.
func TestSimulatedTrouble(t *testing.T) {
	plans := folder(boxsim.FolderPlans)
	t.Run("a dead token", func(t *testing.T) {
		s := newStage(t, boxsim.Options{}, nil)
		s.read(t, boxsim.EditorUser, plans)
		s.sim.EndTokens(boxsim.ServiceUser)
		says(t, s.read(t, boxsim.EditorUser, plans), box.BasisItemAsUser, cache.Permission, editorOfFolder)
		if n := s.sim.Calls("post_oauth2_token"); n != 2 {
			t.Errorf("%d tokens were asked for", n)
		}
	})
	for name, c := range map[string]struct {
		edit   func(*boxsim.App)
		as     string
		remedy string
	}{
		"no scope": {edit: func(a *boxsim.App) { a.Scopes = []string{"manage_managed_users", "manage_groups"} },
			as: box.AsUser, remedy: "give the app the scope"},
		"no As-User": {edit: func(a *boxsim.App) { a.NoAsUser = true },
			as: box.AsUser, remedy: "As-User"},
		"no tokens of users": {edit: func(a *boxsim.App) { a.NoUserTokens = true },
			as: box.AsToken, remedy: "Generate user access tokens"},
		"not authorised": {as: box.AsUser, remedy: "authorise"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, boxsim.Options{}, func(b *box.Config) { b.As = c.as })
			err := s.sim.Deauthorize("")
			if c.edit != nil {
				err = errors.Join(err, s.sim.Configure("", c.edit), s.sim.Authorize(""))
			}
			if err != nil {
				t.Fatal(err)
			}
			a, err := s.Read(t.Context(), ref(boxsim.EditorUser, plans), newSession(100))
			if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(err.Error(), c.remedy) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	t.Run("too many calls", func(t *testing.T) {
		s := newStage(t, boxsim.Options{}, nil)
		if err := s.sim.Fault(boxsim.Fault{Operation: "get_folders_id", Kind: boxsim.Status, Status: 429,
			Delay: time.Minute, Count: 1}); err != nil {
			t.Fatal(err)
		}
		var later *subscriptions.Later
		_, err := s.Read(t.Context(), ref(boxsim.EditorUser, plans), newSession(100))
		if !errors.As(err, &later) || time.Until(later.Until) < 50*time.Second {
			t.Fatalf("error %v", err)
		}
		calls := s.sim.Calls("get_users_id")
		if _, err = s.Read(t.Context(), ref(boxsim.EditorUser, ""), newSession(100)); !errors.As(err, &later) {
			t.Errorf("error %v", err)
		}
		if got := s.sim.Calls("get_users_id"); got != calls {
			t.Errorf("%d calls during the penalty", got-calls)
		}
	})
	t.Run("an outage that passes", func(t *testing.T) {
		s := newStage(t, boxsim.Options{}, nil)
		if err := s.sim.Fault(boxsim.Fault{Operation: "get_users_id", Kind: boxsim.Status, Status: 502,
			Count: 1}); err != nil {
			t.Fatal(err)
		}
		says(t, s.read(t, boxsim.MemberUser, ""), box.BasisUser, cache.Role, "user")
	})
}
