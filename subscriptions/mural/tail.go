package mural

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	// maxCalls is how many calls a poll makes at most: all rooms, and the three
	// longest lists of one of them.
	maxCalls = 5 * maxPages
	// maxLook ends a poll that is slow: what it found must be told.
	maxLook = time.Minute
	// pace is from one call of a poll to the next: 20 a second of the 25.
	pace = 50 * time.Millisecond
	// maxRooms fit a cursor, however little it remembers of each.
	maxRooms = 4000
	// turnPatience is how long a call of a poll waits for its turn.
	turnPatience = 3 * time.Second
	// maxTold bounds the tags of a change, in bytes: beyond it the tenant's is
	// shorter.
	maxTold = 512 << 10
)

// pollScopes are what the poller's grant must have.
var pollScopes = []string{scopeWorkspaces, scopeRooms, scopeMurals, scopeUsers}

// errEnough ends a poll that has made its calls.
var errEnough = errors.New("the lists of one room do not fit into one poll")

// Interval is from one poll to the next.
func (p *Provider) Interval() time.Duration { return p.cfg.Poll }

// Delay is how long after a change a poll has told of it, at most, by the last
// sweep's number of polls, the longest of them, and the interval; zero until a
// sweep was finished. It is for what the poller sees.
func (p *Provider) Delay() time.Duration { return time.Duration(p.delay.Load()) }

// Poll looks at as much of the workspace as [maxCalls] calls allow, and goes on
// from there the next time: a sweep takes one poll or more. The states of rooms
// and of the workspace are seen in every poll. What it finds is one change. If a
// call fails after something was seen, that is told, and the call made again by
// the next poll. While a list stays unreadable for [maxPassed] sweeps, a poll that
// finds nothing is an error, and the next one goes on all the same. See
// [subscriptions.Tail].
func (p *Provider) Poll(ctx context.Context, old []byte) ([]events.Change, []byte, error) {
	c, known := readCursor(p.ahead.of(old))
	s := &sweep{c: c, left: maxCalls, begun: time.Now(), told: map[events.Tag]bool{}, reasons: map[string]int{}}
	if !known && len(old) > 0 {
		s.tell("cursor is unreadable", events.TenantTag)
	}
	s.caller = caller{p: p, b: p.client.Registering(p.pollerRing()), user: string(p.cfg.Poller),
		before: s.step, patience: turnPatience}
	if err := p.look(ctx, s); err != nil {
		return nil, nil, fmt.Errorf("poll: %w", p.pollerFault(err))
	}
	change := s.change(old) // before encode, which may forget digests
	if change != nil {
		c.Changes++
	}
	next, err := c.encode()
	if err != nil {
		return nil, nil, fmt.Errorf("poll: %w", err)
	}
	p.delay.Store(int64(c.delay(p.cfg.Poll)))
	if err := c.overdue(); err != nil && change == nil {
		p.ahead.keep(old, next)
		return nil, nil, fmt.Errorf("poll: %w", err)
	}
	return change, next, nil
}

// look sweeps, and forgives what stopped it if it has come further.
func (p *Provider) look(ctx context.Context, s *sweep) error {
	s.c.Polls++
	err := s.run(ctx)
	s.c.Longest = max(s.c.Longest, time.Since(s.begun).Milliseconds()+1)
	if err == nil {
		if s.c.First && s.c.Polls > 1 { // what changed meanwhile was taken for what always was
			s.tell("first sweep has ended", events.TenantTag)
		}
		s.c.finish()
		s.c.First = s.c.Space == "gone"
		return nil
	}
	if !s.moved || ctx.Err() != nil {
		return err
	}
	if !errors.Is(err, errEnough) {
		p.log.WarnContext(ctx, "poll ended early, the next one goes on", slog.Any("error", err))
	}
	return nil
}

// sweep is one poll's part of a look at everything.
type sweep struct {
	caller
	c       *cursor
	left    int // calls
	skips   int
	begun   time.Time
	next    time.Time // of the next call
	moved   bool      // the cursor has come further
	told    map[events.Tag]bool
	reasons map[string]int
}

// step is before each call.
func (s *sweep) step(ctx context.Context) error {
	if s.left == 0 || time.Since(s.begun) > maxLook {
		return errEnough
	}
	s.left--
	if wait := time.Until(s.next); wait > 0 && !pause(ctx, wait) {
		return context.Cause(ctx)
	}
	s.next = time.Now().Add(s.p.pace*3/4 + rand.N(s.p.pace/2+1))
	return nil
}

// tell notes what may be different.
func (s *sweep) tell(reason string, tags ...events.Tag) {
	s.reasons[reason]++
	for _, t := range tags {
		s.told[t] = true
	}
}

// change is all that was told; none if nothing was. Its id is of the cursor and
// of all that was seen: another state seen from the same cursor is another change.
func (s *sweep) change(old []byte) []events.Change {
	if len(s.told) == 0 {
		return nil
	}
	tags := slices.SortedFunc(maps.Keys(s.told), func(a, b events.Tag) int {
		return strings.Compare(a.String(), b.String())
	})
	size, hash := 0, sha256.New()
	hash.Write(old)
	s.c.seen(hash)
	for _, t := range tags {
		size += len(t.String())
		fmt.Fprintf(hash, " %q", t)
	}
	if len(tags) > events.MaxTags || size > maxTold || s.told[events.TenantTag] {
		tags = []events.Tag{events.TenantTag}
	}
	var reasons []string
	for _, what := range slices.Sorted(maps.Keys(s.reasons)) {
		reasons = append(reasons, fmt.Sprintf("%s: %d", what, s.reasons[what]))
	}
	id := base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:12])
	return []events.Change{{
		ID: events.ChangeID(s.p.home, "look-"+id), Home: s.p.home, Tags: tags, Source: events.Tail,
		Reasons: reasons, Received: time.Now(),
	}}
}

// run goes on with the sweep. Nil: it is finished.
func (s *sweep) run(ctx context.Context) error {
	if _, err := s.b.Token(ctx); err != nil {
		return err
	}
	if missing := s.lacks(pollScopes...); missing != nil {
		return scopesMissing(missing)
	}
	there, err := s.space(ctx)
	if err != nil || !there {
		return err
	}
	rooms, err := s.list(ctx)
	if err != nil {
		return err
	}
	for _, id := range inOrder(rooms, s.c.Room) {
		if err := s.visit(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// space looks at the workspace, and says whether there is one.
func (s *sweep) space(ctx context.Context) (bool, error) {
	w, err := s.workspace(ctx, string(s.p.home.Tenant))
	state := "open"
	switch {
	case notAllowed(err) && s.b.Scopes() == nil && !errors.Is(err, subscriptions.ErrGone):
		return false, fmt.Errorf("%w: the poller may not read the workspace: %w",
			subscriptions.ErrMisconfigured, err)
	case notAllowed(err):
		state = "gone"
	case err != nil:
		return false, err
	case w.Suspended:
		state = "suspended"
	case w.Locked:
		state = "locked"
	}
	if s.c.Space != "" && s.c.Space != state {
		s.tell("workspace is "+state, events.TenantTag)
	}
	s.c.Space = state
	if state != "gone" {
		return true, nil
	}
	if len(s.told) == 0 { // that it is gone is known: nothing is seen, so nothing is proven
		return false, fmt.Errorf("%w: the poller %s does not see the workspace: let it in, or name another: %w",
			subscriptions.ErrMisconfigured, client.Clip(s.user), err)
	}
	s.c.First, s.c.Rooms = true, map[string]*roomMark{} // when it is back, that is told
	return false, nil
}

// list looks at which rooms there are, and compares them.
func (s *sweep) list(ctx context.Context) (map[string]room, error) {
	there := map[string]room{}
	for _, of := range []struct {
		op   client.Op
		path string
	}{{opRooms, "/rooms"}, {opOpenRooms, "/rooms/open"}} {
		all, err := s.rooms(ctx, of.op, of.path)
		if err != nil && !errors.Is(err, errLong) {
			return nil, err
		}
		for _, r := range all {
			if r.ID != "" && (r.WorkspaceID == "" || r.WorkspaceID == string(s.p.home.Tenant)) {
				there[string(r.ID)] = r
			}
		}
	}
	if len(there) > maxRooms {
		return nil, fmt.Errorf("%w: the poller sees %d rooms, the limit is %d",
			subscriptions.ErrMisconfigured, len(there), maxRooms)
	}
	for _, id := range slices.Sorted(maps.Keys(s.c.Rooms)) {
		if _, ok := there[id]; !ok {
			s.tell("rooms gone, or not visible any more", s.c.Rooms[id].tags(id)...)
			delete(s.c.Rooms, id)
		}
	}
	for id, r := range there {
		s.compareRoom(id, r)
	}
	return there, nil
}

// tags of a room and of all that is known to be in it.
func (r roomMark) tags(id string) []events.Tag {
	tags := []events.Tag{events.RoomTag(id)}
	for muralID := range r.Murals {
		tags = append(tags, events.MuralTag(muralID))
	}
	return tags
}

func (s *sweep) compareRoom(id string, now room) {
	was := s.c.Rooms[id]
	switch {
	case was == nil:
		s.c.Rooms[id] = &roomMark{mark: mark{State: now.state()}}
		if !s.c.First {
			s.tell("rooms added", events.RoomTag(id))
		}
	case was.State != now.state():
		was.State = now.state()
		s.tell("rooms opened, closed or made confidential", was.tags(id)...)
	}
}

// visit looks at a room's members, at its murals, and at the members of each.
func (s *sweep) visit(ctx context.Context, id string) error {
	if s.c.Room != id {
		s.c.Room, s.c.Mural = id, ""
	}
	r := s.c.Rooms[id]
	if s.c.Mural == "" {
		s.c.Sum = 0
		if err := s.membersOf(ctx, events.RoomTag(id), &r.mark); err != nil {
			return err
		}
	}
	murals, err := s.roomMurals(ctx, id)
	if err != nil && !notAllowed(err) && !errors.Is(err, errLong) {
		return s.passOver(ctx, "murals of "+events.RoomTag(id).String(), err)
	}
	found := s.compareMurals(r, murals)
	for _, muralID := range inOrder(found, s.c.Mural) {
		if muralID == s.c.Mural {
			continue
		}
		if err := s.membersOf(ctx, events.MuralTag(muralID), found[muralID]); err != nil {
			return err
		}
		s.c.Mural, s.moved = muralID, true
	}
	s.leave(id, r)
	return nil
}

// compareMurals compares which murals there are, and their settings. It returns
// the marks that their members are compared with.
func (s *sweep) compareMurals(r *roomMark, listed []mural) map[string]*mark {
	found := map[string]*mark{}
	for _, m := range listed {
		if m.Status == archived || events.CheckID(m.ID) != nil {
			continue
		}
		now := &mark{State: m.state()}
		if s.c.Level < bucketed {
			now = s.compareMural(r.Murals[m.ID], m)
		}
		found[m.ID] = now
	}
	if s.c.Level == bucketed {
		return found
	}
	for muralID := range r.Murals {
		if found[muralID] == nil {
			s.tell("murals archived, moved or gone", events.MuralTag(muralID))
		}
	}
	r.Murals = found
	return found
}

func (s *sweep) compareMural(was *mark, now mural) *mark {
	switch {
	case was == nil:
		if !s.c.First {
			s.tell("murals added", events.MuralTag(now.ID))
		}
		return &mark{State: now.state()}
	case was.State != now.state():
		s.tell("settings for visitors and workspace members changed", events.MuralTag(now.ID))
		was.State = now.state()
	}
	return was
}

// membersOf reads the members of a room or mural, and compares them.
func (s *sweep) membersOf(ctx context.Context, of events.Tag, was *mark) error {
	read := s.muralMembers
	if of.Kind == events.KindRoom {
		read = s.roomMembers
	}
	all, err := read(ctx, of.ID)
	now := markOf(was.State, all)
	if notAllowed(err) {
		now = mark{State: was.State, Digest: unreadable}
	} else if err != nil && !errors.Is(err, errLong) {
		return s.passOver(ctx, "members of "+of.String(), err)
	}
	if s.c.Level == bucketed {
		s.c.Sum += now.share(of)
		return nil
	}
	switch {
	case was.Digest == "" && !s.c.First:
		s.tell("members seen for the first time", of)
	case was.Digest != "" && was.Digest != now.Digest:
		tags := []events.Tag{of}
		for _, id := range was.differ(now) {
			tags = append(tags, events.SubjectTag(events.Subject(id)))
		}
		s.tell("members of a "+of.Kind+" changed", tags...)
	}
	*was = now
	return nil
}

// leave ends the look at a room.
func (s *sweep) leave(id string, r *roomMark) {
	s.moved = true
	s.c.Room, s.c.Mural = id+" ", "" // behind it, before the next
	if s.c.Level < bucketed {
		return
	}
	now := bucketOf(s.c.Sum)
	if r.Bucket != now && (r.Bucket != "" || !s.c.First) {
		s.tell("something in a room changed", events.RoomTag(id))
	}
	r.Bucket = now
}
