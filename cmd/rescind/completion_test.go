package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func model(t *testing.T) *typed {
	t.Helper()
	return &typed{node: newParser(context.Background(), terminal{io.Discard, io.Discard}).Model.Node}
}

func TestChoices(t *testing.T) {
	for line, want := range map[string]string{
		"sco":                         "scopes",
		"scopes ":                     "ringcentral box mural",
		"scopes b":                    "box",
		"scopes box ":                 "",
		"completion ":                 "bash zsh fish",
		"prove ":                      "races faults",
		"prove r":                     "races",
		"doctor --conf":               "--config",
		"doctor --config ":            ":files",
		"doctor --config x --j":       "--json",
		"doctor --config=resc":        ":files",
		"doctor --config = resc":      ":files", // as bash cuts it
		"doctor --config =":           ":files",
		"doctor --reader redis://":    "",
		"doctor --json --prov":        "--providers",
		"dev --no-":                   "--no-tour",
		"dev --tour --ex":             "--exit",
		"dev --redis x --st":          "--stand-in",
		"check -- --j":                "",
		"check --wor":                 "--worker",
		"__comp":                      "",
		"nothing of the kind ":        "",
		"replay --since 2h --dry":     "--dry-run",
		"subscriptions ro":            "rotate",
		"subscriptions rotate --conf": "--config",
	} {
		t.Run(line, func(t *testing.T) {
			var got []string
			for _, c := range choices(model(t).node, strings.Split(line, " ")) {
				got = append(got, c.word)
			}
			if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every command and every flag that is not hidden can be completed from its first
// letters, and says what it is for.
func TestEverythingCanBeCompleted(t *testing.T) {
	root := model(t).node
	seen := 0
	for _, leaf := range root.Leaves(true) {
		path := strings.Fields(leaf.FullPath())[1:]
		for i, word := range path {
			offers(t, choices(root, append(slices.Clone(path[:i]), word[:1])), word)
		}
		for _, group := range leaf.AllFlags(true) {
			for _, f := range group {
				offers(t, choices(root, append(slices.Clone(path), "--"+f.Name[:1])), "--"+f.Name)
				seen++
			}
		}
	}
	if seen < 50 {
		t.Errorf("%d flags were seen", seen)
	}
}

func offers(t *testing.T, all []choice, word string) {
	t.Helper()
	if !slices.ContainsFunc(all, func(c choice) bool { return c.word == word && c.help != "" }) {
		t.Errorf("%s is not offered, or not explained: %v", word, all)
	}
}

// The scripts are run by the shells that there are. Each is asked what the words may
// become.
func TestCompletionInShells(t *testing.T) {
	for shell, ask := range map[string]string{
		"bash": `source <(rescind completion bash) || exit 1
			complete -p rescind >/dev/null || exit 1
			COMP_WORDS=(rescind "$@"); COMP_CWORD=$#
			_rescind && printf '%s\n' "${COMPREPLY[@]}"`,
		"zsh": `compdef() { :; }; compset() { :; }; _files() { print -l *(N) }
			_describe() { print -l -- "${(@P)2}" | sed 's/:.*//' }
			source <(rescind completion zsh) || exit 1
			words=(rescind "$@"); CURRENT=$#words
			_rescind`,
		"fish": `rescind completion fish | source; or exit 1
			complete -C "rescind $argv" | sed 's/\t.*//'`,
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil && shell == "bash" && os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			if err != nil {
				t.Skipf("SKIPPED, NOT PROVEN: %s is not installed", shell)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "rescind.yml"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for line, want := range map[string]string{
				"scopes b":               "box",
				"completion ":            "bash fish zsh",
				"doctor --conf":          "--config",
				"doctor --config resci":  "rescind.yml",
				"doctor --providers --j": "--json",
				"subscriptions wa":       "watch",
			} {
				got := complete(t, dir, append([]string{path, "-c", ask}, shellArgs(shell, line)...))
				if strings.Join(got, " ") != want {
					t.Errorf("%q becomes %q, want %s", line, got, want)
				}
			}
		})
	}
}

// shellArgs are the words behind the script. What comes first is the name of the
// program, or keeps the shell from reading them.
func shellArgs(shell, line string) []string {
	first := shell
	if shell == "fish" {
		first = "--"
	}
	return append([]string{first}, strings.Split(line, " ")...)
}

func complete(t *testing.T, dir string, args []string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", args[0], err)
	}
	words := strings.Fields(string(out))
	slices.Sort(words)
	return words
}
