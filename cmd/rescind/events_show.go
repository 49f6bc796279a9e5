package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type eventsShowCmd struct {
	Change string `arg:"" placeholder:"ID|SEQ" help:"The sequence of a change, its ID, or that of the delivery at its end."`
	Wide   bool   `help:"Print every step and every tag."`
	JSON   bool   `name:"json" help:"Print JSON."`
	natsFlags
}

// Help is what --help adds.
func (eventsShowCmd) Help() string {
	return `The steps: received, published (after it was verified), invalidated with the entries that were alive, then of each of
these refetched, fenced, late, confirmed; and replayed, dead, redriven, discarded. An entry is followed until it is
confirmed or changed again. What became of a change is known for a day, as long as the journal keeps it.

Exit status: 0 done; 1 there is no such change, or an error.

Examples:
  rescind events show 4711
  rescind events show 3fa2c1d0-0f2b-4a6e-9c54-1f7c --json`
}

// station is a step of a change on its way.
type station struct {
	Step string    `json:"step"`
	At   time.Time `json:"at"`
	// AfterMS is since the step before, SinceMS since it was received.
	AfterMS    float64        `json:"after_ms"`
	SinceMS    float64        `json:"since_received_ms"`
	Entries    []events.Entry `json:"entries,omitempty"`
	EntryCount int            `json:"entry_count,omitempty"`
	Version    uint64         `json:"version,string,omitempty"`
	Text       string         `json:"text,omitempty"`
}

// way is what is known of a change.
type way struct {
	stream.Stored
	Steps []station
	Notes []string // what is not known, and why

	alive map[events.Entry]bool // followed: unusable since, and not yet confirmed
	told  bool                  // the journal says that it was applied
}

// Run reads the change, then what the journal says of it.
func (c eventsShowCmd) Run(ctx context.Context, t terminal) error {
	s, shut, err := c.connect(ctx, "events")
	if err != nil {
		return err
	}
	defer shut()
	m, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	w := &way{Stored: m, alive: map[events.Entry]bool{}}
	if m.DecodeErr == nil {
		if err := w.follow(ctx, s); err != nil {
			return err
		}
	}
	w.order()
	if c.JSON {
		return json.NewEncoder(t.out).Encode(w.object())
	}
	return w.print(t.out, c.Wide)
}

// find takes what is given for a sequence if it can be one, else for an ID; of
// several changes with that the latest.
func (c eventsShowCmd) find(ctx context.Context, s *stream.Stream) (m stream.Stored, err error) {
	if seq, err := strconv.ParseUint(c.Change, 10, 64); err == nil && seq > 0 {
		if m, ok, err := s.Get(ctx, seq); ok || err != nil {
			return m, err
		}
	}
	o := stream.ReadOptions{Home: homeOfID(c.Change), Wanted: func(m stream.Stored) bool {
		return m.DecodeErr == nil && isID(m.Change.ID, c.Change)
	}}
	found, err := s.ReadLast(ctx, o, 1)
	if err == nil && len(found) == 0 && o.Home != (events.Home{}) { // it only looked like ours
		o.Home = events.Home{}
		found, err = s.ReadLast(ctx, o, 1)
	}
	switch {
	case err != nil:
		return m, err
	case len(found) == 0:
		return m, fmt.Errorf("no change is %.80q, or none any more: they are kept for 7 days (rescind events list)", c.Change)
	}
	return found[0], nil
}

// homeOfID is the tenant that the ID of a change begins with; zero if it does not.
func homeOfID(id string) (h events.Home) {
	parts := strings.SplitN(id, ":", 3)
	if len(parts) < 3 {
		return h
	}
	provider, err1 := events.Unescape(parts[0])
	tenant, err2 := events.Unescape(parts[1])
	h = events.Home{Provider: events.Provider(provider), Tenant: events.Tenant(tenant)}
	if err1 != nil || err2 != nil || h.Validate() != nil {
		return events.Home{}
	}
	return h
}

// slack is how far the clocks of the services and the server may be apart.
const slack = 5 * time.Second

func (w *way) follow(ctx context.Context, s *stream.Stream) error {
	c := w.Change
	if !c.Occurred.IsZero() {
		w.add(station{Step: "occurred", At: c.Occurred, Text: "by the provider's clock"})
	}
	w.add(station{Step: "received", At: c.Received})
	w.add(station{Step: "published", At: w.Time, Text: fmt.Sprintf("verified; sequence %d", w.Sequence)})
	err := s.ReadJournal(ctx, stream.JournalOptions{Home: c.Home, Since: w.Time.Add(-slack)}, func(n stream.Noted) error {
		if n.DecodeErr == nil {
			w.hear(n.Outcome)
		}
		return nil
	})
	if err != nil && !errors.Is(err, stream.ErrNoJournal) {
		return err
	}
	if err := w.replays(ctx, s); err != nil {
		return err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	w.doubt(info)
	return nil
}

// hear takes what an outcome says of this change, or of an entry that it hit.
func (w *way) hear(o events.Outcome) {
	step := o.Kind == events.Refetched || o.Kind == events.Confirmed // of an entry
	ours := o.Sequence == w.Sequence || slices.Contains(o.Sequences, w.Sequence) ||
		o.Change == w.Change.ID && o.Sequence == 0 && !step
	of := station{Step: string(o.Kind), At: o.At, Entries: o.Entries, EntryCount: o.EntryCount, Version: o.Version}
	switch {
	case ours:
		of.Text = outcomeText(o, false)
		w.told = w.told || o.Kind == events.Invalidated
		for _, e := range o.Entries {
			w.alive[e] = o.Kind == events.Invalidated
		}
		if more := o.EntryCount - len(o.Entries); more > 0 && o.Kind == events.Invalidated {
			w.Notes = append(w.Notes, fmt.Sprintf("%d more entries were alive: they are not followed", more))
		}
		if o.Together > 1 && o.EntryCount > 0 {
			of.Text += fmt.Sprintf("; applied in one step with %d others", o.Together-1)
		}
		w.add(of)
	case o.Kind == events.Invalidated:
		for _, e := range o.Entries {
			if w.alive[e] {
				delete(w.alive, e)
				w.Notes = append(w.Notes, fmt.Sprintf("%s was changed again at %s, by %s: what follows is that change's",
					entryText(e), moment3(o.At), dashed(o.Change)))
			}
		}
	case len(o.Entries) == 1 && (w.alive[o.Entries[0]] || o.Change == w.Change.ID):
		of.Text = outcomeText(o, false)
		w.add(of)
		if o.Kind == events.Confirmed {
			delete(w.alive, o.Entries[0])
		}
	}
}

func (w *way) add(s station) { w.Steps = append(w.Steps, s) }

// replays finds who has said again what this change says.
func (w *way) replays(ctx context.Context, s *stream.Stream) error {
	o := stream.ReadOptions{Home: w.Change.Home, FromSeq: w.Sequence + 1, Wanted: func(m stream.Stored) bool {
		first, ok := events.ReplayOf(m.Change)
		return m.DecodeErr == nil && ok && first <= w.Sequence && saysAll(m.Change.Tags, w.Change.Tags)
	}}
	return s.Read(ctx, o, func(m stream.Stored) error {
		w.add(station{Step: "replayed", At: m.Time, Text: fmt.Sprintf("sequence %d says it again", m.Sequence)})
		return nil
	})
}

func saysAll(tags, all []events.Tag) bool {
	return !slices.ContainsFunc(all, func(t events.Tag) bool { return !slices.Contains(tags, t) })
}

// doubt says why the journal does not tell what became of it.
func (w *way) doubt(info stream.Info) {
	switch {
	case w.told:
	case info.Settled < w.Sequence:
		w.Notes = append(w.Notes, fmt.Sprintf("it is not known to be applied: all up to sequence %d are", info.Settled))
	case info.Outcomes == 0:
		w.Notes = append(w.Notes, "it is settled; the journal is empty, so what became of it is not known")
	case info.OutcomesFrom.After(w.Time):
		w.Notes = append(w.Notes, fmt.Sprintf("it is settled; the journal goes back to %s alone, so what became of it "+
			"is not known any more", moment3(info.OutcomesFrom)))
	case !slices.ContainsFunc(w.Steps, func(s station) bool { return s.Step == string(events.Dead) }):
		w.Notes = append(w.Notes, "it is settled; the journal does not say how: an outcome may be lost "+
			"(rescind_journal_dropped_total)")
	}
}

// order sorts the steps and measures between them.
func (w *way) order() {
	slices.SortStableFunc(w.Steps, func(a, b station) int { return a.At.Compare(b.At) })
	for i := range w.Steps {
		s := &w.Steps[i]
		s.At, s.SinceMS = s.At.UTC(), inMS(s.At.Sub(w.Change.Received))
		if i > 0 {
			s.AfterMS = inMS(s.At.Sub(w.Steps[i-1].At))
		}
	}
}

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *way) object() map[string]any {
	return map[string]any{"change": storedLine(w.Stored), "steps": w.Steps, "notes": w.Notes}
}

const (
	wayFormat = "%-24s  %12s  %12s  %-11s  %s\n"
	sameSteps = 5 // of one kind in a row, if it is not wide
)

func (w *way) print(out io.Writer, wide bool) error {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "%-9s  %s\n", name, value) }
	if w.DecodeErr != nil {
		row("sequence", fmt.Sprint(w.Sequence))
		row("published", moment3(w.Time))
		row("error", "unreadable: "+quoted(w.DecodeErr.Error()))
		_, err := io.WriteString(out, b.String())
		return err
	}
	c := w.Change
	row("change", quoted(c.ID))
	row("tenant", quoted(c.Home.String()))
	row("source", quoted(string(c.Source)))
	row("tags", tagWords(c.Tags, len(c.Tags), wide))
	row("reasons", cmp.Or(quoted(strings.Join(c.Reasons, ", ")), "-"))
	fmt.Fprintf(&b, "\n"+wayFormat, "AT", "AFTER", "SINCE", "STEP", "WHAT")
	same := 0
	for i, s := range w.Steps {
		if same++; i == 0 || w.Steps[i-1].Step != s.Step {
			same = 1
		}
		last := i+1 == len(w.Steps) || w.Steps[i+1].Step != s.Step
		switch {
		case wide || same <= sameSteps:
			fmt.Fprintf(&b, wayFormat, moment3(s.At), lapse(s.AfterMS), lapse(s.SinceMS), s.Step, s.Text)
		case last:
			fmt.Fprintf(&b, wayFormat, moment3(s.At), lapse(s.AfterMS), lapse(s.SinceMS), s.Step,
				fmt.Sprintf("the last of %d more (--wide)", same-sameSteps))
		}
	}
	for _, n := range w.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// lapse is milliseconds for people.
func lapse(ms float64) string {
	if ms >= 10_000 || ms <= -10_000 {
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.1f ms", ms)
}
