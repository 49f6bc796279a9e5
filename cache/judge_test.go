package cache_test

import (
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
)

const (
	unknown = cache.Unknown
	denied  = cache.Denied
	granted = cache.Granted
)

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		covers  string
		grant   cache.Grant
		value   string
		present bool
		want    cache.State
	}{
		"present":                         {"permission", read, "Self", true, granted},
		"present, its kind not listed":    {"scope", read, "*", true, granted},
		"absent, its kind covered":        {"permission", read, "", false, denied},
		"absent, its kind the last":       {"scope,permission", read, "", false, denied},
		"absent, its kind not covered":    {"scope", read, "", false, unknown},
		"absent, nothing covered":         {"", read, "", false, unknown},
		"absent, a kind that begins so":   {"permissions,perm", read, "", false, unknown},
		"absent, empty kinds listed":      {",,", read, "", false, unknown},
		"present with an empty width":     {"permission", read, "", true, unknown},
		"a value that is not there":       {"permission", read, "Self", false, denied},
		"absent, covered after nothing":   {",permission", read, "", false, denied},
		"absent, covered among strangers": {"x,permission,y", read, "", false, denied},
	} {
		if got := cache.Judge(tc.covers, tc.grant, tc.value, tc.present); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestUsable(t *testing.T) {
	now := time.UnixMilli(1795255200123)
	for name, tc := range map[string]struct {
		left time.Duration
		want bool
	}{
		"over":                           {-time.Millisecond, false},
		"over this very moment":          {0, false},
		"about to be over":               {time.Millisecond, true},
		"the whole ceiling":              {cache.Ceiling, true},
		"a clock behind by the slack":    {cache.Ceiling + cache.ClockSlack, true},
		"a clock behind by more":         {cache.Ceiling + cache.ClockSlack + time.Millisecond, false},
		"written by a clock of tomorrow": {24 * time.Hour, false},
	} {
		if got := cache.Usable(now, now.Add(tc.left)); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if cache.Usable(now, time.Time{}) {
		t.Error("no deadline at all: usable")
	}
}

func TestAnd(t *testing.T) {
	for _, tc := range []struct {
		states []cache.State
		want   cache.State
	}{
		{nil, unknown},
		{[]cache.State{granted}, granted},
		{[]cache.State{granted, granted}, granted},
		{[]cache.State{granted, unknown}, unknown},
		{[]cache.State{unknown, denied}, denied},
		{[]cache.State{granted, denied, granted}, denied},
		{[]cache.State{unknown, unknown}, unknown},
	} {
		if got := cache.And(tc.states...); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.states, got, tc.want)
		}
	}
}

func TestEntryJudge(t *testing.T) {
	e := full()
	delete(e.Why, fax)
	e.Covers = []cache.Kind{cache.Permission, cache.Scope}
	for name, tc := range map[string]struct {
		now  time.Time
		need []cache.Grant
		want cache.State
	}{
		"one granted":           {e.AsOf, []cache.Grant{read}, granted},
		"all granted":           {e.AsOf, []cache.Grant{read, scope}, granted},
		"one of them denied":    {e.AsOf, []cache.Grant{read, write}, denied},
		"one of them unknown":   {e.AsOf, []cache.Grant{read, fax}, unknown},
		"denied and unknown":    {e.AsOf, []cache.Grant{fax, write}, denied},
		"nothing needed":        {e.AsOf, nil, unknown},
		"after its deadline":    {e.Until, []cache.Grant{read}, unknown},
		"denied, but too late":  {e.Until, []cache.Grant{write}, unknown},
		"long before its fetch": {e.AsOf.Add(-time.Hour), []cache.Grant{read}, unknown},
	} {
		if got := e.Judge(tc.now, tc.need...); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	e.Grants[read] = ""
	if got := e.Facts.Judge(read); got != unknown {
		t.Errorf("an empty width: %s", got)
	}
}

func TestStateWords(t *testing.T) {
	words := map[cache.State]string{unknown: "unknown", denied: "denied", granted: "granted", 9: "unknown"}
	for s, want := range words {
		if s.String() != want {
			t.Errorf("%d: %s, want %s", s, s, want)
		}
	}
}
