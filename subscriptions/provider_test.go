package subscriptions_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

var known = []subscriptions.Setting{
	{Name: "life"}, {Name: "watch", Many: 2}, {Name: "exchange.url"},
	{Name: "key", Secret: true}, {Name: "tokens", Secret: true, Many: 2},
}

func TestSettingsCheck(t *testing.T) {
	for name, c := range map[string]struct{ plain, secret, want string }{
		"nothing":                {"", "", ""},
		"one value":              {"life", "key", ""},
		"in a group":             {"exchange.url", "", ""},
		"the first of a list":    {"watch.0", "tokens.0", ""},
		"the last of a list":     {"watch.1", "tokens.1", ""},
		"one too many":           {"watch.2", "", `"watch.2" is unknown, there are life, watch, exchange.url`},
		"one too many secrets":   {"", "tokens.2", `"tokens.2" is unknown, there are key, tokens`},
		"a list without numbers": {"watch", "", `"watch" is unknown`},
		"a value with a number":  {"life.0", "", `"life.0" is unknown`},
		"another way to count":   {"watch.01", "", `"watch.01" is unknown`},
		"below zero":             {"watch.-1", "", `"watch.-1" is unknown`},
		"a secret in the open":   {"key", "", `"key" is unknown`},
		"a plain one as secret":  {"", "life", `"life" is unknown`},
		"misspelt":               {"live", "", `"live" is unknown`},
	} {
		t.Run(name, func(t *testing.T) {
			s := subscriptions.Settings{Plain: map[string]string{}, Secret: map[string]subscriptions.Secret{}}
			if c.plain != "" {
				s.Plain[c.plain] = "x"
			}
			if c.secret != "" {
				s.Secret[c.secret] = subscriptions.NewSecret("hunter2")
			}
			err := s.Check(known)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Error("it shows the secret")
			}
		})
	}
}

func TestSettingsLists(t *testing.T) {
	s := subscriptions.Settings{
		Plain: map[string]string{"watch.0": "a", "watch.1": "", "watch.2": "c", "watch.4": "after a gap"},
		Secret: map[string]subscriptions.Secret{
			"tokens.0": subscriptions.NewSecret("new"), "tokens.1": subscriptions.NewSecret("old"),
		},
	}
	if got := s.List("watch"); !slices.Equal(got, []string{"a", "", "c"}) {
		t.Errorf("watch: %q", got)
	}
	if got := s.Secrets("tokens"); len(got) != 2 || got[0].Reveal() != "new" || got[1].Reveal() != "old" {
		t.Errorf("%d tokens, or in another order", len(got))
	}
	if got := s.List("tokens"); got != nil {
		t.Errorf("secrets among the plain: %q", got)
	}
}

func TestSettingsDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "0s": 0, "90s": 90 * time.Second, "-1s": -time.Second} {
		got, err := subscriptions.Settings{Plain: map[string]string{"life": text}}.Duration("life")
		if err != nil || got != want {
			t.Errorf("%q: got %s, error %v, want %s", text, got, err, want)
		}
	}
	_, err := subscriptions.Settings{Plain: map[string]string{"life": "60"}}.Duration("life")
	named := (*subscriptions.SettingError)(nil)
	if !errors.As(err, &named) || named.Name != "life" || err.Error() != "life: must be a duration, such as 60s" {
		t.Errorf("got %v", err)
	}
}
