package cmd_test

import (
	"bytes"
	"context"
	"go/ast"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/listen"
	"github.com/rescindhq/rescind/subscriptions/providers"
	"github.com/rescindhq/rescind/subscriptions/renew"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// table returns the first table below a heading of the README, without its
// head.
func table(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	_, rest, found := strings.Cut(read(t, "README.md"), "# "+heading+"\n")
	if !found {
		t.Fatalf("README.md has no heading %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n#")
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if rows != nil {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("README.md has no table below %q", heading)
	}
	return rows[2:]
}

func TestReadmeListsTheProviders(t *testing.T) {
	var want [][]string
	for _, p := range providers.All() {
		want = append(want, []string{p.Vendor, "`" + p.Kind + "`", p.Verify, p.Translate, p.Subscribe, p.Fetch})
	}
	if diff := cmp.Diff(want, table(t, "Providers")); diff != "" {
		t.Errorf("the README's table differs from providers.All (- list, + README):\n%s", diff)
	}
}

// metrics is a Registerer that notes the names and labels of what it is given.
type metrics map[string]string

var described = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

func (m metrics) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 16) // more than a collector here has
	c.Describe(descs)
	close(descs)
	for d := range descs {
		found := described.FindStringSubmatch(d.String())
		m[found[1]] = strings.ReplaceAll(found[2], ",", ", ")
	}
	return nil
}

func (m metrics) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = m.Register(c) // it returns nil
	}
}

func (m metrics) Unregister(prometheus.Collector) bool { return false }

// registered makes all that registers metrics.
func registered(t *testing.T) metrics {
	t.Helper()
	m, log := metrics{}, slog.New(slog.DiscardHandler)
	refresh.NewMetrics(m)
	budget.NewMetrics(m)
	if err := m.Register(new(stream.Stream).Feeds(stream.FeedOptions{})); err != nil {
		t.Fatal(err)
	}
	m.MustRegister(new(stream.Stream).Journal())
	ask.New(ask.Config{Registerer: m, Log: log})
	if _, err := listen.New(listen.Config{
		Publisher: struct{ listen.Publisher }{}, Registerer: m, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := renew.New(renew.Config{
		Home:      events.Home{Provider: "ringcentral", Tenant: "1"},
		Registrar: struct{ subscriptions.Registrar }{}, Address: "http://127.0.0.1/hooks/ringcentral/x",
		Ledgers: struct{ renew.Ledgers }{}, Secret: func(int64) (s subscriptions.Secret) { return s },
		Sweep:      func(context.Context, events.Home, subscriptions.Gap) error { return nil },
		Registerer: m, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := tail.New(tail.Config{
		Home: events.Home{Provider: "ringcentral", Tenant: "1"}, Tail: struct{ subscriptions.Tail }{},
		Lease: struct{ tail.Lease }{}, Publish: func(context.Context, events.Change) error { return nil },
		Registerer: m, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReadmeListsTheMetrics(t *testing.T) {
	documented := metrics{}
	for _, row := range table(t, "Metrics") {
		documented[strings.Trim(row[0], "`")] = row[1]
	}
	got := registered(t)
	if diff := cmp.Diff(got, documented); diff != "" {
		t.Errorf("the README's metrics and labels differ from the programs' (- programs, + README):\n%s", diff)
	}
	literal := regexp.MustCompile(`"(rescind_[a-z_]+)"`)
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, found := range literal.FindAllStringSubmatch(read(t, s.path), -1) {
			if _, ok := got[found[1]]; !ok {
				t.Errorf("%s names the metric %s, which this test does not see registered", s.path, found[1])
			}
		}
	}
}

func TestConfigurationIsDocumented(t *testing.T) {
	page := read(t, "deploy/config.md")
	rows := map[string]int{} // kinds of provider may share a name
	for _, f := range config.Fields() {
		rows["| `"+f.Path+"`<br>`"+f.Env+"` |"]++
	}
	for row, want := range rows {
		if got := strings.Count(page, row); got != want {
			t.Errorf("deploy/config.md has %d rows %s, want %d", got, row, want)
		}
	}
	if got, want := strings.Count(page, "<br>`RESCIND_"), len(config.Fields()); got != want {
		t.Errorf("deploy/config.md has %d rows, want %d", got, want)
	}
}

// What the README shows of Go is compiled and run as an example: its lines
// stand there, in their order.
func TestReadmeShowsTheExample(t *testing.T) {
	_, block, found := strings.Cut(read(t, "README.md"), "```go\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed || strings.TrimSpace(block) == "" {
		t.Fatal("README.md shows no Go")
	}
	rest := read(t, "cache/lookup/example_test.go")
	for line := range strings.Lines(block) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		_, after, found := strings.Cut(rest, "\n"+line)
		if !found {
			t.Errorf("not in the example, or not there: %s", line)
			continue
		}
		rest = "\n" + after
	}
}

// What the README shows of the doctor is what a story holds it to.
func TestReadmeShowsTheDoctor(t *testing.T) {
	_, block, found := strings.Cut(read(t, "README.md"), "$ rescind doctor\n")
	block, _, closed := strings.Cut(block, "```")
	_, want, kept := strings.Cut(read(t, "cmd/rescind/testdata/stories/doctor.txtar"), "-- usual.golden --\n")
	if !found || !closed || !kept {
		t.Fatal("README.md or the story does not show it")
	}
	if diff := cmp.Diff(want, block); diff != "" {
		t.Errorf("the README differs from the story (- story, + README):\n%s", diff)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	seen := map[string]int{}
	for _, p := range files(t) {
		if filepath.Ext(p) != ".md" {
			continue
		}
		for _, found := range link.FindAllStringSubmatch(read(t, p), -1) {
			to, _, _ := strings.Cut(found[1], "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			seen[p]++
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(p), to)); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
	if seen["README.md"] == 0 || seen["deploy/README.md"] == 0 {
		t.Errorf("links found: %v; this test has lost the READMEs", seen)
	}
}

// The patterns are cut in two, lest they find themselves.
var unwanted = map[string]*regexp.Regexp{
	"unfinished work": regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`),
	"a path of one machine": regexp.MustCompile(
		`(^|[^\w.*}/-])/(wo` + `rk|ho` + `me|Us` + `ers|ro` + `ot|tm` + `p)(/|\b)`),
	"a document elsewhere": regexp.MustCompile(`\b(DES` + `IGN|sty` + `le|br` + `ief|mech` + `anics)\.md\b`),
	"a tool of its makers": regexp.MustCompile(
		`(?i)\b(cla` + `ude|anth` + `ropic|open` + `ai|chat` + `gpt|copi` + `lot)\b`),
}

// inContainers may have absolute paths: they are those of images.
var inContainers = regexp.MustCompile(`^deploy/(Dockerfile|compose\.yml|\w+\.conf)$`)

func TestFilesSpeakOfTheProjectAlone(t *testing.T) {
	for _, p := range files(t) {
		text := []byte(read(t, p))
		if bytes.IndexByte(text, 0) >= 0 || strings.HasSuffix(p, ".sum") {
			continue
		}
		for what, pattern := range unwanted {
			if what == "a path of one machine" && inContainers.MatchString(p) {
				continue
			}
			if found := pattern.Find(text); found != nil {
				t.Errorf("%s: %s: %q", p, what, found)
			}
		}
	}
}

func TestUnwantedIsFound(t *testing.T) {
	for what, text := range map[string]string{
		"unfinished work":       "// TO" + "DO: this",
		"a path of one machine": "see /wo" + "rk/x",
		"a document elsewhere":  "DES" + "IGN.md, section 5",
		"a tool of its makers":  "by Cla" + "ude",
	} {
		if !unwanted[what].MatchString(text) {
			t.Errorf("%s is not found in %q", what, text)
		}
	}
}

func TestWhatIsExportedIsDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, d := range s.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no comment", s.path, name)
			}
		}
	}
}

// undocumented names what a declaration exports without a comment.
func undocumented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return unless(d.Doc != nil || ofUnexported(d), d.Name)
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				names = append(names, unless(d.Doc != nil || s.Doc != nil || s.Comment != nil, s.Names...)...)
			case *ast.TypeSpec:
				names = append(names, unless(s.Doc != nil || d.Doc != nil && !d.Lparen.IsValid(), s.Name)...)
			}
		}
	}
	return names
}

// ofUnexported: a method that no reader of the manual sees.
func ofUnexported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	of := d.Recv.List[0].Type
	if p, ok := of.(*ast.StarExpr); ok {
		of = p.X
	}
	name, ok := of.(*ast.Ident)
	return ok && !name.IsExported()
}

func unless(documented bool, ids ...*ast.Ident) (names []string) {
	for _, id := range ids {
		if id.IsExported() && !documented {
			names = append(names, id.Name)
		}
	}
	return names
}
