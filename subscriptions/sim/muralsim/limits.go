package muralsim

import (
	"net/http"
	"strconv"
	"time"
)

// The windows of the vendor's two limits.
const (
	userWindow = time.Second
	appWindow  = 60 * time.Second
)

// unlimited is what the headers announce where there is no limit.
const unlimited = 1_000_000

// window counts the calls of one user, or of one app.
type window struct {
	calls, limit int
	end          time.Time
}

func (w *window) full() bool { return w.calls >= w.limit }

// announce sets the three headers. Reset is in epoch seconds.
func (w *window) announce(h http.Header, prefix string) {
	h.Set(prefix+"Limit", strconv.Itoa(w.limit))
	h.Set(prefix+"Remaining", strconv.Itoa(max(0, w.limit-w.calls)))
	h.Set(prefix+"Reset", strconv.FormatInt(epochSeconds(w.end), 10))
}

// window is the present one of a user or app.
func (m *Mural) window(key string, limit int, length time.Duration) *window {
	if limit < 0 {
		limit = unlimited
	}
	now := time.Now()
	w := m.windows[key]
	if w == nil || !now.Before(w.end) {
		w = &window{limit: limit, end: now.Add(m.scale(length))}
		m.windows[key] = w
	}
	return w
}

// throttle counts the call against the user and the app, sets the six headers, and refuses what is too much
// for either.
func (c *call) throttle() error {
	user := c.m.window("user/"+c.who, c.m.opts.UserLimit, userWindow)
	app := c.m.window("app/"+c.client, c.m.opts.AppLimit, appWindow)
	full := user.full() || app.full()
	if !full {
		user.calls++
		app.calls++
	}
	h := c.w.Header()
	user.announce(h, "X-RateLimit-")
	app.announce(h, "X-RateLimit-App-")
	switch {
	case !full:
		return nil
	case app.full():
		return errRate(app.end)
	}
	return errRate(user.end)
}

// pretend is a 429 that a fault asks for: the user's limit, used up for so long.
func (c *call) pretend(penalty time.Duration) error {
	if penalty == 0 {
		penalty = c.m.scale(userWindow)
	}
	w := window{limit: c.m.window("user/"+c.who, c.m.opts.UserLimit, userWindow).limit}
	w.calls, w.end = w.limit, time.Now().Add(penalty)
	w.announce(c.w.Header(), "X-RateLimit-")
	return errRate(w.end)
}
