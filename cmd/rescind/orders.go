package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// ordersAtOnce is to how many tenants an order goes at a time.
const ordersAtOnce = 8

// ordering is what the commands share that order something.
type ordering struct {
	JSON bool `name:"json" help:"Print one JSON object a line, for each tenant."`
	natsFlags
}

type (
	subscriptionsPlanCmd struct {
		which
		ordering
	}
	subscriptionsApplyCmd struct {
		which
		ordering
	}
	subscriptionsRenewCmd struct {
		which
		ordering
	}
	subscriptionsRotateCmd struct {
		which
		ordering
	}
	subscriptionsRemoveCmd struct {
		Provider string `arg:"" help:"The provider's configured name."`
		Tenant   string `arg:"" help:"Account, enterprise or workspace."`
		Yes      bool   `help:"Do it; without this nothing is done."`
		ordering
	}
)

// Help is what --help adds.
func (subscriptionsPlanCmd) Help() string {
	return `A listener must run: whoever of them keeps the subscriptions looks at the provider, and changes nothing.
Exit status 1 if one cannot be asked, or something cannot be had.

Examples:
  rescind subscriptions plan --config rescind.yml
  rescind subscriptions plan ringcentral 37439510 --json`
}

// Help is what --help adds.
func (subscriptionsApplyCmd) Help() string {
	return `The listeners do the same by themselves every few minutes; this is for those who cannot wait, and brings
back what remove took down. Exit status 1 if something went wrong.

Examples:
  rescind subscriptions apply --config rescind.yml
  rescind subscriptions apply box 987`
}

// Help is what --help adds.
func (subscriptionsRenewCmd) Help() string {
	return `The listeners renew in time by themselves. What cannot be prolonged is made anew. Exit status 1 if
something went wrong.

Examples:
  rescind subscriptions renew ringcentral 37439510`
}

// Help is what --help adds.
func (subscriptionsRotateCmd) Help() string {
	return `A new subscription with a new secret is made before the old one is removed, and both secrets are taken
meanwhile. Where the secret is the app's it is changed at the provider, and put into the configuration
beside the old one; such tenants are passed over unless they are named. Exit status 1 if something
went wrong.

Examples:
  rescind subscriptions rotate --config rescind.yml
  rescind subscriptions rotate ringcentral 37439510`
}

// Help is what --help adds.
func (subscriptionsRemoveCmd) Help() string {
	return `Nothing is delivered from then on, the feed is dead, and what is kept of the tenant lives as shortly as
can be. Only what the listeners made themselves is removed. Exit status 1 if something went wrong.

Examples:
  rescind subscriptions remove ringcentral 37439510 --yes
  rescind subscriptions apply ringcentral 37439510`
}

// Run asks what apply would do.
func (c subscriptionsPlanCmd) Run(ctx context.Context, t terminal) error {
	return c.order(ctx, t, renew.DoPlan, c.which)
}

// Run has done what is wanted.
func (c subscriptionsApplyCmd) Run(ctx context.Context, t terminal) error {
	return c.order(ctx, t, renew.DoApply, c.which)
}

// Run has all prolonged.
func (c subscriptionsRenewCmd) Run(ctx context.Context, t terminal) error {
	return c.order(ctx, t, renew.DoRenew, c.which)
}

// Run has the secrets changed.
func (c subscriptionsRotateCmd) Run(ctx context.Context, t terminal) error {
	return c.order(ctx, t, renew.DoRotate, c.which)
}

// Run has one tenant's taken down.
func (c subscriptionsRemoveCmd) Run(ctx context.Context, t terminal) error {
	w := which{c.Provider, c.Tenant}
	switch {
	case c.Provider == "" || c.Tenant == "":
		return errors.New("provider and tenant must be named")
	case !c.Yes:
		return fmt.Errorf("nothing was done: from then on %s delivers nothing until apply; give --yes", w)
	}
	return c.order(ctx, t, renew.DoRemove, w)
}

// order has it carried out for each tenant that is meant. One that is named need not
// have been heard of.
func (c ordering) order(ctx context.Context, t terminal, do renew.Do, w which) error {
	s, shut, err := c.look(ctx)
	if err != nil {
		return err
	}
	defer shut()
	homes := []events.Home{{Provider: events.Provider(w.Provider), Tenant: events.Tenant(w.Tenant)}}
	if w.Tenant == "" {
		if homes, err = known(ctx, s, w); err != nil {
			return err
		}
	}
	all := make([]service.Ordered, len(homes))
	var g errgroup.Group
	g.SetLimit(ordersAtOnce)
	for i, h := range homes {
		g.Go(func() error {
			all[i] = s.Order(ctx, h, do)
			return nil
		})
	}
	_ = g.Wait() // what went wrong stands in each
	if ctx.Err() != nil {
		return errors.New("interrupted: what was ordered may be under way still")
	}
	if err := c.print(t.out, all); err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(o service.Ordered) bool { return failed(o, w) }) {
		return unwell{1}
	}
	return nil
}

// known are the tenants of which something is noted.
func known(ctx context.Context, s service.Subscriptions, w which) (homes []events.Home, err error) {
	rows, err := s.List(ctx, events.Provider(w.Provider), "")
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		homes = append(homes, r.Home)
	}
	if homes == nil {
		return nil, errNoneOf(w)
	}
	return homes, nil
}

// failed: a secret that is the app's is no failure where all were to be changed.
func failed(o service.Ordered, w which) bool {
	refuses := slices.ContainsFunc(o.Steps, func(s renew.Step) bool { return s.Verb == renew.Refuse })
	return refuses || o.Error != "" && (!o.AppSecret() || w.Tenant != "")
}

func (c ordering) print(out io.Writer, all []service.Ordered) error {
	if c.JSON {
		return jsonLines(out, all)
	}
	b := bufio.NewWriter(out)
	if slices.ContainsFunc(all, func(o service.Ordered) bool { return len(o.Steps) > 0 }) {
		printSteps(b, all)
		fmt.Fprintln(b)
	}
	for _, o := range all {
		fmt.Fprintf(b, "%s %s: %s\n", quoted(string(o.Provider)), quoted(string(o.Tenant)), outcome(o))
	}
	return b.Flush()
}

func printSteps(b io.Writer, all []service.Ordered) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROVIDER\tTENANT\tSTEP\tFOR\tID\tWHY")
	for _, o := range all {
		for _, s := range o.Steps {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", quoted(string(o.Provider)), quoted(string(o.Tenant)),
				verb(o, s), dashed(s.Want), dashed(s.ID), dashed(s.Why))
		}
	}
	_ = w.Flush() // b remembers its error
}

// verb is what is to be done, or was.
func verb(o service.Ordered, s renew.Step) string {
	past := map[renew.Verb]string{renew.Keep: "kept", renew.Renew: "renewed", renew.Create: "created",
		renew.Replace: "replaced", renew.Retire: "retired", renew.Remove: "removed", renew.Refuse: "refused"}
	if o.Do == renew.DoPlan || o.Error != "" {
		return quoted(string(s.Verb))
	}
	return cmp.Or(past[s.Verb], quoted(string(s.Verb)))
}

// outcome is a line on the order as a whole.
func outcome(o service.Ordered) string {
	waits := slices.ContainsFunc(o.Steps, func(s renew.Step) bool { return s.Verb != renew.Keep })
	switch {
	case o.AppSecret():
		return "not done: " + quoted(o.Error)
	case o.Error != "" && waits:
		return "FAILED, and not all of this may be done: " + quoted(o.Error)
	case o.Error != "":
		return "FAILED: " + quoted(o.Error)
	case o.Do == renew.DoPlan && waits:
		return "this is what apply would do"
	case o.Do == renew.DoPlan && o.Now != nil && !o.Now.Paused.IsZero():
		return "taken down on order, which apply ends"
	case o.Do == renew.DoPlan:
		return "nothing to do"
	case o.Now == nil:
		return "done"
	case o.Now.Problem != "":
		return "done; the feed is " + trouble(*o.Now)
	}
	return "done; the feed is " + string(o.Now.State)
}

func dashed(text string) string { return cmp.Or(quoted(text), "-") }
