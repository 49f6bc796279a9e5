package mural_test

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/mural"
)

func TestValidateNamesTheSetting(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*mural.Config)
		want  string // the setting
	}{
		"good":         {func(*mural.Config) {}, ""},
		"no workspace": {func(c *mural.Config) { c.Workspace = "" }, "id"},
		"no poller":    {func(c *mural.Config) { c.Poller = "" }, "poller"},
		"a poller too long": {func(c *mural.Config) {
			c.Poller = events.Subject(strings.Repeat("x",
				257))
		}, "poller"},
		"no client id": {func(c *mural.Config) { c.ClientID = "" }, "client_id"},
		"no client secret": {func(c *mural.Config) { c.ClientSecret = subscriptions.Secret{} },
			"client_secret"},
		"an open line": {func(c *mural.Config) { c.BaseURL = "http://mural.test/api" }, "base_url"},
		"a password in it": {func(c *mural.Config) { c.BaseURL = "https://a:SECRET-x@mural.test" },
			"base_url"},
		"loopback":               {func(c *mural.Config) { c.BaseURL = "http://127.0.0.1:1/api/public/v1/" }, ""},
		"another refresh path":   {func(c *mural.Config) { c.RefreshPath = "/x" }, "refresh_path"},
		"the other refresh path": {func(c *mural.Config) { c.RefreshPath = "/refresh" }, ""},
		"polls too often":        {func(c *mural.Config) { c.Poll = time.Second }, "poll"},
		"polls too seldom":       {func(c *mural.Config) { c.Poll = time.Hour }, "poll"},
	} {
		cfg := config()
		c.spoil(&cfg)
		err := cfg.Validate()
		wrong, _ := errors.AsType[*subscriptions.SettingError](err)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (wrong == nil || wrong.Name != c.want):
			t.Errorf("%s: %v does not name %s", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "SECRET"):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFromSettings(t *testing.T) {
	got, err := mural.FromSettings(home, subscriptions.Settings{
		Plain: map[string]string{"base_url": "https://eu.mural.test/v1", "client_id": "c", "poller": "u2",
			"refresh_path": "/refresh", "poll": "20s"},
		Secret: map[string]subscriptions.Secret{"client_secret": subscriptions.NewSecret("s")},
	})
	want := mural.Config{Name: "mural", Workspace: space, BaseURL: "https://eu.mural.test/v1", ClientID: "c",
		ClientSecret: subscriptions.NewSecret("s"), Poller: "u2", RefreshPath: "/refresh", Poll: 20 * time.Second}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	must(t, got.Validate())
	for name, s := range map[string]subscriptions.Settings{
		"an unknown setting":   {Plain: map[string]string{"jwt": "x"}},
		"a secret in the open": {Plain: map[string]string{"client_secret": "x"}},
		"no duration":          {Plain: map[string]string{"poll": "soon"}},
	} {
		if _, err := mural.FromSettings(home, s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNewMakesNoCallAndWantsWhatItNeeds(t *testing.T) {
	good := subscriptions.Deps{HTTP: &http.Client{Transport: transport{}}, Vault: newMemory(),
		Budget: budget.NewLocal(), Log: slog.New(slog.DiscardHandler)}
	p, err := mural.New(config(), good)
	must(t, err)
	if p.Interval() != mural.DefaultPoll || p.Delay() != 0 {
		t.Errorf("interval %s, delay %s", p.Interval(), p.Delay())
	}
	bad := good
	bad.Vault = nil
	if _, err := mural.New(config(), bad); err == nil {
		t.Error("no vault, no error")
	}
	if _, err := mural.New(mural.Config{}, good); err == nil {
		t.Error("no configuration, no error")
	}
}

// The table in the vendor's documents, public/docs/scopes of developers.mural.co.
func TestScopes(t *testing.T) {
	var tabled, others []string
	for _, s := range mural.Scopes() {
		if s.Name != s.ID || len(s.Includes) != 0 {
			t.Errorf("%+v", s)
		}
		if s.Tabled {
			tabled = append(tabled, s.ID)
		} else {
			others = append(others, s.ID)
		}
	}
	slices.Sort(tabled)
	want := []string{"identity:read", "murals:read", "murals:write", "rooms:read", "rooms:write",
		"templates:read",
		"templates:write", "users:read", "workspaces:read"}
	if diff := cmp.Diff(want, tabled); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"workspaces:write"}, others); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	mural.Scopes()[0].ID = "spoilt"
	if mural.Scopes()[0].ID == "spoilt" {
		t.Error("the catalogue can be changed from outside")
	}
}
