package boxsim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// rights are the caller's on an item, sorted and without can_; "none" when the item is hidden.
func (w *world) rights(t testing.TB, token, path string, head ...string) string {
	t.Helper()
	a := w.get(t, token, path+"?fields=permissions", head...)
	if a.status == 404 {
		return "none"
	}
	all, _ := a.want(t, 200, "").json["permissions"].(map[string]any)
	var list []string
	for name, yes := range all {
		if yes == true {
			list = append(list, strings.TrimPrefix(name, "can_"))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

const (
	projects = "/folders/" + boxsim.FolderProjects
	plans    = "/folders/" + boxsim.FolderPlans
	drafts   = "/folders/" + boxsim.FolderDrafts
	roadmap  = "/files/" + boxsim.FileRoadmap
	draft    = "/files/" + boxsim.FileDraft

	asEditor = "delete download invite_collaborator rename set_share_access share upload"
	asViewer = "download share"
)

// invite makes a collaboration that must succeed and returns its id.
func (w *world) invite(t testing.TB, item, user, role string) string {
	t.Helper()
	return id(t)(w.Invite(boxsim.Collaboration{Item: item, User: user, Role: role}))
}

// TestRoles holds the role table: what each role may do with a folder and with a file in it.
func TestRoles(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.as(t, boxsim.AdminUser)
	x := w.invite(t, boxsim.FolderProjects, boxsim.AdminUser, "uploader")
	const notes = "annotate comment "
	for role, want := range map[string][2]string{
		"co-owner":           {asEditor, notes + strings.Replace(asEditor, "rename", "preview rename", 1)},
		"editor":             {asEditor, notes + strings.Replace(asEditor, "rename", "preview rename", 1)},
		"viewer uploader":    {"download share upload", notes + "download preview share upload"},
		"previewer uploader": {"upload", notes + "preview upload"},
		"viewer":             {asViewer, notes + "download preview share"},
		"previewer":          {"", notes + "preview"},
		"uploader":           {"upload", "upload"},
	} {
		must(t, w.SetCollaborationRole(x, role))
		file := strings.TrimSpace(strings.NewReplacer(" view_annotations_all", "", " view_annotations_self", "").
			Replace(w.rights(t, token, draft)))
		if diff := cmp.Diff(want, [2]string{w.rights(t, token, projects), file}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", role, diff)
		}
	}
}

// TestInheritance goes through who sees what in the default world, and how it changes.
func TestInheritance(t *testing.T) {
	w := start(t, boxsim.Options{})
	owner, editor, member := w.as(t, boxsim.OwnerUser), w.as(t, boxsim.EditorUser), w.as(t, boxsim.MemberUser)
	stranger := w.as(t, boxsim.ExternalUser)
	check := func(what, token, path, want string) {
		t.Helper()
		if got := w.rights(t, token, path); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	check("the owner", owner, drafts, asEditor)
	check("an editor far below", editor, drafts, asEditor)
	check("a member of a group", member, drafts, asViewer)
	check("an outsider above their folder", stranger, projects, "none")
	check("an outsider below", stranger, drafts, asViewer)
	check("the admin, without a collaboration", w.as(t, boxsim.AdminUser), projects, "none")
	check("a global content manager", w.as(t, boxsim.AdminUser, "enterprise_content"), projects, asViewer)

	x := w.invite(t, boxsim.FolderDrafts, boxsim.MemberUser, "editor")
	check("a higher role deeper", member, drafts, asEditor)
	check("which reaches no higher", member, plans, asViewer)
	must(t, w.Leave(boxsim.MemberUser, boxsim.GroupSupport))
	check("out of the group", member, plans, "none")
	check("but in deeper", member, drafts, asEditor)
	must(t, w.SetExpiry(x, time.Now().Add(50*time.Millisecond)))
	eventually(t, "the expiry", func() bool { return w.rights(t, member, drafts) == "none" })

	must(t, w.Restrict(boxsim.FolderPlans, true, true))
	check("owners alone invite", editor, drafts, strings.Replace(asEditor, "invite_collaborator ", "", 1))
	must(t, w.SetStatus(boxsim.EditorUser, "cannot_delete_edit_upload"))
	check("capped by status", editor, projects, "download invite_collaborator set_share_access share")
	must(t, w.SetStatus(boxsim.EditorUser, "active"))
	must(t, w.Move(boxsim.FolderDrafts, boxsim.FolderPrivate))
	check("moved away", editor, drafts, "none")
	must(t, w.Move(boxsim.FolderDrafts, "0"))
	check("moved to the top", owner, drafts, asEditor)
	must(t, w.Lock(boxsim.FileRoadmap, boxsim.OwnerUser))
	if got := w.rights(t, editor, roadmap); strings.Contains(got, "delete") || strings.Contains(got, "upload") {
		t.Errorf("locked by another: %q", got)
	}
	must(t, w.Trash(boxsim.FolderPlans))
	w.get(t, editor, roadmap).want(t, 404, "trashed")
	must(t, w.Restore(boxsim.FolderPlans))
	w.get(t, editor, roadmap).want(t, 200, "")
	must(t, w.Delete(boxsim.FolderProjects))
	w.get(t, owner, roadmap).want(t, 404, "not_found")
}

func TestFieldsOfItems(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.as(t, boxsim.EditorUser)
	keys := func(a answer) (list []string) {
		for k := range a.want(t, 200, "").json {
			list = append(list, k)
		}
		slices.Sort(list)
		return list
	}
	got := keys(w.get(t, token, roadmap+"?fields=lock,is_package,unheard_of"))
	if diff := cmp.Diff([]string{"etag", "id", "is_package", "lock", "type"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	plain := keys(w.get(t, token, plans))
	if slices.Contains(plain, "permissions") || !slices.Contains(plain, "path_collection") {
		t.Errorf("without fields: %v", plain)
	}
	whole := strings.Join(append(plain, "permissions", "tags", "lock", "allowed_invitee_roles",
		"has_collaborations", "can_non_owners_invite", "is_externally_owned", "shared_link",
		"watermark_info", "classification",
		"is_collaboration_restricted_to_enterprise", "version_number", "comment_count", "extension"), ",")
	must(t, w.Share(boxsim.FolderPlans, "company"))
	must(t, w.Lock(boxsim.FileRoadmap, boxsim.EditorUser))
	for _, path := range []string{plans, roadmap, "/folders/0"} {
		w.get(t, token, path+"?fields="+whole).want(t, 200, "") // all shapes as described
	}
	etag := text(w.get(t, token, plans).json["etag"])
	w.get(t, token, plans, "If-None-Match", etag).want(t, 304, "")
	must(t, w.SetCollaborationRole("31", "viewer"))
	w.get(t, token, plans, "If-None-Match", etag).want(t, 304, "") // rights are not in it
	w.get(t, token, "/folders/abc").want(t, 405, "method_not_allowed")
}

func TestTheWayToAnItem(t *testing.T) {
	w := start(t, boxsim.Options{})
	way := func(user string) string {
		a := w.get(t, w.as(t, user), draft+"?fields=path_collection,parent")
		list, _ := at(a.json, "path_collection", "entries").([]any)
		var all []string
		for _, e := range list {
			all = append(all, text(at(e, "id")))
		}
		return strings.Join(all, "/")
	}
	if got := way(boxsim.OwnerUser); got != "0/1001/1002/1003" {
		t.Errorf("of the owner: %s", got)
	}
	if got := way(boxsim.ExternalUser); got != "0/1002/1003" {
		t.Errorf("of an outsider: %s", got)
	}
	for user, want := range map[string]string{boxsim.OwnerUser: "1009 1001", boxsim.ExternalUser: "1002",
		boxsim.AdminUser: ""} {
		if got := w.get(t, w.as(t, user), "/folders/0/items").want(t, 200, "").ids(); got != want {
			t.Errorf("root of %s: %q, want %q", user, got, want)
		}
	}
	token := w.as(t, boxsim.OwnerUser)
	for query, want := range map[string]string{
		"": "1003 2001", "?limit=1&offset=1": "2001", "?fields=permissions": "1003 2001",
		"?usemarker=true&limit=1": "1003", "?offset=10000": "",
	} {
		if got := w.get(t, token, plans+"/items"+query).want(t, 200, "").ids(); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	w.get(t, token, plans+"/items?offset=10001").want(t, 400, "bad_request")
}

func TestAsUser(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	if got := w.rights(t, token, drafts, "As-User", boxsim.MemberUser); got != asViewer {
		t.Errorf("as a member: %q", got)
	}
	a := w.get(t, w.as(t, boxsim.CoadminUser), "/users/me", "As-User", boxsim.MemberUser).want(t, 200, "")
	if text(a.json["id"]) != boxsim.MemberUser {
		t.Errorf("got %s", a.raw)
	}
	w.get(t, w.as(t, boxsim.EditorUser), "/users/me", "As-User", boxsim.MemberUser).want(t, 403, denied)
	w.get(t, w.as(t, boxsim.AdminUser), "/users/me", "As-User", boxsim.ServiceUser).want(t, 403, denied)
	w.get(t, token, "/users/me", "As-User", boxsim.ExternalUser).want(t, 403, denied)
	w.get(t, token, "/users/me", "As-User", "1").want(t, 403, denied)
	w.get(t, token, "/users", "As-User", boxsim.MemberUser).want(t, 403, denied)
	must(t, w.Configure("", func(a *boxsim.App) { a.NoAsUser = true }))
	w.get(t, token, "/users/me", "As-User", boxsim.MemberUser).want(t, 403, denied)
}

func invitation(item, kind, who, role string) map[string]any {
	itemType := "folder"
	if strings.HasPrefix(item, "2") {
		itemType = "file"
	}
	whom := map[string]string{"type": kind, "id": who}
	if strings.Contains(who, "@") {
		whom = map[string]string{"type": kind, "login": who}
	}
	return map[string]any{"item": map[string]string{"type": itemType, "id": item}, "accessible_by": whom,
		"role": role}
}

func TestCollaborationLife(t *testing.T) {
	w := start(t, boxsim.Options{})
	owner, editor := w.as(t, boxsim.OwnerUser), w.as(t, boxsim.EditorUser)
	stranger := w.as(t, boxsim.ExternalUser)
	post := func(token string, body map[string]any) answer {
		return w.call(t, token, "POST", "/collaborations", body)
	}

	a := post(editor, invitation(boxsim.FolderDrafts, "user", boxsim.AdminUser, "editor")).want(t, 201, "")
	if text(a.json["status"]) != "accepted" || text(at(a.json, "item", "id")) != boxsim.FolderDrafts {
		t.Errorf("got %s", a.raw)
	}
	path := "/collaborations/" + text(a.json["id"])
	post(editor, invitation(boxsim.FolderDrafts, "user", boxsim.AdminUser, "editor")).
		want(t, 400, "user_already_collaborator")
	post(editor, invitation(boxsim.FolderDrafts, "user", boxsim.CoadminUser, "co-owner")).want(t, 403, denied)
	post(w.as(t, boxsim.MemberUser), invitation(boxsim.FolderDrafts, "user", boxsim.CoadminUser, "viewer")).
		want(t, 403, denied)
	post(editor, invitation(boxsim.FolderPrivate, "user", boxsim.CoadminUser, "viewer")).
		want(t, 404, "not_found")
	post(editor, invitation(boxsim.FileDraft, "user", boxsim.CoadminUser, "uploader")).
		want(t, 400, "bad_request")
	post(editor, invitation(boxsim.FolderDrafts, "user", "1", "viewer")).want(t, 404, "not_found")
	post(editor, invitation(boxsim.FolderDrafts, "group", boxsim.GroupSales, "viewer")).want(t, 403, denied)
	post(w.service(t), invitation(boxsim.FolderDrafts, "group", boxsim.GroupSales, "viewer")).want(t, 201, "")
	a = post(owner, invitation(boxsim.FolderDrafts, "user", "who@else.example", "viewer")).want(t, 201, "")
	if a.json["item"] != nil || a.json["accessible_by"] != nil || a.json["invite_email"] != "who@else.example" {
		t.Errorf("got %s", a.raw)
	}

	w.call(t, owner, "PUT", path, map[string]any{"role": "viewer"}).want(t, 200, "")
	w.call(t, editor, "PUT", path, map[string]any{"role": "co-owner"}).want(t, 403, denied)
	at := time.Now().Add(time.Hour).Format(time.RFC3339)
	a = w.call(t, owner, "PUT", path, map[string]any{"expires_at": at}).want(t, 200, "")
	if text(a.json["expires_at"]) == "" || text(a.json["role"]) != "viewer" {
		t.Errorf("got %s", a.raw)
	}
	w.call(t, owner, "DELETE", path, nil).want(t, 204, "")
	w.get(t, owner, path).want(t, 404, "not_found")

	a = post(owner, invitation(boxsim.FolderPrivate, "user", boxsim.ExternalUser, "editor")).want(t, 201, "")
	path = "/collaborations/" + text(a.json["id"])
	got := w.rights(t, stranger, "/folders/"+boxsim.FolderPrivate)
	if text(a.json["status"]) != "pending" || got != "none" {
		t.Errorf("pending: %q, %s", got, a.raw)
	}
	if got := w.get(t, stranger, "/collaborations?status=pending").ids(); "/collaborations/"+got != path {
		t.Errorf("invitations: %q", got)
	}
	w.get(t, stranger, "/collaborations").want(t, 400, "bad_request")
	w.call(t, owner, "PUT", path, map[string]any{"status": "accepted"}).want(t, 403, denied)
	w.call(t, stranger, "PUT", path, map[string]any{"status": "accepted"}).want(t, 200, "")
	if got := w.rights(t, stranger, "/folders/"+boxsim.FolderPrivate); got != asEditor {
		t.Errorf("accepted: %q", got)
	}
	w.call(t, stranger, "DELETE", path, nil).want(t, 204, "") // leaving
	must(t, w.Restrict(boxsim.FolderPrivate, false, true))
	post(owner, invitation(boxsim.FolderPrivate, "user", boxsim.ExternalUser, "editor")).
		want(t, 403, "forbidden_by_policy")
}

func TestOwnerChange(t *testing.T) {
	w := start(t, boxsim.Options{})
	owner, editor := w.as(t, boxsim.OwnerUser), w.as(t, boxsim.EditorUser)
	w.call(t, editor, "PUT", "/collaborations/31", map[string]any{"role": "owner"}).
		want(t, 403, denied)
	w.call(t, owner, "PUT", "/collaborations/31", map[string]any{"role": "owner"}).want(t, 204, "")
	w.get(t, owner, "/collaborations/31").want(t, 404, "not_found")
	a := w.get(t, editor, drafts+"?fields=owned_by").want(t, 200, "")
	if got := text(at(a.json, "owned_by", "id")); got != boxsim.EditorUser {
		t.Errorf("owned by %s", got)
	}
	list, _ := w.get(t, editor, projects+"/collaborations").want(t, 200, "").json["entries"].([]any)
	last := list[len(list)-1]
	if text(at(last, "accessible_by", "id")) != boxsim.OwnerUser || text(at(last, "role")) != "co-owner" {
		t.Errorf("the former owner: %v", last)
	}
}

func TestListsOfCollaborations(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	for path, want := range map[string]string{
		projects + "/collaborations": "31 32 34", drafts + "/collaborations": "31 32 33 34",
		roadmap + "/collaborations?limit=2":                                            "31 32",
		"/groups/" + boxsim.GroupSupport + "/collaborations":                           "32",
		fmt.Sprintf("/groups/%s/collaborations?limit=1&offset=1", boxsim.GroupSupport): "",
	} {
		if got := w.get(t, token, path).want(t, 200, "").ids(); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	w.get(t, w.as(t, boxsim.MemberUser), "/groups/11/collaborations").
		want(t, 403, denied)
}

func TestAcknowledging(t *testing.T) {
	for accept, want := range map[bool]string{true: "COLLABORATION.ACCEPTED", false: "COLLABORATION.REJECTED"} {
		w := start(t, boxsim.Options{})
		h := listen(t, nil)
		w.subscribe(t, w.service(t), "folder", boxsim.FolderPrivate, h.url, "COLLABORATION.CREATED",
			"COLLABORATION.ACCEPTED", "COLLABORATION.REJECTED")
		x := w.invite(t, boxsim.FolderPrivate, boxsim.ExternalUser, "viewer")
		if n := h.next(t, "COLLABORATION.CREATED"); at(n.json, "source", "item") != nil {
			t.Errorf("the item of a pending one: %s", n.raw)
		}
		must(t, w.Acknowledge(x, accept))
		n := h.next(t, want)
		if at(n.json, "created_by", "id") != boxsim.ExternalUser || at(n.json, "source", "acknowledged_at") == nil {
			t.Errorf("got %s", n.raw)
		}
		token := w.as(t, boxsim.ExternalUser)
		if got := w.rights(t, token, "/folders/"+boxsim.FolderPrivate) != "none"; got != accept {
			t.Errorf("accepted %v, sees it %v", accept, got)
		}
		w.EndTokens(boxsim.ExternalUser)
		w.get(t, token, "/users/me").want(t, 401, "invalid_token")
	}
}
