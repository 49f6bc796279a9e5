package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type eventsTailCmd struct {
	eventsFilter
	Journal bool   `help:"Print what becomes of changes instead: the outcomes that workers and listeners note."`
	Kind    string `help:"Only outcomes of this kind, such as late; needs --journal."`

	natsFlags
}

// Help is what --help adds.
func (eventsTailCmd) Help() string {
	return `It begins with what comes from now on, or with what there is since --since. It ends with Ctrl-C, and status 0.

Kinds of outcome: invalidated, refetched, confirmed, fenced, late, dead, gap, discarded, redriven. They are
kept for a day.

Examples:
  rescind events tail --provider ringcentral
  rescind events tail --since 10m --tag subject:8475874957 --json
  rescind events tail --journal --kind dead --since 24h`
}

// Run follows until ctx ends.
func (c eventsTailCmd) Run(ctx context.Context, t terminal) error {
	switch {
	case c.Kind != "" && !c.Journal:
		return errors.New("--kind: is for outcomes, give --journal too")
	case c.Source != "" && c.Journal:
		return errors.New("--source: outcomes have none")
	}
	o, err := c.reading()
	if err != nil {
		return err
	}
	s, shut, err := c.connect(ctx, "events")
	if err != nil {
		return err
	}
	defer shut()
	o.Follow, o.New = true, c.Since.IsZero()
	w := bufio.NewWriter(t.out) // flushed with every line: somebody watches
	if c.Journal {
		return c.outcomes(ctx, s, w)
	}
	write := c.writer(w)
	if err := w.Flush(); err != nil {
		return err
	}
	return s.Read(ctx, o, func(m stream.Stored) error { return errors.Join(write(m), w.Flush()) })
}

func (c eventsTailCmd) outcomes(ctx context.Context, s *stream.Stream, w *bufio.Writer) error {
	tag, err := c.tag()
	if err != nil {
		return err
	}
	o := stream.JournalOptions{
		Since: c.Since.Time, Kind: events.Kind(c.Kind), Follow: true, New: c.Since.IsZero(),
		Home: events.Home{Provider: events.Provider(c.Provider), Tenant: events.Tenant(c.Tenant)},
		Wanted: func(n stream.Noted) bool {
			return (c.Tag == "" || slices.Contains(n.Outcome.Tags, tag)) && (c.ID == "" || isID(n.Outcome.Change, c.ID))
		},
	}
	if !c.JSON {
		fmt.Fprintf(w, outcomeFormat, "SEQ", "TIME", "TENANT", "KIND", "CHANGE", "WHAT")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return s.ReadJournal(ctx, o, func(n stream.Noted) error { return errors.Join(c.outcome(w, n), w.Flush()) })
}

const outcomeFormat = "%-8v %-24s %-28s %-11s %-60s %s\n"

func (c eventsTailCmd) outcome(w io.Writer, n stream.Noted) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(outcomeLine(n))
	}
	o := n.Outcome
	if n.DecodeErr != nil {
		_, err := fmt.Fprintf(w, outcomeFormat, n.Sequence, moment3(n.Time), "?", "?", "?",
			"unreadable: "+quoted(n.DecodeErr.Error()))
		return err
	}
	change := dashed(o.Change)
	if len(o.Sequences) > 0 {
		change = fmt.Sprintf("%d changes, %d to %d", len(o.Sequences), slices.Min(o.Sequences), slices.Max(o.Sequences))
	}
	_, err := fmt.Fprintf(w, outcomeFormat, n.Sequence, moment3(o.At), quoted(o.Home.String()), o.Kind, change,
		outcomeText(o, c.Wide))
	return err
}

// outcomeText says what an outcome is about, in a line.
func outcomeText(o events.Outcome, wide bool) string {
	var words []string
	switch {
	case o.EntryCount > 0:
		words = append(words, entryList(o.Entries, o.EntryCount, wide))
	case o.Kind == events.Invalidated:
		words = append(words, "nothing alive")
	}
	if o.Reason != "" {
		words = append(words, quoted(o.Reason))
	}
	if o.By != "" {
		words = append(words, "by "+quoted(o.By))
	}
	if wide && len(o.Tags) > 0 {
		words = append(words, "tags "+tagWords(o.Tags, o.TagCount, wide))
	}
	return strings.Join(words, "; ")
}

// entryList is the first of so many entries, or all that are there.
func entryList(entries []events.Entry, count int, wide bool) string {
	var words []string
	for i, e := range entries {
		if i == briefTags && !wide {
			break
		}
		words = append(words, entryText(e))
	}
	if more := count - len(words); more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, " ")
}

func entryText(e events.Entry) string {
	if e.Resource == "" {
		return quoted(string(e.Subject))
	}
	return quoted(string(e.Subject)) + " on " + quoted(string(e.Resource))
}

// outcomeLine is an outcome as programs read it.
func outcomeLine(n stream.Noted) map[string]any {
	v := map[string]any{"journal_sequence": n.Sequence, "time": n.Time.UTC(), "topic": n.Subject}
	if n.DecodeErr != nil {
		v["error"] = n.DecodeErr.Error()
		return v
	}
	o := n.Outcome
	v["id"], v["kind"], v["provider"], v["tenant"], v["at"] = o.ID, o.Kind, o.Provider, o.Tenant, o.At.UTC()
	for name, given := range map[string]struct {
		there bool
		value any
	}{
		"change": {o.Change != "", o.Change}, "sequence": {o.Sequence > 0, o.Sequence},
		"sequences": {len(o.Sequences) > 0, o.Sequences}, "together": {o.Together > 0, o.Together},
		"tags": {len(o.Tags) > 0, o.Tags}, "tag_count": {o.TagCount > 0, o.TagCount},
		"entries": {len(o.Entries) > 0, o.Entries}, "entry_count": {o.EntryCount > 0, o.EntryCount},
		"version":           {o.Version > 0, fmt.Sprint(o.Version)},
		"since_received_ms": {o.SinceReceived != 0, inMS(o.SinceReceived)},
		"since_asked_ms":    {o.SinceAsked != 0, inMS(o.SinceAsked)},
		"since_applied_ms":  {o.SinceApplied != 0, inMS(o.SinceApplied)},
		"reason":            {o.Reason != "", o.Reason}, "by": {o.By != "", o.By},
	} {
		if given.there {
			v[name] = given.value
		}
	}
	return v
}
