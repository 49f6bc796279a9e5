package sim_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim"
)

func TestAssignedRoles(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, admin)
	path := v1 + "/account/~/extension/" + user + "/assigned-role"
	put := func(ids ...string) answer {
		var records []any
		for _, id := range ids {
			records = append(records, map[string]any{"id": id})
		}
		return w.call(t, tok, "PUT", path, map[string]any{"records": records})
	}
	put().want(t, 400, "CMN-101")
	put("99").want(t, 400, "CMN-101")
	put("4", "2").want(t, 200, "")
	var list struct {
		Records []struct{ ID, DisplayName string }
	}
	w.call(t, tok, "GET", path, nil).want(t, 200, "").into(t, &list)
	if len(list.Records) != 2 || list.Records[0].ID != "4" || list.Records[1].DisplayName != "User Admin" {
		t.Errorf("got %+v", list)
	}
	w.call(t, tok, "PUT", v1+"/account/~/extension/"+queue+"/assigned-role",
		map[string]any{"records": []any{map[string]any{"id": "3"}}}).want(t, 403, "CMN-403")
	var all struct {
		Records []struct {
			ExtensionID string
			Roles       []struct{ ID string }
		}
	}
	w.get(t, tok, "/account/~/assigned-role").want(t, 200, "").into(t, &all)
	if len(all.Records) != 4 || all.Records[0].ExtensionID != admin || all.Records[0].Roles[0].ID != "1" {
		t.Errorf("account: %+v", all)
	}
}

func TestRoleWithoutPermissionsSaysSo(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, admin)
	const roles = v1 + "/account/~/user-role"
	var made struct{ ID string }
	w.call(t, tok, "POST", roles, map[string]any{"displayName": "None", "permissions": []any{}}).into(t, &made)
	var got map[string]any
	w.call(t, tok, "GET", roles+"/"+made.ID, nil).want(t, 200, "").into(t, &got)
	if list, ok := got["permissions"].([]any); !ok || len(list) != 0 {
		t.Errorf("permissions: %v", got["permissions"])
	}
}

func TestRolesCanBeEdited(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, admin)
	const roles = v1 + "/account/~/user-role"
	body := func(permissions ...string) map[string]any {
		var refs []any
		for _, id := range permissions {
			refs = append(refs, map[string]any{"id": id})
		}
		return map[string]any{"displayName": "Mine", "description": "d", "permissions": refs}
	}
	type role struct {
		ID, LastUpdated string
		Custom          bool
		Permissions     []struct {
			ID           string
			Capabilities *struct{ Enabled bool } `json:"permissionsCapabilities"`
		}
	}
	var made, read role
	w.call(t, tok, "POST", roles, body("ReadMessages")).want(t, 201, "").into(t, &made)
	if !made.Custom || len(made.Permissions) != 1 {
		t.Fatalf("made %+v", made)
	}
	if err := w.AssignRoles(user, made.ID); err != nil {
		t.Fatal(err)
	}
	before := made.LastUpdated
	w.call(t, tok, "PUT", roles+"/"+made.ID, body("EditMessages")).want(t, 200, "")
	w.call(t, tok, "GET", roles+"/"+made.ID+"?advancedPermissions=true", nil).want(t, 200, "").into(t, &read)
	edited := read.Permissions[0]
	if read.LastUpdated <= before || edited.ID != "EditMessages" || edited.Capabilities == nil {
		t.Errorf("read %+v", read)
	}
	if _, err := time.Parse(time.RFC3339, read.LastUpdated); err != nil {
		t.Error(err)
	}
	if got := w.Permissions(user); got["EditMessages"] == nil || got["ReadMessages"] == nil {
		t.Errorf("the holder has %v", got)
	}
	w.call(t, tok, "DELETE", roles+"/"+made.ID, nil).want(t, 400, "CMN-101") // somebody has it
	if err := w.AssignRoles(user, "3"); err != nil {
		t.Fatal(err)
	}
	w.call(t, tok, "DELETE", roles+"/"+made.ID+"?validateOnly=true", nil).want(t, 204, "")
	w.call(t, tok, "DELETE", roles+"/"+made.ID, nil).want(t, 204, "")
	w.call(t, tok, "GET", roles+"/"+made.ID, nil).want(t, 404, "CMN-102")
	w.call(t, tok, "PUT", roles+"/3", body()).want(t, 400, "CMN-101")
	w.call(t, tok, "POST", roles, body("Nonsense")).want(t, 400, "CMN-101")
	w.call(t, tok, "POST", roles, map[string]any{"displayName": "a/b"}).want(t, 400, "CMN-101")
}

func TestDictionaries(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.IssueToken(user, nil) // they need no app permission
	var p struct {
		ID       string
		Category struct{ ID string }
		Included []struct{ ID string } `json:"includedPermissions"`
	}
	w.get(t, tok, "/dictionary/permission/BusinessSms").want(t, 200, "").into(t, &p)
	if p.Category.ID != "Messaging" || len(p.Included) != 1 || p.Included[0].ID != "LocalSMS" {
		t.Errorf("got %+v", p)
	}
	w.get(t, tok, "/dictionary/permission/Nonsense").want(t, 404, "CMN-102")
	w.get(t, tok, "/dictionary/permission-category").want(t, 200, "")
	w.get(t, tok, "/dictionary/permission-category/Messaging").want(t, 200, "")
	w.get(t, tok, "/dictionary/permission-category/Nonsense").want(t, 404, "CMN-102")
	w.get(t, tok, "/dictionary/user-role").want(t, 200, "")
	w.get(t, tok, "/dictionary/user-role/3").want(t, 200, "")
	custom, err := w.PutRole(sim.Role{DisplayName: "C"})
	if err != nil {
		t.Fatal(err)
	}
	w.get(t, tok, "/dictionary/user-role/"+custom).want(t, 404, "CMN-102")
	var assignable, all struct{ Paging struct{ TotalElements int } }
	w.get(t, tok, "/dictionary/permission").want(t, 200, "").into(t, &all)
	w.get(t, tok, "/dictionary/permission?assignable=true").want(t, 200, "").into(t, &assignable)
	if a, b := assignable.Paging.TotalElements, all.Paging.TotalElements; b < 60 || a == 0 || a >= b {
		t.Errorf("%d of %d permissions are assignable", a, b)
	}
}

func TestPaging(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	var many []sim.Extension
	for n := range 246 {
		many = append(many, sim.Extension{ID: strconv.Itoa(7<<(n%40)) + strconv.Itoa(1000+n), Name: "x"})
	}
	if err := w.AddExtensions(many...); err != nil {
		t.Fatal(err)
	}
	total := len(many) + 4
	tok := w.as(t, admin)
	type page struct {
		Records    []struct{ ID int64 }
		Paging     map[string]int
		Navigation map[string]struct{ URI string }
	}
	var ids []int64
	path := v1 + "/account/~/extension?perPage=50&status=Enabled"
	for path != "" {
		var p page
		w.call(t, tok, "GET", path, nil).want(t, 200, "").into(t, &p)
		for _, r := range p.Records {
			ids = append(ids, r.ID)
		}
		if p.Paging["totalElements"] != total || len(p.Records) == 0 || len(p.Records) > 50 {
			t.Fatalf("%d records, paging %v, want %d in all", len(p.Records), p.Paging, total)
		}
		path = strings.TrimPrefix(p.Navigation["nextPage"].URI, w.url)
	}
	if len(ids) != total || !slices.IsSorted(ids) || len(slices.Compact(ids)) != total {
		t.Errorf("%d ids, want %d, each once and in order", len(ids), total)
	}
	var p page
	w.get(t, tok, "/account/~/extension?perPage=5000&page=2").want(t, 200, "").into(t, &p)
	if p.Paging["perPage"] != 1000 || len(p.Records) != 0 {
		t.Errorf("beyond the end: %+v", p.Paging)
	}
	for _, bad := range []string{"page=0", "page=x", "page=1001", "perPage=0"} {
		w.get(t, tok, "/account/~/extension?"+bad).want(t, 400, "CMN-101")
	}
	w.SetQuirks(sim.Quirks{NoTotals: true})
	p = page{}
	w.get(t, tok, "/account/~/extension?perPage=50").want(t, 200, "").into(t, &p)
	_, totals := p.Paging["totalPages"]
	if _, last := p.Navigation["lastPage"]; totals || last || p.Navigation["nextPage"].URI == "" {
		t.Errorf("without totals: %+v", p)
	}
}

func TestExtensionFilters(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	if err := w.SetStatus(other, "Disabled"); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{"status=Disabled": 1, "type=Department": 1,
		"type=User&status=Enabled": 2, "status=Enabled&status=Disabled": 4, "email=ada@example.com": 1,
		"extensionNumber=102": 1} {
		var list struct{ Records []any }
		w.get(t, w.as(t, admin), "/account/~/extension?"+query).want(t, 200, "").into(t, &list)
		if len(list.Records) != want {
			t.Errorf("%s: %d records, want %d", query, len(list.Records), want)
		}
	}
	if got := w.Calls("listExtensions"); got != 6 {
		t.Errorf("counted %d, want 6", got)
	}
}
