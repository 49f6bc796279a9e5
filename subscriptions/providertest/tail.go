package providertest

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/rescindhq/rescind/events"
)

// tail: what changes is found, under the same ids however often it is looked for.
func tail(t testing.TB, s *stage) {
	p := s.tail(t)
	all, cursor, err := s.poll(t, nil)
	if err != nil || len(all) != 0 || len(cursor) == 0 {
		t.Fatalf("the first poll: %+v, a cursor of %d bytes, %v", all, len(cursor), err)
	}
	if p.Interval() <= 0 || p.Delay() < p.Interval() {
		t.Errorf("interval %s, delay %s after a poll", p.Interval(), p.Delay())
	}
	known := map[string]bool{}
	cursor = s.same(t, "nothing has changed", cursor, known, false)
	for n, name := range []string{"a change", "another", "and another"} {
		must(t, s.Change(n))
		cursor = s.same(t, name, cursor, known, true)
	}
	s.same(t, "nothing more has changed", cursor, known, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if all, next, err := p.Poll(ctx, cursor); err == nil || len(all) > 0 || len(next) > 0 {
		t.Errorf("polled without a context: %+v, %d bytes, %v", all, len(next), err)
	}
}

// same polls the same twice, and says what came of it: something new or not. A
// provider may tell again of what it has told, under the same id.
func (s *stage) same(t testing.TB, name string, cursor []byte, known map[string]bool, news bool) []byte {
	t.Helper()
	var next []byte
	var ids []string
	fresh := map[string]bool{}
	told := false
	for range 2 {
		all, after, err := s.poll(t, cursor)
		if err != nil || len(after) == 0 {
			t.Fatalf("%s: a cursor of %d bytes, %v", name, len(after), err)
		}
		seen := map[string]bool{}
		for _, c := range all {
			sound(t, s, name, c, events.Tail)
			seen[c.ID] = true
			if !known[c.ID] {
				fresh[c.ID] = true
				told = told || slices.Contains(c.Tags, s.Tag) || slices.Contains(c.Tags, events.TenantTag)
			}
		}
		if sorted := slices.Sorted(maps.Keys(seen)); next == nil {
			ids = sorted
		} else if !slices.Equal(ids, sorted) {
			t.Errorf("%s: ids %q, and from the same cursor %q", name, ids, sorted)
		}
		next = after
	}
	if news != (len(fresh) > 0) || news != told {
		t.Errorf("%s: new ids %q; the tag %s was told: %t", name, slices.Sorted(maps.Keys(fresh)), s.Tag, told)
	}
	maps.Copy(known, fresh)
	return next
}

// cursors: one that cannot be read drops everything, since nobody knows what was
// missed; or it is an error.
func cursors(t testing.TB, s *stage) {
	s.tail(t)
	_, good, err := s.poll(t, nil)
	must(t, err)
	for name, bad := range map[string][]byte{
		"text": []byte("x"), "an empty object": []byte("{}"), "a list": []byte("[]"), "null": []byte("null"),
		"of another version": []byte(`{"v":99}`), "zeros": make([]byte, 64), "half": good[:len(good)/2],
		"all but its end": good[:len(good)-1], "what follows": append([]byte("x"), good...),
		"of negative version": []byte(`{"v":-1,"position":"x"}`),
	} {
		all, next, err := s.poll(t, bad)
		if err != nil {
			continue
		}
		if !slices.ContainsFunc(all, dropsAll) {
			t.Errorf("cursor %s: %+v, which does not drop the tenant", name, all)
		}
		for _, c := range all {
			sound(t, s, "cursor "+name, c, events.Tail)
		}
		s.same(t, "after cursor "+name, next, map[string]bool{}, false)
	}
	for i := 0; i < len(good); i += max(1, len(good)/40) { // it may be one; in no case anything breaks
		other := slices.Clone(good)
		other[i] ^= 1 << (i % 7)
		all, _, _ := s.poll(t, other)
		for _, c := range all {
			sound(t, s, "an altered cursor", c, events.Tail)
		}
	}
}

func dropsAll(c events.Change) bool { return slices.Contains(c.Tags, events.TenantTag) }
