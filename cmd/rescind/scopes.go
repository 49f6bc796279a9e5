package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

type scopesCmd struct {
	Kind string `arg:"" help:"The kind of provider: ${kinds}."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (scopesCmd) Help() string {
	return `INCLUDES: what it implies. NEEDS: what it is of no effect without. ALIASES: other names of the same.

Examples:
  rescind scopes ringcentral
  rescind scopes box --json`
}

// kinds names the kinds of provider that there are.
func kinds() string {
	var names []string
	for _, p := range providers.All() {
		names = append(names, p.Kind)
	}
	return strings.Join(names, ", ")
}

// Run prints the catalogue of one kind of provider.
func (c scopesCmd) Run(t terminal) error {
	scopes, err := scopesOf(c.Kind)
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(t.out)
		e.SetIndent("", "  ")
		return e.Encode(scopes)
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	for _, row := range scopeTable(scopes) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func scopesOf(kind string) ([]subscriptions.Scope, error) {
	for _, p := range providers.All() {
		if p.Kind == kind {
			return p.Scopes(), nil
		}
	}
	return nil, fmt.Errorf("no provider of kind %q; there are: %s", kind, kinds())
}

// scopeTable is the catalogue with its head, without the columns that would be
// empty.
func scopeTable(scopes []subscriptions.Scope) [][]string {
	rows := [][]string{{"SCOPE", "ID", "INCLUDES", "NEEDS", "ALIASES", "REMARK"}}
	for _, s := range scopes {
		rows = append(rows, []string{s.Name, s.ID, strings.Join(s.Includes, " "),
			strings.Join(s.Needs, " "), strings.Join(s.Aliases, " "), remark(s)})
	}
	for at := len(rows[0]) - 1; at >= 0; at-- {
		filled := func(row []string) bool { return row[at] != "" }
		if slices.ContainsFunc(rows[1:], filled) {
			continue
		}
		for i := range rows {
			rows[i] = slices.Delete(rows[i], at, at+1)
		}
	}
	return rows
}

func remark(s subscriptions.Scope) string {
	var words []string
	if s.OnRequest {
		words = append(words, "on request")
	}
	if !s.Tabled {
		words = append(words, "not in the vendor's table")
	}
	return strings.Join(words, ", ")
}
