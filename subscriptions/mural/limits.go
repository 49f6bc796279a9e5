package mural

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// The vendor's two limits (public/docs/rate-limiting of developers.mural.co): 25
// requests a second of one user, over all its apps, and 10,000 in 60 s of one
// app, over all its users.
const (
	groupUser  = "user"
	groupApp   = "app"
	groupToken = "token" // OAuth pages; no limit of theirs is documented

	headerUser = "X-RateLimit-"
	headerApp  = "X-RateLimit-App-"
	requestID  = "X-Request-Id"

	maxPenalty = 10 * time.Minute
	// blindPenalty is after a 429 that does not say which limit was passed.
	blindPenalty = 2 * time.Second
)

var (
	userWindow = subscriptions.Window{Calls: 25, Length: time.Second}
	appWindow  = subscriptions.Window{Calls: 10_000, Length: time.Minute}
)

var vendor = client.Vendor{
	Name:  "mural",
	Usual: map[string]subscriptions.Window{groupUser: userWindow},
	Said:  func(_ client.Op, status int, h http.Header) subscriptions.Said { return saidOfUser(status, h) },
	App:   &client.AppLimit{Group: groupApp, Usual: appWindow, Said: saidOfApp},

	Refusal: refusal, TokenDead: tokenDead, RequestID: requestID,
	FirstWait: time.Second, TokenWait: 2 * time.Second,
}

// The operations in use, by the vendor's reference pages.
var (
	opToken       = client.Op{Name: "token", Group: groupToken, Method: http.MethodPost}
	opMe          = get("getCurrentMember")
	opWorkspaces  = get("getWorkspaces")
	opWorkspace   = get("getWorkspace")
	opRooms       = get("getWorkspaceRooms")
	opOpenRooms   = get("getWorkspaceOpenRooms")
	opRoom        = get("getRoomInfoById")
	opRoomMembers = get("getRoomMembers")
	opRoomMurals  = get("getRoomMurals")
	opMural       = get("getMuralById")
	opMuralUsers  = get("getMuralUsers")
)

func get(name string) client.Op {
	return client.Op{Name: name, Group: groupUser, Method: http.MethodGet}
}

// saidOfUser reads what a reply tells of the user's limit. A 429 that blames
// neither limit is taken for it.
func saidOfUser(status int, h http.Header) subscriptions.Said {
	s := saidOf(headerUser, status, h)
	s.Window = userWindow.Length
	if status == http.StatusTooManyRequests && s.Penalty == 0 && saidOf(headerApp, status, h).Penalty == 0 {
		s.Penalty = blindPenalty + rand.N(blindPenalty)
		if after, told := retryAfter(h); told {
			s.Penalty = after
		}
	}
	return s
}

// saidOfApp reads what a reply tells of the app's limit.
func saidOfApp(status int, h http.Header) subscriptions.Said {
	s := saidOf(headerApp, status, h)
	s.Window = appWindow.Length
	return s
}

// saidOf reads the three headers of a limit. A 429 comes without Retry-After as
// a rule: who has nothing left waits until its reset.
func saidOf(prefix string, status int, h http.Header) subscriptions.Said {
	var s subscriptions.Said
	if n, err := strconv.ParseUint(h.Get(prefix+"Limit"), 10, 31); err == nil {
		s.Limit = int(n)
	}
	n, err := strconv.ParseUint(h.Get(prefix+"Remaining"), 10, 31)
	s.Remaining, s.Told = int(n), err == nil
	if status == http.StatusTooManyRequests && s.Told && n == 0 {
		s.Penalty = untilReset(h.Get(prefix+"Reset"), h)
		if after, told := retryAfter(h); told {
			s.Penalty = max(s.Penalty, after)
		}
	}
	return s
}

// untilReset is how far off the reset is, in epoch seconds by the vendor's
// clock, which is the reply's Date if it has one. At least a second.
func untilReset(reset string, h http.Header) time.Duration {
	seconds, err := strconv.ParseInt(reset, 10, 64)
	if err != nil || seconds > 1<<33 {
		return blindPenalty
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(time.Unix(seconds, 0).Sub(now), time.Second), maxPenalty)
}

// retryAfter reads a number of seconds or a date. At least a second.
func retryAfter(h http.Header) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(max(time.Duration(n)*time.Second, time.Second), maxPenalty), true
	}
	if t, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(t), time.Second), maxPenalty), true
	}
	return 0, false
}
