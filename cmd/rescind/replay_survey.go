package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// Bounds of what is held in memory while changes are looked at.
const (
	pickedAtOnce = 1000    // changes
	askedTags    = 1000    // in one question of what is alive
	remembered   = 200_000 // tags, and entries
)

const reachPath = "/v1/reach"

// standing is an entry that is alive.
type standing struct {
	Subject  events.Subject  `json:"subject"`
	Resource events.Resource `json:"resource"`
}

// reached is what the worker says is alive.
type reached struct {
	Entries []standing `json:"entries"`
	More    bool       `json:"more"`
	Alive   int        `json:"alive"`
	Calls   int        `json:"calls"`
	Takes   float64    `json:"takes_s"`
}

func (f workerFlags) reach(ctx context.Context, h events.Home, tags []events.Tag) (r reached, err error) {
	ctx, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	words := make([]string, len(tags))
	for i, t := range tags {
		words[i] = t.String()
	}
	err = f.post(ctx, reachPath, map[string]any{"provider": h.Provider, "tenant": h.Tenant, "tags": words}, &r)
	return r, err
}

// homeTag is a tag of one tenant.
type homeTag struct {
	events.Home
	events.Tag
}

// seenBefore remembers what was seen, up to a bound, and then begins anew.
type seenBefore[T comparable] struct {
	all  map[T]bool
	over bool // some were forgotten
}

// first says whether it is seen for the first time, as far as is remembered.
func (s *seenBefore[T]) first(v T) bool {
	if s.all[v] {
		return false
	}
	if s.all == nil || len(s.all) >= remembered {
		s.over, s.all = s.all != nil, map[T]bool{}
	}
	s.all[v] = true
	return true
}

// survey is what a replay would touch.
type survey struct {
	Changes    int    `json:"changes"`
	Unreadable int    `json:"unreadable"`
	Tenants    int    `json:"tenants"`
	Tags       int    `json:"tags"`
	More       bool   `json:"more_tags,omitempty"` // tags and what depends on them are counted more than once
	FromSeq    uint64 `json:"from_seq"`
	ToSeq      uint64 `json:"to_seq"`

	First, Last time.Time `json:"-"`

	Alive *int `json:"alive,omitempty"`
	// Calls it takes to read them again, and how many seconds the usual limits need
	// for them, by provider.
	Calls map[string]int     `json:"calls,omitempty"`
	Takes map[string]float64 `json:"takes_s,omitempty"`

	homes   map[events.Home]bool
	tags    seenBefore[homeTag]
	entries seenBefore[events.Ref]
}

func (c *replayRepairCmd) survey(ctx context.Context, t terminal, s *stream.Stream, sel stream.Selection) error {
	v := &survey{FromSeq: sel.FromSeq, ToSeq: sel.ToSeq, homes: map[events.Home]bool{}}
	if c.Worker != "" {
		v.Alive, v.Calls, v.Takes = new(int), map[string]int{}, map[string]float64{}
	}
	m := newMeter(t.err, "changes looked at", sel.FromSeq, sel.ToSeq)
	err := s.Pick(ctx, sel, pickedAtOnce, func(ms []stream.Stored, next uint64) error {
		fresh := v.take(ms)
		m.tell(next, uint64(v.Changes), time.Now())
		if v.Alive == nil {
			return nil
		}
		return v.reach(ctx, c.flags(), fresh)
	})
	m.clear()
	if ctx.Err() != nil {
		fmt.Fprintln(t.err, "interrupted: nothing was done")
		return unwell{exitInterrupted}
	}
	if err != nil {
		return err
	}
	v.Tenants = len(v.homes)
	if c.JSON {
		return json.NewEncoder(t.out).Encode(v)
	}
	for _, r := range v.rows(c.Rate) {
		if _, err := fmt.Fprintf(t.out, "%-12s %s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// take counts some changes and returns the tags that are new, by tenant.
func (v *survey) take(ms []stream.Stored) map[events.Home][]events.Tag {
	fresh := map[events.Home][]events.Tag{}
	for _, m := range ms {
		if v.First.IsZero() {
			v.First = m.Time
		}
		v.Last = m.Time
		if m.DecodeErr != nil {
			v.Unreadable++
			continue
		}
		v.Changes++
		v.homes[m.Change.Home] = true
		for _, tag := range m.Change.Tags {
			if v.tags.first(homeTag{m.Change.Home, tag}) {
				v.Tags++
				fresh[m.Change.Home] = append(fresh[m.Change.Home], tag)
			}
		}
	}
	v.More = v.tags.over
	return fresh
}

// reach asks what is alive under some tags.
func (v *survey) reach(ctx context.Context, f workerFlags, fresh map[events.Home][]events.Tag) error {
	for h, tags := range fresh {
		for some := range slices.Chunk(tags, askedTags) {
			r, err := f.reach(ctx, h, some)
			if err != nil {
				return err
			}
			alive := r.Alive - len(r.Entries) // those that are not named
			for _, e := range r.Entries {
				if v.entries.first(events.Ref{Home: h, Subject: e.Subject, Resource: e.Resource}) {
					alive++
				}
			}
			*v.Alive += alive
			v.Calls[string(h.Provider)] += r.Calls * alive / max(r.Alive, 1)
			v.Takes[string(h.Provider)] += r.Takes * float64(alive) / float64(max(r.Alive, 1))
		}
	}
	return nil
}

func (v *survey) rows(rate int) [][2]string {
	about := ""
	if v.More {
		about = " at most"
	}
	rows := [][2]string{
		{"changes", fmt.Sprintf("%d, sequences %d to %d, %s to %s", v.Changes, v.FromSeq, v.ToSeq,
			second(v.First), second(v.Last))},
		{"tenants", fmt.Sprint(v.Tenants)},
		{"tags", fmt.Sprintf("%d%s", v.Tags, about)},
	}
	if v.Unreadable > 0 {
		rows = append(rows, [2]string{"unreadable", fmt.Sprintf("%d, which are passed over", v.Unreadable)})
	}
	if rate > 0 {
		took := time.Duration(float64(v.Changes) / float64(rate) * float64(time.Second))
		rows = append(rows, [2]string{"takes", fmt.Sprintf("%s at %d changes a second", took.Round(time.Second), rate)})
	}
	if v.Alive == nil {
		rows = append(rows, [2]string{"alive", "not asked: give --worker"})
	} else {
		rows = append(rows, [2]string{"alive", fmt.Sprintf("%d entries%s", *v.Alive, about)},
			[2]string{"calls", v.calls()})
	}
	return append(rows, [2]string{"", "nothing was done: give --yes"})
}

// calls is what it takes to read again all that is alive.
func (v *survey) calls() string {
	words := []string{}
	for _, p := range slices.Sorted(maps.Keys(v.Calls)) {
		words = append(words, fmt.Sprintf("%s %d at most, for which its usual limits need %s", quoted(p), v.Calls[p],
			time.Duration(v.Takes[p]*float64(time.Second)).Round(time.Second)))
	}
	if len(words) == 0 {
		words = []string{"none"}
	}
	return strings.Join(words, "; ") + "; after all that has changed meanwhile"
}
