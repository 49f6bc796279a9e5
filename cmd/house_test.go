// Package cmd_test keeps the rules of the house: who may import whom, what
// must be documented, and that the documents tell the truth.
package cmd_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	module = "github.com/rescindhq/rescind/"
	root   = ".." // this test stands one folder below it
)

// house names every package, and all that it imports from the module. A new
// package needs a row, an old row a package; and what a row allows is used.
var house = map[string]string{
	"events":           "",
	"events/natslocal": "",
	"events/stream":    "events",

	"cache":             "events",
	"cache/redislocal":  "",
	"cache/cachetest":   "cache/redislocal",
	"cache/fence":       "cache events",
	"cache/lookup":      "cache events",
	"cache/races":       "cache cache/fence cache/races/model events",
	"cache/races/model": "",
	"cache/refresh":     "cache cache/fence events events/stream",
	"cache/ask":         "cache cache/refresh events",

	"subscriptions":             "events",
	"subscriptions/listen":      "events subscriptions",
	"subscriptions/budget":      "cache events subscriptions",
	"subscriptions/lead":        "events",
	"subscriptions/renew":       "events subscriptions subscriptions/lead",
	"subscriptions/tail":        "cache events subscriptions subscriptions/lead",
	"subscriptions/client":      "cache events subscriptions",
	"subscriptions/ringcentral": "cache events subscriptions subscriptions/client",
	"subscriptions/box":         "cache events subscriptions subscriptions/client",
	"subscriptions/mural":       "cache events subscriptions subscriptions/client",
	"subscriptions/providers": "cache events subscriptions subscriptions/box subscriptions/mural" +
		" subscriptions/ringcentral",
	"subscriptions/providertest": "cache events subscriptions",
	"subscriptions/sim":          "",
	"subscriptions/sim/boxsim":   "",
	"subscriptions/sim/muralsim": "",

	"cmd":        "", // this test alone
	"cmd/faults": "cache cache/lookup cmd/config cmd/service events events/stream subscriptions/sim",
	"cmd/config": "cache events subscriptions subscriptions/providers",
	"cmd/service": "cache cache/ask cache/fence cache/refresh cmd/config events events/stream subscriptions" +
		" subscriptions/budget subscriptions/client subscriptions/listen subscriptions/providers" +
		" subscriptions/renew subscriptions/tail",
	"cmd/listener": "cmd/config cmd/service",
	"cmd/worker":   "cmd/config cmd/service",
	"cmd/rescind": "cache cache/lookup cache/races cache/redislocal cmd/config cmd/faults cmd/service events" +
		" events/natslocal events/stream subscriptions subscriptions/budget subscriptions/providers" +
		" subscriptions/renew subscriptions/sim" +
		" subscriptions/sim/boxsim subscriptions/sim/muralsim",

	"deploy":       "", // tests alone
	"deploy/probe": "",
}

// ban says that who must not import whom. A pattern is a path, a path and all
// below it (a/...), "library" (neither standard nor ours) or "pillar" (what
// subscriptions/providers lists). Spare is taken out of who, but out of whom.
type ban struct {
	who, spare, whom, but string
	// deep: not through others either. tests: their tests neither.
	deep, tests bool
	why         string
	// breach is an arrow that it must find: "from to".
	breach string
}

const (
	roots      = "events cache subscriptions"
	everywhere = "events/... cache/... subscriptions/... cmd/... deploy/..."
)

var bans = []ban{
	{who: roots, whom: "library",
		why:    "a root holds words and rules: it must be readable with Go alone",
		breach: "cache github.com/redis/go-redis/v9"},
	{who: roots, whom: "net/... os/... database/... syscall", but: "net/http",
		why:    "a root does no I/O; what subscriptions has of net/http, see TestSubscriptionsOnlyNamesHTTP",
		breach: "cache net"},
	{who: "events cache", whom: "net/http", why: "only subscriptions speaks of HTTP", breach: "events net/http"},
	{who: "events/...", whom: "cache/... subscriptions/... cmd/... deploy/...", deep: true, tests: true,
		why: "the tower never leans back: events is the ground", breach: "events/stream cache"},
	{who: "cache/...", whom: "subscriptions/... cmd/... deploy/...", deep: true, tests: true,
		why:    "the cache knows no vendor: it declares the reader that it needs",
		breach: "cache/refresh subscriptions"},
	{who: "subscriptions/...", whom: "cmd/... deploy/...", deep: true, tests: true,
		why: "the services wire the doors, not the doors the services", breach: "subscriptions/renew cmd/config"},
	{who: "subscriptions/...", whom: "cache/...", but: "cache", deep: true,
		why:    "a provider answers in the cache's words and stores nothing",
		breach: "subscriptions/listen cache/fence"},
	{who: "pillar", whom: "pillar", deep: true,
		why: "a provider can be added, understood and thrown away alone", breach: "pillar pillar"},
	{who: "cmd/listener cmd/worker", deep: true,
		whom: "subscriptions/sim/... events/natslocal cache/redislocal cache/cachetest testing/..." +
			" github.com/alicebob/miniredis/... github.com/nats-io/nats-server/..." +
			" github.com/rogpeppe/go-internal/...",
		why:    "simulators and test tools have no place in production",
		breach: "cmd/worker subscriptions/sim"},
	{who: everywhere, whom: "subscriptions/providertest", deep: true,
		why:    "the contract's suite is for the tests of the pillars: test tools stay out of programs",
		breach: "cmd/rescind subscriptions/providertest"},
	{who: everywhere, spare: "cache/fence cache/refresh cache/races cmd/service",
		whom: "cache/fence", why: "only the worker writes entries, by refresh; service opens the fence, races races it",
		breach: "cache/ask cache/fence"},
	{who: "cache/lookup", deep: true,
		whom: "github.com/nats-io/... github.com/prometheus/... cache/fence cache/refresh log/slog",
		why:  "applications import it: Redis and nothing else", breach: "cache/lookup github.com/nats-io/nats.go"},
	{who: everywhere, whom: "log",
		why: "there is no global logger: pass a *slog.Logger", breach: "cmd/service log"},
	{who: "cmd/...", whom: "deploy/...", tests: true, why: "programs do not know how they are deployed",
		breach: "cmd/config deploy/probe"},
}

// pkg is what go list says of a package. Paths of the module are without it.
type pkg struct {
	ImportPath, Name                         string
	Imports, Deps, TestImports, XTestImports []string
}

func (p pkg) arrows(b ban) []string {
	to := p.Imports
	if b.deep {
		to = p.Deps
	}
	if b.tests {
		to = slices.Concat(to, p.TestImports, p.XTestImports)
	}
	return to
}

// list asks go list about every package of the module.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	c := exec.Command("go", "list", "-json=ImportPath,Name,Imports,Deps,TestImports,XTestImports", "./...")
	c.Dir, c.Stderr = root, os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(strings.NewReader(strings.ReplaceAll(string(out), `"`+module, `"`))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func ours(p string) bool { _, ok := house[p]; return ok }

// matches says whether a package fits one of the patterns.
func matches(patterns, p string, pillars []string) bool {
	for one := range strings.FieldsSeq(patterns) {
		first, _, _ := strings.Cut(p, "/")
		below, tree := strings.CutSuffix(one, "/...")
		switch {
		case one == "library" && strings.Contains(first, "."), one == "pillar" && slices.Contains(pillars, p),
			one == p, tree && (p == below || strings.HasPrefix(p, below+"/")):
			return true
		}
	}
	return false
}

// breaks says whether the arrow is one that the ban forbids.
func (b ban) breaks(from, to string, pillars []string) bool {
	return from != to && matches(b.who, from, pillars) && !matches(b.spare, from, pillars) &&
		matches(b.whom, to, pillars) && !matches(b.but, to, pillars)
}

// pillarsOf are the kinds of provider that the list imports.
func pillarsOf(all map[string]pkg) (pillars []string) {
	for _, to := range all["subscriptions/providers"].Imports {
		if strings.HasPrefix(to, "subscriptions/") {
			pillars = append(pillars, to)
		}
	}
	return pillars
}

func TestImports(t *testing.T) {
	all := list(t)
	got := map[string]string{}
	for path, p := range all {
		p.Imports = slices.DeleteFunc(p.Imports, func(to string) bool { return !ours(to) && all[to].Name == "" })
		slices.Sort(p.Imports)
		got[path] = strings.Join(p.Imports, " ")
	}
	if diff := cmp.Diff(house, got); diff != "" {
		t.Errorf("the table differs from the packages (- table, + packages):\n%s", diff)
	}
}

func TestBans(t *testing.T) {
	all := list(t)
	pillars := pillarsOf(all)
	if len(pillars) == 0 {
		t.Error("no pillars")
	}
	for _, b := range bans {
		for from, p := range all {
			for _, to := range p.arrows(b) {
				if b.breaks(from, to, pillars) {
					t.Errorf("%s must not import %s: %s", from, to, b.why)
				}
			}
		}
	}
}

// A ban that can never be broken, or speaks of what is gone, protects nothing.
func TestBansBite(t *testing.T) {
	all := list(t)
	known := map[string]bool{}
	for path, p := range all {
		known[path] = true
		for _, to := range slices.Concat(p.Deps, p.TestImports, p.XTestImports) {
			known[to] = true
		}
	}
	for _, b := range bans {
		from, to, _ := strings.Cut(strings.NewReplacer("pillar pillar", "subscriptions/a subscriptions/b").
			Replace(b.breach), " ")
		if !b.breaks(from, to, []string{"subscriptions/a", "subscriptions/b"}) {
			t.Errorf("the ban on %s for %s does not find %q", b.whom, b.who, b.breach)
		}
		for one := range strings.FieldsSeq(strings.Join([]string{b.who, b.spare, b.whom, b.but}, " ")) {
			seen := one == "pillar"
			for p := range known {
				seen = seen || matches(one, p, nil)
			}
			if !seen {
				t.Errorf("the ban on %s for %s names %s, which is nowhere", b.whom, b.who, one)
			}
		}
	}
}

func TestNoDrawers(t *testing.T) {
	drawer := regexp.MustCompile(`^(utils?|commons?|helpers?|misc|shared|lib|base|types|models)$`)
	for p, one := range list(t) {
		if drawer.MatchString(path.Base(p)) || drawer.MatchString(one.Name) {
			t.Errorf("%s: a package is named after what it does", p)
		}
	}
}

// source is a parsed file; its path is relative to the root.
type source struct {
	path string
	*ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func sources(t *testing.T) (all []source) {
	t.Helper()
	set := token.NewFileSet()
	for _, p := range files(t) {
		if path.Ext(p) != ".go" || strings.HasPrefix(p, "tools/") {
			continue
		}
		f, err := parser.ParseFile(set, filepath.Join(root, p), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{p, f})
	}
	return all
}

// ignored is what .gitignore leaves out.
var ignored = regexp.MustCompile(`^(rescind|listener|worker)$|\.(test|out)$`)

// files lists every file but git's own and what the root ignores.
func files(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if d.IsDir() && (d.Name() == ".git" || rel == filepath.FromSlash("deploy/secrets")) {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && !ignored.MatchString(rel) {
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Header is what a delivery has, Client what a provider is given; to call is
// for the packages below.
func TestSubscriptionsOnlyNamesHTTP(t *testing.T) {
	for _, s := range sources(t) {
		if path.Dir(s.path) != "subscriptions" || s.isTest() {
			continue
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			if x, ok := n.(*ast.SelectorExpr); ok {
				of, _ := x.X.(*ast.Ident)
				if of != nil && of.Name == "http" && x.Sel.Name != "Header" && x.Sel.Name != "Client" {
					t.Errorf("%s uses http.%s", s.path, x.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestEveryPackageHasOneManual(t *testing.T) {
	manuals := map[string][]source{}
	for _, s := range sources(t) {
		dir := path.Dir(s.path)
		testsAlone := strings.HasSuffix(s.Name.Name, "_test") && (dir == "cmd" || dir == "deploy")
		if s.isTest() && !testsAlone {
			continue
		}
		docs := manuals[dir]
		if s.Doc != nil {
			docs = append(docs, s)
		}
		manuals[dir] = docs
	}
	for dir, docs := range manuals {
		if len(docs) != 1 {
			t.Errorf("%s: %d package comments, want one", dir, len(docs))
			continue
		}
		want := "Package " + docs[0].Name.Name + " "
		if docs[0].Name.Name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if got := docs[0].Doc.Text(); !strings.HasPrefix(got, want) {
			t.Errorf("%s begins with %.40q, want %q", docs[0].path, got, want)
		}
	}
}
