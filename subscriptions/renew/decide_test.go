package renew

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
)

const here, week, day = "https://l.example/hooks/p/here", 7 * 24 * time.Hour, 24 * time.Hour

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// live, dead and endless make a subscription of ours, with so much life left.
func live(id string, left time.Duration) subscriptions.Subscription {
	return subscriptions.Subscription{ID: id, Want: "account", Address: here, Active: true, Expires: noon.Add(left)}
}

func dead(id string, left time.Duration) subscriptions.Subscription {
	s := live(id, left)
	s.Active = false
	return s
}

func endless(id string) subscriptions.Subscription {
	return subscriptions.Subscription{ID: id, Want: "account", Address: here, Active: true}
}

func TestDecide(t *testing.T) {
	type list = []subscriptions.Subscription
	type ids = []string
	elsewhere := subscriptions.Subscription{ID: "x", Address: here + "/", Expires: noon}
	for name, c := range map[string]struct {
		subs   list
		held   held
		verb   verb
		best   string
		remove ids
	}{
		"none":                      {nil, held{}, create, "", nil},
		"only another's":            {list{elsewhere}, held{}, create, "", nil},
		"fresh":                     {list{live("a", week)}, held{"a", week}, keep, "a", nil},
		"a week's, 25 h left":       {list{live("a", 25*time.Hour)}, held{"a", week}, keep, "a", nil},
		"a week's, a day left":      {list{live("a", day)}, held{"a", week}, renew, "a", nil},
		"a day's, 9 h left":         {list{live("a", 9*time.Hour)}, held{"a", day}, keep, "a", nil},
		"a day's, a third left":     {list{live("a", 8*time.Hour)}, held{"a", day}, renew, "a", nil},
		"of unknown life, 25 h":     {list{live("a", 25*time.Hour)}, held{}, keep, "a", nil},
		"of unknown life, 23 h":     {list{live("a", 23*time.Hour)}, held{}, renew, "a", nil},
		"another one than before":   {list{live("b", 23*time.Hour)}, held{"a", day}, renew, "b", nil},
		"without an end":            {list{endless("e")}, held{"e", -1}, keep, "e", nil},
		"expired this instant":      {list{live("a", 0)}, held{}, create, "", ids{"a"}},
		"blacklisted":               {list{dead("a", week), elsewhere}, held{}, create, "", ids{"a"}},
		"blacklisted beside a live": {list{dead("a", 2*week), live("b", week)}, held{}, keep, "b", ids{"a"}},
		"two live":                  {list{live("a", week), live("b", 2*week)}, held{}, keep, "b", ids{"a"}},
		"two live, the other way":   {list{live("b", 2*week), live("a", week)}, held{}, keep, "b", ids{"a"}},
		"two that end together":     {list{live("b", week), live("a", week)}, held{}, keep, "a", ids{"b"}},
		"one of two without an end": {list{live("a", week), endless("e")}, held{}, keep, "e", ids{"a"}},
		"two, the longest is due":   {list{live("a", 1), live("b", 2)}, held{}, renew, "b", ids{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := decide(noon, c.subs, here, "account", c.held)
			if a.verb != c.verb || a.best.ID != c.best {
				t.Errorf("got %s %q, want %s %q", a.verb, a.best.ID, c.verb, c.best)
			}
			if diff := cmp.Diff(c.remove, a.remove); diff != "" {
				t.Errorf("remove (-want +got):\n%s", diff)
			}
		})
	}
}
