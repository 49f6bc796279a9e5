package boxsim

import "time"

// vendorLimit is how many calls a user has in a minute.
const vendorLimit = 1000

// window counts the calls of one user in the minute that began with the first of them.
type window struct {
	until time.Time
	calls int
}

// throttle counts the call, and refuses what is too much until the minute is over.
func (c *call) throttle(user string) error {
	if c.s.opts.Limit < 0 {
		return nil
	}
	now := time.Now()
	x := c.s.windows[user]
	if x == nil || !now.Before(x.until) {
		x = &window{until: now.Add(c.s.scale(time.Minute))}
		c.s.windows[user] = x
	}
	x.calls++
	if x.calls > c.s.opts.Limit {
		return c.errRate(x.until.Sub(now))
	}
	return nil
}
