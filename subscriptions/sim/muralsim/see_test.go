package muralsim_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

func TestWhatAUserSees(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	for name, c := range map[string]struct {
		user                              string
		rooms, open, murals, inOpen, priv []string // priv nil: the private room is not there
	}{
		"an admin who is not in the private room": {"u1", []string{"1650000000001"}, []string{"1650000000001"},
			[]string{"1650000000012", "1650000000011"}, []string{"1650000000012", "1650000000011"}, nil},
		"a member of both rooms": {"u3", []string{"1650000000001", "1650000000002"}, []string{"1650000000001"},
			[]string{"1650000000014", "1650000000013", "1650000000012", "1650000000011"},
			[]string{"1650000000012", "1650000000011"}, []string{"1650000000014", "1650000000013"}},
		"a member of no room": {"u4", []string{}, []string{"1650000000001"},
			[]string{"1650000000012", "1650000000011"}, []string{"1650000000012", "1650000000011"}, nil},
		"a guest of one mural in the private room": {"u5", []string{"1650000000002"}, []string{},
			[]string{"1650000000014"}, nil, []string{"1650000000014"}},
		"a guest of one mural in the open room": {"u6", []string{"1650000000001"}, []string{"1650000000001"},
			[]string{"1650000000012"}, []string{"1650000000012"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			token := w.as(t, c.user)
			same(t, "rooms", c.rooms, w.get(t, token, space+"/rooms").ids(t))
			same(t, "open rooms", c.open, w.get(t, token, space+"/rooms/open").ids(t))
			same(t, "murals", c.murals, w.get(t, token, space+"/murals").ids(t))
			w.sees(t, token, atOpen, c.inOpen)
			w.sees(t, token, atPrivate, c.priv)
		})
	}
}

// sees holds the murals that a user sees in a room against all there are.
func (w *world) sees(t testing.TB, token, room string, want []string) {
	t.Helper()
	if want == nil {
		for _, path := range []string{"", "/users", "/murals"} {
			w.get(t, token, room+path).want(t, 404, "ROOM_NOT_FOUND")
		}
		return
	}
	same(t, room, want, w.get(t, token, room+"/murals").ids(t))
	seen := map[string]bool{}
	for _, id := range want {
		seen["rescind1234."+id] = true
		w.get(t, token, "/murals/rescind1234%2E"+id).want(t, 200, "")
	}
	for id, in := range map[string]string{plan: atOpen, aMap: atOpen, salaries: atPrivate, tender: atPrivate} {
		if in == room && !seen[id] {
			w.get(t, token, "/murals/"+id).want(t, 404, "MURAL_NOT_FOUND")
			w.get(t, token, "/murals/"+id+"/users").want(t, 404, "MURAL_NOT_FOUND")
		}
	}
}

func TestStrangers(t *testing.T) {
	w := start(t, muralsim.Options{})
	w.PutUser(muralsim.User{ID: "u9", Username: "zoe", Email: "zoe@else.test"})
	token := w.as(t, "u9")
	same(t, "workspaces", []string{}, w.get(t, token, "/workspaces").ids(t))
	w.get(t, token, "/users/me").want(t, 200, "")
	for _, path := range []string{space, space + "/rooms", space + "/murals", "/workspaces/none"} {
		w.get(t, token, path).want(t, 404, "WORKSPACE_NOT_FOUND")
	}
	w.get(t, token, "/rooms/none").want(t, 404, "ROOM_NOT_FOUND")
	w.get(t, token, "/murals/none").want(t, 404, "MURAL_NOT_FOUND")
	w.SetQuirks(muralsim.Quirks{InvisibleForbidden: true})
	w.get(t, token, "/murals/none").want(t, 403, "FORBIDDEN")

	must(t, w.PutWorkspace(muralsim.Workspace{ID: "w2", CreatedBy: "u9",
		Members: map[string]string{"u9": muralsim.Admin}}))
	must(t, w.PutRoom(muralsim.Room{ID: 7, WorkspaceID: "w2", Type: "open", CreatedBy: "u9"}))
	id, err := w.AddMural(muralsim.Board{RoomID: 7, CreatedBy: "u9", Members: map[string]muralsim.BoardMember{
		"u9": {Owner: true}}})
	must(t, err)
	same(t, "workspaces", []string{"w2"}, w.get(t, token, "/workspaces").ids(t))
	same(t, "rooms", []string{"7"}, w.get(t, token, "/workspaces/w2/rooms/open").ids(t))
	w.get(t, token, "/murals/"+id).want(t, 200, "")
	w.get(t, w.as(t, "u1"), "/murals/"+id).want(t, 403, "FORBIDDEN")
}

func TestEveryCallNeedsATokenAndAScope(t *testing.T) {
	mural := "/murals/" + plan
	w := start(t, muralsim.Options{UserLimit: -1})
	for _, c := range []struct{ scope, method, path string }{
		{"identity:read", "GET", "/users/me"},
		{"workspaces:read", "GET", "/workspaces"},
		{"workspaces:read", "GET", space},
		{"rooms:read", "GET", space + "/rooms"},
		{"rooms:read", "GET", space + "/rooms/open"},
		{"rooms:read", "GET", atOpen},
		{"users:read", "GET", atOpen + "/users"},
		{"users:read", "GET", mural + "/users"},
		{"murals:read", "GET", mural},
		{"murals:read", "GET", space + "/murals"},
		{"murals:read", "GET", space + "/murals/recent"},
		{"murals:read", "GET", atOpen + "/murals"},
		{"murals:read", "POST", mural + "/access-info"},
		{"murals:write", "POST", "/murals"},
		{"murals:write", "PATCH", mural},
		{"murals:write", "DELETE", mural},
		{"murals:write", "PATCH", mural + "/users/u2/permissions"},
		{"murals:write", "POST", mural + "/users/invite"},
		{"murals:write", "POST", mural + "/users/remove"},
		{"murals:write", "PATCH", mural + "/visitor-settings"},
		{"murals:write", "POST", mural + "/visitor-settings/reset-link"},
		{"rooms:write", "POST", "/rooms"},
		{"rooms:write", "PATCH", atOpen},
		{"rooms:write", "DELETE", atOpen},
		{"rooms:write", "PATCH", atOpen + "/users/permissions"},
		{"rooms:write", "POST", atOpen + "/users/invite"},
		{"rooms:write", "POST", atOpen + "/users/remove"},
		{"workspaces:write", "POST", space + "/users/invite"},
	} {
		var others []string
		for _, scope := range muralsim.AllScopes() {
			if scope != c.scope {
				others = append(others, scope)
			}
		}
		w.call(t, "", c.method, c.path, nil).want(t, 401, "UNAUTHORIZED")
		w.call(t, "x.y.z", c.method, c.path, nil).want(t, 401, "UNAUTHORIZED")
		w.call(t, w.as(t, "u1", others...), c.method, c.path, nil).want(t, 403, "FORBIDDEN")
		if c.method == http.MethodGet {
			w.call(t, w.as(t, "u1", c.scope), c.method, c.path, nil).want(t, 200, "")
		}
	}
}

func TestListsOfMurals(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	token := w.as(t, "u1")
	w.call(t, token, "PATCH", "/murals/"+plan, map[string]any{"folderId": "f1"}).want(t, 200, "")
	for _, c := range []struct {
		path, query string
		want        []string
	}{
		{atOpen + "/murals", "status=archived", []string{"1650000000015"}},
		{atOpen + "/murals", "folderId=f1", []string{"1650000000011"}},
		{atOpen + "/murals", "sortBy=oldest", []string{"1650000000011", "1650000000012"}},
		{atOpen + "/murals", "sortBy=lastModified", []string{"1650000000011", "1650000000012"}},
		{atOpen + "/murals", "sortBy=lastCreated", []string{"1650000000012", "1650000000011"}},
		{space + "/murals/recent", "", []string{"1650000000011", "1650000000012"}},
	} {
		same(t, c.path+"?"+c.query, c.want, w.get(t, token, c.path+"?"+c.query).ids(t))
	}
	w.get(t, token, atOpen+"/murals?status=x").want(t, 400, "STATUS_INVALID")
	w.get(t, token, atOpen+"/murals?sortBy=x").want(t, 400, "SORT_BY_INVALID")
}

// walk reads all pages.
func (w *world) walk(t testing.TB, token, path string, limit string) (ids []string, sizes []int) {
	t.Helper()
	next := ""
	for {
		q := url.Values{"limit": {limit}, "next": {next}}
		a := w.get(t, token, path+"?"+q.Encode())
		var page struct{ Next string }
		got := a.ids(t)
		a.into(t, &page)
		ids, sizes, next = append(ids, got...), append(sizes, len(got)), page.Next
		if next == "" {
			return ids, sizes
		}
	}
}

func TestPaging(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	token := w.as(t, "u1")
	const path = atOpen + "/users"
	ids, sizes := w.walk(t, token, path, "3")
	same(t, "ids", []string{"u1", "u2", "u3", "u6"}, ids)
	same(t, "sizes", []int{3, 1}, sizes)

	var first struct{ Next string }
	w.get(t, token, path+"?limit=3").into(t, &first)
	again := "&next=" + first.Next
	w.get(t, token, path+"?limit=2"+again).want(t, 400, "PAGINATION_INVALID")
	w.get(t, token, path+"?"+again).want(t, 400, "PAGINATION_INVALID")
	w.get(t, token, path+"?limit=3&next=x").want(t, 400, "PAGINATION_INVALID")
	w.get(t, token, "/murals/"+plan+"/users?limit=3"+again).want(t, 400, "PAGINATION_INVALID")
	w.get(t, w.as(t, "u2"), path+"?limit=3"+again).want(t, 400, "PAGINATION_INVALID")
	w.get(t, token, path+"?limit=3"+again).want(t, 200, "")
	w.ExpireNext()
	w.get(t, token, path+"?limit=3"+again).want(t, 400, "NEXT_TOKEN_EXPIRED")

	for limit, status := range map[string]int{"0": 400, "-1": 400, "x": 400, "101": 400, "100": 200, "1": 200} {
		code := map[int]string{400: "LIMIT_INVALID"}[status]
		w.get(t, token, path+"?limit="+limit).want(t, status, code)
	}
	w.SetQuirks(muralsim.Quirks{LimitBelow100: true, NullNext: true})
	w.get(t, token, path+"?limit=100").want(t, 400, "LIMIT_INVALID")
	last := w.get(t, token, path+"?limit=99").want(t, 200, "")
	var raw map[string]any
	last.into(t, &raw)
	if next, ok := raw["next"]; !ok || next != nil {
		t.Errorf("next: got %v, %v", next, ok)
	}
}

func TestNextTokensExpireByThemselves(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1, Speed: 6000}) // 100 ms; access tokens live 150 ms
	var first struct{ Next string }
	w.get(t, w.as(t, "u1"), atOpen+"/users?limit=1").into(t, &first)
	eventually(t, "the token expires", func() bool {
		a := w.get(t, w.as(t, "u1"), atOpen+"/users?limit=1&next="+first.Next)
		if a.status == 200 {
			return false
		}
		a.want(t, 400, "NEXT_TOKEN_EXPIRED")
		return true
	})
}
