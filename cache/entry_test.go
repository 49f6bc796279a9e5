package cache_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rescindhq/rescind/cache"
)

var update = flag.Bool("update", false, "write the golden files")

func full() cache.Entry {
	asOf := time.UnixMilli(1795255200123)
	return cache.Entry{
		Facts: cache.Facts{
			Basis:  "authz-profile",
			Covers: []cache.Kind{cache.Permission, cache.Feature, cache.Scope},
			Grants: map[cache.Grant]string{
				read: "Self", scope: cache.Unlimited, "permission/Größe ü": "Account,AllExtensions",
			},
			Why: map[cache.Grant]string{fax: "not in the plan", "feature/InboundCnam": ""},
		},
		AsOf: asOf, Until: asOf.Add(time.Minute), Version: 1795255200123456, Confirmed: true,
	}
}

// written is an entry as it stands in Redis: its head, then its facts.
func written(t testing.TB, e cache.Entry) []string {
	t.Helper()
	facts, err := e.Fields()
	if err != nil {
		t.Fatal(err)
	}
	confirmed := "0"
	if e.Confirmed {
		confirmed = "1"
	}
	return append([]string{
		cache.FieldAsOf, fmt.Sprint(e.AsOf.UnixMilli()), cache.FieldUntil, fmt.Sprint(e.Until.UnixMilli()),
		cache.FieldVersion, e.Version.String(), cache.FieldConfirmed, confirmed,
	}, facts...)
}

func asMap(pairs []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestTheEntryStays(t *testing.T) {
	pairs := written(t, full())
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "%s = %s\n", pairs[i], pairs[i+1])
	}
	path := filepath.Join("testdata", "entry_full.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnEntryComesBack(t *testing.T) {
	bare := cache.Entry{AsOf: time.UnixMilli(0), Until: time.UnixMilli(1)}
	for name, e := range map[string]cache.Entry{"full": full(), "bare": bare} {
		back, err := cache.Decode(asMap(written(t, e)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecodeIgnoresWhatANewerWriterAdds(t *testing.T) {
	fields := asMap(written(t, full()))
	fields["_fence"], fields["_new"] = "7", "x"
	if e, err := cache.Decode(fields); err != nil || !cmp.Equal(e, full()) {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, over := range map[string][2]string{
		"no as-of":                   {cache.FieldAsOf, ""},
		"a negative as-of":           {cache.FieldAsOf, "-1"},
		"no deadline":                {cache.FieldUntil, ""},
		"a deadline in nanoseconds":  {cache.FieldUntil, "1795255200123456789"},
		"a deadline with a fraction": {cache.FieldUntil, "1795255200123.5"},
		"a version in hexadecimal":   {cache.FieldVersion, "0x7"},
		"a negative version":         {cache.FieldVersion, "-7"},
		"a version beyond 2^53":      {cache.FieldVersion, "9007199254740993"},
		"a version as a double":      {cache.FieldVersion, "1.795255200123456e15"},
		"a field that is no grant":   {"ReadMessages", "*"},
		"a reason for nothing":       {"why/", "x"},
		"a reason for a reason":      {"why/why/x", "x"},
	} {
		fields := asMap(written(t, full()))
		fields[over[0]] = over[1]
		e, err := cache.Decode(fields)
		if !errors.Is(err, cache.ErrUnreadable) || !cmp.Equal(e, cache.Entry{}) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	if _, err := cache.Decode(nil); !errors.Is(err, cache.ErrUnreadable) {
		t.Errorf("nothing: %v", err)
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]cache.Version{"0": 0, "7": 7, "9007199254740992": 1 << 53} {
		if got, err := cache.ParseVersion(text); err != nil || got != want || got.String() != text {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " 7", "+7", "7 ", "9007199254740993", strings.Repeat("9", 99)} {
		if got, err := cache.ParseVersion(text); err == nil || len(err.Error()) > 120 {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestFieldsRefuse(t *testing.T) {
	many := map[cache.Grant]string{}
	for i := range cache.MaxFields {
		many[cache.NewGrant("x", fmt.Sprint(i))] = "*"
	}
	if _, err := (cache.Facts{Grants: many}).Fields(); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for name, f := range map[string]cache.Facts{
		"a grant that is none":           {Grants: map[cache.Grant]string{"x": "*"}},
		"a field of the contract":        {Grants: map[cache.Grant]string{"_until": "1"}},
		"a reason as a grant":            {Grants: map[cache.Grant]string{"why/permission/x": "*"}},
		"an empty width":                 {Grants: map[cache.Grant]string{read: ""}},
		"a reason for what is no grant":  {Why: map[cache.Grant]string{"x": "y"}},
		"a kind that is none":            {Covers: []cache.Kind{"Permission"}},
		"an empty kind":                  {Covers: []cache.Kind{""}},
		"a kind with a slash":            {Covers: []cache.Kind{"permission/x"}},
		"two kinds in one":               {Covers: []cache.Kind{"permission,scope"}},
		"one more than the limit in all": {Grants: many, Why: map[cache.Grant]string{read: "x"}},
	} {
		if out, err := f.Fields(); err == nil || out != nil {
			t.Errorf("%s: %q", name, out)
		}
	}
}

func TestCheckLife(t *testing.T) {
	for d, ok := range map[time.Duration]bool{
		0: false, -time.Minute: false, cache.MinLife - 1: false, cache.MinLife: true, cache.DefaultLife: true,
		cache.Ceiling: true, cache.Ceiling + 1: false, 24 * time.Hour: false,
	} {
		if err := cache.CheckLife(d); (err == nil) != ok {
			t.Errorf("life %s: %v", d, err)
		}
	}
	if cache.Ceiling != 5*time.Minute || cache.DefaultLife != time.Minute {
		t.Errorf("the contract says 5 min and 60 s: %s, %s", cache.Ceiling, cache.DefaultLife)
	}
}

// FuzzDecode reads any hash; what is accepted can be written, and comes back.
func FuzzDecode(f *testing.F) {
	e := full()
	f.Add("1795255200123", "1795255260123", "7", "permission,scope", "1", "b", string(read), "Self")
	f.Add(fmt.Sprint(e.AsOf.UnixMilli()), "x", "-1", ",", "", "", "why/feature/x", "")
	f.Add("", "", "9007199254740993", "permission/x", "2", "\xff", "_x", "\x00")
	f.Add(strings.Repeat("9", 1000), strings.Repeat("\x00", 1000), "0x7", "permission,permission", "1", "",
		"p/", "x")
	f.Add("1795255200123", "281474976710656", "9007199254740992", "permission", "01", "b", "permission/\n",
		"Self")
	f.Fuzz(func(t *testing.T, asOf, until, version, covers, confirmed, basis, field, value string) {
		got, err := cache.Decode(map[string]string{
			cache.FieldAsOf: asOf, cache.FieldUntil: until, cache.FieldVersion: version, cache.FieldCovers: covers,
			cache.FieldConfirmed: confirmed, cache.FieldBasis: basis, field: value,
		})
		if err != nil {
			if !errors.Is(err, cache.ErrUnreadable) || !cmp.Equal(got, cache.Entry{}) || len(err.Error()) > maxText {
				t.Fatalf("%+v, %v", got, err)
			}
			return
		}
		if _, err := got.Fields(); err != nil {
			return // a reader accepts what a writer refuses, such as a kind that is none
		}
		back, err := cache.Decode(asMap(written(t, got)))
		if err != nil || !cmp.Equal(got, back, cmpopts.EquateEmpty()) {
			t.Fatalf("%+v becomes %+v, %v", got, back, err)
		}
	})
}
