package box

import (
	"net/http"
	"strconv"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// general is the one group of limits that our calls count in: 1000 a minute of a
// user (guides/api-calls/permissions-and-errors/rate-limits). For whom calls with
// As-User count is not documented; they are taken from the caller's. Of the token
// endpoint no limit is known, so its group has none.
const general = "general"

var usual = map[string]subscriptions.Window{general: {Calls: 1000, Length: time.Minute}}

const (
	requestID = "Box-Request-Id"
	// defaultPenalty is for a 429 without Retry-After: the length of the window.
	defaultPenalty = time.Minute
	maxPenalty     = time.Hour
)

// The operations in use.
var (
	opToken             = client.Op{Name: "post_oauth2_token", Group: "token", Method: http.MethodPost}
	opListWebhooks      = get("get_webhooks")
	opWebhook           = get("get_webhooks_id")
	opCreateWebhook     = client.Op{Name: "post_webhooks", Group: general, Method: http.MethodPost}
	opUpdateWebhook     = client.Op{Name: "put_webhooks_id", Group: general, Method: http.MethodPut}
	opDeleteWebhook     = client.Op{Name: "delete_webhooks_id", Group: general, Method: http.MethodDelete}
	opEvents            = get("get_events")
	opUser              = get("get_users_id")
	opMe                = get("get_users_me")
	opMemberships       = get("get_users_id_memberships")
	opItem              = map[string]client.Op{"folder": get("get_folders_id"), "file": get("get_files_id")}
	opItemCollaborators = map[string]client.Op{
		"folder": get("get_folders_id_collaborations"), "file": get("get_files_id_collaborations"),
	}
)

func get(name string) client.Op {
	return client.Op{Name: name, Group: general, Method: http.MethodGet}
}

// vendor is what the calls have in common.
var vendor = client.Vendor{
	Name: "box", Usual: usual, Said: said, Refusal: refusal, TokenDead: tokenDead, RequestID: requestID,
}

// said reads the only word that Box has for its limits, Retry-After of a 429 or 503.
func said(_ client.Op, status int, h http.Header) (s subscriptions.Said) {
	after, told := seconds(h.Get("Retry-After"))
	switch {
	case status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable:
	case told:
		s.Penalty = min(max(after, time.Second), maxPenalty)
	case status == http.StatusTooManyRequests:
		s.Penalty = defaultPenalty
	}
	return s
}

// seconds reads a number of seconds or, as HTTP allows, a date.
func seconds(s string) (time.Duration, bool) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(time.Until(t), 0), true
	}
	return 0, false
}

// Costs lists what each way of reading takes of the vendor's usual limits, where
// every list has one page. Tokens are not counted.
func Costs() []subscriptions.Cost {
	calls := func(n int) []subscriptions.GroupCalls {
		return []subscriptions.GroupCalls{{Group: general, Window: usual[general], Calls: n}}
	}
	return []subscriptions.Cost{
		{Basis: BasisUser, As: subscriptions.ServiceToken, Calls: calls(2)},
		{Basis: BasisItemAsUser, As: subscriptions.ServiceToken, Calls: calls(4)},
		// With the setting as: token an item takes both.
		{Basis: BasisItem, As: subscriptions.ServiceToken, Calls: calls(2)},
		{Basis: BasisItem, As: subscriptions.OwnToken, Calls: calls(2)},
		{Basis: BasisRestricted, As: subscriptions.ServiceToken, Calls: calls(1)},
	}
}
