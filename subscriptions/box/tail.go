package box

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	streaming = "admin_logs_streaming"
	logs      = "admin_logs"

	// maxPages of pageSize events are read in a poll. The API allows 500 a page; of
	// half as many a page stays well below what one reply may weigh. No page but the
	// first is waited for once drainFor is over, so that time is left to store what
	// was read.
	maxPages = 10
	pageSize = 250
	drainFor = 20 * time.Second

	// unreadable stands for the type of an event that is not of the vendor's form.
	unreadable = "unreadable event"

	// kept is how long the stream keeps events, a day less: the vendor's is two
	// weeks (guides/events/parameters/stream-types).
	kept = 13 * 24 * time.Hour
	// streamLag and logLag are how long the two hold events back (box/box-node-sdk
	// docs/events.md), the latter doubled since it is told to miss late ones.
	streamLag = 12 * time.Second
	logLag    = 2 * time.Minute
	// missedAtMost is how long the logs go back.
	missedAtMost = 365 * 24 * time.Hour

	cursorVersion = 1
)

// cursor is where a poll left off.
type cursor struct {
	Version int `json:"v"`
	// Position in the stream, above 2^53 as a rule. Only a page with events moves it.
	Position string `json:"position"`
	// At is when the stream was last asked, to the hour.
	At time.Time `json:"at"`
	// Missed is what is still to be read in the logs.
	Missed *missed `json:"missed,omitempty"`
}

// missed is a time that the stream does not keep any more.
type missed struct {
	After    time.Time `json:"after"`
	Began    time.Time `json:"began"` // when we found out; from then on the stream tells
	Position string    `json:"position,omitempty"`
}

// happened is an event of the enterprise. What stands in it may have any shape.
// One that cannot be read has the type unreadable, and so is for everyone.
type happened struct {
	ID           id              `json:"event_id"`
	Type         string          `json:"event_type"`
	CreatedAt    string          `json:"created_at"`
	Source       json.RawMessage `json:"source"`
	AccessibleBy json.RawMessage `json:"accessible_by"`
	Details      json.RawMessage `json:"additional_details"`
}

// UnmarshalJSON never fails: one odd event must not keep the others from being read.
func (e *happened) UnmarshalJSON(b []byte) error {
	type plain happened
	var read plain
	if json.Unmarshal(b, &read) != nil || read.Type == "" {
		read = plain{Type: unreadable, Source: bytes.Clone(b)}
	}
	*e = happened(read)
	return nil
}

// Interval is the setting event_poll.
func (p *Provider) Interval() time.Duration { return p.cfg.EventPoll }

// Delay is an interval with its tenth, what the stream holds back, and a call.
func (p *Provider) Delay() time.Duration {
	return p.cfg.EventPoll*11/10 + streamLag + client.Timeout
}

// Poll reads the enterprise's events, up to 2,500 of them and for about 20 s; what is
// left comes with the next poll. Those of a page are one change; an event that Box
// sends twice counts once. A page that does not say where to go on is an error. A
// cursor that is older than what the stream keeps, or unreadable, drops the tenant
// and goes on from now; for the former the logs then name what was missed, and if
// they fail, what the stream told is enough for now.
func (p *Provider) Poll(ctx context.Context, old []byte) ([]events.Change, []byte, error) {
	c, known := readCursor(old)
	late := time.Since(c.At) > kept
	if !known || late {
		return p.begin(ctx, c, known, old)
	}
	pages, err := p.drain(ctx, url.Values{"stream_type": {streaming}}, &c.Position)
	if err != nil {
		return nil, nil, fmt.Errorf("poll events: %w", err)
	}
	c.At = time.Now().UTC().Truncate(time.Hour)
	if c.Missed != nil {
		found, err := p.catchUp(ctx, &c)
		if err != nil && (len(pages) == 0 || ctx.Err() != nil) {
			return nil, nil, fmt.Errorf("poll events that were missed: %w", err)
		}
		if err != nil {
			p.client.Log().Warn("events that were missed cannot be read, tried again", slog.Any("error", err))
		}
		pages = append(pages, found...)
	}
	next, err := json.Marshal(c)
	return p.changes(pages), next, err
}

// begin takes the stream's end as the place to go on from.
func (p *Provider) begin(ctx context.Context, was cursor, known bool, old []byte) (
	[]events.Change, []byte, error,
) {
	page, err := p.events(ctx, url.Values{"stream_type": {streaming}, "stream_position": {"now"}})
	if err == nil && !moves(page.Next, "") {
		err = fmt.Errorf("box %s: %w: no position", opEvents.Name, client.ErrMalformed)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("poll events: %w", err)
	}
	now := time.Now().UTC()
	c := cursor{Version: cursorVersion, Position: string(page.Next), At: now.Truncate(time.Hour)}
	reason := "cursor of the events is unreadable"
	if known {
		reason = "events were not asked for longer than they are kept"
		c.Missed = &missed{After: latest(was.At.Add(-time.Hour), now.Add(-missedAtMost)), Began: now}
	}
	next, err := json.Marshal(c)
	if len(old) == 0 || err != nil {
		return nil, next, err
	}
	return []events.Change{{
		// With the position, since a second beginning elsewhere is another.
		ID:   p.changeID("", append([]byte("began "+c.Position+" "), old...)),
		Home: p.home, Tags: []events.Tag{events.TenantTag},
		Source: events.Tail, Reasons: []string{reason}, Received: now,
	}}, next, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// catchUp reads on in the logs. They are through once a page has none and all that
// happened before the stream was taken up must have arrived.
func (p *Provider) catchUp(ctx context.Context, c *cursor) ([][]happened, error) {
	query := url.Values{"stream_type": {logs}, "created_after": {c.Missed.After.UTC().Format(time.RFC3339)}}
	before := c.Missed.Position
	pages, err := p.drain(ctx, query, &c.Missed.Position)
	if err != nil {
		return nil, err
	}
	if c.Missed.Position == before && time.Since(c.Missed.Began) > logLag {
		c.Missed = nil
	}
	return pages, nil
}

type eventsPage struct {
	Entries []happened `json:"entries"`
	Next    id         `json:"next_stream_position"`
}

// drain reads from a position until there is no more, or it took long enough, and
// moves it. If a page fails, those before it are enough for now.
func (p *Provider) drain(ctx context.Context, query url.Values, position *string) ([][]happened, error) {
	var pages [][]happened
	within, cancel := context.WithTimeout(ctx, drainFor)
	defer cancel()
	for call := ctx; len(pages) < maxPages && within.Err() == nil; call = within {
		if *position != "" {
			query.Set("stream_position", *position)
		}
		page, err := p.events(call, query)
		if err == nil && len(page.Entries) > 0 && !moves(page.Next, *position) {
			err = fmt.Errorf("box %s: %w: events, and no position to go on from", opEvents.Name,
				client.ErrMalformed)
		}
		if err != nil && (len(pages) == 0 || ctx.Err() != nil) {
			return nil, err
		}
		if err != nil || len(page.Entries) == 0 {
			return pages, nil
		}
		pages = append(pages, page.Entries)
		*position = string(page.Next)
	}
	return pages, ctx.Err()
}

// moves is false for what would stay, or begin all over: Box is known to answer 0.
func moves(next id, position string) bool {
	return next != "" && next != "0" && string(next) != position && len(next) <= events.MaxID
}

func (p *Provider) events(ctx context.Context, query url.Values) (eventsPage, error) {
	query.Set("limit", strconv.Itoa(pageSize))
	var page eventsPage
	r := client.Request{Op: opEvents, Path: "/events", Query: query}
	if err := p.client.Call(ctx, p.registering(), r, &page); err != nil {
		return page, denied(err, "the service account must be allowed the enterprise's events, by the scope "+
			"manage_enterprise_properties")
	}
	if page.Entries == nil {
		return page, fmt.Errorf("box %s: %w: no entries", opEvents.Name, client.ErrMalformed)
	}
	return page, nil
}

// changes is one for each page with events that concern somebody.
func (p *Provider) changes(pages [][]happened) (out []events.Change) {
	seen := map[string]bool{}
	now := time.Now()
	for _, page := range pages {
		var told []events.Change
		for _, e := range page {
			c, ok := p.change(e, now)
			if ok && !seen[c.ID] {
				seen[c.ID] = true
				told = append(told, c)
			}
		}
		if len(told) > 0 {
			out = append(out, p.merge(told))
		}
	}
	return out
}

// merge makes one change of several. It is named by all of them, and happened when
// the first did. What is more than a change may carry is the tenant.
func (p *Provider) merge(told []events.Change) events.Change {
	c := told[0]
	if len(told) == 1 {
		return c
	}
	var ids []string
	c.Tags, c.Reasons = nil, nil
	for _, one := range told {
		ids = append(ids, one.ID)
		c.Tags, c.Reasons = append(c.Tags, one.Tags...), append(c.Reasons, one.Reasons...)
		if at := one.Occurred; !at.IsZero() && (c.Occurred.IsZero() || at.Before(c.Occurred)) {
			c.Occurred = at
		}
	}
	c.ID = p.changeID("", []byte(strings.Join(ids, " ")))
	c.Tags, c.Reasons = distinct(c.Tags), distinct(c.Reasons)
	if len(c.Tags) > events.MaxTags || slices.Contains(c.Tags, events.TenantTag) {
		c.Tags = []events.Tag{events.TenantTag}
	}
	return c
}

func (p *Provider) change(e happened, now time.Time) (events.Change, bool) {
	h := happening{source: loose(e.Source), details: loose(e.Details)}
	if by := loose(e.AccessibleBy); by != (thing{}) {
		h.accessibleBy = &by
	}
	tags := h.tags(eventReach(e.Type))
	told := slices.Concat([]byte(e.Type+" "+e.CreatedAt+" "), e.Source, e.AccessibleBy, e.Details)
	return events.Change{
		ID: p.changeID(string(e.ID), told), Home: p.home, Tags: tags, Source: events.Tail,
		Reasons: []string{client.Clip(e.Type)}, Received: now, Occurred: parseTime(e.CreatedAt),
	}, len(tags) > 0
}

// readCursor says whether it is one that we can go on from.
func readCursor(b []byte) (c cursor, known bool) {
	if json.Unmarshal(b, &c) != nil || c.Version != cursorVersion || !moves(id(c.Position), "") {
		return cursor{}, false
	}
	if y := c.At.Year(); y < 2000 || y > 9999 {
		return cursor{}, false
	}
	return c, true
}
