package events_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/events"
)

// tokenSafe says whether a subject can be published to: no empty token, no
// wildcard, nothing that ends a line of the protocol.
func tokenSafe(subject string) bool {
	for _, token := range strings.Split(subject, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return false
		}
	}
	return strings.IndexFunc(subject, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}

func TestSubjectsOfNastyIDsComeBack(t *testing.T) {
	for _, id := range nasty {
		h := events.Home{Provider: events.Provider(id), Tenant: events.Tenant(id)}
		s := events.ChangeSubject(h)
		if back, err := events.ParseChangeSubject(s); err != nil || back != h || !tokenSafe(s) {
			t.Errorf("%q: subject %q comes back as %+v, %v", id, s, back, err)
		}
		s = events.KeeperSubject(h)
		if back, err := events.ParseKeeperSubject(s); err != nil || back != h || !tokenSafe(s) {
			t.Errorf("%q: subject %q comes back as %+v, %v", id, s, back, err)
		}
		for _, r := range []events.Ref{
			{Home: h, Subject: events.Subject(id)},
			{Home: h, Subject: events.Subject(id), Resource: events.Resource(id)},
		} {
			s := events.RefreshSubject(r)
			if back, err := events.ParseRefreshSubject(s); err != nil || back != r || !tokenSafe(s) {
				t.Errorf("%q: subject %q comes back as %+v, %v", id, s, back, err)
			}
			if !tokenSafe(events.DelaySubject(r)) || !tokenSafe(events.DeadSubject(h)) {
				t.Errorf("%q: %q or %q cannot be published to", id, events.DelaySubject(r), events.DeadSubject(h))
			}
		}
	}
}

func TestSubjectNamesStay(t *testing.T) {
	r := events.Ref{
		Home: events.Home{Provider: "ringcentral-support", Tenant: "a.b"}, Subject: "x y", Resource: "*>%",
	}
	var b strings.Builder
	for _, s := range []string{
		events.AllChanges, events.AllRefreshes, events.AllDelayed, events.AllDead, events.ChangeSubject(r.Home),
		events.RefreshSubject(r), events.DelaySubject(r), events.DeadSubject(r.Home),
		events.AllKeepers, events.KeeperSubject(r.Home),
		events.AllOutcomes, events.JournalSubject(r.Home, events.Invalidated), events.ChangesOf(events.Home{}),
		events.ChangesOf(events.Home{Provider: "a.b"}), events.ChangesOf(events.Home{Tenant: "a.b"}),
		events.OutcomesOf(events.Home{}, ""), events.OutcomesOf(events.Home{Provider: "a.b"}, events.Late),
	} {
		fmt.Fprintln(&b, s)
	}
	for _, id := range nasty {
		fmt.Fprintf(&b, "%.40q %s\n", id, events.Escape(id))
	}
	golden(t, "subjects.golden", []byte(strings.TrimSuffix(b.String(), "\n")))
}

func TestParseSubjectRefuses(t *testing.T) {
	for _, s := range []string{
		"", "perm.change.", "perm.change.a", "perm.change.a.b.c", "perm.change.a.", "perm.refresh.a.b",
		"perm.change.a.%", "perm.change.a.%2", "perm.change.a.%2e", "perm.change.a.%zz", "perm.change.a.%FF",
		"perm.change.a." + strings.Repeat("x", 257),
	} {
		if h, err := events.ParseChangeSubject(s); err == nil {
			t.Errorf("ParseChangeSubject(%q) = %v", s, h)
		}
	}
	for _, s := range []string{
		"", "perm.keeper.", "perm.keeper.a", "perm.keeper.a.b.c", "perm.keeper.a.", "perm.change.a.b",
		"perm.keeper.a.%2e", "perm.keeper.a.%FF",
	} {
		if h, err := events.ParseKeeperSubject(s); err == nil {
			t.Errorf("ParseKeeperSubject(%q) = %v", s, h)
		}
	}
	for _, s := range []string{
		"", "perm.refresh.a.b", "perm.refresh.a.b.c.d.e", "perm.refresh.a.b.c.", "perm.change.a.b.c",
		"perm.refresh.a.b.%0", "perm.schedule.a.b.c",
	} {
		if r, err := events.ParseRefreshSubject(s); err == nil {
			t.Errorf("ParseRefreshSubject(%q) = %v", s, r)
		}
	}
}
