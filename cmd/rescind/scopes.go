package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

type scopesCmd struct {
	Kind string `arg:"" help:"The kind of provider: ringcentral."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (scopesCmd) Help() string {
	return `Examples:
  rescind scopes ringcentral
  rescind scopes ringcentral --json`
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
	fmt.Fprintln(w, "SCOPE\tID\tINCLUDES\tREMARK")
	for _, s := range scopes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, s.ID, strings.Join(s.Includes, " "), remark(s))
	}
	return w.Flush()
}

func scopesOf(kind string) ([]subscriptions.Scope, error) {
	var kinds []string
	for _, p := range providers.All() {
		if p.Kind == kind {
			return p.Scopes(), nil
		}
		kinds = append(kinds, p.Kind)
	}
	return nil, fmt.Errorf("no provider of kind %q; there are: %s", kind, strings.Join(kinds, ", "))
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
