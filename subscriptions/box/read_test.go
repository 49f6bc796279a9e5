package box_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

// furnish gives the vendor user 42 of group 9, and folder 30 in folder 11.
func (v *vendor) furnish(more string) {
	v.says("GET /users/42", 200, `{"type":"user","id":"42","login":"u@acme.example","status":"active",
		"role":"user",		"enterprise":{"type":"enterprise","id":"987"}`+more+`}`)
	v.says("GET /users/42/memberships", 200, `{"total_count":1,"limit":1000,"offset":0,
		"entries":[{"type":"group_membership","id":"1","role":"admin","group":{"type":"group","id":"9"}}]}`)
	v.says("GET /folders/30", 200, `{"type":"folder","id":"30","item_status":"active",
		"parent":{"type":"folder","id":"11"},"path_collection":{"total_count":2,"entries":[
		{"type":"folder","id":"0"},{"type":"folder","id":"11"}]},
		"permissions":{"can_download":true,"can_upload":true,"can_delete":true,
		"can_rename":true,"can_share":false,"can_fly":true}}`)
	v.says("GET /folders/30/collaborations", 200, `{"entries":[],"next_marker":""}`)
}

func furnished(t testing.TB, c box.Config, more string) *world {
	t.Helper()
	w := open(t, c)
	w.vendor.furnish(more)
	return w
}

func (w *world) read(t *testing.T, on events.Resource) cache.Answer {
	t.Helper()
	a, err := w.Read(t.Context(), ref("42", on), newSession(100))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhoAUserIs(t *testing.T) {
	for name, c := range map[string]struct{ more, roles, groups, covers, why string }{
		"a user":                {``, "user", "9=admin", "group role scope", "permission/*"},
		"a user without a role": {`,"role":""`, "", "9=admin", "group scope", "permission/*"},
		"a role of tomorrow":    {`,"role":"auditor"`, "auditor", "9=admin", "group role scope", "permission/*"},
		"of another enterprise": {`,"role":"admin","enterprise":{"id":"988"}`, "", "9=admin",
			"group role scope", "role/admin"},
		"of no enterprise": {`,"role":null,"status":null,"enterprise":null`, "", "9=admin",
			"group role scope", "role/user"},
		"who may not delete": {`,"status":"cannot_delete_edit"`, "user", "9=admin", "group role scope",
			"permission/*"},
		"who is inactive":           {`,"status":"inactive"`, "", "", "group permission role scope", "role/user"},
		"a status of tomorrow":      {`,"status":"frozen"`, "", "", "", "permission/*"},
		"of an enterprise not told": {`,"role":"admin","enterprise":7`, "", "9=admin", "group scope", "role/admin"},
		"a service account": {`,"login":"AutomationUser_1_sim@boxdevedition.com"`, "", "", "scope",
			"permission/*"},
	} {
		t.Run(name, func(t *testing.T) {
			a := furnished(t, testConfig(), c.more).read(t, "")
			if a.Basis != box.BasisUser || spellGrants(a, cache.Role) != c.roles ||
				spellGrants(a, box.Group) != c.groups || spellCovers(a) != c.covers {
				t.Errorf("%s: roles %q, groups %q, covers %q", a.Basis, spellGrants(a, cache.Role),
					spellGrants(a, box.Group), spellCovers(a))
			}
			if a.Why[cache.Grant(c.why)] == "" {
				t.Errorf("no reason under %s in %v", c.why, a.Why)
			}
			if spell(a.Tags) != "group:9" {
				t.Errorf("tags %q", spell(a.Tags))
			}
		})
	}
}

func TestWhatAUserMayDo(t *testing.T) {
	for name, c := range map[string]struct{ more, want string }{
		"active":                    {``, "can_delete can_download can_fly can_rename can_upload"},
		"may not delete":            {`,"status":"cannot_delete_edit"`, "can_download can_fly can_upload"},
		"may not delete and upload": {`,"status":"cannot_delete_edit_upload"`, "can_download can_fly"},
		"inactive":                  {`,"status":"inactive"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := furnished(t, testConfig(), c.more).read(t, "folder:30")
			if got := spellGrants(a, cache.Permission); got != c.want || !slices.Contains(a.Covers, cache.Permission) {
				t.Errorf("got %q of %v, want %q", got, a.Covers, c.want)
			}
		})
	}
}

// TestTheDenialsOfItems: what is refused to the subject is denied, all else is an
// error.
func TestTheDenialsOfItems(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		code   string
		denied bool
		is     error
	}{
		"hidden":             {404, "not_found", true, nil},
		"in the trash":       {404, "trashed", true, nil},
		"forbidden":          {403, "access_denied_insufficient_permissions", true, nil},
		"by a policy":        {403, "forbidden_by_policy", true, nil},
		"terms not accepted": {400, "terms_of_service_required", true, nil},
		"from where we are":  {403, "access_from_location_blocked", false, subscriptions.ErrMisconfigured},
		"not Box's own":      {404, "", false, nil},
		"anything else":      {400, "bad_request", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := furnished(t, testConfig(), "")
			w.vendor.says("GET /folders/30", c.status, fmt.Sprintf(`{"code":%q,"message":%q}`, c.code, accessMark))
			w.vendor.says("GET /users/me", 200, `{"type":"user","id":"42"}`)
			a, err := w.Read(t.Context(), ref("42", "folder:30"), newSession(100))
			if (err == nil) != c.denied || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("%+v, %v", a, err)
			}
			noSecret(t, fmt.Sprint(err))
			if err == nil && (spellGrants(a, cache.Permission) != "" || spellCovers(a) != "permission scope" ||
				spell(a.Tags) != "folder:0 folder:30 group:9" || a.Why["permission/can_download"] != c.code) {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestAnItemInTheTrashThatIsShownGrantsNothing(t *testing.T) {
	w := furnished(t, testConfig(), "")
	w.vendor.says("GET /folders/30", 200, `{"item_status":"trashed","permissions":{"can_download":true}}`)
	if a := w.read(t, "folder:30"); spellGrants(a, cache.Permission) != "" ||
		a.Why["permission/can_download"] != "item trashed" {
		t.Errorf("%+v", a)
	}
}

func TestALimitWithoutItsEndIsTakenForAMinute(t *testing.T) {
	w := furnished(t, testConfig(), "")
	w.vendor.says("GET /users/42", 429, `{"code":"too_many_requests"}`)
	var later *subscriptions.Later
	_, err := w.Read(t.Context(), ref("42", ""), newSession(100))
	if !errors.As(err, &later) || time.Until(later.Until) < 50*time.Second {
		t.Errorf("error %v", err)
	}
}

// TestAMissingScopeIsNoDenial, wherever Box says it, and a dead token is replaced
// whatever its status.
func TestAMissingScopeIsNoDenial(t *testing.T) {
	for _, route := range []string{"GET /users/42", "GET /users/42/memberships", "GET /folders/30",
		"GET /folders/30/collaborations"} {
		w := furnished(t, testConfig(), "")
		w.vendor.denies(route, 403, "insufficient_scope")
		a, err := w.Read(t.Context(), ref("42", "folder:30"), newSession(100))
		if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(err.Error(), "scope") {
			t.Errorf("%s: %+v, %v", route, a, err)
		}
		if w.vendor.minted != 1 {
			t.Errorf("%s: %d tokens", route, w.vendor.minted)
		}
		w.vendor.denies(route, 403, "invalid_token")
		if _, err := w.Read(t.Context(), ref("42", "folder:30"), newSession(100)); err == nil ||
			w.vendor.minted != 2 {
			t.Errorf("%s: %d tokens, %v", route, w.vendor.minted, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	w := furnished(t, testConfig(), "")
	for _, r := range []events.Ref{
		ref("me", ""), ref("", ""), ref("42/..", ""), ref("042", ""), ref("42", "folder"), ref("42", "web_link:1"),
		ref("42", "folder:../users/1"), ref("42", "token:1"), ref("42", "folder:030"),
		{Home: events.Home{Provider: "box", Tenant: "988"}, Subject: "42"},
	} {
		if a, err := w.Read(t.Context(), r, newSession(100)); err == nil {
			t.Errorf("%s: %+v", r, a)
		}
	}
	if len(w.vendor.calls) != 0 {
		t.Errorf("calls %q", w.vendor.calls)
	}
}

func TestRepliesThatAreMalformed(t *testing.T) {
	for route, text := range map[string]string{
		"GET /users/42":                   `{"type":"user","id":"43","status":"active"}`,
		"GET /users/42/memberships":       `{"total_count":1}`,
		"GET /users/42/memberships?bad":   `{"entries":[{"group":{"id":""}}]}`,
		"GET /folders/30":                 `{"type":"folder","id":"30"}`,
		"GET /folders/30?name":            `{"permissions":{"can\u0000":true}}`,
		"GET /folders/30/collaborations":  `{"entries":7}`,
		"GET /folders/30/collaborations?": `{"next_marker":null}`,
	} {
		t.Run(route, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // a reply that cannot be read is asked for again
				w := furnished(t, testConfig(), "")
				path, _, _ := strings.Cut(route, "?")
				w.vendor.says(path, 200, text)
				if a, err := w.Read(t.Context(), ref("42", "folder:30"), newSession(100)); err == nil {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

// TestMembershipsAreReadToTheEnd: pages may be short, and the total too high.
func TestMembershipsAreReadToTheEnd(t *testing.T) {
	w := furnished(t, testConfig(), "")
	w.vendor.on("GET /users/42/memberships", func(rw http.ResponseWriter, r *http.Request) {
		pages := map[string]string{"0": `{"group":{"id":"1"},"role":"member"}`, "100": ``,
			"200": `{"group":{"id":"3"},"role":"member"}`}
		reply(rw, 200, fmt.Sprintf(`{"total_count":250,"limit":100,"entries":[%s]}`,
			pages[r.URL.Query().Get("offset")]))
	})
	if got := spellGrants(w.read(t, ""), box.Group); got != "1=member 3=member" {
		t.Errorf("groups %q", got)
	}
	w.vendor.says("GET /users/42/memberships", 200, `{"total_count":99999,"limit":1000,"entries":[]}`)
	if _, err := w.Read(t.Context(), ref("42", ""), newSession(100)); err == nil {
		t.Error("more than can be listed is taken for all")
	}
}

func TestCollaborations(t *testing.T) {
	const (
		never = time.Duration(0)
		mine  = `{"type":"user","id":"42"}`
		ours  = `{"type":"group","id":"9"}`
	)
	for name, c := range map[string]struct {
		status, by, above string
		in, ends          time.Duration // from now
	}{
		"none":                  {},
		"the user's":            {"accepted", mine, "30", time.Hour, time.Hour},
		"its group's":           {"accepted", ours, "30", time.Hour, time.Hour},
		"another's":             {"accepted", `{"type":"user","id":"9"}`, "30", time.Hour, never},
		"of nobody":             {"accepted", `null`, "30", time.Hour, never},
		"one pending":           {"pending", mine, "30", time.Hour, never},
		"one that is over":      {"accepted", mine, "30", -time.Hour, time.Second},
		"one without end":       {"accepted", mine, "30", never, never},
		"one of a folder above": {"accepted", mine, "5", time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w, now := furnished(t, testConfig(), ""), time.Now()
			end := `null`
			if c.in != never {
				end = `"` + now.Add(c.in).Format(time.RFC3339) + `"`
			}
			w.vendor.says("GET /folders/30/collaborations", 200, fmt.Sprintf(`{"next_marker":null,"entries":[
				{"status":%q,"accessible_by":%s,"expires_at":%s,"item":{"type":"folder","id":%q}}]}`,
				c.status, cmp.Or(c.by, `null`), end, c.above))
			a, want := w.read(t, "folder:30"), "folder:0 folder:11 folder:30 group:9"
			if c.above == "5" {
				want = "folder:0 folder:11 folder:30 folder:5 group:9"
			}
			if spell(a.Tags) != want {
				t.Errorf("tags %q, want %q", spell(a.Tags), want)
			}
			off := a.Expires.Sub(now.Add(c.ends))
			if a.Expires.IsZero() != (c.ends == never) || c.ends != never && off.Abs() > 5*time.Second {
				t.Errorf("ends %s, want in %s", a.Expires, c.ends)
			}
		})
	}
}

func TestTheFirstCollaborationToEndEndsTheAnswer(t *testing.T) {
	w, now := furnished(t, testConfig(), ""), time.Now().Truncate(time.Second)
	var entries []string
	for _, in := range []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour} {
		entries = append(entries, fmt.Sprintf(`{"status":"accepted","accessible_by":{"type":"user","id":"42"},
			"expires_at":%q}`, now.Add(in).Format(time.RFC3339)))
	}
	pages := map[string]string{
		"":  `{"next_marker":"m","entries":[` + entries[0] + `]}`,
		"m": `{"entries":[` + entries[1] + `,` + entries[2] + `]}`,
	}
	w.vendor.on("GET /folders/30/collaborations", func(rw http.ResponseWriter, r *http.Request) {
		reply(rw, 200, pages[r.URL.Query().Get("marker")])
	})
	if a := w.read(t, "folder:30"); !a.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("ends in %s", a.Expires.Sub(now))
	}
}

func TestCollaborationsThatMayNotBeSeenEndNothing(t *testing.T) {
	for status, code := range map[int]string{403: "access_denied_insufficient_permissions", 404: "not_found"} {
		w := furnished(t, testConfig(), "")
		w.vendor.says("GET /folders/30/collaborations", status, fmt.Sprintf(`{"code":%q}`, code))
		if a := w.read(t, "folder:30"); !a.Expires.IsZero() || spellGrants(a, cache.Permission) == "" {
			t.Errorf("%d: %+v", status, a)
		}
	}
}

// TestScopesStayWithTheirToken: what is configured later comes with the next one,
// which a change of the app asks for.
func TestScopesStayWithTheirToken(t *testing.T) {
	c, vault := testConfig(), newMemory()
	was := openWith(t, c, vault)
	was.vendor.furnish("")
	if got := spellGrants(was.read(t, ""), cache.Scope); got != "root_readonly root_readwrite" {
		t.Fatalf("scopes %q", got)
	}
	c.Scopes = []string{"manage_groups"}
	now := openWith(t, c, vault)
	now.vendor.furnish("")
	if got := spellGrants(now.read(t, ""), cache.Scope); got != "root_readonly root_readwrite" ||
		now.vendor.minted != 0 {
		t.Errorf("scopes %q, %d tokens", got, now.vendor.minted)
	}
	s := newSession(200)
	s.needs = 150 // the app was changed at 150
	a, err := now.Read(t.Context(), ref("42", ""), s)
	if err != nil || spellGrants(a, cache.Scope) != "manage_groups" || now.vendor.minted != 1 {
		t.Errorf("scopes %q, %d tokens, %v", spellGrants(a, cache.Scope), now.vendor.minted, err)
	}
	if len(s.used) != 1 {
		t.Errorf("used %v", s.used)
	}
}

func TestScopesThatAreNotKnownAreNotCovered(t *testing.T) {
	c := testConfig()
	c.Scopes = nil
	if got := spellCovers(furnished(t, c, "").read(t, "")); got != "group role" {
		t.Errorf("covers %q", got)
	}
}

func TestANarrowedTokenTellsItsOwnScopes(t *testing.T) {
	w := furnished(t, testConfig(), "")
	w.vendor.on("POST /oauth2/token", func(rw http.ResponseWriter, _ *http.Request) {
		w.vendor.mint(rw, `[{"scope":"item_preview","object":{"type":"folder","id":"1"}},{"scope":"base_preview"}]`)
	})
	if got := spellGrants(w.read(t, ""), cache.Scope); got != "base_preview item_preview" {
		t.Errorf("scopes %q", got)
	}
}

// TestAnOwnTokenReadsItems, the service's users; both are named in the session.
func TestAnOwnTokenReadsItems(t *testing.T) {
	c := testConfig()
	c.As = box.AsToken
	w := furnished(t, c, "")
	subjects := map[string]string{}
	w.vendor.on("POST /oauth2/token", func(rw http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Form.Get("client_secret") != clientSecret ||
			r.Form.Get("grant_type") != "client_credentials" {
			t.Errorf("asked with %v, %v", r.Form.Get("grant_type"), err)
		}
		subjects[r.Form.Get("box_subject_type")] = r.Form.Get("box_subject_id")
		w.vendor.mint(rw, "[]")
	})
	s := newSession(100)
	a, err := w.Read(t.Context(), ref("42", "folder:30"), s)
	if err != nil || a.Basis != box.BasisItem || subjects["enterprise"] != "987" || subjects["user"] != "42" {
		t.Errorf("%s, %v, %v", a.Basis, subjects, err)
	}
	want := map[string]string{"token:service@7.100": "app", "token:subject:42@7.100": "app subject:42"}
	for name, tags := range want {
		if got := spell(s.used[name]); got != tags {
			t.Errorf("%s: %q, want %q", name, got, tags)
		}
	}
}

func TestTokensThatAreNotGranted(t *testing.T) {
	for code, remedy := range map[string]string{
		"invalid_grant": "authorised", "unauthorized_client": "authorise", "invalid_client": "client id",
	} {
		w := furnished(t, testConfig(), "")
		w.vendor.says("POST /oauth2/token", 400,
			fmt.Sprintf(`{"error":%q,"error_description":%q}`, code, accessMark))
		_, err := w.Read(t.Context(), ref("42", ""), newSession(100))
		if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(err.Error(), remedy) {
			t.Errorf("%s: %v", code, err)
		}
		noSecret(t, fmt.Sprint(err))
	}
}
