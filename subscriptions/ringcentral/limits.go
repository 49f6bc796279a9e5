package ringcentral

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
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

// operation is a call of the vendor's API, by its operationId.
type operation struct{ name, group, method string }

// The operations in use, with the groups that the API description gives them.
var (
	opToken              = operation{"getToken", auth, http.MethodPost}
	opExchange           = operation{"token-exchange", customers, http.MethodPost}
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
	// patience is how long a fetch that somebody waits for, or that has begun,
	// waits for a call.
	patience = 500 * time.Millisecond
)

// usual are the vendor's limits of a user and app until replies tell others.
// What is not the vendor's has none.
var usual = map[string]subscriptions.Window{
	light:  {Calls: 50, Length: time.Minute},
	medium: {Calls: 40, Length: time.Minute},
	auth:   {Calls: 5, Length: time.Minute},
}

// errand is one reading of a subject, of one call or more.
type errand struct {
	mu    sync.Mutex
	begun bool // a call was granted
}

type errandKey struct{}

func withErrand(ctx context.Context) context.Context {
	return context.WithValue(ctx, errandKey{}, new(errand))
}

// take asks the budget for a call as that identity. Within an errand it is
// patient, and the calls after the first are as urgent as a reader's: what is
// begun is finished.
func (p *Provider) take(ctx context.Context, identity string, op operation) (subscriptions.Call, error) {
	l := subscriptions.Lane{Provider: p.home.Provider, Group: op.group,
		Identity: string(p.home.Tenant) + ":" + identity}
	e, ok := ctx.Value(errandKey{}).(*errand)
	if !ok {
		return p.budget.Take(ctx, l, usual[op.group])
	}
	for end := time.Now().Add(patience); ; {
		c, urgent, err := e.take(ctx, p.budget, l)
		var later *subscriptions.Later
		if !urgent || !errors.As(err, &later) || later.Until.After(end) {
			return c, err
		}
		if pause(ctx, time.Until(later.Until)) != nil {
			return nil, err
		}
	}
}

// take asks once. Until the first call is granted the others wait for it.
func (e *errand) take(
	ctx context.Context, b subscriptions.Budget, l subscriptions.Lane,
) (c subscriptions.Call, urgent bool, err error) {
	e.mu.Lock()
	if e.begun {
		e.mu.Unlock()
		c, err = b.Take(cache.WithPurpose(ctx, cache.ForReader), l, usual[l.Group])
		return c, true, err
	}
	defer e.mu.Unlock()
	c, err = b.Take(ctx, l, usual[l.Group])
	e.begun = err == nil
	return c, cache.PurposeOf(ctx) == cache.ForReader, err
}

// unlimited grants all.
type unlimited struct{}

func (u unlimited) Take(
	context.Context, subscriptions.Lane, subscriptions.Window,
) (subscriptions.Call, error) {
	return u, nil
}

func (unlimited) Done(context.Context, subscriptions.Said) {}

func (unlimited) Life() time.Duration { return 0 }

// said reads what a reply tells of the limits. That nothing remains is a
// penalty only where the window or the limit is not known: else the budget
// knows when the next call may be made.
func said(op operation, status int, h http.Header) subscriptions.Said {
	var s subscriptions.Said
	var windowTold bool
	s.Window, windowTold = seconds(h.Get("X-Rate-Limit-Window"))
	s.Penalty = penalty(status, h)
	if n, err := strconv.ParseUint(h.Get("X-Rate-Limit-Limit"), 10, 31); err == nil {
		s.Limit = int(n)
	}
	n, err := strconv.ParseUint(h.Get("X-Rate-Limit-Remaining"), 10, 31)
	s.Remaining, s.Told = int(n), err == nil
	limitKnown := s.Limit > 0 || usual[op.group].Calls > 0
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

// penalised is what a reply that is a penalty comes to, else nil.
func penalised(op operation, status int, h http.Header) error {
	if d := penalty(status, h); d > 0 {
		return &subscriptions.Later{Until: time.Now().Add(d), Group: op.group}
	}
	return nil
}

// unanswered is what an error of the network tells of the limits: a connection
// that was not made carried nothing.
func unanswered(err error) subscriptions.Said {
	var network *net.OpError
	return subscriptions.Said{Unsent: errors.As(err, &network) && network.Op == "dial"}
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
