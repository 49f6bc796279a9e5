package main

import (
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

//go:embed completion/rescind.bash completion/rescind.zsh completion/rescind.fish
var completions embed.FS

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help is what --help adds.
func (completionCmd) Help() string {
	return `The script asks this tool itself what may come next, and so needs no renewal with it. Load it where the
shell begins:

    bash  source <(rescind completion bash)     in ~/.bashrc
    zsh   source <(rescind completion zsh)      in ~/.zshrc, after compinit
    fish  rescind completion fish | source      in ~/.config/fish/config.fish

Examples:
  rescind completion bash
  rescind completion zsh > _rescind
  rescind completion fish`
}

// Run prints the script of a shell.
func (c completionCmd) Run(t terminal) error {
	b, err := completions.ReadFile("completion/rescind." + c.Shell)
	if err == nil {
		_, err = t.out.Write(b)
	}
	return err
}

type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The words behind rescind, the last is the one to complete."`
}

// Run prints what the last word may become, one a line: the word, a tab, what it is
// for. A line :files stands for the names of files.
func (c completeCmd) Run(k *kong.Context, t terminal) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	return printChoices(t.out, choices(k.Model.Node, words))
}

// files is the choice that stands for the names of files.
const files = ":files"

// choice is what a word may become.
type choice struct{ word, help string }

func printChoices(out io.Writer, all []choice) error {
	var b strings.Builder
	for _, c := range all {
		if c.word == files {
			fmt.Fprintln(&b, files)
			continue
		}
		help, _, _ := strings.Cut(c.help, "\n")
		fmt.Fprintf(&b, "%s\t%s\n", c.word, help)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// typed is what was typed before the word to complete.
type typed struct {
	node       *kong.Node
	flag       *kong.Flag // whose value comes next; nil if none does
	positional int        // how many there were of node
	flagless   bool       // behind --
}

// choices are what the last of the words may become.
func choices(root *kong.Node, words []string) []choice {
	words = separated(words)
	if len(words) == 0 {
		words = []string{""}
	}
	at, last := typed{node: root}, words[len(words)-1]
	for _, w := range words[:len(words)-1] {
		at.take(w)
	}
	name, value, given := strings.Cut(last, "=")
	switch {
	case at.flag != nil:
		return matching(values(at.flag.Value), last)
	case !at.flagless && given && strings.HasPrefix(last, "-"):
		all := []choice{}
		if f := at.find(name); f != nil {
			all = matching(values(f.Value), value)
		}
		for i := range all {
			if all[i].word != files {
				all[i].word = name + "=" + all[i].word
			}
		}
		return all
	case !at.flagless && strings.HasPrefix(last, "-"):
		return matching(at.flags(), last)
	}
	return matching(at.arguments(), last)
}

// separated takes out the = that bash makes a word of its own. One at the end is a
// value that has yet to begin.
func separated(words []string) (out []string) {
	for i, w := range words {
		if w == "=" && i > 0 && strings.HasPrefix(words[i-1], "--") {
			if i == len(words)-1 {
				out = append(out, "")
			}
			continue
		}
		out = append(out, w)
	}
	return out
}

func (t *typed) take(word string) {
	switch {
	case t.flag != nil:
		t.flag = nil
	case word == "--":
		t.flagless = true
	case !t.flagless && strings.HasPrefix(word, "-"):
		name, _, given := strings.Cut(word, "=")
		if f := t.find(name); f != nil && !f.IsBool() && !f.IsCounter() && !given {
			t.flag = f
		}
	default:
		t.argument(word)
	}
}

// argument is a command, or one more of the arguments of that which there is. Behind
// what is neither nothing can be said.
func (t *typed) argument(word string) {
	is := func(n *kong.Node) bool { return n.Name == word || slices.Contains(n.Aliases, word) }
	i := slices.IndexFunc(t.node.Children, is)
	switch {
	case i >= 0:
		t.node, t.positional = t.node.Children[i], 0
	case !t.node.Leaf():
		t.node = &kong.Node{}
	default:
		t.positional++
	}
}

// allFlags are those that may come now. A command that is run if none is named has
// its flags taken too.
func (t *typed) allFlags(hide bool) [][]*kong.Flag {
	if t.node.DefaultCmd != nil {
		return t.node.DefaultCmd.AllFlags(hide)
	}
	return t.node.AllFlags(hide)
}

// find returns the flag that is spelt so, nil if there is none here.
func (t *typed) find(word string) *kong.Flag {
	for _, group := range t.allFlags(false) {
		for _, f := range group {
			if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

func (t *typed) flags() (all []choice) {
	for _, group := range t.allFlags(true) {
		for _, f := range group {
			all = append(all, choice{"--" + f.Name, f.Help})
			if f.Tag.Negatable != "" {
				all = append(all, choice{"--no-" + f.Name, "Not: " + f.Help})
			}
		}
	}
	return all
}

// arguments are commands, or the values of the argument whose turn it is.
func (t *typed) arguments() (all []choice) {
	for _, n := range t.node.Children {
		if !n.Hidden {
			all = append(all, choice{n.Name, n.Help})
		}
	}
	if t.positional < len(t.node.Positional) {
		all = append(all, values(t.node.Positional[t.positional])...)
	}
	return all
}

// values are those that a flag or an argument may have, as far as that is known.
func values(v *kong.Value) (all []choice) {
	words := v.EnumSlice()
	switch {
	case v.Enum != "":
	case v.Name == "kind":
		words = strings.Split(kinds(), ", ")
	case v.Tag.PlaceHolder == "FILE":
		return []choice{{word: files}}
	default:
		return nil
	}
	for _, w := range words {
		if w != "" {
			all = append(all, choice{w, ""})
		}
	}
	return all
}

func matching(all []choice, begun string) []choice {
	return slices.DeleteFunc(all, func(c choice) bool {
		return c.word != files && !strings.HasPrefix(c.word, begun)
	})
}

// Help says why nobody should call it.
func (completeCmd) Help() string { return `For the scripts of rescind completion alone.` }
