package ringcentral

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// The vendor's rate groups (rate-limits.md): 50, 40 and 5 calls a minute for
// each user and app, unless the app was given others.
const (
	light  = "light"
	medium = "medium"
	auth   = "auth"
)

// operation is a call of the vendor's API, by its operationId.
type operation struct{ name, group, method string }

// The operations in use, with the groups that the API description gives them.
var (
	opToken              = operation{"getToken", auth, http.MethodPost}
	opExchange           = operation{"token-exchange", auth, http.MethodPost} // the customer's
	opListSubscriptions  = operation{"listSubscriptions", light, http.MethodGet}
	opCreateSubscription = operation{"createSubscription", medium, http.MethodPost}
	opUpdateSubscription = operation{"updateSubscription", medium, http.MethodPut}
	opDeleteSubscription = operation{"deleteSubscription", medium, http.MethodDelete}
	opProfile            = operation{"readAuthorizationProfile", medium, http.MethodGet}
	opFeatures           = operation{"readExtensionFeatures", medium, http.MethodGet}
	opAssignedRoles      = operation{"listUserAssignedRoles", light, http.MethodGet}
	opRole               = operation{"readUserRole", light, http.MethodGet}
	opPermissions        = operation{"listPermissions", light, http.MethodGet}
)

const (
	// defaultPenalty is the vendor's; at least 30 s must pass if it does not
	// say how long.
	defaultPenalty = 60 * time.Second
	maxPenalty     = time.Hour
	maxLanes       = 1024
)

// lane is what the vendor counts by.
type lane struct{ identity, group string }

// limits knows the lanes in which no call may leave this process yet.
type limits struct {
	mu    sync.Mutex
	until map[lane]time.Time
}

func newLimits() *limits { return &limits{until: map[lane]time.Time{}} }

// ask returns a [*subscriptions.Later] while the lane is closed.
func (l *limits) ask(w lane) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := l.until[w]; time.Now().Before(until) {
		return &subscriptions.Later{Until: until, Group: w.group}
	}
	return nil
}

// note learns from a reply, and closes the lane if it says so.
func (l *limits) note(w lane, status int, h http.Header) {
	if wait := penalty(status, h); wait > 0 {
		l.close(w, time.Now().Add(wait))
	}
}

func (l *limits) close(w lane, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.until) >= maxLanes {
		for other, end := range l.until {
			if !time.Now().Before(end) {
				delete(l.until, other)
			}
		}
	}
	if until.After(l.until[w]) {
		l.until[w] = until
	}
}

// penalty is how long to keep silent after a reply: what a 429 or 503 says,
// and the window once nothing remains in it, since the next call would be a
// 429 and each call during a penalty restarts it.
func penalty(status int, h http.Header) time.Duration {
	after, told := seconds(h.Get("Retry-After"))
	window, windowTold := seconds(h.Get("X-Rate-Limit-Window"))
	if !windowTold {
		window = defaultPenalty
	}
	switch {
	case told && (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable):
		return min(max(after, time.Second), maxPenalty)
	case status == http.StatusTooManyRequests:
		return min(max(window, defaultPenalty), maxPenalty)
	case h.Get("X-Rate-Limit-Remaining") == "0":
		return min(window, maxPenalty)
	}
	return 0
}

// penalised says whether a reply is a penalty, and not one that merely used
// the window up.
func penalised(r *http.Response) bool {
	return r.StatusCode == http.StatusTooManyRequests ||
		r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != ""
}

// seconds reads a number of seconds or, as Retry-After allows, a date.
func seconds(s string) (time.Duration, bool) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(time.Until(t), 0), true
	}
	return 0, false
}
