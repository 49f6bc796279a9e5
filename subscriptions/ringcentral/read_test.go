package ringcentral_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

// The routes of the reads.
const (
	extension  = "/account/37439510/extension/42"
	profileAt  = "GET " + extension + "/authz-profile"
	featuresAt = "GET " + extension + "/features"
	rolesAt    = "GET " + extension + "/assigned-role"
	roleAt     = "GET /account/37439510/user-role/"
	permsAt    = "GET /dictionary/permission"
	tokenAt    = "POST /oauth/token"
	exchangeAt = "POST /exchange"
)

// foreign refuses a profile as RingCentral refuses another extension's.
const foreign = `{"errorCode":"InsufficientPermissions","errors":[{"errorCode":"CMN-404"}]}`

// full fills the vendor with extension 42: roles 7 and 9.
func full(v *vendor) *vendor {
	v.says(profileAt, 403, foreign)
	v.says(rolesAt, 200, `{"records":[{"id":"7","displayName":"Agent"},{"id":"9"}]}`)
	v.says(roleAt+"7", 200, `{"id":"7","scope":"Self","permissions":[{"id":"Messages"}]}`)
	v.says(roleAt+"9", 200, `{"id":"9","scope":"AllExtensions",
		"permissions":[{"id":"ReadMessages"},{"id":"Calls"}]}`)
	v.on(permsAt, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("page") {
		case "1":
			reply(w, 200, `{"records":[{"id":"Messages","includedPermissions":[{"id":"ReadMessages"}]}],
				"navigation":{"nextPage":{"uri":"http://elsewhere.invalid/"}}}`)
		case "2":
			reply(w, 200, `{"records":[{"id":"ReadMessages","includedPermissions":[{"id":"ReadPager"}]},
				{"id":"ReadPager","includedPermissions":[{"id":"Messages"}]}],"navigation":{}}`)
		default:
			reply(w, 500, `{}`)
		}
	})
	return v
}

func wantRoles() cache.Answer {
	return cache.Answer{Tags: []events.Tag{events.RoleTag("7"), events.RoleTag("9")}, Facts: cache.Facts{
		Basis: "assigned-roles", Covers: []cache.Kind{cache.Permission, cache.Role, cache.Scope},
		Grants: map[cache.Grant]string{
			"permission/Messages": "AllExtensions,Self", "permission/ReadMessages": "AllExtensions,Self",
			"permission/ReadPager": "AllExtensions,Self", "permission/Calls": "AllExtensions",
			"role/7": "Agent", "role/9": "*",
			"scope/SubscriptionWebhook": "*", "scope/EditAccounts": "*", "scope/ReadAccounts": "*",
			"scope/EditExtensions": "*",
		},
		Why: map[cache.Grant]string{},
	}}
}

func TestReadByRoles(t *testing.T) {
	w := open(t, testConfig())
	full(w.vendor)
	s := newSession(100)
	got, err := w.Read(t.Context(), subject, s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantRoles(), got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if _, err := got.Fields(); err != nil {
		t.Errorf("fields: %v", err)
	}
	wantSpecs := map[string][]events.Tag{"role:7": {events.RoleTag("7"), events.TenantTag},
		"role:9": {events.RoleTag("9"), events.TenantTag}, "dictionary": {events.TenantTag}}
	if diff := cmp.Diff(wantSpecs, s.specs); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]cache.Stamp{"token:service@7.100": s.stamp}, s.used); diff != "" {
		t.Errorf("used (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]events.Tag{events.AppTag}, s.tags); diff != "" {
		t.Errorf("tags of the token (-want +got):\n%s", diff)
	}
}

func TestForeignProfileIsAskedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		full(w.vendor)
		for _, step := range []struct {
			wait time.Duration
			want int
		}{{0, 1}, {time.Minute, 1}, {58 * time.Minute, 1}, {2 * time.Minute, 2}} {
			time.Sleep(step.wait) // simulated
			if _, err := w.Read(t.Context(), subject, newSession(100)); err != nil {
				t.Fatal(err)
			}
			if got := w.vendor.count(profileAt); got != step.want {
				t.Errorf("profile asked %d times, want %d", got, step.want)
			}
		}
	})
}

const profile = `{"permissions":[
	{"permission":{"id":"ReadMessages"},"effectiveRole":{"id":"3"},"scopes":["Self","Account"]},
	{"permission":{"id":"Users"},"scopes":[]},
	{"permission":{"id":"ReadMessages"},"effectiveRole":{"id":"8"},"scopes":["Federation"]}]}`

func TestReadByServiceWithProfile(t *testing.T) {
	w := open(t, testConfig())
	full(w.vendor)
	w.vendor.says(profileAt, 200, profile)
	got, err := w.Read(t.Context(), subject, newSession(100))
	if err != nil {
		t.Fatal(err)
	}
	want := cache.Answer{Facts: cache.Facts{
		Basis: "authz-profile", Covers: []cache.Kind{cache.Permission, cache.Scope},
		Grants: map[cache.Grant]string{
			"permission/ReadMessages": "Account,Federation,Self", "permission/Users": "*",
			"scope/SubscriptionWebhook": "*", "scope/EditAccounts": "*", "scope/ReadAccounts": "*",
			"scope/EditExtensions": "*",
		},
		Why: map[cache.Grant]string{},
	}, Tags: []events.Tag{events.RoleTag("3"), events.RoleTag("7"), events.RoleTag("8"), events.RoleTag("9")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

const features = `{"records":[
	{"id":"CallScreening","available":true},
	{"id":"HUD","available":true,"params":[{"name":"b","value":"2"},{"name":"a","value":"1"}]},
	{"id":"EditRingMe","available":false,
	 "reason":{"code":"InsufficientPermissions","message":"No Users permission","permission":"Users"}},
	{"id":"InboundCnam","available":false,"reason":{"code":"ServicePlanLimitation","message":"plan"}}]}`

func TestReadByOwnToken(t *testing.T) {
	w := open(t, exchanging(testConfig()))
	full(w.vendor)
	w.vendor.says(profileAt, 200, profile)
	w.vendor.says(featuresAt, 200, features)
	w.vendor.says(rolesAt, 403, `{"errors":[{"errorCode":"CMN-408"}]}`)
	w.vendor.on(exchangeAt, func(rw http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id != "desk" || secret != deskSecret || r.FormValue("subject_token") != "42" {
			reply(rw, 401, `{"error":"invalid_client"}`)
			return
		}
		reply(rw, 200, `{"access_token":"`+accessMark+`-own","token_type":"Bearer","expires_in":600,"scope":"SMS"}`)
	})
	s := newSession(100)
	got, err := w.Read(t.Context(), subject, s)
	if err != nil {
		t.Fatal(err)
	}
	want := cache.Answer{Facts: cache.Facts{
		Basis: "authz-profile", Covers: []cache.Kind{cache.Permission, cache.Feature, cache.Scope},
		Grants: map[cache.Grant]string{
			"permission/ReadMessages": "Account,Federation,Self", "permission/Users": "*",
			"feature/CallScreening": "*", "feature/HUD": "a=1,b=2", "scope/SMS": "*", "scope/ReadMessages": "*",
		},
		Why: map[cache.Grant]string{"feature/EditRingMe": "InsufficientPermissions (Users)",
			"feature/InboundCnam": "ServicePlanLimitation"},
	}, Tags: []events.Tag{events.RoleTag("3"), events.RoleTag("8")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]events.Tag{events.AppTag, events.SubjectTag("42")}, s.tags); diff != "" {
		t.Errorf("tags of the token (-want +got):\n%s", diff)
	}
	if n := w.vendor.count(tokenAt); n != 0 {
		t.Errorf("%d service tokens minted, want none", n)
	}
}

func TestReadFallsBackWithoutOwnToken(t *testing.T) {
	w := open(t, exchanging(testConfig()))
	full(w.vendor).says(exchangeAt, 400, `{"error":"invalid_grant"}`)
	got, err := w.Read(t.Context(), subject, newSession(100))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantRoles(), got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// What RingCentral says, with its status in front.
const (
	gone = `404 {"errorCode":"CMN-102","errors":[{"errorCode":"CMN-102","parameterName":"extensionId"}]}`
	// nobody: the account is not there, which says nothing of the extension.
	nobody  = `404 {"errors":[{"errorCode":"CMN-102","parameterName":"accountId"}]}`
	noApp   = `403 {"errors":[{"errorCode":"CMN-401"}]}`
	noRight = `403 {"errorCode":"CMN-408"}`
	nothing = `200 {"permissions":[]}`
)

var (
	coversAll     = []cache.Kind{"permission", "feature", "role", "scope"}
	coversRoles   = []cache.Kind{"permission", "role", "scope"}
	coversProfile = []cache.Kind{"permission", "scope"}
	coversOwn     = []cache.Kind{"permission", "feature"}
)

// edges: what differs in the vendor's answers, and what becomes of it.
var edges = map[string]struct {
	own    bool
	says   map[string]string
	basis  string
	covers []cache.Kind
	grants int
	err    error
}{
	"no such extension, by the service": {
		says: map[string]string{profileAt: gone, rolesAt: gone}, basis: "not-found", covers: coversAll,
	},
	"no such extension, by its own token": {
		own: true, says: map[string]string{profileAt: gone, featuresAt: gone, rolesAt: gone},
		basis: "not-found", covers: coversAll,
	},
	"no such account is not a denial": {
		says: map[string]string{rolesAt: nobody}, err: subscriptions.ErrMisconfigured,
	},
	"no roles is a fact": {
		says: map[string]string{rolesAt: `200 {"records":[]}`}, basis: "assigned-roles", covers: coversRoles,
		grants: 4, // the scopes
	},
	"a role that is gone grants nothing": {
		says: map[string]string{roleAt + "9": gone}, basis: "assigned-roles", covers: coversRoles,
		grants: 3 + 2 + 4, // permissions, roles, scopes
	},
	"roles without their list":      {says: map[string]string{rolesAt: `200 {}`}, err: errAny},
	"a role without an id":          {says: map[string]string{rolesAt: `200 {"records":[{}]}`}, err: errAny},
	"a role without permissions":    {says: map[string]string{roleAt + "7": `200 {"id":"7"}`}, err: errAny},
	"a dictionary without records":  {says: map[string]string{permsAt: `200 {}`}, err: errAny},
	"a profile without permissions": {says: map[string]string{profileAt: `200 {}`}, err: errAny},
	"a profile with a nameless one": {
		says: map[string]string{profileAt: `200 {"permissions":[{}]}`}, err: errAny,
	},
	"an empty profile is a fact": {
		says: map[string]string{profileAt: nothing}, basis: "authz-profile", covers: coversProfile, grants: 4,
	},
	"the app lacks its permission": {
		says: map[string]string{rolesAt: noApp}, err: subscriptions.ErrMisconfigured,
	},
	"the service user lacks one": {
		says: map[string]string{rolesAt: noRight}, err: subscriptions.ErrMisconfigured,
	},
	"profiles are limited, roles are not": {
		says: map[string]string{profileAt: `429 {}`}, basis: "assigned-roles", covers: coversRoles,
		grants: 4 + 2 + 4,
	},
	"the exchange has an outage": {own: true, says: map[string]string{exchangeAt: `500 `}, err: errAny},
	"the exchange does not know us": {
		own: true, says: map[string]string{exchangeAt: `401 {"error":"invalid_client"}`},
		err: subscriptions.ErrMisconfigured,
	},
	"features that the subject may not": {
		own: true, says: map[string]string{profileAt: nothing, featuresAt: noRight},
		basis: "authz-profile", covers: coversProfile,
	},
	"features that the app may not": {
		own: true, says: map[string]string{profileAt: nothing, featuresAt: noApp},
		err: subscriptions.ErrMisconfigured,
	},
	"an own token that tells no scopes": {
		own: true, basis: "authz-profile", covers: coversOwn, says: map[string]string{profileAt: nothing,
			featuresAt: `200 {"records":[]}`, exchangeAt: `200 {"access_token":"a"}`},
	},
	"features without records": {
		own: true, says: map[string]string{profileAt: nothing, featuresAt: `200 {}`}, err: errAny,
	},
	"an own token that is not the subject's": {
		own: true, says: map[string]string{profileAt: "403 " + foreign, featuresAt: `200 {"records":[]}`},
		err: errAny,
	},
}

func TestReadEdges(t *testing.T) {
	for name, c := range edges {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig()
				if c.own {
					cfg = exchanging(cfg)
				}
				w := open(t, cfg)
				full(w.vendor).says(exchangeAt, 200, `{"access_token":"a","scope":""}`)
				for route, text := range c.says {
					status, body, _ := strings.Cut(text, " ")
					code, _ := strconv.Atoi(status)
					w.vendor.says(route, code, body)
				}
				got, err := w.Read(t.Context(), subject, newSession(100))
				noSecret(t, fmt.Sprint(err))
				if c.err == errAny && err != nil {
					return
				}
				if !errors.Is(err, c.err) {
					t.Fatalf("got %v, error %v, want %v", got, err, c.err)
				}
				if got.Basis != c.basis || !slices.Equal(got.Covers, c.covers) || len(got.Grants) != c.grants {
					t.Errorf("got %s %v %v, want %s %v and %d grants",
						got.Basis, got.Covers, got.Grants, c.basis, c.covers, c.grants)
				}
			})
		})
	}
}

// errAny is any error.
var errAny = errors.New("any")

func TestReadRefusesWhatIsNotItsOwn(t *testing.T) {
	w := open(t, testConfig())
	for name, ref := range map[string]events.Ref{
		"another tenant": {Home: events.Home{Provider: "ringcentral", Tenant: "1"}, Subject: "42"},
		"a resource":     {Home: home, Subject: "42", Resource: "9"},
		"nobody":         {Home: home},
		"the caller":     {Home: home, Subject: "~"},
		"its parent":     {Home: home, Subject: ".."},
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := w.Read(t.Context(), ref, newSession(1)); err == nil {
				t.Errorf("got %v", a)
			}
		})
	}
	if len(w.vendor.calls) != 0 {
		t.Errorf("calls %v", w.vendor.calls)
	}
}

func TestSubjectsCannotWalkThePath(t *testing.T) {
	w := open(t, testConfig())
	var paths []string
	const at = "GET /account/37439510/extension/../../x?y"
	w.vendor.says(at+"/authz-profile", 403, foreign)
	w.vendor.on(at+"/assigned-role", func(rw http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.EscapedPath())
		reply(rw, 200, `{"records":[]}`)
	})
	ref := events.Ref{Home: home, Subject: "../../x?y"}
	if _, err := w.Read(t.Context(), ref, newSession(1)); err != nil {
		t.Fatal(err)
	}
	want := "/restapi/v1.0/account/37439510/extension/..%2F..%2Fx%3Fy/assigned-role"
	if !slices.Equal(paths, []string{want}) {
		t.Errorf("paths %q, want %q", paths, want)
	}
}

func ExampleCloseScopes() {
	fmt.Println(ringcentral.CloseScopes([]string{"Accounts", "Tomorrow"}))
	// Output: [Accounts EditAccounts EditExtensions ReadAccounts Tomorrow]
}
