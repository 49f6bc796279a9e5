package box_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

func TestValidateNamesTheSetting(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*box.Config)
		want  string
	}{
		"an enterprise that is no number": {func(c *box.Config) { c.Enterprise = "acme" },
			"id: must be the numeric"},
		"no enterprise": {func(c *box.Config) { c.Enterprise = "" }, "id: "},
		"no client id":  {func(c *box.Config) { c.ClientID = "" }, "client_id"},
		"no client secret": {func(c *box.Config) { c.ClientSecret = subscriptions.Secret{} },
			"client_secret"},
		"no key": {func(c *box.Config) {
			c.SignatureKey, c.SignatureKey2 = subscriptions.Secret{},
				subscriptions.Secret{}
		},
			"signature_key"},
		"plain http": {func(c *box.Config) { c.BaseURL = "http://api.box.com" },
			"base_url: must be https"},
		"a path": {func(c *box.Config) { c.BaseURL = "https://api.box.com/2.0" },
			"scheme and host only"},
		"a password": {func(c *box.Config) { c.BaseURL = "https://u:SECRET-client@api.box.com" },
			"base_url"},
		"nothing to watch": {func(c *box.Config) { c.Watch = nil }, "watch: must list 1 to 1000"},
		"too much to watch": {func(c *box.Config) { c.Watch = make([]string, 1001) },
			"watch: must list 1 to 1000"},
		"the root": {func(c *box.Config) { c.Watch = []string{"file:1", "folder:0"} },
			"watch.1: must not be the root"},
		"an item of another kind":  {func(c *box.Config) { c.Watch[0] = "web_link:1" }, "watch.0: must be folder"},
		"an item without a number": {func(c *box.Config) { c.Watch[0] = "folder:x" }, "watch.0"},
		"an item twice":            {func(c *box.Config) { c.Watch[1] = c.Watch[0] }, "watch.1: is listed twice"},
		"another way of reading":   {func(c *box.Config) { c.As = "admin" }, "as: must be as-user or token"},
		"events too often":         {func(c *box.Config) { c.EventPoll = time.Second }, "event_poll"},
		"events too seldom":        {func(c *box.Config) { c.EventPoll = time.Hour }, "event_poll"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			c.spoil(&cfg)
			err := cfg.Validate()
			var setting *subscriptions.SettingError
			if !errors.As(err, &setting) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
			noSecret(t, fmt.Sprint(err))
			if _, err := box.New(cfg, subscriptions.Deps{}); err == nil {
				t.Error("opened all the same")
			}
		})
	}
	for name, c := range map[string]func(*box.Config){
		"as it is":     func(*box.Config) {},
		"one key":      func(c *box.Config) { c.SignatureKey = subscriptions.Secret{} },
		"the defaults": func(c *box.Config) { c.BaseURL, c.As, c.EventPoll = "", "", 0 },
	} {
		cfg := testConfig()
		if c(&cfg); cfg.Validate() != nil {
			t.Errorf("%s: %v", name, cfg.Validate())
		}
	}
}

func TestFromSettings(t *testing.T) {
	s := subscriptions.Settings{
		Plain: map[string]string{"base_url": "https://api.box.example", "client_id": "c", "as": "token",
			"write_reads": "no", "event_poll": "30s", "watch.0": "folder:1", "watch.1": "file:2",
			"scopes": "Manage users, gcm"},
		Secret: map[string]subscriptions.Secret{"client_secret": subscriptions.NewSecret("s"),
			"signature_key": subscriptions.NewSecret("a"), "signature_key_2": subscriptions.NewSecret("b")},
	}
	got, err := box.FromSettings(home, s)
	want := box.Config{Name: "box", Enterprise: "987", BaseURL: "https://api.box.example", ClientID: "c",
		ClientSecret: subscriptions.NewSecret("s"), SignatureKey: subscriptions.NewSecret("a"),
		SignatureKey2: subscriptions.NewSecret("b"), Watch: []string{"folder:1", "file:2"},
		Scopes:    []string{"enterprise_content", "manage_app_users", "manage_managed_users"},
		WriteOnly: true, As: "token", EventPoll: 30 * time.Second}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(subscriptions.Secret{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	for name, value := range map[string]string{"event_poll": "often", "write_reads": "maybe",
		"scopes":     "Rule all,",
		"watch.1000": "folder:1", "root": "yes"} {
		bad := subscriptions.Settings{Plain: map[string]string{name: value}}
		if c, err := box.FromSettings(home, bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// TestSettingsAreWhole: each has words for people, and what must be there is
// found missing by Validate.
func TestSettingsAreWhole(t *testing.T) {
	err := box.Config{Enterprise: "987"}.Validate()
	for _, s := range box.Settings() {
		if s.Doc == "" {
			t.Errorf("%s says nothing", s.Name)
		}
		if s.Must && !strings.Contains(err.Error(), s.Name) {
			t.Errorf("%s is not missed in %v", s.Name, err)
		}
	}
	if !slices.ContainsFunc(box.Costs(),
		func(c subscriptions.Cost) bool { return c.Carries(time.Minute) == 200 }) {
		t.Errorf("costs %+v", box.Costs())
	}
}
