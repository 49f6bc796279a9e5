package providertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// read: an answer can be stored, is found again by its tags, and is the same while
// nothing changes.
func read(t testing.TB, s *stage) {
	for _, ref := range append([]events.Ref{s.Ref}, s.Others...) {
		a, used, err := s.read(t, ref)
		if err != nil {
			t.Errorf("read %s: %v", ref, err)
			continue
		}
		consistent(t, ref, a, used)
		again, _, err := s.read(t, ref)
		if err != nil || !maps.Equal(a.Grants, again.Grants) || a.Basis != again.Basis ||
			!slices.Equal(a.Covers, again.Covers) {
			t.Errorf("read %s again: %+v, %v; first %+v", ref, again, err, a)
		}
	}
	a, _, err := s.read(t, s.Ref)
	if err != nil || a.Judge(s.Held) != cache.Granted {
		t.Errorf("%s of %s: %+v, %v", s.Held, s.Ref, a, err)
	}
}

// consistent holds an answer against what must be true of each.
func consistent(t testing.TB, ref events.Ref, a cache.Answer, used []events.Tag) {
	t.Helper()
	if _, err := a.Fields(); err != nil || a.Basis == "" {
		t.Errorf("%s, basis %q: %v", ref, a.Basis, err)
	}
	if len(a.Covers) != len(slices.Compact(slices.Sorted(slices.Values(a.Covers)))) {
		t.Errorf("%s: covers %q, one twice", ref, a.Covers)
	}
	for g := range a.Why {
		if a.Grants[g] != "" {
			t.Errorf("%s: %s is granted, and has a reason why not: %s", ref, g, a.Why[g])
		}
	}
	for g := range a.Grants {
		if g.Kind() == cache.Scope && !slices.Contains(append(used, a.Tags...), events.AppTag) {
			t.Errorf("%s: scopes are granted, but the tag of the app is not used", ref)
			break
		}
	}
	for _, tag := range slices.Concat(a.Tags, used) {
		if _, err := events.ParseTag(tag.String()); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if on, err := events.ParseTag(string(ref.Resource)); err == nil && !slices.Contains(a.Tags, on) {
		t.Errorf("%s: its tags %v do not name the resource", ref, a.Tags)
	}
	if ended := !a.Expires.IsZero() && !a.Expires.After(time.Now()); ended || a.Life < 0 {
		t.Errorf("%s: ended %s, life %s", ref, a.Expires, a.Life)
	}
}

// readNothing: who does not exist is granted nothing; what is none of this
// provider's is an error, and no call.
func readNothing(t testing.TB, s *stage) {
	for _, ref := range s.Unknown {
		a, used, err := s.read(t, ref)
		if err != nil {
			continue
		}
		consistent(t, ref, a, used)
		for g := range a.Grants {
			if g.Kind() != cache.Scope {
				t.Errorf("%s, who or which does not exist, is granted %s", ref, g)
			}
		}
	}
	before, _ := s.wire.tally()
	for name, ref := range s.misshapen() {
		if a, _, err := s.read(t, ref); err == nil {
			t.Errorf("%s: %+v, want an error", name, a)
		}
	}
	if after, _ := s.wire.tally(); after != before {
		t.Errorf("%d calls were made for what cannot be read", after-before)
	}
}

// misshapen are references that no provider reads, and those of this one.
func (s *stage) misshapen() map[string]events.Ref {
	all := map[string]events.Ref{}
	add := func(name string, edit func(*events.Ref)) {
		ref := s.Ref
		edit(&ref)
		all[name] = ref
	}
	add("another tenant", func(r *events.Ref) { r.Tenant += "1" })
	add("another provider", func(r *events.Ref) { r.Provider += "1" })
	add("no subject", func(r *events.Ref) { r.Subject = "" })
	long := strings.Repeat("1", events.MaxID+1)
	add("a long subject", func(r *events.Ref) { r.Subject = events.Subject(long) })
	add("a subject that is not UTF-8", func(r *events.Ref) { r.Subject = "1\xff" })
	shapes := []events.Resource{"nonsense", ":", "nonsense:1", "subject:", "app", "tenant", "folder:", "room:",
		"\x00", "folder:\x00", "folder:../users/me", "room:../users/me",
		events.Resource(long)}
	for _, shape := range append(shapes, s.Misshapen...) {
		add(fmt.Sprintf("resource %.40q", shape), func(r *events.Ref) { r.Resource = shape })
	}
	return all
}

// revocation: what is taken away at the vendor is denied by the next reading, and
// nothing that this provider remembers grants it.
func revocation(t testing.TB, s *stage) {
	for range 2 { // whatever is kept between readings, is kept now
		if a, _, err := s.read(t, s.Ref); err != nil || a.Judge(s.Held) != cache.Granted {
			t.Fatalf("before: %+v, %v; want %s", a, err, s.Held)
		}
	}
	must(t, s.Revoke())
	a, used, err := s.read(t, s.Ref)
	if err != nil || a.Judge(s.Held) != cache.Denied {
		t.Errorf("after: %+v, %v; want %s denied", a, err, s.Held)
	}
	consistent(t, s.Ref, a, used)
}
