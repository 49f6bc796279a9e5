package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rescindhq/rescind/events/stream"
)

type replayRepairCmd struct {
	replaySelection
	Rate   int    `default:"1000" help:"At most so many changes a second (${default}); 0 is no limit."`
	Named  string `name:"run" placeholder:"ID" help:"Go on with this run: what it has published is not published twice."`
	DryRun bool   `help:"Only say what it would touch; on a terminal that is so without --yes."`
	Yes    bool   `help:"Do it."`
	JSON   bool   `name:"json" help:"Print the result as JSON."`
	optionalWorker
	natsFlags
}

// Help is what --help adds.
func (replayRepairCmd) Help() string {
	return `What the changes name is dropped and read anew, after what really changes now: it has the lowest place in the
budget. Up to 256 changes in a row become one message for each tenant, of up to 500 distinct tags. The end
is fixed when it begins. With --worker a dry run also asks what is alive, and how many calls it would cost.

Ctrl-C ends it when what was published is stored, and prints the command that goes on.
Exit status 0 done, 1 an error, 80 neither --yes nor --dry-run where there is no terminal, 130 interrupted.

Examples:
  rescind replay --since 2h --dry-run --config rescind.yml
  rescind replay repair --since 2h --provider ringcentral --tenant 37439510 --yes
  rescind replay repair --from-seq 1 --to-seq 1000 --tag role:7 --rate 100 --yes`
}

// Validate refuses what cannot be meant.
func (c *replayRepairCmd) Validate() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.DryRun && c.Yes {
		return errors.New("--dry-run and --yes exclude each other")
	}
	return nil
}

// Run publishes, or says what it would.
func (c *replayRepairCmd) Run(ctx context.Context, t terminal) error {
	dry := c.DryRun || !c.Yes && onTerminal(t.out)
	if !dry && !c.Yes {
		return misused(t, "--yes or --dry-run must be given where there is no terminal")
	}
	s, shut, err := c.connect(ctx, "replay")
	if err != nil {
		return err
	}
	defer shut()
	sel := c.selection()
	if ok, err := s.Span(ctx, &sel); err != nil {
		return err
	} else if !ok {
		_, err := fmt.Fprintln(t.out, "no change is selected")
		return err
	}
	if dry {
		return c.survey(ctx, t, s, sel)
	}
	return c.repair(ctx, t, s, sel)
}

func (c *replayRepairCmd) repair(ctx context.Context, t terminal, s *stream.Stream, sel stream.Selection) error {
	run := c.Named
	if run == "" {
		run = stream.NewRun()
	}
	m := newMeter(t.err, "changes", sel.FromSeq, sel.ToSeq)
	start := time.Now()
	done, err := s.Replay(ctx, stream.Replay{Run: run, Selection: sel, Rate: c.Rate, Report: func(r stream.Replayed) {
		m.tell(r.Seen, r.Changes, time.Now())
	}})
	m.clear()
	if perr := c.report(t, run, sel, done, time.Since(start)); perr != nil {
		return perr
	}
	if err == nil {
		return nil
	}
	next := max(done.Next, sel.FromSeq)
	if next > 0 {
		fmt.Fprintf(t.err, "to go on:\n  %s\n", c.goOn(run, next, sel.ToSeq))
	}
	if ctx.Err() != nil {
		return unwell{exitInterrupted}
	}
	return err
}

// goOn is the command that does what is left.
func (c *replayRepairCmd) goOn(run string, from, to uint64) string {
	w := append([]string{"rescind", "replay", "repair"}, c.replaySelection.words(from, to)...)
	w = append(w, "--rate", strconv.Itoa(c.Rate), "--run", run, "--yes")
	return shellLine(append(w, c.natsFlags.words()...)...)
}

func (c *replayRepairCmd) report(
	t terminal, run string, sel stream.Selection, r stream.Replayed, took time.Duration,
) error {
	if c.JSON {
		return json.NewEncoder(t.out).Encode(map[string]any{
			"run": run, "from_seq": sel.FromSeq, "to_seq": sel.ToSeq, "next_seq": r.Next, "changes": r.Changes,
			"messages": r.Messages, "known": r.Known, "unreadable": r.Unreadable,
			"done": r.Next > sel.ToSeq, "seconds": seconds(took),
		})
	}
	text := fmt.Sprintf("run %s: %d changes published again in %d messages, %s", run, r.Changes, r.Messages,
		took.Round(time.Millisecond))
	if r.Known > 0 {
		text += fmt.Sprintf("; %d of these were there", r.Known)
	}
	if r.Unreadable > 0 {
		text += fmt.Sprintf("; %d cannot be read and were passed over", r.Unreadable)
	}
	_, err := fmt.Fprintln(t.out, text)
	return err
}
