package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type eventsCmd struct {
	List eventsListCmd `cmd:"" help:"List changes, oldest first."`
	Show eventsShowCmd `cmd:"" help:"Follow one change: what became of it, and when."`
	Tail eventsTailCmd `cmd:"" help:"Print changes, or what becomes of them, as they come, until Ctrl-C."`
}

// eventsFilter says which changes are meant.
type eventsFilter struct {
	Since    instant `placeholder:"2h" help:"Only what was published since then: so long ago, or a time such as 2026-11-21T10:00:00Z."`
	Provider string  `help:"Only this provider."`
	Tenant   string  `help:"Only this tenant."`
	Tag      string  `placeholder:"KIND:ID" help:"Only what has this tag, such as role:7."`
	Source   string  `help:"Only this source: webhook, tail, sweep, replay or application."`
	ID       string  `name:"id" help:"Only this change: its ID, or that of the delivery at its end."`
	Wide     bool    `help:"Print all there is of each, however long."`
	JSON     bool    `name:"json" help:"Print one JSON object a line."`
}

// instant is a time, given as such or as how long ago it is.
type instant struct{ time.Time }

// UnmarshalText reads a duration or an RFC 3339 time.
func (i *instant) UnmarshalText(text []byte) (err error) {
	if ago, err := time.ParseDuration(string(text)); err == nil {
		i.Time = time.Now().Add(-ago)
		return nil
	}
	if i.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return fmt.Errorf("%.60q: must be such as 2h, or 2026-11-21T10:00:00Z", text)
	}
	return nil
}

// reading says how to read changes.
func (f eventsFilter) reading() (o stream.ReadOptions, err error) {
	o.Since = f.Since.Time
	o.Home = events.Home{Provider: events.Provider(f.Provider), Tenant: events.Tenant(f.Tenant)}
	if f.Tag == "" && f.Source == "" && f.ID == "" {
		return o, nil
	}
	tag, err := f.tag()
	if err != nil {
		return o, err
	}
	o.Wanted = func(m stream.Stored) bool {
		c := m.Change
		return m.DecodeErr == nil && (f.Source == "" || f.Source == string(c.Source)) &&
			(f.Tag == "" || slices.Contains(c.Tags, tag)) && (f.ID == "" || isID(c.ID, f.ID))
	}
	return o, nil
}

func (f eventsFilter) tag() (events.Tag, error) {
	if f.Tag == "" {
		return events.Tag{}, nil
	}
	t, err := events.ParseTag(f.Tag)
	if err != nil {
		return t, fmt.Errorf("--tag: %w", err)
	}
	return t, nil
}

// isID says whether the ID of a change is the one given, or ends with it: what a
// provider calls a delivery stands at the end.
func isID(id, given string) bool { return id == given || strings.HasSuffix(id, ":"+given) }

type eventsListCmd struct {
	eventsFilter
	Until   instant `placeholder:"1h" help:"Only what was published until then; as --since."`
	FromSeq uint64  `placeholder:"N" help:"Only from this sequence on."`
	ToSeq   uint64  `placeholder:"N" help:"Only up to this sequence."`
	Limit   int     `placeholder:"N" xor:"count" help:"At most so many, the oldest."`
	Last    int     `placeholder:"N" xor:"count" help:"At most so many, the latest."`

	natsFlags
}

// Help is what --help adds.
func (eventsListCmd) Help() string {
	return `It ends with what is there when it begins, and holds little of it, however much that is.

Exit status: 0 done, if nothing was found too; 1 an error.

Examples:
  rescind events list --last 20
  rescind events list --since 2h --provider ringcentral --tenant 37439510 --json
  rescind events list --since 2026-11-21T10:00:00Z --until 1h --tag role:7 --wide`
}

// Run reads the stream and touches no consumer of the workers.
func (c eventsListCmd) Run(ctx context.Context, t terminal) error {
	o, err := c.reading()
	if err != nil {
		return err
	}
	o.Until, o.FromSeq, o.ToSeq, o.Limit = c.Until.Time, c.FromSeq, c.ToSeq, c.Limit
	s, shut, err := c.connect(ctx, "events")
	if err != nil {
		return err
	}
	defer shut()
	w := bufio.NewWriter(t.out)
	write := c.writer(w)
	if c.Last <= 0 {
		if err := s.Read(ctx, o, write); err != nil {
			return err
		}
		return w.Flush()
	}
	last, err := s.ReadLast(ctx, o, c.Last)
	if err != nil {
		return err
	}
	for _, m := range last {
		if err := write(m); err != nil {
			return err
		}
	}
	return w.Flush()
}

// writer prints the head of the table, and returns what prints a change.
func (f eventsFilter) writer(w io.Writer) func(stream.Stored) error {
	if f.JSON {
		return func(m stream.Stored) error { return f.line(w, m) }
	}
	fmt.Fprintf(w, rowFormat, "SEQ", "TIME", "TENANT", "SOURCE", "ID", "TAGS")
	return func(m stream.Stored) error { return f.row(w, m) }
}

// rowFormat has fixed widths, so that a table of millions streams.
const rowFormat = "%-8v %-24s %-28s %-8s %-60s %s\n"

// briefTags is how many tags a row has that is not wide.
const briefTags = 5

func (f eventsFilter) row(w io.Writer, m stream.Stored) error {
	at := moment3(m.Time)
	if m.DecodeErr != nil {
		_, err := fmt.Fprintf(w, rowFormat, m.Sequence, at, "?", "?", "?", "unreadable: "+quoted(m.DecodeErr.Error()))
		return err
	}
	text := tagList(m.Change)
	if f.Wide {
		text = fmt.Sprintf("%s%s received %s, %d bytes", tagWords(m.Change.Tags, len(m.Change.Tags), true),
			reasons(m.Change), moment3(m.Change.Received), m.Size)
	}
	_, err := fmt.Fprintf(w, rowFormat, m.Sequence, at, quoted(m.Change.Home.String()),
		quoted(string(m.Change.Source)), quoted(m.Change.ID), text)
	return err
}

// moment3 is a time to the millisecond.
func moment3(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// quoted keeps a vendor's id from playing with the terminal.
func quoted(s string) string { return strings.Trim(fmt.Sprintf("%q", s), `"`) }

// tagList is the first tags of a change, and its reasons.
func tagList(c events.Change) string { return tagWords(c.Tags, len(c.Tags), false) + reasons(c) }

func reasons(c events.Change) string {
	if len(c.Reasons) == 0 {
		return ""
	}
	return " (" + quoted(strings.Join(c.Reasons, ", ")) + ")"
}

// tagWords are the first of so many tags, or all that are there.
func tagWords(tags []events.Tag, count int, wide bool) string {
	words := make([]string, 0, briefTags+1)
	for i, t := range tags {
		if i == briefTags && !wide {
			break
		}
		words = append(words, quoted(t.String()))
	}
	if more := count - len(words); more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, " ")
}

func (eventsFilter) line(w io.Writer, m stream.Stored) error {
	return json.NewEncoder(w).Encode(storedLine(m))
}

// storedLine is a change as programs read it.
func storedLine(m stream.Stored) map[string]any {
	v := map[string]any{"sequence": m.Sequence, "time": m.Time.UTC(), "subject": m.Subject, "size": m.Size}
	if m.DecodeErr != nil {
		v["error"] = m.DecodeErr.Error()
		return v
	}
	c := m.Change
	v["id"], v["provider"], v["tenant"], v["tags"] = c.ID, c.Provider, c.Tenant, c.Tags
	v["source"], v["reasons"], v["received"] = c.Source, c.Reasons, c.Received.UTC()
	if !c.Occurred.IsZero() {
		v["occurred"] = c.Occurred.UTC()
	}
	return v
}
