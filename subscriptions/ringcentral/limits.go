package ringcentral

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// The vendor's rate groups (rate-limits.md): 50, 40 and 5 calls a minute for
// each user and app, unless the app was given others.
const (
	light  = "light"
	medium = "medium"
	auth   = "auth"
	// customers is not the vendor's: the exchange endpoint says what it likes.
	customers = "exchange"
)

// The operations in use, with the groups that the API description gives them.
var (
	opToken              = client.Op{Name: "getToken", Group: auth, Method: http.MethodPost}
	opExchange           = client.Op{Name: "token-exchange", Group: customers, Method: http.MethodPost}
	opListSubscriptions  = client.Op{Name: "listSubscriptions", Group: light, Method: http.MethodGet}
	opCreateSubscription = client.Op{Name: "createSubscription", Group: medium, Method: http.MethodPost}
	opUpdateSubscription = client.Op{Name: "updateSubscription", Group: medium, Method: http.MethodPut}
	opDeleteSubscription = client.Op{Name: "deleteSubscription", Group: medium, Method: http.MethodDelete}
	opProfile            = client.Op{Name: "readAuthorizationProfile", Group: medium, Method: http.MethodGet}
	opFeatures           = client.Op{Name: "readExtensionFeatures", Group: medium, Method: http.MethodGet}
	opAssignedRoles      = client.Op{Name: "listUserAssignedRoles", Group: light, Method: http.MethodGet}
	opRole               = client.Op{Name: "readUserRole", Group: light, Method: http.MethodGet}
	opPermissions        = client.Op{Name: "listPermissions", Group: light, Method: http.MethodGet}
)

const (
	// defaultPenalty is the vendor's; at least 30 s must pass if it does not
	// say how long.
	defaultPenalty = 60 * time.Second
	maxPenalty     = time.Hour
)

// usual are the vendor's limits of a user and app until replies tell others.
// What is not the vendor's has none.
var usual = map[string]subscriptions.Window{
	light:  {Calls: 50, Length: time.Minute},
	medium: {Calls: 40, Length: time.Minute},
	auth:   {Calls: 5, Length: time.Minute},
}

// vendor is what the calls have in common.
var vendor = client.Vendor{
	Name: "ringcentral", Usual: usual, Said: said, Refusal: refusal, TokenDead: tokenDead, RequestID: "RCRequestId",
	FirstWait: 2 * time.Second,  // errors.md: exponential from 2 s
	TokenWait: 10 * time.Second, // errors.md: the token endpoint, 10 s apart
}

// said reads what a reply tells of the limits. That nothing remains is a
// penalty only where the window or the limit is not known: else the budget
// knows when the next call may be made.
func said(op client.Op, status int, h http.Header) subscriptions.Said {
	var s subscriptions.Said
	var windowTold bool
	s.Window, windowTold = seconds(h.Get("X-Rate-Limit-Window"))
	s.Penalty = penalty(status, h)
	if n, err := strconv.ParseUint(h.Get("X-Rate-Limit-Limit"), 10, 31); err == nil {
		s.Limit = int(n)
	}
	n, err := strconv.ParseUint(h.Get("X-Rate-Limit-Remaining"), 10, 31)
	s.Remaining, s.Told = int(n), err == nil
	limitKnown := s.Limit > 0 || usual[op.Group].Calls > 0
	if s.Told && n == 0 && s.Penalty == 0 && !(windowTold && limitKnown) {
		s.Penalty = min(cmp.Or(s.Window, defaultPenalty), maxPenalty)
	}
	return s
}

// penalty is how long a 429 or 503 wants silence; zero for any other reply.
// Each call during it would restart it.
func penalty(status int, h http.Header) time.Duration {
	after, told := seconds(h.Get("Retry-After"))
	window, _ := seconds(h.Get("X-Rate-Limit-Window"))
	switch {
	case told && (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable):
		return min(max(after, time.Second), maxPenalty)
	case status == http.StatusTooManyRequests:
		return min(max(window, defaultPenalty), maxPenalty)
	}
	return 0
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
