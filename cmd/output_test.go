package cmd_test

import (
	"bufio"
	"errors"
	"go/ast"
	"go/token"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// suiteOutput names the variable that says where the output of
// "go test -v ./..." lies.
const suiteOutput = "RESCIND_SUITE_OUTPUT"

// planted matches every secret that a test plants; testdata/secrets.txt lists
// them.
func planted(t *testing.T) *regexp.Regexp {
	t.Helper()
	var all []string
	for line := range strings.Lines(read(t, "cmd/testdata/secrets.txt")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return regexp.MustCompile(strings.Join(all, "|"))
}

// leak is a line of the output that holds a secret.
type leak struct {
	line int
	text string // without the secret
}

// leaks reads the output, whose lines may be of any length. A line that begins
// with "> " is a command of a script, repeated: there the secret is planted.
func leaks(r io.Reader, secret *regexp.Regexp) (found []leak, lines int, err error) {
	b := bufio.NewReader(r)
	for {
		text, err := b.ReadString('\n')
		if text != "" {
			lines++
		}
		if !strings.HasPrefix(strings.TrimSpace(text), "> ") && secret.MatchString(text) {
			found = append(found, leak{lines, secret.ReplaceAllString(strings.TrimSpace(text), "[redacted]")})
		}
		if errors.Is(err, io.EOF) {
			return found, lines, nil
		}
		if err != nil {
			return nil, lines, err
		}
	}
}

func TestNoSecretInTheSuitesOutput(t *testing.T) {
	path := os.Getenv(suiteOutput)
	if path == "" {
		t.Skipf("SKIPPED, NOT PROVEN: %s does not name the output of the suite", suiteOutput)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, lines, err := leaks(f, planted(t))
	if err != nil {
		t.Fatal(err)
	}
	if lines < 1000 {
		t.Errorf("%s has %d lines: that is not the whole suite", path, lines)
	}
	for _, l := range found {
		t.Errorf("line %d: %.200s", l.line, l.text)
	}
}

func TestALeakIsFoundAndNotRepeated(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	output := "    > exec --redis redis://:hunter2@h\n" + long + "client-hunter2-secret" + long + "\nfine\nkey SIM" + strings.Repeat("A", 26)
	found, lines, err := leaks(strings.NewReader(output), planted(t))
	if err != nil || lines != 4 || len(found) != 2 || found[0].line != 2 || found[1].text != "key [redacted]" {
		t.Errorf("%d lines, %d found, %v", lines, len(found), err)
	}
}

// secretName is what things are called that hold a secret.
var secretName = regexp.MustCompile(`(?i)((secret|token|password|jwt)s?|key)$`)

// Every secret that a test plants can be looked for.
func TestPlantedSecretsAreListed(t *testing.T) {
	secret, seen := planted(t), 0
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		for _, value := range secrets(s.File) {
			seen++
			if !secret.MatchString(value) {
				t.Errorf("%s plants %q, which cmd/testdata/secrets.txt does not list", s.path, value)
			}
		}
	}
	if seen < 10 {
		t.Errorf("%d were found: the search finds nothing", seen)
	}
}

// secrets are the texts that a file gives to something with the name of a
// secret, or to a function with that name.
func secrets(f *ast.File) (all []string) {
	add := func(name string, values ...ast.Expr) {
		for _, v := range values {
			if text, ok := literal(v); ok && secretName.MatchString(name) && looksSecret(text) {
				all = append(all, text)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, v := range n.Values {
				add(n.Names[i].Name, v)
			}
		case *ast.AssignStmt:
			for i, v := range n.Rhs {
				add(nameOf(n.Lhs[i]), v)
			}
		case *ast.KeyValueExpr:
			add(nameOf(n.Key), n.Value)
		case *ast.CallExpr:
			add(nameOf(n.Fun), n.Args...)
		}
		return true
	})
	return all
}

// nameOf is the last word of a name; a literal key's is its text.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	text, _ := literal(e)
	return text
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

// looksSecret leaves out what is too short to be looked for, and sentences,
// paths and names of variables.
func looksSecret(text string) bool {
	return len(text) >= 8 && !strings.ContainsAny(text, " /\n:=%") && strings.ToUpper(text) != text
}
