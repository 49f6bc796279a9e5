package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

type subscriptionsWatchCmd struct {
	which
	JSON bool `name:"json" help:"Print one JSON object a line: how a tenant stands, and what has changed."`
	natsFlags

	Every time.Duration `default:"1s" help:"How often to look (${default})."`
}

// Help is what --help adds.
func (subscriptionsWatchCmd) Help() string {
	return `It begins with a line for each tenant. No listener needs to run, no provider is called.

Examples:
  rescind subscriptions watch --config rescind.yml
  rescind subscriptions watch ringcentral 37439510 --json`
}

// Run looks until ctx ends. What is read again and again also shows what no listener
// writes: that a feed was not shown to live for too long.
func (c subscriptionsWatchCmd) Run(ctx context.Context, t terminal) error {
	if c.Every < 100*time.Millisecond {
		return errors.New("--every: must be 100ms or more")
	}
	s, shut, err := c.look(ctx)
	if err != nil {
		return err
	}
	defer shut()
	w := watcher{c, t, map[events.Home]service.Subscribed{}}
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for trouble := false; ; {
		rows, err := s.List(ctx, events.Provider(c.Provider), events.Tenant(c.Tenant))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !trouble:
			fmt.Fprintf(t.err, "rescind: %s; tried again\n", err)
		case err == nil:
			if err := w.see(rows, time.Now()); err != nil {
				return err
			}
		}
		trouble = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// watcher knows how things stood before.
type watcher struct {
	subscriptionsWatchCmd
	terminal
	known map[events.Home]service.Subscribed
}

// changed is a line for programs.
type changed struct {
	At      time.Time `json:"at"`
	Changes []string  `json:"changes"`
	service.Subscribed
}

// see prints what has changed since the last time.
func (w watcher) see(rows []service.Subscribed, now time.Time) error {
	there := map[events.Home]bool{}
	for _, r := range rows {
		there[r.Home] = true
		was, seen := w.known[r.Home]
		w.known[r.Home] = r
		if err := w.tell(changed{now.UTC(), changes(was, r, seen), r}); err != nil {
			return err
		}
	}
	for h, was := range w.known {
		if there[h] {
			continue
		}
		delete(w.known, h)
		if err := w.tell(changed{now.UTC(), []string{"nothing is noted of it any more"}, was}); err != nil {
			return err
		}
	}
	return nil
}

func (w watcher) tell(c changed) error {
	if len(c.Changes) == 0 {
		return nil
	}
	if w.JSON {
		return json.NewEncoder(w.out).Encode(c)
	}
	for _, text := range c.Changes {
		if _, err := fmt.Fprintf(w.out, "%s  %s %s  %-8s  %s\n", moment(c.At), quoted(string(c.Provider)),
			quoted(string(c.Tenant)), c.State, quoted(text)); err != nil {
			return err
		}
	}
	return nil
}

// changes says what is different, and nothing of what only got older.
func changes(was, is service.Subscribed, seen bool) (lines []string) {
	switch {
	case !seen:
		return []string{summary(is)}
	case was.State != is.State && is.Problem != "":
		lines = append(lines, fmt.Sprintf("it was %s; %s", was.State, is.Problem))
	case was.State != is.State:
		lines = append(lines, fmt.Sprintf("it was %s", was.State))
	case was.Problem != is.Problem:
		lines = append(lines, "problem: "+dashed(is.Problem))
	}
	before := map[string]service.Registration{}
	for _, r := range was.Registrations {
		before[r.ID] = r
	}
	for _, r := range is.Registrations {
		old, had := before[r.ID]
		delete(before, r.ID)
		lines = append(lines, registrationChanges(old, r, had)...)
	}
	for _, r := range was.Registrations {
		if _, gone := before[r.ID]; gone {
			lines = append(lines, fmt.Sprintf("subscription %s for %s is gone", r.ID, r.For))
		}
	}
	if is.Delivered.After(was.Delivered) {
		lines = append(lines, "delivered at "+moment(is.Delivered))
	}
	for _, g := range is.Gaps {
		if n := len(was.Gaps); n == 0 || g.To.After(was.Gaps[n-1].To) {
			lines = append(lines, "gap "+gapText(g))
		}
	}
	return lines
}

func summary(s service.Subscribed) string {
	text := fmt.Sprintf("%d subscriptions", len(s.Registrations))
	if len(s.Registrations) == 1 {
		text = "1 subscription"
	}
	if s.Problem != "" {
		text += "; " + s.Problem
	}
	return text
}

func registrationChanges(was, is service.Registration, had bool) (lines []string) {
	name := fmt.Sprintf("subscription %s for %s ", is.ID, is.For)
	switch {
	case !had:
		return []string{name + "is new" + ending(is)}
	case is.Renewed.After(was.Renewed):
		lines = append(lines, name+"was renewed"+ending(is))
	}
	if was.Leaving.IsZero() && !is.Leaving.IsZero() {
		lines = append(lines, name+"is replaced, and goes soon")
	}
	switch {
	case was.Serves && !is.Serves:
		lines = append(lines, name+"does not serve: "+is.Trouble())
	case !was.Serves && is.Serves:
		lines = append(lines, name+"serves again")
	}
	return lines
}

func ending(r service.Registration) string {
	if r.Expires.IsZero() {
		return ""
	}
	return ", and ends " + moment(r.Expires)
}

// gapText is a gap with its bounds, its cause, and what was done about it.
func gapText(g subscriptions.Gap) string {
	return fmt.Sprintf("%s to %s (%s): %s; %s", moment(g.From), moment(g.To),
		short(g.To.Sub(g.From)), quoted(g.Cause), quoted(string(g.Mended)))
}
