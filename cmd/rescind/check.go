package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

type checkCmd struct {
	Provider string   `arg:"" help:"The provider's configured name."`
	Tenant   string   `arg:"" help:"Account, enterprise or workspace."`
	Subject  string   `arg:"" help:"Extension or user."`
	Grants   []string `arg:"" help:"What it needs, such as permission/ReadMessages; all of it."`
	Resource string   `help:"Something in the tenant; empty is the tenant itself."`

	Worker string `default:"http://127.0.0.1:8081" env:"RESCIND_ASK_URL" help:"Where the worker answers (${default})."`
	Token  string `env:"RESCIND_ASK_TOKEN" help:"Bearer token; better given by the environment."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (checkCmd) Help() string {
	return `Examples:
  rescind check ringcentral 37439510 8475874957 permission/InternationalCalls
  rescind check ringcentral 37439510 8475874957 permission/ReadMessages scope/ReadMessages --json`
}

// noRight is the exit status of a check that found no right.
type noRight struct{ state cache.State }

func (n noRight) Error() string { return n.state.String() }

// ExitCode tells denied from unknown.
func (n noRight) ExitCode() int {
	if n.state == cache.Denied {
		return 2
	}
	return 3
}

// Run asks and prints. It errs unless everything is granted.
func (c checkCmd) Run(ctx context.Context, t terminal) error {
	worker, err := lookup.NewHTTP(lookup.HTTPOptions{URL: c.Worker, Token: c.Token})
	if err != nil {
		return fmt.Errorf("--worker (want http://host:port): %w", err)
	}
	need := make([]cache.Grant, len(c.Grants))
	for i, g := range c.Grants {
		if need[i], err = cache.ParseGrant(g); err != nil {
			return err
		}
	}
	ref := events.Ref{
		Home:    events.Home{Provider: events.Provider(c.Provider), Tenant: events.Tenant(c.Tenant)},
		Subject: events.Subject(c.Subject), Resource: events.Resource(c.Resource),
	}
	d, err := worker.Ask(ctx, ref, need...)
	if err != nil {
		return err
	}
	if err := c.print(t, d); err != nil {
		return err
	}
	if !d.Allowed() {
		return noRight{d.State}
	}
	return nil
}

func (c checkCmd) print(t terminal, d lookup.Decision) error {
	if c.JSON {
		return json.NewEncoder(t.out).Encode(map[string]any{
			"state": d.State.String(), "as_of": d.AsOf, "until": d.Until, "version": d.Version.String(),
			"basis": d.Basis, "covers": d.Covers, "confirmed": d.Confirmed, "width": d.Widths,
			"missing": d.Missing, "reason": d.Reasons, "message": d.Message,
		})
	}
	for _, r := range c.rows(d, time.Now()) {
		if r[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(t.out, "%-12s %s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// rows are what is printed for people; those without a value are left out.
func (c checkCmd) rows(d lookup.Decision, now time.Time) [][2]string {
	rows := [][2]string{{"state", d.State.String()}, {"message", d.Message}}
	for _, text := range c.Grants {
		g := cache.Grant(text)
		switch {
		case d.Widths[g] != "":
			rows = append(rows, [2]string{"granted", text + ": " + d.Widths[g]})
		case slices.Contains(d.Missing, g):
			rows = append(rows, [2]string{"denied", strings.TrimSuffix(text+": "+d.Reasons[g], ": ")})
		}
	}
	if d.AsOf.IsZero() {
		return rows
	}
	rows = append(rows, [2]string{"age", d.Age(now).Round(time.Millisecond).String()})
	if d.Version != 0 {
		rows = append(rows, [2]string{"usable for", max(0, d.Until.Sub(now)).Round(time.Millisecond).String()},
			[2]string{"version", d.Version.String()})
	}
	return append(rows, [2]string{"basis", d.Basis}, [2]string{"covers", joinKinds(d.Covers)})
}

func joinKinds(kinds []cache.Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}
