package mural

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
)

// maxCursor bounds a cursor, in bytes.
const maxCursor = 256 << 10

const cursorVersion = 1

// level is how much a cursor remembers. It rises when it would be too long.
type level int

const (
	named    level = iota // of each room and mural who its members are
	digested              // of each room and mural a digest: who differs is not known
	bucketed              // of each room one digest of all that is in it
)

// cursor is what the polls before knew, and how far they have come.
type cursor struct {
	Version int `json:"v"`
	// Changes counts the polls that found some, so that going back to an earlier
	// state is not taken for a repetition.
	Changes uint64 `json:"n"`
	Level   level  `json:"level"`
	// First: the first sweep is under way, in which everything is new.
	First bool `json:"first,omitempty"`
	// Space is the state of the workspace; empty: not seen yet.
	Space string `json:"space"`
	// Room is the one that is being looked at (empty: a new sweep begins), Mural
	// the last that was done in it (empty: none), Sum the bucket so far.
	Room  string `json:"room,omitempty"`
	Mural string `json:"mural,omitempty"`
	Sum   uint64 `json:"sum,omitempty"`
	// Polls of the sweep under way, and the longest of them, in ms; then of the
	// last one that was finished.
	Polls     int   `json:"polls"`
	Longest   int64 `json:"longest"`
	LastPolls int   `json:"lastPolls"`
	LastTook  int64 `json:"lastTook"`

	// Passed are the lists that the last sweep passed over, and how many sweeps on
	// end; Passing those of the one under way.
	Passed  map[string]int `json:"passed,omitempty"`
	Passing map[string]int `json:"passing,omitempty"`

	Rooms map[string]*roomMark `json:"rooms"`
	// Users are whom the numbers of members mean.
	Users []string `json:"users,omitempty"`
}

// mark is what is remembered of the members of a room or mural.
type mark struct {
	// State is that of the settings, as text.
	State string `json:"s,omitempty"`
	// Digest is of the members; empty: not seen yet; "-": not readable.
	Digest string `json:"d,omitempty"`
	// Members are their flags; nil: not remembered.
	Members map[string]int `json:"-"`
	// Packed is each member as its place among the users, times four, and flags.
	Packed []int `json:"m,omitempty"`
}

type roomMark struct {
	mark
	Murals map[string]*mark `json:"x,omitempty"`
	// Bucket is all of the room in one, at that level; empty: not seen yet.
	Bucket string `json:"b,omitempty"`
}

const (
	flagOwner       = 1
	flagFacilitator = 2
	flags           = 4

	unreadable = "-"
)

// markOf reads a list of members.
func markOf(state string, all []person) mark {
	m := mark{State: state, Members: map[string]int{}}
	for _, one := range all {
		flag := 0
		if one.Permissions != nil && one.Permissions.Owner {
			flag |= flagOwner
		}
		if one.Permissions != nil && one.Permissions.Facilitator {
			flag |= flagFacilitator
		}
		m.Members[one.ID] = flag
	}
	m.Digest = digestOf(m.Members)
	return m
}

// digestOf is the same whatever the order in the list.
func digestOf(members map[string]int) string {
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(members)) {
		fmt.Fprintf(h, "%q %d\n", id, members[id])
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:9])
}

// differ names the members that are not as they were, in order; none if it is
// not remembered who they were.
func (m mark) differ(now mark) []string {
	if m.Members == nil || now.Members == nil {
		return nil
	}
	var who []string
	for id, flag := range now.Members {
		if was, there := m.Members[id]; !there || was != flag {
			who = append(who, id)
		}
	}
	for id := range m.Members {
		if _, there := now.Members[id]; !there {
			who = append(who, id)
		}
	}
	slices.Sort(who)
	return who
}

// share is what something in a room adds to the room's bucket.
func (m mark) share(tag events.Tag) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", tag, m.State, m.Digest))
	return binary.BigEndian.Uint64(sum[:])
}

func bucketOf(sum uint64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, sum))
}

// state of a room is what its list shows of who may see it.
func (r room) state() string {
	text := letter(r.Type, "open", "private")
	if r.Confidential {
		text += "!"
	}
	return text
}

// state of a mural is its settings for who is not in its list.
func (m mural) state() string {
	v := m.Visitors
	text := letter(v.Visitors, "read", write, none) + letter(v.WorkspaceMembers, "read", write, none)
	if ends := m.expires(); !ends.IsZero() {
		text += strconv.FormatInt(ends.UnixMilli(), 10)
	}
	return text
}

// letter stands for a setting. One that nobody has documented must not make the
// cursor long.
func letter(value string, known ...string) string {
	if slices.Contains(known, value) {
		return value[:1]
	}
	sum := sha256.Sum256([]byte(value))
	return "?" + base64.RawURLEncoding.EncodeToString(sum[:6])
}

// encode writes the cursor, with less in it if it were too long. One of digests
// that is short is to hold names again.
func (c *cursor) encode() ([]byte, error) {
	for {
		c.pack()
		b, err := json.Marshal(c)
		if err == nil && c.Level == digested && len(b) < maxCursor/8 {
			c.Level = named
			continue
		}
		if err != nil || len(b) <= maxCursor {
			return b, err
		}
		if c.Level == bucketed {
			return nil, fmt.Errorf("cursor of %d rooms has %d bytes, the limit is %d", len(c.Rooms), len(b), maxCursor)
		}
		c.raise()
	}
}

// raise forgets enough to be at the next level. What was known is kept exactly,
// so that nothing is taken for changed by it.
func (c *cursor) raise() {
	c.Level++
	for id, r := range c.Rooms {
		r.Members = nil
		for _, m := range r.Murals {
			m.Members = nil
		}
		if c.Level == bucketed {
			r.Bucket = r.bucket(id)
			r.Digest, r.Murals = "", nil
		}
	}
	if c.Level == bucketed { // the room under way is begun again
		c.Mural, c.Sum = "", 0
	}
}

// bucket of a room that was seen whole; else empty.
func (r roomMark) bucket(id string) string {
	if r.Digest == "" {
		return ""
	}
	sum := r.share(events.RoomTag(id))
	for muralID, m := range r.Murals {
		if m.Digest == "" {
			return ""
		}
		sum += m.share(events.MuralTag(muralID))
	}
	return bucketOf(sum)
}

// marks visits all marks, in order.
func (c *cursor) marks(visit func(*mark)) {
	for _, id := range slices.Sorted(maps.Keys(c.Rooms)) {
		r := c.Rooms[id]
		visit(&r.mark)
		for _, muralID := range slices.Sorted(maps.Keys(r.Murals)) {
			visit(r.Murals[muralID])
		}
	}
}

// seen writes all that was seen: not how far the sweep is, nor how long it took.
func (c *cursor) seen(w io.Writer) {
	fmt.Fprintf(w, " %q", c.Space)
	for _, id := range slices.Sorted(maps.Keys(c.Rooms)) {
		r := c.Rooms[id]
		fmt.Fprintf(w, " %q %q %q", id, r.Bucket, slices.Sorted(maps.Keys(r.Murals)))
	}
	c.marks(func(m *mark) { fmt.Fprintf(w, " %q %q", m.State, m.Digest) })
}

// pack writes members as numbers, if they are to be remembered.
func (c *cursor) pack() {
	c.Users = nil
	places := map[string]int{}
	c.marks(func(m *mark) {
		m.Packed = nil
		if c.Level != named {
			return
		}
		for _, id := range slices.Sorted(maps.Keys(m.Members)) {
			if _, there := places[id]; !there {
				places[id] = len(c.Users)
				c.Users = append(c.Users, id)
			}
			m.Packed = append(m.Packed, places[id]*flags+m.Members[id])
		}
	})
}

// unpack is false if a number means nobody.
func (c *cursor) unpack() bool {
	good := true
	c.marks(func(m *mark) {
		if c.Level == named && m.Digest == digestOf(nil) {
			m.Members = map[string]int{}
		}
		for _, n := range m.Packed {
			if n < 0 || n/flags >= len(c.Users) {
				good = false
				return
			}
			if m.Members == nil {
				m.Members = make(map[string]int, len(m.Packed))
			}
			m.Members[c.Users[n/flags]] = n % flags
		}
	})
	return good
}

// readCursor says whether it is one that we can go on from. Without one, the
// first sweep begins.
func readCursor(b []byte) (c *cursor, known bool) {
	c = &cursor{}
	if json.Unmarshal(b, c) == nil && c.sound() && c.unpack() {
		return c, true
	}
	return &cursor{Version: cursorVersion, First: true, Rooms: map[string]*roomMark{}}, false
}

func (c *cursor) sound() bool {
	good := c.Version == cursorVersion && c.Level >= named && c.Level <= bucketed && c.Rooms != nil &&
		c.Polls >= 0 && c.LastPolls >= 0 && c.Longest >= 0 && c.LastTook >= 0
	for id, r := range c.Rooms {
		good = good && r != nil && roomID(id)
		if !good {
			return false
		}
		for muralID, m := range r.Murals {
			good = good && m != nil && events.CheckID(muralID) == nil
		}
	}
	for _, id := range c.Users {
		good = good && events.CheckID(id) == nil
	}
	return good
}

// roomID says whether it looks like one: a number of 64 bits.
func roomID(id string) bool {
	return id != "" && len(id) <= 19 && strings.Trim(id, "0123456789") == ""
}

// finish ends a sweep.
func (c *cursor) finish() {
	c.Room, c.Mural, c.Sum = "", "", 0
	c.LastPolls, c.LastTook = c.Polls, c.Longest
	c.Polls, c.Longest = 0, 0
	c.Passed, c.Passing = c.Passing, nil
}

// delay is how long after a change it has been told of, at most: all polls of a
// sweep, then the one that tells; zero if no sweep was finished yet.
func (c *cursor) delay(interval time.Duration) time.Duration {
	if c.LastPolls == 0 {
		return 0
	}
	polls := time.Duration(max(c.LastPolls, c.Polls))
	took := time.Duration(max(c.LastTook, c.Longest)) * time.Millisecond
	return polls*(interval+interval/10+took) + took + delayMargin
}

// delayMargin is for what follows a poll: the stream, and the cursor's saving.
const delayMargin = 5 * time.Second

// inOrder are the ids from one on.
func inOrder[V any](all map[string]V, from string) []string {
	ids := slices.SortedFunc(maps.Keys(all), cmp.Compare[string])
	return slices.DeleteFunc(ids, func(id string) bool { return id < from })
}
