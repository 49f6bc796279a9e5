package boxsim_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

func TestClientCredentials(t *testing.T) {
	w := start(t, boxsim.Options{})
	app := id(t)(w.AddUser(boxsim.User{Name: "App User", AppUser: true}))
	lives := map[string]bool{}
	for range 4 {
		a := w.ccg(t, "enterprise", "987").want(t, 200, "")
		lives[text(a.json["expires_in"])] = true
		if text(a.json["token_type"]) != "bearer" || text(a.json["restricted_to"]) != "[]" {
			t.Errorf("got %s", a.raw)
		}
	}
	if len(lives) != 4 || !lives["4123"] {
		t.Errorf("lives told: %v", lives)
	}
	me := w.get(t, w.service(t), "/users/me").want(t, 200, "")
	if text(me.json["id"]) != boxsim.ServiceUser {
		t.Errorf("the service account is %s", me.raw)
	}
	w.ccg(t, "user", boxsim.MemberUser).want(t, 200, "")
	w.ccg(t, "user", boxsim.ExternalUser).want(t, 400, "invalid_grant")
	w.ccg(t, "user", "1").want(t, 400, "invalid_grant")
	w.ccg(t, "enterprise", "1").want(t, 400, "invalid_grant")
	const wrong = "client_secret"
	w.form(t, "/oauth2/token", "grant_type", "client_credentials", wrong, "x").want(t, 400, "invalid_grant")
	w.form(t, "/oauth2/token", "grant_type", "password").want(t, 400, "unsupported_grant_type")
	w.form(t, "/oauth2/revoke", wrong, "x").want(t, 400, "invalid_client")

	must(t, w.Configure("", func(a *boxsim.App) { a.AppOnly = true }))
	w.ccg(t, "user", boxsim.MemberUser).want(t, 200, "") // not reauthorized yet
	must(t, w.Authorize(""))
	w.ccg(t, "user", boxsim.MemberUser).want(t, 400, "unauthorized_client")
	w.ccg(t, "user", app).want(t, 200, "")
	must(t, w.Configure("", func(a *boxsim.App) { a.NoUserTokens = true }))
	w.ccg(t, "user", app).want(t, 400, "invalid_grant")
	must(t, w.Deauthorize(""))
	w.ccg(t, "enterprise", "987").want(t, 400, "unauthorized_client")
}

func TestAssertions(t *testing.T) {
	w := start(t, boxsim.Options{})
	serial := 0
	grant := func(change map[string]any) answer {
		serial++
		claims := map[string]any{"iss": "rescind-dev", "sub": "987", "box_sub_type": "enterprise",
			"aud": "https://api.box.com/oauth2/token", "jti": fmt.Sprintf("%016d", serial),
			"exp": time.Now().Add(30 * time.Second).Unix()}
		for k, v := range change {
			claims[k] = v
		}
		data, err := json.Marshal(claims)
		must(t, err)
		return w.form(t, "/oauth2/token", "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer",
			"assertion", "e30."+base64.RawURLEncoding.EncodeToString(data)+".x")
	}
	grant(nil).want(t, 200, "")
	grant(map[string]any{"sub": boxsim.MemberUser, "box_sub_type": "user"}).want(t, 200, "")
	late := time.Now().Unix() + 90
	for claim, value := range map[string]any{"iss": "x", "aud": "x", "jti": "short", "exp": late} {
		a := grant(map[string]any{claim: value}).want(t, 400, "invalid_grant")
		if !strings.Contains(text(a.json["error_description"]), "'"+claim+"'") {
			t.Errorf("%s: %s", claim, a.raw)
		}
	}
	grant(map[string]any{"jti": fmt.Sprintf("%016d", 1)}).want(t, 400, "invalid_grant")
}

func TestTokensEnd(t *testing.T) {
	w := start(t, boxsim.Options{Speed: 4123 * 4}) // a quarter of a second
	a := w.ccg(t, "enterprise", "987").want(t, 200, "")
	if got := text(a.json["expires_in"]); got != "1" {
		t.Errorf("expires_in %s", got)
	}
	token := text(a.json["access_token"])
	w.get(t, token, "/users/me").want(t, 200, "")
	eventually(t, "the token's end", func() bool { return w.get(t, token, "/users/me").status == 401 })
	w.get(t, token, "/users/me").want(t, 401, "invalid_token")
}

func TestInactiveUsersLoseTheirTokens(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.as(t, boxsim.MemberUser)
	must(t, w.SetStatus(boxsim.MemberUser, "inactive"))
	must(t, w.SetStatus(boxsim.MemberUser, "active"))
	w.get(t, token, "/users/me").want(t, 401, "invalid_token")
	token = w.as(t, boxsim.MemberUser)
	body := map[string]any{"user_ids": []string{boxsim.MemberUser}, "user_logins": []string{}}
	w.call(t, w.as(t, boxsim.MemberUser), "POST", "/users/terminate_sessions", body).
		want(t, 403, denied)
	w.call(t, w.service(t), "POST", "/users/terminate_sessions", body).want(t, 202, "")
	w.get(t, token, "/users/me").want(t, 401, "invalid_token")
}

// exchange asks for a narrower token.
func (w *world) exchange(t testing.TB, token, scope string, pairs ...string) answer {
	t.Helper()
	const urn = "urn:ietf:params:oauth:"
	return w.form(t, "/oauth2/token", append(pairs, "grant_type", urn+"grant-type:token-exchange",
		"subject_token", token, "subject_token_type", urn+"token-type:access_token", "scope", scope)...)
}

func TestDownscoping(t *testing.T) {
	w := start(t, boxsim.Options{})
	full := w.as(t, boxsim.OwnerUser)
	plans := "https://api.box.com/2.0/folders/" + boxsim.FolderPlans
	a := w.exchange(t, full, "base_explorer item_download", "resource", plans).want(t, 200, "")
	list, _ := a.json["restricted_to"].([]any)
	if len(list) != 2 || text(at(list[1], "scope")) != "item_download" ||
		text(at(list[0], "object", "id")) != boxsim.FolderPlans {
		t.Errorf("restricted to %s", a.raw)
	}
	narrow := text(a.json["access_token"])
	w.get(t, narrow, "/folders/"+boxsim.FolderDrafts).want(t, 200, "")
	w.get(t, narrow, "/folders/"+boxsim.FolderProjects).want(t, 404, "not_found")
	w.get(t, narrow, "/users").want(t, 403, "insufficient_scope")
	w.exchange(t, narrow, "root_readwrite").want(t, 401, "invalid_scope")
	w.exchange(t, full, "ai.readwrite").want(t, 401, "invalid_scope")
	w.exchange(t, full, "item_preview", "resource", plans+"0").want(t, 400, "invalid_resource")
	w.exchange(t, w.as(t, boxsim.AdminUser), "item_preview", "resource", plans).want(t, 400, "invalid_resource")
	w.exchange(t, "x", "item_preview").want(t, 400, "invalid_grant")

	only := text(w.exchange(t, full, "root_readonly").want(t, 200, "").json["access_token"])
	w.get(t, only, "/folders/"+boxsim.FolderProjects).want(t, 200, "")
	w.call(t, only, "DELETE", "/collaborations/31", nil).want(t, 403, "insufficient_scope")

	must(t, w.Share(boxsim.FileRoadmap, "open"))
	link := w.get(t, full, "/files/"+boxsim.FileRoadmap).json["shared_link"]
	a = w.exchange(t, full, "item_preview", "box_shared_link", text(at(link, "url"))).want(t, 200, "")
	w.get(t, text(a.json["access_token"]), "/files/"+boxsim.FileDraft).want(t, 404, "not_found")
	w.exchange(t, full, "item_preview", "box_shared_link", text(at(link, "url")), "resource", plans).
		want(t, 400, "invalid_resource")
}

func TestScopesAreASnapshot(t *testing.T) {
	w := start(t, boxsim.Options{})
	old := w.service(t)
	must(t, w.Configure("", func(a *boxsim.App) { a.Scopes = []string{"root_readonly"} }))
	w.get(t, w.service(t), "/users").want(t, 200, "") // configured, not authorized
	must(t, w.Authorize(""))
	w.get(t, old, "/users").want(t, 200, "")
	w.get(t, w.service(t), "/users").want(t, 403, "insufficient_scope")
	must(t, w.Deauthorize(""))
	w.get(t, old, "/users").want(t, 401, "invalid_token")
}

func TestScopeOfEachCall(t *testing.T) {
	w := start(t, boxsim.Options{})
	for path, scope := range map[string]string{
		"/users": "manage_managed_users", "/users/102": "manage_app_users", "/groups": "manage_groups",
		"/groups/11/memberships": "manage_groups", "/users/203/memberships": "manage_groups",
		"/webhooks": "manage_webhook", "/events?stream_type=admin_logs": "manage_enterprise_properties",
		"/events?stream_type=admin_logs_streaming": "manage_enterprise_properties",
		"/folders/1001": "root_readonly", "/files/2001": "root_readwrite", "/folders/0/items": "base_explorer",
		"/collaborations/31": "root_readonly", "/collaborations?status=pending": "root_readwrite",
	} {
		t.Run(path, func(t *testing.T) {
			w.get(t, w.as(t, boxsim.ServiceUser, scope), path).want(t, 200, "")
			w.get(t, w.as(t, boxsim.ServiceUser, "ai.readwrite"), path).want(t, 403, "insufficient_scope")
		})
	}
	w.SetQuirks(boxsim.Quirks{WriteOnly: true})
	w.get(t, w.as(t, boxsim.ServiceUser, "root_readwrite"), "/files/2001").want(t, 403, "insufficient_scope")
	w.get(t, "unknown", "/users/me").want(t, 401, "invalid_token")
	w.get(t, w.service(t), "/nowhere").want(t, 404, "not_found")
}

func TestRevokingTheLastTokenDeletesTheWebhooks(t *testing.T) {
	w := start(t, boxsim.Options{})
	h := listen(t, nil)
	one, two := w.service(t), w.service(t)
	w.subscribe(t, one, "folder", boxsim.FolderProjects, h.url, "FOLDER.MOVED")
	w.form(t, "/oauth2/revoke", "token", one).want(t, 200, "")
	w.get(t, one, "/users/me").want(t, 401, "invalid_token")
	if n := len(w.Webhooks()); n != 1 {
		t.Fatalf("%d webhooks with a token left", n)
	}
	w.form(t, "/oauth2/revoke", "token", two).want(t, 200, "")
	if n := len(w.Webhooks()); n != 0 {
		t.Errorf("%d webhooks without a token", n)
	}
	n := h.next(t, "WEBHOOK.DELETED")
	if got := text(at(n.json, "additional_info", "reason")); got != "auto_cleanup" {
		t.Errorf("reason %q", got)
	}
	w.form(t, "/oauth2/revoke", "token", "unknown").want(t, 200, "")
}
