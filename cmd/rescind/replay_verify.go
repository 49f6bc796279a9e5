package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type replayVerifyCmd struct {
	replaySelection
	Rate float64 `default:"5" help:"At most so many entries a second (${default})."`
	JSON bool    `name:"json" help:"Print one JSON object a line: each difference, and the result."`
	optionalWorker
	natsFlags
}

// Help is what --help adds.
func (replayVerifyCmd) Help() string {
	return `What is alive of what the changes name is compared with what its provider says now, each entry once. Nothing is
dropped, stored or published. The calls have the lowest place in the budget. --worker or $RESCIND_ASK_URL
must say where a worker answers.

Exit status 0 all is the same, 1 a difference, an entry whose provider could not be asked, or an error;
130 interrupted: the command that goes on is printed.

Examples:
  rescind replay verify --since 2h --config rescind.yml --worker http://127.0.0.1:8081
  rescind replay verify --from-seq 1 --provider ringcentral --rate 1 --json --worker http://127.0.0.1:8081`
}

// Validate refuses what cannot be meant.
func (c *replayVerifyCmd) Validate() error {
	if err := c.check(); err != nil {
		return err
	}
	if !(c.Rate > 0 && c.Rate <= 1000) {
		return errors.New("--rate: must be more than 0, and at most 1000")
	}
	if c.Worker == "" {
		return errors.New("--worker must say where a worker answers")
	}
	return nil
}

// verifying is a verification under way.
type verifying struct {
	cmd     *replayVerifyCmd
	t       terminal
	meter   *meter
	next    time.Time // when the next entry may be asked for
	from    uint64    // where to go on: all before it was compared
	tags    seenBefore[homeTag]
	entries seenBefore[events.Ref]

	Changes   int `json:"changes"`
	Entries   int `json:"entries"`
	Same      int `json:"same"`
	Different int `json:"different"`
	Gone      int `json:"gone"`    // not cached any more
	Changed   int `json:"changed"` // while it was compared
	Unread    int `json:"unread"`  // the provider could not be asked
	Unnamed   int `json:"unnamed"` // alive, but more than the worker names
}

// Run compares.
func (c *replayVerifyCmd) Run(ctx context.Context, t terminal) error {
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
	v := &verifying{cmd: c, t: t, meter: newMeter(t.err, "entries", sel.FromSeq, sel.ToSeq), from: sel.FromSeq}
	err = s.Pick(ctx, sel, pickedAtOnce, func(ms []stream.Stored, next uint64) error {
		if err := v.compare(ctx, ms, next); err != nil {
			return err
		}
		v.from = next
		return nil
	})
	v.meter.clear()
	if perr := v.print(); perr != nil {
		return perr
	}
	if err != nil {
		fmt.Fprintf(t.err, "to go on:\n  %s\n", c.goOn(v.from, sel.ToSeq))
	}
	switch {
	case ctx.Err() != nil:
		return unwell{exitInterrupted}
	case err != nil:
		return err
	case v.Different+v.Unread+v.Unnamed > 0:
		return unwell{1}
	}
	return nil
}

func (c *replayVerifyCmd) goOn(from, to uint64) string {
	w := append([]string{"rescind", "replay", "verify"}, c.replaySelection.words(from, to)...)
	w = append(w, "--rate", strconv.FormatFloat(c.Rate, 'g', -1, 64))
	w = append(w, c.optionalWorker.words()...)
	return shellLine(append(w, c.natsFlags.words()...)...)
}

// compare looks at all that some changes name and that was not looked at before.
func (v *verifying) compare(ctx context.Context, ms []stream.Stored, next uint64) error {
	fresh := map[events.Home][]events.Tag{}
	for _, m := range ms {
		v.Changes++
		for _, tag := range m.Change.Tags {
			if v.tags.first(homeTag{m.Change.Home, tag}) {
				fresh[m.Change.Home] = append(fresh[m.Change.Home], tag)
			}
		}
	}
	for h, tags := range fresh {
		for some := range slices.Chunk(tags, askedTags) {
			if err := v.under(ctx, h, some, next); err != nil {
				return err
			}
		}
	}
	v.meter.tell(next, uint64(v.Entries), time.Now())
	return nil
}

// under compares what is alive under some tags. Where that is more than the worker
// names it asks for half the tags at a time.
func (v *verifying) under(ctx context.Context, h events.Home, tags []events.Tag, next uint64) error {
	r, err := v.cmd.flags().reach(ctx, h, tags)
	if err != nil {
		return err
	}
	if r.More && len(tags) > 1 {
		half := len(tags) / 2
		if err := v.under(ctx, h, tags[:half], next); err != nil {
			return err
		}
		return v.under(ctx, h, tags[half:], next)
	}
	if r.More {
		v.Unnamed += max(1, r.Alive-len(r.Entries))
	}
	for _, e := range r.Entries {
		ref := events.Ref{Home: h, Subject: e.Subject, Resource: e.Resource}
		if !v.entries.first(ref) {
			continue
		}
		if !pause(ctx, time.Until(v.next)) {
			return ctx.Err()
		}
		v.next = time.Now().Add(time.Duration(float64(time.Second) / v.cmd.Rate))
		if err := v.entry(ctx, ref); err != nil {
			return err
		}
		v.meter.tell(v.from, uint64(v.Entries), time.Now())
	}
	return nil
}

// pause waits and says whether ctx is still going.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// entry compares one.
func (v *verifying) entry(ctx context.Context, ref events.Ref) error {
	bound, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	var found verified
	ask := verification{ref.Provider, ref.Tenant, ref.Subject, ref.Resource, "verify"}
	if err := v.cmd.flags().post(bound, verifyPath, ask, &found); err != nil {
		return err
	}
	v.Entries++
	switch {
	case found.Provider == nil:
		v.Unread++
		return v.tell(ref, "the provider could not be asked: "+quoted(found.Error), nil)
	case found.Changed:
		v.Changed++
	case found.Cached == nil:
		v.Gone++
	case len(found.Differences) > 0:
		v.Different++
		for _, d := range found.Differences {
			text := fmt.Sprintf("%s: cached %s, provider %s", quoted(d.Grant), orDash(d.Cached), orDash(d.Provider))
			if err := v.tell(ref, text, &d); err != nil {
				return err
			}
		}
	default:
		v.Same++
	}
	return nil
}

// tell prints what is wrong with an entry.
func (v *verifying) tell(ref events.Ref, text string, d *difference) error {
	v.meter.clear()
	if !v.cmd.JSON {
		_, err := fmt.Fprintf(v.t.out, "%s: %s\n", quoted(ref.String()), text)
		return err
	}
	o := map[string]any{"provider": ref.Provider, "tenant": ref.Tenant, "subject": ref.Subject, "resource": ref.Resource}
	if d == nil {
		o["error"] = text
	} else {
		o["difference"] = d
	}
	return json.NewEncoder(v.t.out).Encode(o)
}

func (v *verifying) print() error {
	if v.cmd.JSON {
		return json.NewEncoder(v.t.out).Encode(v)
	}
	text := fmt.Sprintf("%d changes: %d entries compared, %d the same, %d different, %d gone meanwhile, "+
		"%d changed meanwhile, %d could not be asked for", v.Changes, v.Entries, v.Same, v.Different, v.Gone, v.Changed, v.Unread)
	if v.Unnamed > 0 {
		text += fmt.Sprintf("; %d more are alive and were not compared", v.Unnamed)
	}
	_, err := fmt.Fprintln(v.t.out, text)
	return err
}
