package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type deadCmd struct {
	List    deadListCmd    `cmd:"" help:"List what could not be handled, oldest first."`
	Show    deadShowCmd    `cmd:"" help:"Show one of it: why, and the message as it came."`
	Redrive deadRedriveCmd `cmd:"" help:"Have it tried again."`
	Discard deadDiscardCmd `cmd:"" help:"Delete it for good; who and why is recorded."`
}

// deadFilter says which dead messages are meant.
type deadFilter struct {
	Since    instant `placeholder:"2h" help:"Only what was given up since then: so long ago, or a time such as 2026-11-21T10:00:00Z."`
	Provider string  `help:"Only this provider."`
	Tenant   string  `help:"Only this tenant."`
	Reason   string  `placeholder:"TEXT" help:"Only what has this in its reason."`
}

func (f deadFilter) buried() stream.BuriedOptions {
	return stream.BuriedOptions{Since: f.Since.Time, Reason: f.Reason,
		Home: events.Home{Provider: events.Provider(f.Provider), Tenant: events.Tenant(f.Tenant)}}
}

type deadListCmd struct {
	deadFilter
	Limit int  `default:"0" help:"At most so many; 0 is no limit."`
	JSON  bool `name:"json" help:"Print one JSON object a line."`
	natsFlags
}

// Help is what --help adds.
func (deadListCmd) Help() string {
	return `FIRST is when it was published, or the refresh asked for: it was not tried before. LAST is when it was
given up. Exit status 0 whether there is something or not, 1 an error.

Examples:
  rescind dead list --config rescind.yml
  rescind dead list --since 2h --reason NOPERM --json`
}

// deadRow has fixed widths, so that a long table streams.
const deadRow = "%-6v %-20s %-20s %5v  %-10s %-28s %-36s %s\n"

// Run reads and changes nothing.
func (c deadListCmd) Run(ctx context.Context, t terminal) error {
	s, shut, err := c.connect(ctx, "dead")
	if err != nil {
		return err
	}
	defer shut()
	o := c.buried()
	o.Limit = c.Limit
	w := bufio.NewWriter(t.out)
	write := writeDeadRow
	if c.JSON {
		write = writeDeadLine
	} else {
		fmt.Fprintf(w, deadRow, "SEQ", "FIRST", "LAST", "TRIES", "WHAT", "TENANT", "OF", "REASON")
	}
	if err := s.ReadDead(ctx, o, func(b stream.Buried) error { return write(w, b) }); err != nil {
		return err
	}
	return w.Flush()
}

func writeDeadRow(w io.Writer, b stream.Buried) error {
	_, err := fmt.Fprintf(w, deadRow, b.Sequence, second(b.First), second(b.Last), tries(b), b.What,
		quoted(b.Home.String()), deadOf(b), quoted(b.Reason))
	return err
}

// second is a time as tables show it.
func second(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}

func tries(b stream.Buried) string {
	if b.Attempts == 0 {
		return "-"
	}
	return fmt.Sprint(b.Attempts)
}

// deadOf is what it is about.
func deadOf(b stream.Buried) string {
	switch b.What {
	case stream.DeadChange:
		return tagList(events.Change{Tags: b.Change.Tags})
	case stream.DeadRefresh:
		return quoted(b.Entry())
	}
	return "-"
}

func writeDeadLine(w io.Writer, b stream.Buried) error {
	return json.NewEncoder(w).Encode(deadObject(b))
}

func deadObject(b stream.Buried) map[string]any {
	o := map[string]any{
		"sequence": b.Sequence, "what": b.What, "provider": b.Home.Provider, "tenant": b.Home.Tenant,
		"reason": b.Reason, "attempts": b.Attempts, "first": nil, "last": b.Last.UTC(),
		"from": b.From, "from_sequence": b.FromSequence, "from_subject": b.FromSubject,
	}
	if !b.First.IsZero() {
		o["first"] = b.First.UTC()
	}
	switch b.What {
	case stream.DeadChange:
		o["id"], o["tags"], o["source"], o["reasons"] = b.Change.ID, b.Change.Tags, b.Change.Source, b.Change.Reasons
	case stream.DeadRefresh:
		o["subject"], o["resource"], o["until"] = b.Task.Subject, b.Task.Resource, b.Task.Until
	default:
		o["error"] = b.DecodeErr.Error()
	}
	return o
}

type deadShowCmd struct {
	Sequence uint64 `arg:"" name:"seq" help:"Its sequence, which list shows."`
	JSON     bool   `name:"json" help:"Print JSON; the message as it came is in base64."`
	natsFlags
}

// Help is what --help adds.
func (deadShowCmd) Help() string {
	return `The message is printed as it came, with what does not print escaped. Exit status 1 if there is none.

Examples:
  rescind dead show 17 --config rescind.yml
  rescind dead show 17 --json`
}

// Run reads and changes nothing.
func (c deadShowCmd) Run(ctx context.Context, t terminal) error {
	s, shut, err := c.connect(ctx, "dead")
	if err != nil {
		return err
	}
	defer shut()
	b, err := s.Dead(ctx, c.Sequence)
	if err != nil {
		return missing(err)
	}
	if c.JSON {
		o := deadObject(b)
		o["header"], o["data"] = b.Header, b.Data
		return json.NewEncoder(t.out).Encode(o)
	}
	for _, r := range deadRows(b) {
		if _, err := fmt.Fprintf(t.out, "%-12s %s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// missing says what to do where there is no such message.
func missing(err error) error {
	if errors.Is(err, stream.ErrNotDead) {
		return fmt.Errorf("%w (rescind dead list shows what there is)", err)
	}
	return err
}

func deadRows(b stream.Buried) [][2]string {
	from := fmt.Sprintf("%s, %s", quoted(b.From), quoted(b.FromSubject))
	if b.FromSequence > 0 {
		from = fmt.Sprintf("%s %d, %s", quoted(b.From), b.FromSequence, quoted(b.FromSubject))
	}
	rows := [][2]string{
		{"sequence", fmt.Sprint(b.Sequence)}, {"what", b.What}, {"tenant", quoted(b.Home.String())},
		{"reason", quoted(b.Reason)}, {"tries", tries(b)}, {"first", second(b.First)}, {"last", second(b.Last)},
		{"came from", from},
	}
	switch b.What {
	case stream.DeadChange:
		rows = append(rows, [2]string{"id", quoted(b.Change.ID)}, [2]string{"source", quoted(string(b.Change.Source))})
		for _, tag := range b.Change.Tags {
			rows = append(rows, [2]string{"tag", quoted(tag.String())})
		}
		for _, r := range b.Change.Reasons {
			rows = append(rows, [2]string{"vendor says", quoted(r)})
		}
	case stream.DeadRefresh:
		rows = append(rows, [2]string{"entry", quoted(b.Entry())}, [2]string{"void after", second(b.Task.Until)},
			[2]string{"because of", quoted(b.Task.Reason)})
	default:
		rows = append(rows, [2]string{"unreadable", quoted(b.DecodeErr.Error())})
	}
	names := make([]string, 0, len(b.Header))
	for name := range b.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range b.Header[name] {
			rows = append(rows, [2]string{"header", quoted(name + ": " + v)})
		}
	}
	return append(rows, [2]string{"message", quoted(string(b.Data))})
}

type deadDiscardCmd struct {
	Sequences []uint64 `arg:"" name:"seq" help:"Their sequences, which list shows."`
	Why       string   `required:"" placeholder:"TEXT" help:"Why nobody needs it."`
	By        string   `placeholder:"NAME" help:"Who says so; $$USER and this machine if not given."`
	natsFlags
}

// Help is what --help adds.
func (deadDiscardCmd) Help() string {
	return `Who did it and why is stored before the message is deleted, for 30 days, in the bucket RESCIND under
discarded.<sequence>; and in the journal, without which nothing is deleted.
Exit status 1 if one was not discarded.

Examples:
  rescind dead discard 19 --why "sent by hand, no change" --config rescind.yml
  rescind dead discard 20 21 --why "tenant is no customer any more" --by "ops, ticket 4711"`
}

// Run records and deletes, one after the other.
func (c deadDiscardCmd) Run(ctx context.Context, t terminal) error {
	s, shut, err := c.connect(ctx, "dead")
	if err != nil {
		return err
	}
	defer shut()
	failed := false
	for _, seq := range c.Sequences {
		b, err := s.Dead(ctx, seq)
		if err == nil {
			err = s.Discard(ctx, b, whoever(c.By), c.Why)
		}
		if ctx.Err() != nil {
			fmt.Fprintf(t.err, "interrupted at %d: the rest is kept\n", seq)
			return unwell{exitInterrupted}
		}
		if err != nil {
			failed = true
			fmt.Fprintf(t.err, "%s\n", quoted(missing(err).Error()))
			continue
		}
		if _, err := fmt.Fprintf(t.out, "discarded %d: %s of %s\n", seq, b.What, quoted(b.Home.String())); err != nil {
			return err
		}
	}
	if failed {
		return unwell{1}
	}
	return nil
}

// whoever is who is said to do it, or who does.
func whoever(said string) string {
	if said != "" {
		return said
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return cmp.Or(os.Getenv("USER"), os.Getenv("LOGNAME"), fmt.Sprint("uid ", os.Getuid())) + "@" + host
}
