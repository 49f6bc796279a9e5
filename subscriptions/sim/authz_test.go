package sim_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

type profile struct {
	URI         string
	Permissions []struct {
		Permission    struct{ ID, URI string }
		EffectiveRole struct{ ID string }
		Scopes        []string
	}
}

func (p profile) scopes() map[string][]string {
	m := map[string][]string{}
	for _, g := range p.Permissions {
		m[g.Permission.ID] = g.Scopes
	}
	return m
}

func (w *world) profile(t *testing.T, token, path string) (p profile) {
	t.Helper()
	w.get(t, token, path).want(t, 200, "").into(t, &p)
	return p
}

func TestProfileIsTheClosureOfTheRoles(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	role, err := w.PutRole(sim.Role{DisplayName: "Texts", Permissions: []string{"BusinessSms"}})
	if err != nil {
		t.Fatal(err)
	}
	wide, err := w.PutRole(sim.Role{DisplayName: "Reads", Scope: "UserExtensions",
		Permissions: []string{"ReadMessages", "Users"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AssignRoles(user, role, wide); err != nil {
		t.Fatal(err)
	}
	self, both := []string{"Self"}, []string{"Self", "UserExtensions"}
	want := map[string][]string{"BusinessSms": self, "LocalSMS": self, "InboundSMS": self, "OutboundSMS": self,
		"ReadMessages": both, "Users": {"UserExtensions"}, "EditExtensions": {"UserExtensions"},
		"ReadExtensions": {"Account"}}
	tok := w.as(t, user)
	p := w.profile(t, tok, "/account/~/extension/~/authz-profile")
	if diff := cmp.Diff(want, p.scopes()); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, w.Permissions(user)); diff != "" {
		t.Errorf("Permissions (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(p.URI, w.url+v1+"/account/"+account+"/extension/"+user+"/authz-profile") {
		t.Errorf("uri: %s", p.URI)
	}
	for _, g := range p.Permissions {
		first := role
		if slices.Contains([]string{"Users", "EditExtensions", "ReadExtensions"}, g.Permission.ID) {
			first = wide
		}
		if g.EffectiveRole.ID != first {
			t.Errorf("%s comes from %s, want %s", g.Permission.ID, g.EffectiveRole.ID, first)
		}
	}
	onOther := w.profile(t, tok, "/account/~/extension/~/authz-profile?targetExtensionId="+other).scopes()
	if len(onOther) != 4 || onOther["BusinessSms"] != nil {
		t.Errorf("on another extension: %v", onOther)
	}
}

func TestOrdinaryUserLooksLikeTheCapture(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	got := w.profile(t, w.as(t, user), "/account/~/extension/~/authz-profile").scopes()
	var wide []string
	for id, scopes := range got {
		if !cmp.Equal(scopes, []string{"Self"}) {
			wide = append(wide, id+" "+scopes[0])
		}
	}
	slices.Sort(wide)
	want := []string{"ReadCompanyInfo Account", "ReadCompanyPhoneNumbers Account", "ReadExtensions Account",
		"ReadPresenceStatus Federation", "ReadServicePlanInfo Account"}
	if diff := cmp.Diff(want, wide); diff != "" {
		t.Errorf("wider than Self (-want +got):\n%s", diff)
	}
	if len(got) < 60 || got["EditUserRoles"] != nil {
		t.Errorf("%d permissions, %v", len(got), got["EditUserRoles"])
	}
}

func TestForeignProfile(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, admin)
	path := "/account/~/extension/" + user + "/authz-profile"
	w.get(t, tok, path).want(t, 403, "CMN-404")
	w.get(t, tok, path+"/check?permissionId=ReadMessages").want(t, 403, "CMN-404")
	w.get(t, tok, "/account/~/extension/1/authz-profile").want(t, 404, "CMN-102")
	w.SetQuirks(sim.Quirks{ForeignProfiles: true})
	if diff := cmp.Diff(w.Permissions(user), w.profile(t, tok, path).scopes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckPermission(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, user)
	for name, c := range map[string]struct {
		query  string
		status int
		code   string
		held   bool
	}{
		"held":                     {"permissionId=ReadMessages", 200, "", true},
		"not held":                 {"permissionId=EditUserRoles", 200, "", false},
		"unknown":                  {"permissionId=Nonsense", 200, "", false},
		"held, but on oneself":     {"permissionId=ReadMessages&targetExtensionId=" + other, 200, "", false},
		"held on everybody":        {"permissionId=ReadExtensions&targetExtensionId=" + other, 200, "", true},
		"on an unknown extension":  {"permissionId=ReadMessages&targetExtensionId=1", 400, "CMN-101", false},
		"without any permissionId": {"", 400, "CMN-101", false},
	} {
		t.Run(name, func(t *testing.T) {
			var got struct {
				Successful bool
				Details    *struct{ Scopes []string }
			}
			a := w.get(t, tok, "/account/~/extension/~/authz-profile/check?"+c.query).want(t, c.status, c.code)
			a.into(t, &got)
			if got.Successful != c.held || (got.Details != nil) != c.held {
				t.Errorf("got %s", a.raw)
			}
		})
	}
}

type feature struct {
	ID        string
	Available bool
	Params    []sim.Param
	Reason    *sim.Reason
}

func (w *world) features(t *testing.T, token, path string) map[string]feature {
	t.Helper()
	var list struct{ Records []feature }
	w.get(t, token, path).want(t, 200, "").into(t, &list)
	m := map[string]feature{}
	for _, f := range list.Records {
		m[f.ID] = f
	}
	return m
}

func TestFeatures(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, user)
	const own = "/account/~/extension/~/features"
	all := w.features(t, tok, own)
	want := map[string]feature{
		"CallScreening": {ID: "CallScreening", Available: true},
		"HUD":           {ID: "HUD", Available: true, Params: []sim.Param{{Name: "limitMax", Value: "100"}}},
		"EditRingMe": {ID: "EditRingMe", Reason: &sim.Reason{Code: "InsufficientPermissions",
			Message: "No Users permission granted", Permission: "Users"}},
		"InboundCnam": {ID: "InboundCnam", Reason: &sim.Reason{Code: "ServicePlanLimitation",
			Message: "The feature is unavailable for the current service plan"}},
	}
	for id, f := range want {
		if diff := cmp.Diff(f, all[id]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	if got := w.features(t, tok, own+"?featureId=HUD&featureId=EditRingMe"); len(got) != 2 {
		t.Errorf("two asked: %v", got)
	}
	if got := w.features(t, tok, own+"?availableOnly=true"); len(got) >= len(all) || got["EditRingMe"].ID != "" {
		t.Errorf("availableOnly: %v", got)
	}
	w.get(t, tok, own+"?featureId=Nonsense").want(t, 400, "CMN-101")

	off := sim.Feature{ID: "CallScreening", Reason: &sim.Reason{Code: "ConfigurationLimitation"}}
	if err := w.SetFeature(user, off); err != nil {
		t.Fatal(err)
	}
	if f := w.features(t, tok, own)["CallScreening"]; f.Available || f.Reason.Code != "ConfigurationLimitation" {
		t.Errorf("after SetFeature: %+v", f)
	}
	w.get(t, w.IssueToken(user, []string{"SubscriptionWebhook"}), own).want(t, 403, "CMN-401")
}

func TestForeignFeatures(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	byAdmin := w.features(t, w.as(t, admin), "/account/~/extension/"+user+"/features")
	if _, shown := byAdmin["CallScreening"]; shown || !byAdmin["EditRingMe"].Available {
		t.Errorf("reduced list, by the caller's rights: %v", byAdmin)
	}
	byUser := w.features(t, w.as(t, user), "/account/~/extension/"+admin+"/features")
	if byUser["EditRingMe"].Available {
		t.Errorf("reasons speak of the caller: %v", byUser["EditRingMe"])
	}
}

func TestUserPermissions(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	tok := w.as(t, user)
	w.get(t, tok, "/account/~/extension/~/assigned-role").want(t, 200, "")
	w.get(t, tok, "/account/~/extension/"+other+"/assigned-role").want(t, 403, "CMN-419")
	w.get(t, tok, "/account/~/assigned-role").want(t, 403, "CMN-419")
	w.get(t, tok, "/account/~/user-role").want(t, 403, "CMN-408")
	body := map[string]any{"records": []any{map[string]any{"id": "1"}}}
	w.call(t, tok, "PUT", v1+"/account/~/extension/~/assigned-role", body).want(t, 403, "CMN-408")
	narrow := w.IssueToken(admin, []string{"ReadAccounts"})
	w.call(t, narrow, "PUT", v1+"/account/~/extension/"+user+"/assigned-role", body).want(t, 403, "CMN-401")
}
