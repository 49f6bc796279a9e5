package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/events/stream"
)

// redrivenAtOnce is how many dead messages are redriven at a time.
const redrivenAtOnce = 16

type deadRedriveCmd struct {
	Sequences []uint64 `arg:"" optional:"" name:"seq" help:"Their sequences, which list shows."`
	All       bool     `help:"All there is."`
	deadFilter
	DryRun bool   `help:"Only say what would be done; on a terminal that is so without --yes."`
	Yes    bool   `help:"Do it. Needed for --all and filters, and on a terminal."`
	By     string `placeholder:"NAME" help:"Who says so; $$USER and this machine if not given."`
	JSON   bool   `name:"json" help:"Print the counts as JSON."`
	natsFlags
}

// Help is what --help adds.
func (deadRedriveCmd) Help() string {
	return `A change is published again, as one of source "replay": what it names is dropped once more and read anew,
after what really changes now. A refresh is queued again while the entry it is for would last; later there
is nothing to refresh, and it is removed. What cannot be read stays. Each is deleted only when the stream has
its successor. Exit status 1 if one stays, 130 interrupted: the same command goes on.

Examples:
  rescind dead redrive 17 18 --yes --config rescind.yml
  rescind dead redrive --all --dry-run
  rescind dead redrive --since 2h --reason NOPERM --yes`
}

// Validate wants to be told which.
func (c deadRedriveCmd) Validate() error {
	filtered := c.deadFilter != (deadFilter{})
	switch {
	case len(c.Sequences) > 0 && (c.All || filtered), c.All && filtered:
		return errors.New("give sequences, --all or filters, not several of them")
	case len(c.Sequences) == 0 && !c.All && !filtered:
		return errors.New("say which: sequences, --all or filters")
	case c.DryRun && c.Yes:
		return errors.New("--dry-run and --yes exclude each other")
	}
	return nil
}

// Run redrives, or says what it would.
func (c deadRedriveCmd) Run(ctx context.Context, t terminal) error {
	dry := c.DryRun || !c.Yes && onTerminal(t.out)
	if !dry && !c.Yes && len(c.Sequences) == 0 {
		return misused(t, "--yes or --dry-run must be given where there is no terminal")
	}
	s, shut, err := c.connect(ctx, "dead")
	if err != nil {
		return err
	}
	defer shut()
	d := &redriving{stream: s, by: whoever(c.By), dry: dry, t: t, of: map[stream.Remedy]int{}}
	d.group.SetLimit(redrivenAtOnce)
	err = c.each(ctx, d)
	_ = d.group.Wait() // what went wrong is counted
	if err := d.print(c.JSON); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(t.err, "interrupted: the rest is still dead, and the same command goes on")
		return unwell{exitInterrupted}
	case err != nil:
		return err
	case d.stays > 0:
		return unwell{1}
	}
	return nil
}

// each hands over what is meant.
func (c deadRedriveCmd) each(ctx context.Context, d *redriving) error {
	if len(c.Sequences) == 0 {
		return d.stream.ReadDead(ctx, c.buried(), func(b stream.Buried) error {
			d.take(ctx, b)
			return ctx.Err()
		})
	}
	for _, seq := range c.Sequences {
		b, err := d.stream.Dead(ctx, seq)
		if errors.Is(err, stream.ErrNotDead) {
			d.note("", nil, missing(err))
			continue
		}
		if err != nil {
			return err
		}
		d.take(ctx, b)
	}
	return nil
}

// redriving counts what becomes of dead messages.
type redriving struct {
	stream *stream.Stream
	by     string
	dry    bool
	t      terminal
	group  errgroup.Group

	mu             sync.Mutex
	of             map[stream.Remedy]int
	stays, unnoted int
}

// take redrives one; one that is begun is ended, whatever becomes of ctx.
func (d *redriving) take(ctx context.Context, b stream.Buried) {
	if d.dry {
		r, err := stream.Prospect(b)
		d.note(r, nil, err)
		return
	}
	d.group.Go(func() error {
		r, unnoted, err := d.stream.Redrive(context.WithoutCancel(ctx), b, d.by)
		d.note(r, unnoted, err)
		return nil
	})
}

func (d *redriving) note(r stream.Remedy, unnoted, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if unnoted != nil {
		d.unnoted++
	}
	if err != nil {
		d.stays++
		fmt.Fprintln(d.t.err, quoted(err.Error()))
		return
	}
	d.of[r]++
}

func (d *redriving) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(d.t.out).Encode(map[string]any{
			"dry_run": d.dry, "republished": d.of[stream.Republished], "requeued": d.of[stream.Requeued],
			"expired": d.of[stream.Expired], "stays": d.stays, "not_in_journal": d.unnoted,
		})
	}
	text := "%d changes published again, %d refreshes queued again, %d refreshes expired and removed, %d stay\n"
	if d.dry {
		text = "this would be done: " + text
	}
	_, err := fmt.Fprintf(d.t.out, text,
		d.of[stream.Republished], d.of[stream.Requeued], d.of[stream.Expired], d.stays)
	if d.dry && err == nil {
		_, err = fmt.Fprintln(d.t.out, "nothing was done: give --yes")
	}
	if d.unnoted > 0 && err == nil {
		_, err = fmt.Fprintf(d.t.out, "%d of these are not in the journal, which did not take them\n", d.unnoted)
	}
	return err
}

// onTerminal says whether a person reads what is written there.
func onTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// misused says that a command line does not do here.
func misused(t terminal, text string) error {
	fmt.Fprintf(t.err, "rescind: error: %s\n", text)
	return unwell{exitUsage}
}
