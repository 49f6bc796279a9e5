package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// example is a line of a command's help that can be typed.
type example struct {
	of    string // the command, such as "events list"
	words []string
}

// explanation stands behind an example, with two spaces before it at least.
var explanation = regexp.MustCompile(`  +\S.*$`)

// commandOf is which command the words begin with.
func commandOf(n *kong.Node, words []string) string {
	for _, child := range n.Children {
		if len(words) > 0 && child.Name == words[0] {
			return strings.TrimSpace(child.Name + " " + commandOf(child, words[1:]))
		}
	}
	if n.DefaultCmd != nil {
		return n.DefaultCmd.Name
	}
	return ""
}

// examples are those that a command's help has.
func examples(root, n *kong.Node) (all []example) {
	_, text, _ := strings.Cut(n.Detail, "Examples:")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "rescind ") {
			words := shellWords(explanation.ReplaceAllString(line, ""))
			all = append(all, example{commandOf(root, words[1:]), words[1:]})
		}
	}
	return all
}

// shellWords are the words of the first command of a line, without redirections.
func shellWords(line string) (words []string) {
	word, quote, begun := "", rune(0), false
	end := func() {
		if begun {
			words = append(words, word)
		}
		word, begun = "", false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '"' || r == '\'':
			quote, begun = r, true
		case r == ' ':
			end()
		case strings.ContainsRune("<>|;&", r):
			end()
			return words
		default:
			word, begun = word+string(r), true
		}
	}
	end()
	return words
}

func TestShellWords(t *testing.T) {
	for line, want := range map[string]string{
		`rescind check a b`:                   "rescind|check|a|b",
		`rescind x --to "$(rescind y < z)" b`: "rescind|x|--to|$(rescind y < z)|b",
		`rescind x '' < input`:                "rescind|x|",
		`rescind x > file`:                    "rescind|x",
	} {
		if got := strings.Join(shellWords(line), "|"); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// TestExamplesAreTrue takes every example out of every help: it is a command line
// that this tool takes, and a story runs that command. The log lists which.
func TestExamplesAreTrue(t *testing.T) {
	told, seen := stories(t), 0
	root := model(t).node
	for _, leaf := range root.Leaves(true) {
		own := strings.TrimPrefix(leaf.FullPath(), "rescind ")
		all := examples(root, leaf)
		if !slices.ContainsFunc(all, func(e example) bool { return e.of == own }) {
			t.Errorf("%s has no example", leaf.FullPath())
		}
		for _, e := range all {
			seen++
			checkExample(t, told, root, e)
		}
	}
	if seen < 20 {
		t.Errorf("%d examples were found", seen)
	}
}

func checkExample(t *testing.T, told map[string][]string, root *kong.Node, e example) {
	t.Helper()
	line := strings.Join(e.words, " ")
	t.Setenv("RESCIND_CONFIG", "") // else what must be named could be missing
	k, err := newParser(context.Background(), terminal{io.Discard, io.Discard}).Parse(e.words)
	if err != nil {
		t.Errorf("rescind %s: %v", line, err)
		return
	}
	if got := strings.TrimPrefix(k.Selected().FullPath(), "rescind "); got != e.of {
		t.Errorf("rescind %s is %q and not %q", line, got, e.of)
	}
	in := storiesOf(told, root, e)
	if len(in) == 0 {
		t.Errorf("no story runs rescind %s", line)
	}
	t.Logf("%-70s %s%s", line, strings.Join(in, " "), flagless(told, root, e))
}

// stories are the lines that each story runs, by its name.
func stories(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	told := map[string][]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut(string(b), "\n-- ")
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		for line := range strings.Lines(script) {
			if rest, ok := strings.CutPrefix(line, "serve "); ok {
				line = "rescind dev " + rest
			}
			if _, command, ok := strings.Cut(" "+line, " rescind "); ok && !strings.HasPrefix(line, "#") {
				told[name] = append(told[name], strings.TrimSpace(command))
			}
		}
	}
	return told
}

// storiesOf are those that run the command of an example, not only its help.
func storiesOf(told map[string][]string, root *kong.Node, e example) (names []string) {
	for name, lines := range told {
		if slices.ContainsFunc(lines, func(line string) bool {
			return commandOf(root, shellWords(line)) == e.of && !strings.Contains(line, "--help")
		}) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// flagless names the flags of an example that no story gives to its command.
func flagless(told map[string][]string, root *kong.Node, e example) string {
	var lacks []string
	for _, word := range e.words {
		name, _, _ := strings.Cut(word, "=")
		given := func(line string) bool {
			words := shellWords(line)
			return commandOf(root, words) == e.of && slices.ContainsFunc(words, func(w string) bool {
				return w == name || strings.HasPrefix(w, name+"=")
			})
		}
		if strings.HasPrefix(word, "--") && !slices.ContainsFunc(slices.Concat(slices.Collect(maps.Values(told))...), given) {
			lacks = append(lacks, name)
		}
	}
	if lacks == nil {
		return ""
	}
	return "; but none gives it " + strings.Join(lacks, ", ")
}

// Nothing is coloured for who is no terminal: no help, no error, no output.
func TestNoColourWithoutATerminal(t *testing.T) {
	lines := [][]string{{"--help"}, {"--version"}, {"--bogus"}, {"doctor"}, {"doctor", "--json"}, {"scopes", "box"},
		{"completion", "bash"}, {"check", "a", "b", "c", "permission/x", "--worker", "http://127.0.0.1:1"}}
	for _, leaf := range model(t).node.Leaves(true) {
		lines = append(lines, append(strings.Fields(leaf.FullPath())[1:], "--help"))
	}
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("CLICOLOR_FORCE", "1")
	for _, args := range lines {
		var out, errs bytes.Buffer
		run(args, terminal{&out, &errs})
		if all := out.String() + errs.String(); strings.ContainsRune(all, '\x1b') || all == "" {
			t.Errorf("rescind %s prints %q", strings.Join(args, " "), all)
		}
	}
}

// Scripts rely on how a command ends; the help tells all of it.
func TestExitStatus(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		err  error
		want int
		text string
	}{
		"done":              {t.Context(), nil, 0, ""},
		"found":             {t.Context(), unwell{exitFound}, exitFound, ""},
		"error":             {t.Context(), io.ErrUnexpectedEOF, exitFound, "unexpected EOF"},
		"done nevertheless": {ended, nil, 0, ""},
		"interrupted":       {ended, context.Canceled, exitInterrupted, "interrupted"},
		"error meanwhile":   {ended, io.ErrUnexpectedEOF, exitFound, "unexpected EOF"},
		"says so itself":    {ended, unwell{exitInterrupted}, exitInterrupted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, err := exitStatus(tc.ctx, tc.err)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if code != tc.want || text != tc.text {
				t.Errorf("%d, %q; want %d, %q", code, text, tc.want, tc.text)
			}
		})
	}
	for _, code := range []string{"0 ", "1 ", "2 ", "3 ", "80 ", "130 "} {
		if !strings.Contains(statuses, "\n    "+code) {
			t.Errorf("the help does not tell of %s", code)
		}
	}
}
