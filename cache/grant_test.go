package cache_test

import (
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cache"
)

func TestParseGrant(t *testing.T) {
	for text, want := range map[string]struct {
		kind cache.Kind
		name string
	}{
		"permission/ReadMessages":         {"permission", "ReadMessages"},
		"scope/a/b":                       {"scope", "a/b"},
		"feature//":                       {"feature", "/"},
		"role/Größe ü+1":                  {"role", "Größe ü+1"},
		"a-b/x":                           {"a-b", "x"},
		"whys/x":                          {"whys", "x"},
		strings.Repeat("k", 32) + "/x":    {cache.Kind(strings.Repeat("k", 32)), "x"},
		"x/" + strings.Repeat("n", 256):   {"x", strings.Repeat("n", 256)},
		"permission/why/feature/Anything": {"permission", "why/feature/Anything"},
	} {
		g, err := cache.ParseGrant(text)
		joined := cache.NewGrant(want.kind, want.name)
		if err != nil || g.Kind() != want.kind || g.Name() != want.name || g != joined {
			t.Errorf("%q: %q of %q, %v", text, g.Name(), g.Kind(), err)
		}
	}
}

func TestParseGrantRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                 "",
		"no kind":                 "ReadMessages",
		"an empty kind":           "/x",
		"an empty name":           "permission/",
		"a reason":                "why/x",
		"a field of the contract": "_until/x",
		"upper case":              "Permission/x",
		"a digit":                 "p2/x",
		"a comma":                 "a,b/x",
		"a kind too long":         strings.Repeat("k", 33) + "/x",
		"a name too long":         "x/" + strings.Repeat("n", 257),
		"a name that is no text":  "x/\xff",
		"a line feed":             "x/a\nb",
		"a delete":                "x/a\x7f",
	} {
		if g, err := cache.ParseGrant(text); err == nil || g != "" {
			t.Errorf("%s: %q", name, g)
		}
	}
}

// What is accepted is one field that no other meaning has.
func FuzzParseGrant(f *testing.F) {
	for _, s := range []string{"permission/ReadMessages", "why/x", "_until", "a-b//", "x/ü", "/", "x/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := cache.ParseGrant(text)
		if err != nil {
			return
		}
		if string(g) != text || cache.NewGrant(g.Kind(), g.Name()) != g {
			t.Fatalf("%q becomes %q of %q", text, g.Name(), g.Kind())
		}
		kind := string(g.Kind())
		if strings.HasPrefix(text, "_") || kind == "why" || strings.ContainsAny(kind, ",/") {
			t.Fatalf("%q can be misread", text)
		}
	})
}
