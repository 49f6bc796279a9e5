package muralsim_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

type object = map[string]any

// members are the users of a mural as another would see them: "u1 owner facilitator" and so on.
func (w *world) members(t testing.TB, token, mural string) (list []string) {
	t.Helper()
	var page struct{ Value []item }
	w.get(t, token, "/murals/"+mural+"/users").want(t, 200, "").into(t, &page)
	for _, v := range page.Value {
		text := fmt.Sprint(v.ID)
		if v.Permissions.Owner {
			text += " owner"
		}
		if v.Permissions.Facilitator {
			text += " facilitator"
		}
		list = append(list, text)
	}
	return list
}

func TestMuralMembers(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	owner, member := w.as(t, "u1"), w.as(t, "u2")
	path := "/murals/" + plan
	same(t, "at first", []string{"u1 owner facilitator", "u2 facilitator"}, w.members(t, member, plan))

	change := object{"owner": true, "facilitator": false}
	w.call(t, member, "PATCH", path+"/users/u1/permissions", change).want(t, 403, "FORBIDDEN")
	w.call(t, owner, "PATCH", path+"/users/u4/permissions", change).want(t, 404, "USER_NOT_FOUND")
	w.call(t, owner, "PATCH", path+"/users/u2/permissions", "{").want(t, 400, "BODY")
	w.call(t, owner, "PATCH", path+"/users/u2/permissions", change).want(t, 200, "")
	same(t, "changed", []string{"u1 owner facilitator", "u2 owner"}, w.members(t, member, plan))

	var gone struct{ Value []item }
	w.post(t, member, path+"/users/remove", object{"emails": []string{"ANN@rescind.test", "no@else.test"}}).
		want(t, 200, "").into(t, &gone)
	if len(gone.Value) != 2 || gone.Value[0].Rejected || !gone.Value[1].Rejected {
		t.Errorf("removed: got %+v", gone.Value)
	}
	same(t, "removed", []string{"u2 owner"}, w.members(t, member, plan))
	w.post(t, owner, path+"/visitor-settings/reset-link", nil).want(t, 403, "FORBIDDEN")
}

func TestInvitations(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	owner := w.as(t, "u3")
	invite := func(path string, one object) (refCode string) {
		var list struct{ Value []item }
		w.post(t, owner, path+"/users/invite", object{"message": "", "sendEmail": false,
			"invitations": []object{one}}).want(t, 201, "").into(t, &list)
		return list.Value[0].RefCode
	}
	invite("/murals/"+tender, object{"username": "dee1650", "editPermission": "view"})
	same(t, "by username, at once", []string{"u3 owner facilitator", "u4", "u5"}, w.members(t, owner, tender))
	dee := w.as(t, "u4")
	w.sees(t, dee, atPrivate, []string{"1650000000014"})
	w.call(t, dee, "PATCH", "/murals/"+tender, object{"title": "x"}).want(t, 403, "FORBIDDEN") // view only

	invite("/murals/"+tender, object{"username": "cas1650"})
	same(t, "an entry stays", []string{"u3 owner facilitator", "u4", "u5"}, w.members(t, owner, tender))
	refCode := invite("/murals/"+tender, object{"email": "gil@guest.test"})
	same(t, "by email, not yet", []string{"u3 owner facilitator", "u4", "u5"}, w.members(t, owner, tender))
	must(t, w.Accept(refCode))
	same(t, "accepted", []string{"u3 owner facilitator", "u4", "u5", "u6"}, w.members(t, owner, tender))
	if w.Accept(refCode) == nil {
		t.Error("an invitation was accepted twice")
	}
	must(t, w.RemoveMuralMember(tender, "u6"))
	w.sees(t, w.as(t, "u6"), atPrivate, nil) // it was the last mural in this room

	for _, bad := range []object{{"username": "nobody"}, {"email": "a@b.test", "editPermission": "all"}} {
		body := object{"invitations": []object{bad}}
		w.post(t, owner, "/murals/"+tender+"/users/invite", body).want(t, 400, "BODY")
	}
	w.post(t, owner, atPrivate+"/users/invite", object{"invitations": []object{{"email": "a@b.test"}}}).
		want(t, 403, "FORBIDDEN")
	w.post(t, w.as(t, "u5"), "/murals/"+tender+"/users/invite", object{"invitations": []object{
		{"username": "gil1650"}}}).want(t, 403, "FORBIDDEN")
}

func TestNewcomers(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	admin := w.as(t, "u1")
	for email, kind := range map[string]string{"new@RESCIND.test": "member", "new@else.test": "guest"} {
		var list struct{ Value []item }
		body := object{"invitations": []object{{"email": email}}}
		w.post(t, admin, space+"/users/invite", body).want(t, 201, "").into(t, &list)
		must(t, w.Accept(list.Value[0].RefCode))
		w.post(t, admin, atOpen+"/users/invite", body).want(t, 201, "").into(t, &list)
		w.call(t, admin, "PATCH", atOpen+"/users/permissions", object{"members": []object{
			{"refCode": list.Value[0].RefCode, "owner": true}}}).want(t, 200, "")
		must(t, w.Accept(list.Value[0].RefCode))

		var people struct {
			Value []struct{ ID, Email, Type string }
		}
		w.get(t, admin, atOpen+"/users").into(t, &people)
		for _, p := range people.Value {
			if p.Email != email {
				continue
			}
			same(t, email, kind, p.Type)
			w.call(t, w.as(t, p.ID), "PATCH", atOpen, object{"name": "by " + email}).want(t, 200, "")
		}
		same(t, email, kind, w.kindOf(t, email, people.Value))
	}
	w.post(t, w.as(t, "u5"), space+"/users/invite", object{}).want(t, 403, "FORBIDDEN")
}

func (w *world) kindOf(t testing.TB, email string, people []struct{ ID, Email, Type string }) string {
	t.Helper()
	for _, p := range people {
		if p.Email == email {
			return p.Type
		}
	}
	t.Fatalf("%s is not in %v", email, people)
	return ""
}

func TestRoomsAndTheirMembers(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	owner, member := w.as(t, "u2"), w.as(t, "u3")
	w.call(t, member, "PATCH", atPrivate, object{"type": "open"}).want(t, 403, "FORBIDDEN")
	w.call(t, owner, "PATCH", atPrivate+"/users/permissions", object{"members": []object{
		{"username": "cas1650", "owner": true}, {"username": "dee1650"}}}).want(t, 400, "BODY")
	w.call(t, member, "PATCH", atPrivate, object{"type": "open"}).want(t, 403, "FORBIDDEN") // all or none
	w.call(t, owner, "PATCH", atPrivate+"/users/permissions", object{"members": []object{
		{"username": "cas1650", "owner": true}}}).want(t, 200, "")
	w.sees(t, w.as(t, "u4"), atPrivate, nil)
	w.call(t, member, "PATCH", atPrivate, object{"type": "open"}).want(t, 200, "")
	w.sees(t, w.as(t, "u4"), atPrivate, []string{})

	w.post(t, owner, atPrivate+"/users/remove", object{"emails": []string{"cas@rescind.test"}}).want(t, 200, "")
	w.get(t, member, "/murals/"+tender).want(t, 404, "MURAL_NOT_FOUND") // who leaves a room leaves its murals
	w.call(t, owner, "DELETE", atPrivate, nil).want(t, 204, "")
	w.get(t, owner, atPrivate).want(t, 404, "ROOM_NOT_FOUND")
	w.get(t, owner, "/murals/"+salaries).want(t, 404, "MURAL_NOT_FOUND")

	w.post(t, w.as(t, "u5"), "/rooms", object{"name": "R", "type": "open", "workspaceId": "rescind1234"}).
		want(t, 404, "WORKSPACE_NOT_FOUND")
	w.post(t, owner, "/rooms", object{"name": "R", "type": "shut", "workspaceId": "rescind1234"}).
		want(t, 400, "BODY")
	var room struct{ Value struct{ ID int64 } }
	w.post(t, owner, "/rooms", object{"name": "R", "type": "private", "workspaceId": "rescind1234"}).
		want(t, 201, "").into(t, &room)
	restricted := object{"workspaceId": "rescind1234", "roomId": openRoom}
	w.post(t, w.as(t, "u6"), "/murals", restricted).want(t, 403, "FORBIDDEN")
	w.call(t, member, "DELETE", "/murals/"+aMap, nil).want(t, 403, "FORBIDDEN")
	w.call(t, w.as(t, "u1"), "DELETE", "/murals/"+aMap, nil).want(t, 204, "") // owns the room
	var mural struct{ Value struct{ ID string } }
	body := object{"workspaceId": "rescind1234", "roomId": room.Value.ID, "title": "T"}
	w.post(t, member, "/murals", body).want(t, 404, "ROOM_NOT_FOUND")
	w.post(t, owner, "/murals", body).want(t, 201, "").into(t, &mural)
	w.call(t, owner, "DELETE", "/murals/"+mural.Value.ID, nil).want(t, 204, "")
	w.get(t, owner, "/murals/"+mural.Value.ID).want(t, 404, "MURAL_NOT_FOUND")
}

// settings are visitors and workspaceMembers, by all three ways to read them, and the link.
func (w *world) settings(t testing.TB, token, mural string) (set [2]string, link string, updated int64) {
	t.Helper()
	type pair struct{ Visitors, WorkspaceMembers, Link string }
	var one struct {
		Value struct {
			State            string
			UpdatedOn        int64
			VisitorsSettings pair
		}
	}
	w.get(t, token, "/murals/"+mural).want(t, 200, "").into(t, &one)
	var access struct{ Value pair }
	w.post(t, token, "/murals/"+mural+"/access-info", object{"muralState": one.Value.State}).
		want(t, 200, "").into(t, &access)
	v := one.Value.VisitorsSettings
	same(t, "access-info", pair{v.Visitors, v.WorkspaceMembers, ""}, access.Value)
	return [2]string{v.Visitors, v.WorkspaceMembers}, v.Link, one.Value.UpdatedOn
}

func TestVisitorSettings(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	owner, editor := w.as(t, "u1"), w.as(t, "u2")
	path := "/murals/" + plan
	set, link, updated := w.settings(t, owner, plan)
	same(t, "at first", [2]string{"none", "write"}, set)
	w.call(t, owner, "PATCH", path+"/visitor-settings", object{"visitors": "read"}).want(t, 200, "")
	set, _, now := w.settings(t, owner, plan)
	same(t, "by visitor-settings", [2]string{"read", "write"}, set)
	same(t, "updatedOn, which content alone moves", updated, now)
	w.post(t, owner, path+"/visitor-settings/reset-link", nil).want(t, 200, "")
	if _, now, _ := w.settings(t, owner, plan); now == link {
		t.Errorf("the link is still %s", link)
	}
	w.call(t, owner, "PATCH", path, object{"workspaceMembersPermission": "none"}).want(t, 200, "")
	set, _, now = w.settings(t, owner, plan)
	same(t, "by the mural itself", [2]string{"read", "none"}, set)
	if now == updated {
		t.Error("updatedOn did not move")
	}
	w.get(t, w.as(t, "u4"), path).want(t, 404, "MURAL_NOT_FOUND")

	w.call(t, editor, "PATCH", path, object{"title": "x"}).want(t, 200, "")
	w.call(t, editor, "PATCH", path, object{"visitorsPermission": "none"}).want(t, 403, "FORBIDDEN")
	w.call(t, owner, "PATCH", path, object{"visitorsPermission": "all"}).want(t, 400, "BODY")
	w.call(t, owner, "PATCH", path+"/visitor-settings", object{"workspaceMembers": "all"}).want(t, 400, "BODY")
	w.post(t, owner, path+"/access-info", object{"muralState": "old"}).want(t, 400, "BODY")
}

// The methods do what the API does.
func TestChangesByMethod(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	owner, dee := w.as(t, "u3"), w.as(t, "u4")
	must(t, w.SetMuralMember(tender, "u4", muralsim.BoardMember{Facilitator: true}))
	same(t, "members", []string{"u3 owner facilitator", "u4 facilitator", "u5"}, w.members(t, owner, tender))
	w.sees(t, dee, atPrivate, []string{"1650000000014"})
	w.call(t, dee, "PATCH", "/murals/"+plan, object{"title": "by default write"}).want(t, 200, "")
	w.call(t, dee, "PATCH", "/murals/"+aMap, object{"title": "by default read"}).want(t, 403, "FORBIDDEN")
	must(t, w.RemoveMuralMember(aMap, "u3"))
	same(t, "the room", []string{"u1", "u2", "u3", "u6"}, w.get(t, owner, atOpen+"/users").ids(t))
	must(t, w.SetVisitors(salaries, "none", "read"))
	w.get(t, dee, "/murals/"+salaries).want(t, 200, "")
	must(t, w.DeleteMural(salaries))
	w.get(t, owner, "/murals/"+salaries).want(t, 404, "MURAL_NOT_FOUND")
	for _, err := range []error{w.SetMuralMember(tender, "u99", muralsim.BoardMember{}), w.DeleteMural(salaries),
		w.SetRoomMember(9, "u1", muralsim.RoomMember{}), w.SetVisitors(plan, "all", "none"),
		w.PutRoom(muralsim.Room{WorkspaceID: "none"}), w.SetWorkspaceRole("rescind1234", "u1", "king")} {
		if !errors.Is(err, muralsim.ErrUnknown) {
			t.Errorf("got %v", err)
		}
	}
}

// For the race detector.
func TestManyAtOnce(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	must(t, w.Fault(muralsim.Fault{Kind: muralsim.Stale, Delay: time.Millisecond}))
	var all sync.WaitGroup
	for _, user := range []string{"u1", "u2", "u3"} {
		token := w.as(t, user)
		all.Go(func() {
			for range 50 {
				for _, path := range []string{"/workspaces", atOpen + "/users", "/murals/" + plan} {
					head := http.Header{"Authorization": {"Bearer " + token}}
					if a, err := w.ask(t, head, "GET", v1+path, nil); err != nil || a.status != 200 {
						t.Errorf("%s: %d, %v", path, a.status, err)
					}
				}
			}
		})
	}
	all.Go(func() {
		for range 50 {
			if err := errors.Join(w.SetMuralMember(plan, "u5", muralsim.BoardMember{}),
				w.RemoveMuralMember(plan, "u5")); err != nil {
				t.Error(err)
			}
			if _, err := w.ask(t, http.Header{}, "GET", "/sim/world", nil); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
}

func TestLeavingTheWorkspace(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	token, other := w.as(t, "u3"), w.as(t, "u2")
	must(t, w.SetWorkspaceRole("rescind1234", "u3", ""))
	same(t, "workspaces", []string{}, w.get(t, token, "/workspaces").ids(t))
	w.get(t, token, "/murals/"+tender).want(t, 404, "MURAL_NOT_FOUND")
	same(t, "who is left", []string{"u2", "u5"}, w.get(t, other, atPrivate+"/users").ids(t))
	must(t, w.SetWorkspaceRole("rescind1234", "u4", muralsim.Guest))
	w.get(t, w.as(t, "u4"), "/murals/"+plan).want(t, 404, "MURAL_NOT_FOUND")
}
