package cache_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// maxText bounds an error, however long what it speaks of is.
const maxText = 1024

// A tag's name in the bookkeeping is one tag, or an error.
func FuzzParseTagName(f *testing.F) {
	for _, s := range append(nasty, "subject:42", "role:a%3Ab", "tenant", "app", "app:1", "role:%",
		"role:%3a", ":") {
		f.Add(s)
		f.Add(cache.TagName(events.RoleTag(s)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		tag, err := cache.ParseTagName(text)
		if err != nil {
			if len(err.Error()) > maxText || tag != (events.Tag{}) {
				t.Fatalf("%+v beside an error of %d bytes: %.200s", tag, len(err.Error()), err)
			}
			return
		}
		name := cache.TagName(tag)
		if back, err := cache.ParseTagName(name); err != nil || back != tag {
			t.Fatalf("%q is %+v, then %q, %+v, %v", text, tag, name, back, err)
		}
		if _, id, _ := strings.Cut(name, ":"); strings.ContainsAny(id, ":{}\x00\n") {
			t.Fatalf("%q can be taken for another key", name)
		}
	})
}

// What a provider says is written so that it reads as the same, or is refused;
// it never becomes a field of the contract, and never grants what was not said.
func FuzzFields(f *testing.F) {
	f.Add("permission,scope", "authz-profile", "permission/ReadMessages", "Self", "feature/Fax", "NoLicence")
	f.Add("_until", "", "_until", "9999999999999", "why/x", "")
	f.Add("why", "x", "why/feature/Fax", "*", "a/b", "c")
	f.Add(",", "\x00", "p/\x00", "", "/", "\xff")
	f.Add("p", "b", "p/"+strings.Repeat("x", 256), strings.Repeat("y", 5000), "p/"+strings.Repeat("x", 257), "y")
	f.Fuzz(func(t *testing.T, covers, basis, grant, width, denied, why string) {
		facts := cache.Facts{Basis: basis, Grants: map[cache.Grant]string{cache.Grant(grant): width},
			Why: map[cache.Grant]string{cache.Grant(denied): why}}
		for k := range strings.SplitSeq(covers, ",") {
			facts.Covers = append(facts.Covers, cache.Kind(k))
		}
		fields, err := facts.Fields()
		if err != nil {
			if len(err.Error()) > maxText || fields != nil {
				t.Fatalf("%d fields beside an error of %d bytes", len(fields), len(err.Error()))
			}
			return
		}
		now := time.UnixMilli(1_795_255_200_000)
		head := []string{cache.FieldAsOf, "1795255200000", cache.FieldUntil, "1795255260000",
			cache.FieldVersion, "7"}
		e, err := cache.Decode(asMap(append(head, fields...)))
		if err != nil || !cmp.Equal(facts, e.Facts, cmpopts.EquateEmpty()) || !e.Until.Equal(now.Add(time.Minute)) {
			t.Fatalf("%+v becomes %+v, %v", facts, e, err)
		}
		for _, g := range []cache.Grant{cache.Grant(grant), cache.Grant(denied), "permission/ReadMessages"} {
			said := width != "" && string(g) == grant
			if got := e.Judge(now, g); (got == cache.Granted) != said {
				t.Fatalf("%q is %s", g, got)
			} else if got == cache.Denied && !slices.Contains(facts.Covers, g.Kind()) {
				t.Fatalf("%q is denied, although its kind was not read", g)
			}
		}
	})
}
