package sim

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// vendorPenalty is how long the vendor refuses after the limit was passed, and the window it counts in.
const vendorPenalty = 60 * time.Second

// unlimited is what the headers announce where there is no limit.
const unlimited = 1_000_000

// Limit is the rate limit of one group. The zero value is the vendor's default for that group: 50 calls for
// light, 40 for medium, 10 for heavy, 5 for auth, in 60 s, with a penalty of 60 s.
type Limit struct {
	Calls   int           // calls in a window; -1: as many as wanted
	Window  time.Duration // sliding; divided by Options.Speed
	Penalty time.Duration // counted from the last refused call; divided by Options.Speed
}

type bucketKey struct{ owner, client, group string }

// bucket counts the calls of one user with one app in one group.
type bucket struct {
	calls []time.Time
	until time.Time // end of the penalty
}

// take counts a call. It returns how many are left and, when the call is refused, the penalty that it has
// started or restarted.
func (b *bucket) take(now time.Time, l Limit) (left int, penalty time.Duration) {
	old := 0
	for old < len(b.calls) && !b.calls[old].After(now.Add(-l.Window)) {
		old++
	}
	b.calls = b.calls[old:]
	if now.Before(b.until) || len(b.calls) >= l.Calls {
		b.until = now.Add(l.Penalty)
		return 0, l.Penalty
	}
	b.calls = append(b.calls, now)
	return l.Calls - len(b.calls), 0
}

// limit is the effective limit of a group, in the wall's time.
func (s *RingCentral) limit(group string) Limit {
	l := s.opts.Limits[group]
	if l.Calls == 0 {
		l.Calls = map[string]int{"light": 50, "medium": 40, "heavy": 10, "auth": 5}[group]
	}
	if l.Window == 0 {
		l.Window = vendorPenalty
	}
	if l.Penalty == 0 {
		l.Penalty = vendorPenalty
	}
	l.Window, l.Penalty = s.scale(l.Window), s.scale(l.Penalty)
	return l
}

// throttle counts the call against its bucket, sets the four headers, and refuses what is too much.
func (c *call) throttle(owner, client string) error {
	l := c.s.limit(c.op.group)
	if l.Calls < 0 {
		return nil
	}
	key := bucketKey{owner, client, c.op.group}
	b := c.s.buckets[key]
	if b == nil {
		b = &bucket{}
		c.s.buckets[key] = b
	}
	left, penalty := b.take(time.Now(), l)
	c.w.Header().Set("X-Rate-Limit-Remaining", strconv.Itoa(left))
	if penalty > 0 {
		return errRate(penalty)
	}
	return nil
}

// rateHeaders announces the group before anything is counted, so that every reply has the four headers.
func (s *RingCentral) rateHeaders(h http.Header, group string) {
	if group == "" {
		return
	}
	l := s.limit(group)
	if l.Calls < 0 {
		l.Calls = unlimited
	}
	h.Set("X-Rate-Limit-Group", group)
	h.Set("X-Rate-Limit-Limit", strconv.Itoa(l.Calls))
	h.Set("X-Rate-Limit-Remaining", strconv.Itoa(l.Calls))
	h.Set("X-Rate-Limit-Window", wholeSeconds(l.Window))
}

// wholeSeconds rounds up: who waits that long has waited long enough.
func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}
