package cmd_test

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/subscriptions/providers"
)

// places may name a kind of provider in code or configuration, and why. A path that
// ends in a slash is a folder. Adding a provider touches its own folder, one entry
// of the list, and one row of the README: where a kind may be named, the next one
// need not be.
var places = map[string]string{
	"subscriptions/providers/": "the list",
	"subscriptions/sim/":       "the simulators",
	"README.md":                "the row, and examples",
	"cmd/rescind/":             "the worlds of dev and prove, and examples in texts of help",
	"cmd/faults/":              "the trials run in a world of one simulator",
	"deploy/":                  "examples",
	"events/tag.go":            "a kind of tag is a word of changes; workers obey those that they do not know",
}

// TestAddingAProvider: nothing outside of the places knows a vendor.
func TestAddingAProvider(t *testing.T) {
	used := map[string]bool{}
	found := func(p, text string) {
		place, ok := placeOf(p)
		used[place] = true
		if !ok {
			t.Errorf("%s names %s: its folder, the list and the README may, or a place with its reason", p, text)
		}
	}
	all := kinds()
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for text := range words(s.File) {
			if kind := naming(all, text); kind != "" {
				found(s.path, kind)
			}
		}
	}
	for _, p := range files(t) {
		if !isPlain(p) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		if kind := naming(all, string(b)); kind != "" {
			found(p, kind)
		}
	}
	for place, why := range places {
		if !used[place] {
			t.Errorf("no vendor is named in %s any more (%s): remove it from the places", place, why)
		}
	}
}

// placeOf is where the file stands, and whether a vendor may be named there.
func placeOf(p string) (place string, ok bool) {
	for place = range places {
		if p == place || strings.HasSuffix(place, "/") && strings.HasPrefix(p, place) {
			return place, true
		}
	}
	folder, _, _ := strings.Cut(strings.TrimPrefix(p, "subscriptions/"), "/")
	return "", strings.HasPrefix(p, "subscriptions/") && slices.Contains(kinds(), folder)
}

// isPlain: a file that is no Go code, no data of a test, and no document but the
// README, and no dependency.
func isPlain(p string) bool {
	document := path.Ext(p) == ".md" && p != "README.md"
	tool := strings.HasPrefix(p, ".") || strings.HasPrefix(p, "tools/") || p == "go.mod" || p == "go.sum"
	return path.Ext(p) != ".go" && !strings.Contains(p, "testdata/") && !document && !tool
}

func kinds() (all []string) {
	for _, p := range providers.All() {
		all = append(all, p.Kind)
	}
	return all
}

// words are the identifiers and literals of a file. A comment may give examples.
func words(f *ast.File) map[string]bool {
	all := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			all[n.Name] = true
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				all[n.Value] = true
			}
		}
		return true
	})
	return all
}

// naming is the kind that a text names, as a word of its own: Box and newBox and
// box:1 and boxsim do, an inbox does not.
func naming(all []string, text string) string {
	for _, kind := range all {
		for _, at := range regexp.MustCompile(`(?i)`+kind+`(sim)?`).FindAllStringIndex(text, -1) {
			within := at[0] > 0 && isLower(text[at[0]-1]) && isLower(text[at[0]])
			if !within && (at[1] == len(text) || !isLower(text[at[1]])) {
				return kind
			}
		}
	}
	return ""
}

func isLower(b byte) bool { return b >= 'a' && b <= 'z' }

func TestNaming(t *testing.T) {
	all := []string{"ringcentral", "box"}
	for text, want := range map[string]string{
		"box": "box", "newBox": "box", "BoxFile": "box", `"box:1"`: "box", "boxsim": "box", "x_box": "box",
		"RingCentral": "ringcentral", "ringcentral-support": "ringcentral", "a RINGCENTRAL b": "ringcentral",
		"inbox": "", "mailbox": "", "boxes": "", "unboxed": "", "sandbox and box": "box", "": "",
	} {
		if got := naming(all, text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	for _, p := range []string{"subscriptions/client/call.go", "cache/lookup/x.go", "subscriptions/boxes/x.go"} {
		if place, ok := placeOf(p); ok {
			t.Errorf("%s may name a vendor, as %q", p, place)
		}
	}
	if _, ok := placeOf("subscriptions/" + kinds()[0] + "/x.go"); !ok {
		t.Error("a provider may not name itself")
	}
}
