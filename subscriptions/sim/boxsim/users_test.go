package boxsim_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

const denied = "access_denied_insufficient_permissions"

func TestFieldsOfUsers(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	me := w.get(t, w.as(t, boxsim.CoadminUser), "/users/me").want(t, 200, "").json
	if text(me["status"]) != "active" || me["role"] != nil {
		t.Errorf("without fields: %v", me)
	}
	a := w.get(t, token, "/users/"+boxsim.CoadminUser+"?fields=role,enterprise,status").want(t, 200, "")
	want := map[string]any{"type": "user", "id": boxsim.CoadminUser, "role": "coadmin", "status": "active",
		"enterprise": map[string]any{"type": "enterprise", "id": "987", "name": "Acme"}}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a = w.get(t, token, "/users/"+boxsim.ExternalUser+"?fields=role,status,name,enterprise").want(t, 200, "")
	if a.json["role"] != nil || a.json["status"] != nil || text(a.json["name"]) == "" {
		t.Errorf("an external user: %s", a.raw)
	}
	w.get(t, token, "/users/"+boxsim.MemberUser+"?fields="+strings.Join([]string{"tracking_codes", "hostname",
		"can_see_managed_users", "is_external_collab_restricted", "is_platform_access_only", "is_sync_enabled",
		"is_exempt_from_device_limits", "is_exempt_from_login_verification", "my_tags"}, ",")).want(t, 200, "")
	w.get(t, w.as(t, boxsim.MemberUser), "/users/"+boxsim.OwnerUser).want(t, 403, denied)
	w.get(t, token, "/users/1").want(t, 404, "not_found")
}

func TestListOfUsers(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	for query, want := range map[string]string{
		"": "100 101 102 201 202 203", "?user_type=all": "100 101 102 201 202 203 301",
		"?user_type=external": "301", "?filter_term=ADA": "101", "?filter_term=mia.m": "203",
		"?limit=2&offset=4": "202 203", "?limit=2&usemarker=true": "100 101", "?external_app_user_id=x": "",
	} {
		if got := w.get(t, token, "/users"+query).want(t, 200, "").ids(); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	a := w.get(t, token, "/users?limit=5000").want(t, 200, "")
	if text(a.json["limit"]) != "1000" || text(a.json["total_count"]) != "6" {
		t.Errorf("got %s", a.raw)
	}
	w.get(t, token, "/users?offset=10001").want(t, 400, "bad_request")
	w.get(t, token, "/users?offset=-1").want(t, 400, "bad_request")
	w.get(t, token, "/users?usemarker=true&marker=x").want(t, 400, "bad_request")
}

func TestUserLife(t *testing.T) {
	w := start(t, boxsim.Options{Quirks: boxsim.Quirks{TidyEvents: true}})
	token := w.service(t)
	_, now := w.poll(t, token, "admin_logs_streaming", "now", "")
	body := map[string]any{"name": "New One", "login": "new@acme.example"}
	a := w.call(t, token, "POST", "/users?fields=role", body).want(t, 201, "")
	path := "/users/" + text(a.json["id"])
	w.call(t, token, "POST", "/users", body).want(t, 409, "user_login_already_used")
	w.call(t, token, "POST", "/users", map[string]any{"name": "x"}).want(t, 400, "bad_request")
	app := map[string]any{"name": "x", "is_platform_access_only": true}
	w.call(t, token, "POST", "/users", app).want(t, 201, "")
	change := map[string]any{"role": "coadmin", "status": "inactive"}
	a = w.call(t, token, "PUT", path+"?fields=role,status", change)
	if a.want(t, 200, ""); text(a.json["role"]) != "coadmin" || text(a.json["status"]) != "inactive" {
		t.Errorf("got %s", a.raw)
	}
	w.call(t, token, "PUT", path, map[string]any{"role": "admin"}).want(t, 400, "bad_request")
	w.call(t, token, "PUT", path, map[string]any{"status": "gone"}).want(t, 400, "bad_request")
	w.call(t, token, "PUT", "/users/"+boxsim.AdminUser, map[string]any{"role": "user"}).want(t, 403, denied)
	a = w.call(t, token, "PUT", path+"?fields=enterprise", map[string]any{"enterprise": nil}).want(t, 200, "")
	if a.json["enterprise"] != nil {
		t.Errorf("not rolled out: %s", a.raw)
	}
	w.call(t, token, "DELETE", path, nil).want(t, 204, "")
	w.get(t, token, path).want(t, 404, "not_found")
	w.call(t, token, "DELETE", "/users/"+boxsim.OwnerUser, nil).want(t, 400, "user_has_owned_content")
	w.call(t, token, "DELETE", "/users/"+boxsim.OwnerUser+"?force=true", nil).want(t, 204, "")
	w.get(t, w.as(t, boxsim.EditorUser), projects).want(t, 404, "not_found")
	page, _ := w.poll(t, token, "admin_logs_streaming", now, "")
	if got := kinds(page); got != "NEW_USER NEW_USER CHANGE_ADMIN_ROLE EDIT_USER EDIT_USER"+
		" DELETE_USER DELETE_USER" {
		t.Errorf("events: %s", got)
	}
	if by := text(at(page[0], "created_by", "id")); by != boxsim.ServiceUser {
		t.Errorf("by %s", by)
	}
	w.call(t, w.as(t, boxsim.MemberUser), "POST", "/users", body).want(t, 403, denied)
}

func TestGroupLife(t *testing.T) {
	w := start(t, boxsim.Options{Quirks: boxsim.Quirks{TidyEvents: true}})
	token := w.service(t)
	_, now := w.poll(t, token, "admin_logs_streaming", "now", "")
	ops := map[string]any{"name": "Ops", "member_viewability_level": "admins_only"}
	a := w.call(t, token, "POST", "/groups", ops)
	group := text(a.want(t, 201, "").json["id"])
	w.call(t, token, "POST", "/groups", map[string]any{"name": "Ops"}).want(t, 409, "conflict")
	w.call(t, token, "POST", "/groups", map[string]any{}).want(t, 400, "bad_request")
	a = w.call(t, token, "PUT", "/groups/"+group+"?fields=invitability_level,description,permissions",
		map[string]any{"invitability_level": "admins_only", "description": "d"}).want(t, 200, "")
	if text(a.json["invitability_level"]) != "admins_only" ||
		at(a.json, "permissions", "can_invite_as_collaborator") != true {
		t.Errorf("got %s", a.raw)
	}
	in := func(user, role string) map[string]any {
		return map[string]any{"user": map[string]any{"id": user}, "group": map[string]any{"id": group},
			"role": role}
	}
	a = w.call(t, token, "POST", "/group_memberships", in(boxsim.EditorUser, "admin")).want(t, 201, "")
	lead := "/group_memberships/" + text(a.json["id"])
	if v, there := a.json["configurable_permissions"]; v != nil || !there {
		t.Errorf("got %s", a.raw)
	}
	w.call(t, token, "POST", "/group_memberships", in(boxsim.EditorUser, "member")).want(t, 409, "conflict")
	w.call(t, token, "POST", "/group_memberships", in("1", "member")).want(t, 404, "not_found")
	w.call(t, token, "POST", "/group_memberships", in(boxsim.MemberUser, "king")).want(t, 400, "bad_request")
	a = w.call(t, token, "POST", "/group_memberships", in(boxsim.MemberUser, "member")).want(t, 201, "")
	member := "/group_memberships/" + text(a.json["id"])

	leader, plain := w.as(t, boxsim.EditorUser), w.as(t, boxsim.MemberUser)
	w.get(t, leader, member).want(t, 200, "")
	w.get(t, plain, lead).want(t, 403, denied)
	w.get(t, plain, "/groups/"+group+"/memberships").want(t, 404, "not_found") // admins_only
	w.get(t, plain, "/groups/"+boxsim.GroupSupport+"/memberships").want(t, 200, "")
	w.get(t, plain, "/groups").want(t, 403, denied)
	w.get(t, plain, "/users/"+boxsim.OwnerUser+"/memberships").want(t, 403, denied)
	a = w.get(t, leader, "/groups/"+group+"/memberships").want(t, 200, "")
	list, _ := a.json["entries"].([]any)
	if len(list) != 2 || slices.ContainsFunc(list, func(e any) bool {
		m, _ := e.(map[string]any)
		_, there := m["configurable_permissions"]
		return there
	}) {
		t.Errorf("list: %s", a.raw)
	}
	a = w.get(t, plain, "/users/"+boxsim.MemberUser+"/memberships").want(t, 200, "")
	if len(strings.Fields(a.ids())) != 2 {
		t.Errorf("groups of a member: %s", a.raw)
	}
	less := map[string]any{"configurable_permissions": map[string]any{"can_run_reports": false}}
	a = w.call(t, leader, "PUT", lead, less)
	if a.want(t, 200, ""); at(a.json, "configurable_permissions", "can_run_reports") != false ||
		at(a.json, "configurable_permissions", "can_edit_accounts") != true {
		t.Errorf("got %s", a.raw)
	}
	w.call(t, token, "PUT", lead, map[string]any{"role": "member"}).want(t, 200, "")
	w.call(t, token, "DELETE", member, nil).want(t, 204, "")
	w.get(t, token, member).want(t, 404, "not_found")
	if got := w.get(t, token, "/groups?filter_term=s").want(t, 200, "").ids(); got != "11 12" {
		t.Errorf("groups: %q", got)
	}
	w.call(t, plain, "DELETE", "/groups/"+boxsim.GroupSupport, nil).want(t, 403, denied)
	w.call(t, token, "DELETE", "/groups/"+group, nil).want(t, 204, "")
	w.get(t, token, "/groups/"+group).want(t, 404, "not_found")
	page, _ := w.poll(t, token, "admin_logs_streaming", now, "")
	if got := kinds(page); got != "GROUP_CREATION GROUP_EDITED GROUP_ADD_USER GROUP_ADMIN_CREATED"+
		" GROUP_ADD_USER GROUP_ADMIN_PERMISSIONS_UPDATED GROUP_ADMIN_DELETED GROUP_REMOVE_USER GROUP_DELETION" {
		t.Errorf("events: %s", got)
	}
}

// TestMethodsOfUnknownThings: all of them say so.
func TestMethodsOfUnknownThings(t *testing.T) {
	w := start(t, boxsim.Options{})
	_, invite := w.Invite(boxsim.Collaboration{Item: "1", User: boxsim.MemberUser, Role: "viewer"})
	_, role := w.Invite(boxsim.Collaboration{Item: boxsim.FileDraft, User: boxsim.MemberUser, Role: "friend"})
	_, join := w.Join("1", boxsim.GroupSales, "member")
	_, add := w.AddItem(boxsim.Item{Type: "file", Name: "x", Parent: boxsim.FileDraft})
	_, taken := w.AddUser(boxsim.User{ID: boxsim.AdminUser})
	for name, err := range map[string]error{
		"SetRole": w.SetRole("1", "user"), "DeleteUser": w.DeleteUser("1", true), "DeleteGroup": w.DeleteGroup("1"),
		"Leave": w.Leave("1", "1"), "Uninvite": w.Uninvite("1"),
		"SetCollaborationRole": w.SetCollaborationRole("1", "editor"),
		"Move":                 w.Move(boxsim.FolderProjects, boxsim.FolderDrafts), "Rename": w.Rename("1", "x"),
		"Lock": w.Lock(boxsim.FolderDrafts, boxsim.AdminUser), "DeleteWebhook": w.DeleteWebhook("1"),
		"Trigger": w.Trigger("FILE.MOVED", "", "1", nil, nil), "Authorize": w.Authorize("x"),
		"Configure": w.Configure("x", nil),
		"Invite":    invite, "role": role, "Join": join, "AddItem": add, "AddUser": taken,
		"force": w.DeleteUser(boxsim.OwnerUser, false),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
