package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

type subscriptionsCmd struct {
	List   subscriptionsListCmd   `cmd:"" help:"List the subscriptions and how they stand."`
	Plan   subscriptionsPlanCmd   `cmd:"" help:"Say what apply would do, and why."`
	Apply  subscriptionsApplyCmd  `cmd:"" help:"Make things as the configuration wants them, now."`
	Renew  subscriptionsRenewCmd  `cmd:"" help:"Prolong what is there, now."`
	Rotate subscriptionsRotateCmd `cmd:"" help:"Change the secrets of deliveries; none is refused meanwhile."`
	Remove subscriptionsRemoveCmd `cmd:"" help:"Take the subscriptions of a tenant down, until apply."`
	Watch  subscriptionsWatchCmd  `cmd:"" help:"Print a line whenever something changes, until Ctrl-C."`
}

// which says which tenants are meant.
type which struct {
	Provider string `arg:"" optional:"" help:"Only this provider, by its configured name."`
	Tenant   string `arg:"" optional:"" help:"Only this tenant of it."`
}

// look opens what is known of subscriptions.
func (f natsFlags) look(ctx context.Context) (s service.Subscriptions, shut func(), err error) {
	attached, nc, err := f.open(ctx, "subscriptions")
	if err != nil {
		return s, nil, err
	}
	return service.Subscriptions{Ledgers: attached.Ledgers(), Calls: attached.Calls()}, nc.Close, nil
}

type subscriptionsListCmd struct {
	which
	JSON bool `name:"json" help:"Print one JSON object a line, for each tenant."`
	natsFlags
}

// Help is what --help adds.
func (subscriptionsListCmd) Help() string {
	return `What is printed is what the listeners have noted; none needs to run. A feed is alive; doubtful, if it
was not shown to live lately or some filters are not served; or dead, if it is known to deliver nothing.
No provider is called, and nothing is changed. Exit status 0 all are alive, 1 one is not.

Examples:
  rescind subscriptions list --config rescind.yml
  rescind subscriptions list ringcentral 37439510 --json`
}

// Run lists, and errs if something is not alive.
func (c subscriptionsListCmd) Run(ctx context.Context, t terminal) error {
	s, shut, err := c.look(ctx)
	if err != nil {
		return err
	}
	defer shut()
	rows, err := s.List(ctx, events.Provider(c.Provider), events.Tenant(c.Tenant))
	if err == nil && len(rows) == 0 && c.Provider != "" {
		err = errNoneOf(c.which)
	}
	if err != nil {
		return err
	}
	if err := c.print(t.out, rows); err != nil {
		return err
	}
	if slices.ContainsFunc(rows, func(r service.Subscribed) bool { return r.State != events.FeedAlive }) {
		return unwell{1}
	}
	return nil
}

func errNoneOf(w which) error {
	return fmt.Errorf("nothing is noted of %s: is it configured, with webhooks, and does a listener run?", w)
}

// String is for people.
func (w which) String() string {
	switch {
	case w.Provider == "":
		return "any tenant"
	case w.Tenant == "":
		return quoted(w.Provider)
	}
	return quoted(w.Provider) + " " + quoted(w.Tenant)
}

func (c subscriptionsListCmd) print(out io.Writer, rows []service.Subscribed) error {
	if c.JSON {
		return jsonLines(out, rows)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, "there are no subscriptions: no listener has looked after any")
		return err
	}
	b, now := bufio.NewWriter(out), time.Now()
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROVIDER\tTENANT\tFOR\tID\tSTATE\tEXPIRES\tDELIVERED\tPROVEN\tSECRET")
	for _, r := range rows {
		for _, one := range r.Registrations {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", quoted(string(r.Provider)),
				quoted(string(r.Tenant)), quoted(one.For), quoted(one.ID), r.State, expiry(one, now),
				distance(one.Delivered, now), distance(r.Proof, now), distance(one.SecretMade, now))
		}
		if len(r.Registrations) == 0 {
			fmt.Fprintf(w, "%s\t%s\t-\t-\t%s\t-\t%s\t%s\t-\n", quoted(string(r.Provider)), quoted(string(r.Tenant)),
				r.State, distance(r.Delivered, now), distance(r.Proof, now))
		}
	}
	_ = w.Flush() // b remembers its error
	printTroubles(b, rows)
	return b.Flush()
}

// printTroubles says what is wrong, and what was.
func printTroubles(w io.Writer, rows []service.Subscribed) {
	before := "\n"
	for _, r := range rows {
		for _, line := range troubles(r) {
			fmt.Fprintf(w, "%s%s %s: %s\n", before, quoted(string(r.Provider)), quoted(string(r.Tenant)), line)
			before = ""
		}
	}
}

func troubles(r service.Subscribed) (lines []string) {
	if r.Problem != "" {
		lines = append(lines, trouble(r))
	}
	if n := len(r.Gaps); n > 0 {
		lines = append(lines, "last gap "+gapText(r.Gaps[n-1]))
	}
	return lines
}

// trouble is the problem with its kind.
func trouble(r service.Subscribed) string {
	text := string(r.State)
	if !r.Died.IsZero() {
		text += " since " + moment(r.Died)
	}
	if r.Fault != "" && r.Fault != subscriptions.FaultOther {
		text += ": " + quoted(string(r.Fault))
	}
	return text + ": " + quoted(r.Problem)
}

// expiry is when it ends, unless it goes before that.
func expiry(r service.Registration, now time.Time) string {
	if !r.Leaving.IsZero() {
		return "replaced"
	}
	return distance(r.Expires, now)
}

// distance is a time in words: in 6d, or 3m ago; - for one that is not known.
func distance(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	d := at.Sub(now).Round(time.Second)
	if d > 0 {
		return "in " + short(d)
	}
	return short(-d) + " ago"
}

// short is a duration in its largest unit, rounded down.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// jsonLines prints one object a line.
func jsonLines[T any](out io.Writer, rows []T) error {
	b := bufio.NewWriter(out)
	e := json.NewEncoder(b)
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	return b.Flush()
}
