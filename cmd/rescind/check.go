package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// errNotGranted is the exit status of a check that found no right.
var errNotGranted = errors.New("not granted")

// Run asks and prints. It errs unless everything is granted.
func (c checkCmd) Run(ctx context.Context, t terminal) error {
	worker, err := lookup.NewHTTP(lookup.HTTPOptions{URL: c.Worker, Token: c.Token})
	if err != nil {
		return err
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
		return fmt.Errorf("%s: %w", d.State, errNotGranted)
	}
	return nil
}

func (c checkCmd) print(t terminal, d lookup.Decision) error {
	if c.JSON {
		return json.NewEncoder(t.out).Encode(map[string]any{
			"state": d.State.String(), "as_of": d.AsOf, "until": d.Until, "version": d.Version.String(),
			"basis": d.Basis, "covers": d.Covers, "confirmed": d.Confirmed, "reasons": d.Reasons,
		})
	}
	now := time.Now()
	rows := [][2]string{
		{"state", d.State.String()},
		{"age", d.Age(now).Round(time.Millisecond).String()},
		{"usable for", max(0, d.Until.Sub(now)).Round(time.Millisecond).String()},
		{"version", d.Version.String()}, {"basis", d.Basis}, {"covers", joinKinds(d.Covers)},
	}
	for g, why := range d.Reasons {
		rows = append(rows, [2]string{"why not " + string(g), why})
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(t.out, "%-12s %s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

func joinKinds(kinds []cache.Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}
