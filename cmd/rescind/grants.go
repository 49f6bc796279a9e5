package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// The bounds of what is done with grants.
const (
	listLimit = 30 * time.Second
	putLimit  = 2 * time.Minute
	maxToken  = 16 << 10       // bytes
	dueWithin = 24 * time.Hour // a grant that ends within it needs its user soon
)

type grantsCmd struct {
	Put  grantsPutCmd  `cmd:"" help:"Put in the refresh token of a user who has consented."`
	List grantsListCmd `cmd:"" help:"List the grants there are, those that fail first before others."`
}

type grantsPutCmd struct {
	Provider string   `arg:"" help:"The provider's configured name."`
	Tenant   string   `arg:"" help:"Account, enterprise or workspace."`
	User     string   `arg:"" help:"The id of the user whose token it is."`
	Rest     []string `arg:"" optional:"" name:"nothing-more" help:"The token is no argument."`

	Config    string `required:"" placeholder:"FILE" env:"RESCIND_CONFIG" help:"The services' file."`
	TokenFile string `placeholder:"FILE" help:"Where the refresh token is; else it is read from standard input."`
}

// Help is what --help adds.
func (grantsPutCmd) Help() string {
	return `The refresh token is refreshed once, which uses it up; it is stored, sealed, if it is the user's. It
is never an argument, which others could see. One that is there already is replaced. Run it where a
worker runs, since it reads the same file and secrets. Entries of the user that there are now end
within their life; what is fetched from then on is fetched with the new grant.

Examples:
  rescind grants put --config rescind.yml mural rescind1234 u3 < token
  rescind grants put --config rescind.yml mural rescind1234 u3 --token-file token`
}

// Run reads the token and hands it to the provider.
func (c grantsPutCmd) Run(ctx context.Context, t terminal) error {
	switch {
	case len(c.Rest) > 0:
		return errors.New("too many arguments; the refresh token is none: pipe it in, or give --token-file")
	case c.Provider == "" || c.Tenant == "":
		return errors.New("provider and tenant must be named")
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, putLimit)
	defer cancel()
	all, shut, err := granters(ctx, t, c.Config, events.Provider(c.Provider), events.Tenant(c.Tenant))
	if err != nil {
		return err
	}
	defer shut()
	if err := all[0].PutGrant(ctx, events.Subject(c.User), token); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s %s: the grant of %s is in; it has been refreshed once\n",
		quoted(c.Provider), quoted(c.Tenant), quoted(c.User))
	return err
}

// unnamed leaves the path out: somebody may have given the token in its place.
func unnamed(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// token reads the refresh token. What is wrong with it is said without it.
func (c grantsPutCmd) token() (subscriptions.Secret, error) {
	from, name, none := io.Reader(os.Stdin), "standard input", subscriptions.Secret{}
	if c.TokenFile != "" {
		f, err := os.Open(c.TokenFile)
		if err != nil {
			return none, fmt.Errorf("--token-file: %w", unnamed(err))
		}
		defer f.Close()
		from, name = f, "--token-file"
	} else if info, err := os.Stdin.Stat(); err == nil && info.Mode()&fs.ModeCharDevice != 0 {
		return none, errors.New("a terminal would show the token: pipe it in, or give --token-file")
	}
	b, err := io.ReadAll(io.LimitReader(from, maxToken+1))
	text := strings.TrimSpace(string(b))
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	switch {
	case err != nil:
		return none, fmt.Errorf("%s: %w", name, err)
	case text == "":
		return none, fmt.Errorf("%s: there is no refresh token", name)
	case len(b) > maxToken || strings.ContainsFunc(text, odd):
		return none, fmt.Errorf("%s: must be one refresh token and nothing else", name)
	}
	return subscriptions.NewSecret(text), nil
}

// granters opens the tenants that keep grants: those of a provider, or all if it
// is empty; one tenant, or all of the provider's. There is at least one.
func granters(
	ctx context.Context, t terminal, path string, p events.Provider, tenant events.Tenant,
) (chosen []service.Granter, shut func(), err error) {
	cfg, err := config.Load(path, os.Environ())
	if err == nil {
		err = cfg.Validate(config.RoleWorker)
	}
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	all, shut, err := service.Granters(ctx, cfg, log)
	if err != nil {
		return nil, nil, err
	}
	names := []string{}
	for _, g := range all {
		if (p == "" || p == g.Provider) && (tenant == "" || tenant == g.Tenant) {
			chosen = append(chosen, g)
		}
		names = append(names, string(g.Provider)+" "+string(g.Tenant))
	}
	if chosen == nil {
		shut()
		return nil, nil, fmt.Errorf("no such tenant in %s keeps grants; those that do: %s", path, none(names))
	}
	return chosen, shut, nil
}

// none is a list, or the word for none.
func none(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return quoted(strings.Join(names, ", "))
}

type grantsListCmd struct {
	Provider string `arg:"" optional:"" help:"Only this provider, by its configured name."`
	Tenant   string `arg:"" optional:"" help:"Only this tenant of it."`

	Config string `required:"" placeholder:"FILE" env:"RESCIND_CONFIG" help:"The services' file."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (grantsListCmd) Help() string {
	return `A grant is alive; due, if it ends within 24 h unless it serves before; or dead, and then its user
must consent again. Exit status 1 if one is due or dead. No provider is called, and nothing is changed.

Examples:
  rescind grants list --config rescind.yml
  rescind grants list --config rescind.yml mural rescind1234 --json`
}

// The states of a grant.
const (
	grantAlive = "alive"
	grantDue   = "due"
	grantDead  = "dead"
)

// grantRow is one grant, as it is printed.
type grantRow struct {
	Provider  events.Provider `json:"provider"`
	Tenant    events.Tenant   `json:"tenant"`
	User      events.Subject  `json:"user"`
	State     string          `json:"state"`
	Expires   time.Time       `json:"expires,omitzero"`
	Obtained  time.Time       `json:"obtained,omitzero"`
	Refreshed time.Time       `json:"refreshed,omitzero"`
	// Why says what is wrong with it; Died since when, if it is dead.
	Why  string    `json:"why,omitempty"`
	Died time.Time `json:"died,omitzero"`
}

// Run lists, and errs if a grant is due or dead.
func (c grantsListCmd) Run(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	all, shut, err := granters(ctx, t, c.Config, events.Provider(c.Provider), events.Tenant(c.Tenant))
	if err != nil {
		return err
	}
	defer shut()
	rows, err := grantRows(ctx, all, time.Now())
	if err != nil {
		return err
	}
	if err := c.print(t, rows); err != nil {
		return err
	}
	if slices.ContainsFunc(rows, func(r grantRow) bool { return r.State != grantAlive }) {
		return unwell{1}
	}
	return nil
}

// grantRows are the grants of several tenants, in the order in which they fail.
func grantRows(ctx context.Context, all []service.Granter, now time.Time) ([]grantRow, error) {
	type owned struct {
		events.Home
		subscriptions.Grant
	}
	var found []owned
	for _, g := range all {
		grants, err := g.Grants(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.Home, err)
		}
		for _, one := range grants {
			found = append(found, owned{g.Home, one})
		}
	}
	slices.SortStableFunc(found, func(a, b owned) int { return a.Grant.Compare(b.Grant) })
	rows := []grantRow{}
	for _, g := range found {
		rows = append(rows, rowOf(g.Home, g.Grant, now))
	}
	return rows, nil
}

func rowOf(h events.Home, g subscriptions.Grant, now time.Time) grantRow {
	r := grantRow{Provider: h.Provider, Tenant: h.Tenant, User: g.User, State: grantAlive,
		Expires: g.Expires, Obtained: g.Obtained, Refreshed: g.Refreshed, Died: g.Died}
	if g.Error != "" {
		r.Why = "the last refresh met: " + g.Error
	}
	switch {
	case g.Dead != "":
		r.State, r.Why = grantDead, g.Dead
	case g.Expires.IsZero():
	case !g.Expires.After(now):
		r.State, r.Why = grantDue, "it has ended"
	case g.Expires.Sub(now) < dueWithin:
		r.State, r.Why = grantDue, "it ends in "+span(g.Expires.Sub(now).Round(time.Minute).Seconds())
	}
	return r
}

func (c grantsListCmd) print(t terminal, rows []grantRow) error {
	if c.JSON {
		e := json.NewEncoder(t.out)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(t.out, "there are no grants")
		return err
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROVIDER\tTENANT\tUSER\tSTATE\tENDS\tOBTAINED\tREFRESHED\tWHY")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", quoted(string(r.Provider)), quoted(string(r.Tenant)),
			quoted(string(r.User)), r.State, moment(r.Expires), moment(r.Obtained), moment(r.Refreshed), r.why())
	}
	return w.Flush()
}

func (r grantRow) why() string {
	switch {
	case r.Why == "":
		return "-"
	case r.Died.IsZero():
		return quoted(r.Why)
	}
	return quoted(r.Why) + ", since " + moment(r.Died)
}

// moment is a time, or - for one that is not known.
func moment(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}
