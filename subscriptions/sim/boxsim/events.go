package boxsim

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// firstCursor is above 2^53, where a float64 has lost the odd numbers.
const firstCursor = 1<<54 + 3

const (
	streamingKept = 14 * 24 * time.Hour
	logsKept      = 365 * 24 * time.Hour
)

// logged is an event and when it is or was shown.
type logged struct {
	cursor         int64
	created, shown time.Time
	event          obj
}

// stream is what the enterprise did. Both stream types read it.
type stream struct {
	next    int64 // cursor
	log     []logged
	pending []logged // not shown yet, in the order in which they will be
	held    *logged  // by a fault
}

func (x *stream) add(e logged) {
	at, _ := slices.BinarySearchFunc(x.pending, e, func(a, b logged) int {
		if a.shown.After(b.shown) {
			return 1
		}
		return -1
	})
	x.pending = slices.Insert(x.pending, at, e)
}

// release gives free what a fault held.
func (x *stream) release(now time.Time) {
	if x.held != nil {
		x.held.shown = now
		x.add(*x.held)
		x.held = nil
	}
}

// publish shows what is due.
func (x *stream) publish(now time.Time) {
	for len(x.pending) > 0 && !x.pending[0].shown.After(now) {
		e := x.pending[0]
		x.pending = x.pending[1:]
		e.cursor = x.next
		x.next++
		x.log = append(x.log, e)
	}
}

// record makes an event and puts it into the stream. The world is locked.
func (s *Box) record(kind, by string, source any, details obj) {
	s.put(s.event(kind, by, source, details))
}

// event has the shape that captures show, with more fields than the vendor's description.
func (s *Box) event(kind, by string, source any, details obj) obj {
	now := stamp(time.Now())
	e := obj{"type": "event", "event_id": uuid.NewString(), "event_type": kind, "created_at": now,
		"recorded_at": now, "created_by": s.world.userMini(by), "action_by": nil, "session_id": nil,
		"ip_address": "203.0.113.9", "source": source, "additional_details": nil}
	if details != nil {
		e["additional_details"] = details
	}
	return e
}

// put lets the faults in force have the event, or sends it on its way.
func (s *Box) put(event obj) {
	t := s.trouble(Events)
	if t.drop {
		return
	}
	now := time.Now()
	e := logged{created: now, shown: now.Add(s.scale(s.opts.EventLag) + t.delay), event: event}
	if t.reorder && s.events.held == nil {
		s.events.held = &e
		return
	}
	s.events.add(e)
	if t.duplicate {
		s.events.add(e)
	}
	s.events.publish(now)
	s.events.release(e.shown)
	s.events.publish(now)
}

// Event is an event of the enterprise stream for [Box.EmitEvent].
type Event struct {
	Type    string         // event_type; any text
	By      string         // user id of the actor; empty: null
	Source  map[string]any // nil: null
	Details map[string]any // additional_details; nil: null
}

// EmitEvent puts an event into the enterprise stream without changing anything.
func (s *Box) EmitEvent(e Event) {
	defer s.lock()()
	var source any
	if e.Source != nil {
		source = maps.Clone(e.Source)
	}
	s.record(e.Type, e.By, source, maps.Clone(e.Details))
}

// readEvents serves both enterprise streams; those of users are empty.
func (c *call) readEvents() (any, error) {
	limit, err := c.limit(bounds{100, 500})
	if err != nil {
		return nil, err
	}
	at, latest, err := c.cursor()
	if err != nil {
		return nil, err
	}
	x := &c.s.events
	switch kind := c.query.Get("stream_type"); kind {
	case "", "all", "changes", "sync":
		return c.chunk(nil, x.next), nil
	case "admin_logs", "admin_logs_streaming":
		if !c.allowed(needEvents) {
			return nil, errScope()
		}
		if !c.me.senior() {
			return nil, errDenied()
		}
		if latest {
			return c.chunk(nil, x.next), nil
		}
		if kind == "admin_logs" {
			return c.chronicle(at, limit)
		}
		return c.streaming(at, limit), nil
	}
	return nil, errParameter("stream_type", "Invalid value")
}

// cursor reads stream_position.
func (c *call) cursor() (at int64, latest bool, err error) {
	text := c.query.Get("stream_position")
	switch text {
	case "", "0", "null":
		return 0, false, nil
	case "now":
		return 0, true, nil
	}
	at, err = strconv.ParseInt(text, 10, 64)
	if err != nil || at < 0 {
		return 0, false, errParameter("stream_position", "Invalid value '"+text+"'")
	}
	return at, false, nil
}

// chunk is a page. The cursor is a number and a string in turn.
func (c *call) chunk(page []logged, next int64) any {
	entries := make([]any, 0, len(page))
	for _, e := range page {
		entries = append(entries, e.event)
	}
	answer := obj{"chunk_size": len(entries), "next_stream_position": next, "entries": entries}
	if c.s.answers++; c.s.answers%2 == 0 {
		answer["next_stream_position"] = strconv.FormatInt(next, 10)
	}
	return answer
}

// wanted tells whether an event is young enough and passes the filter.
func (c *call) wanted(e logged, kept time.Duration) bool {
	filter := c.query.Get("event_type")
	kind, _ := e.event["event_type"].(string)
	return time.Since(e.created) < c.s.scale(kept) &&
		(filter == "" || slices.Contains(strings.Split(filter, ","), kind))
}

// after is the log from a cursor on.
func (x *stream) after(at int64) []logged {
	return x.log[min(max(at-firstCursor, 0), int64(len(x.log))):]
}

// streaming is a page of admin_logs_streaming: without order, often short, beginning with an event that the
// page before had. An empty page answers the cursor 0 every other time.
func (c *call) streaming(at int64, limit int) any {
	tidy, x, next := c.quirks.TidyEvents, &c.s.events, max(at, firstCursor)
	if !tidy {
		limit = (limit + 1) / 2
	}
	var page []logged
	for _, e := range x.after(at) {
		if len(page) == limit {
			break
		}
		next = e.cursor + 1
		if c.wanted(e, streamingKept) {
			page = append(page, e)
		}
	}
	if tidy || len(page) == 0 {
		if c.s.answers%2 == 0 && !tidy {
			next = 0
		}
		return c.chunk(page, next)
	}
	if n := at - firstCursor; n > 0 && n <= int64(len(x.log)) && c.wanted(x.log[n-1], streamingKept) {
		page = append(page, x.log[n-1])
	}
	slices.Reverse(page)
	return c.chunk(page, next)
}

// chronicle is a page of admin_logs: in order, each event once, later.
func (c *call) chronicle(at int64, limit int) (any, error) {
	from, err := c.moment("created_after")
	if err != nil {
		return nil, err
	}
	to, err := c.moment("created_before")
	if err != nil {
		return nil, err
	}
	var page []logged
	next, seen, late := max(at, firstCursor), map[any]bool{}, time.Now().Add(-c.s.scale(c.s.opts.LogLag))
	for _, e := range c.s.events.after(at) {
		if len(page) == limit || e.created.After(late) {
			break
		}
		next = e.cursor + 1
		inside := !e.created.Before(from) && (to.IsZero() || e.created.Before(to))
		if id := e.event["event_id"]; inside && !seen[id] && c.wanted(e, logsKept) {
			seen[id] = true
			page = append(page, e)
		}
	}
	slices.SortStableFunc(page, func(a, b logged) int { return a.created.Compare(b.created) })
	return c.chunk(page, next), nil
}

// moment reads an optional time of the query; zero when absent.
func (c *call) moment(name string) (time.Time, error) {
	text := c.query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, errParameter(name, "Invalid value '"+text+"'")
	}
	return at, nil
}
