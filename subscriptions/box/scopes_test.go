package box_test

import (
	"strings"
	"testing"

	"github.com/rescindhq/rescind/subscriptions/box"
)

func TestParseScopes(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"root_readonly":                        "root_readonly",
		" root_readwrite  root_readonly ":      "root_readonly root_readwrite",
		"manage_webhooks":                      "manage_webhook",
		"manage_webhook manage_webhooks":       "manage_webhook",
		"gcm":                                  "enterprise_content",
		"manage_legal_hold":                    "manage_legal_holds",
		"Manage users,":                        "manage_app_users manage_managed_users",
		"Manage webhooks, gcm":                 "enterprise_content manage_webhook",
		"global content manager (GCM),":        "enterprise_content",
		"some.scope:of-tomorrow root_readonly": "root_readonly some.scope:of-tomorrow",
	} {
		got, err := box.ParseScopes(text)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if got, err := box.ParseScopes(""); got != nil || err != nil {
		t.Errorf("nothing: %v, %v", got, err)
	}
	for _, text := range []string{"Manage nothing,", `a"b`, "größe", strings.Repeat("x", 65)} {
		if got, err := box.ParseScopes(text); err == nil {
			t.Errorf("%q is taken for %q", text, got)
		}
	}
}

func TestCloseScopes(t *testing.T) {
	for name, c := range map[string]struct {
		scopes    string
		writeOnly bool
		want      string
	}{
		"nothing":                 {"", false, ""},
		"write includes read":     {"root_readwrite", false, "root_readonly root_readwrite"},
		"unless told otherwise":   {"root_readwrite", true, "root_readwrite"},
		"read includes nothing":   {"root_readonly", false, "root_readonly"},
		"a dependency is missing": {"manage_data_retention", false, ""},
		"and there": {"manage_data_retention enterprise_content", false,
			"enterprise_content gcm manage_data_retention"},
		"two are needed": {"root_readonly sign_requests.readwrite", false, "root_readonly"},
		"one includes the other": {"root_readwrite sign_requests.readwrite", false,
			"root_readonly root_readwrite sign_requests.readwrite"},
		"it does not":                  {"manage_triggers root_readwrite", true, "root_readwrite"},
		"a former name is the same":    {"manage_webhook", false, "manage_webhook manage_webhooks"},
		"a scope of tomorrow is kept":  {"later", false, "later"},
		"of narrowed tokens, no other": {"item_upload item_delete", false, "item_delete item_upload"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(box.CloseScopes(strings.Fields(c.scopes), c.writeOnly), " ")
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestTheCatalogueHoldsTogether: names are unique, and what is needed, included or
// an alias is, or is not, a scope.
func TestTheCatalogueHoldsTogether(t *testing.T) {
	ids, all := map[string]bool{}, box.Scopes()
	for _, s := range all {
		for _, name := range append([]string{s.ID}, s.Aliases...) {
			if ids[name] {
				t.Errorf("%s is there twice", name)
			}
			ids[name] = true
		}
	}
	for _, s := range all {
		for _, other := range append(append([]string{}, s.Needs...), s.Includes...) {
			if !ids[other] {
				t.Errorf("%s speaks of %s, which is none", s.ID, other)
			}
		}
	}
	all[1].Includes[0] = "spoilt"
	if box.Scopes()[1].Includes[0] == "spoilt" {
		t.Error("who lists the scopes can change them")
	}
}
