package ringcentral

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// listFilter is the one filter that covers the whole account.
const listFilter = "/restapi/v1.0/account/~/extension"

// subscription is the vendor's SubscriptionInfo. Its verification token is
// never returned.
type subscription struct {
	ID              string   `json:"id"`
	Status          string   `json:"status"`
	CreationTime    string   `json:"creationTime"`
	EventFilters    []string `json:"eventFilters"`
	ExpirationTime  string   `json:"expirationTime"`
	ExpiresIn       int64    `json:"expiresIn"` // seconds left
	DisabledFilters []struct {
		Filter string `json:"filter"`
		Reason string `json:"reason"`
	} `json:"disabledFilters"`
	DeliveryMode deliveryMode `json:"deliveryMode"`
	Blacklisted  struct {
		Reason string `json:"reason"`
	} `json:"blacklistedData"`
}

type deliveryMode struct {
	Transport    string `json:"transportType"`
	Address      string `json:"address,omitempty"`
	Verification string `json:"verificationToken,omitempty"`
}

type subscriptionRequest struct {
	EventFilters []string      `json:"eventFilters"`
	ExpiresIn    int64         `json:"expiresIn"`
	DeliveryMode *deliveryMode `json:"deliveryMode,omitempty"`
}

const webHook = "WebHook"

// wantAccount is the one subscription that there is to be.
const wantAccount = "account"

// mostSubscriptions is how many the vendor's documents let us rely on. Its API
// description says 30 since May 2025, and said 20 before.
const mostSubscriptions = 20

// maxFilter bounds what is kept of a filter, in bytes.
const maxFilter = 128

// Terms: the secret of a living subscription cannot be changed, for it is not
// among what an update takes; no document speaks of a second try of a delivery;
// and the tail tells of roles only.
func (p *Provider) Terms() subscriptions.Terms {
	return subscriptions.Terms{Most: mostSubscriptions, OwnSecret: true}
}

// Wanted is one: it packs all filters, and its first covers the whole account.
func (p *Provider) Wanted() []string { return []string{wantAccount} }

// List returns the webhooks that this app and service user have registered.
func (p *Provider) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	var reply struct {
		Records []subscription `json:"records"`
	}
	err := p.client.Call(ctx, p.registering(), client.Request{Op: opListSubscriptions, Path: "/subscription"}, &reply)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	if reply.Records == nil {
		return nil, fmt.Errorf("list subscriptions: %w: no records", client.ErrMalformed)
	}
	var out []subscriptions.Subscription
	for _, r := range reply.Records {
		if !strings.EqualFold(r.DeliveryMode.Transport, webHook) {
			continue
		}
		s, err := p.ours(r)
		if err != nil {
			return nil, fmt.Errorf("list subscriptions: %w", err)
		}
		out = append(out, s)
	}
	return out, nil
}

// Create registers the address for all extensions of the account, with the
// order's secret as verification token; without one it makes no call. The vendor
// shakes hands with the address before it replies.
func (p *Provider) Create(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	if o.Secret.Empty() {
		return subscriptions.Subscription{}, errors.New("create subscription: the order has no secret")
	}
	body := p.wanted()
	body.DeliveryMode = &deliveryMode{Transport: webHook, Address: o.Address, Verification: o.Secret.Reveal()}
	s, err := p.register(ctx, client.Request{Op: opCreateSubscription, Path: "/subscription", Body: body})
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("create subscription: %w", err)
	}
	return s, nil
}

// Renew prolongs by an update with filters and life: what an empty renewal
// grants is told differently in different places.
func (p *Provider) Renew(ctx context.Context, id string) (subscriptions.Subscription, error) {
	s, err := p.register(ctx, client.Request{Op: opUpdateSubscription, Path: subscriptionPath(id), Body: p.wanted()})
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("renew subscription %.80s: %w", id, err)
	}
	return s, nil
}

// Delete removes a registration; one that is gone is no error.
func (p *Provider) Delete(ctx context.Context, id string) error {
	err := p.client.Call(ctx, p.registering(), client.Request{Op: opDeleteSubscription, Path: subscriptionPath(id)}, nil)
	if err != nil && !errors.Is(err, subscriptions.ErrGone) {
		return fmt.Errorf("delete subscription %.80s: %w", id, err)
	}
	return nil
}

func (p *Provider) register(ctx context.Context, r client.Request) (subscriptions.Subscription, error) {
	var reply subscription
	if err := p.client.Call(ctx, p.registering(), r, &reply); err != nil {
		return subscriptions.Subscription{}, err
	}
	return p.ours(reply)
}

// wanted is the request without its address. Reminders come before the end;
// they are a bonus, the caller's timer is the mechanism.
func (p *Provider) wanted() subscriptionRequest {
	life := int64(p.cfg.SubscriptionLife / time.Second)
	threshold := min(life/2, 24*3600) // the vendor allows at most half of the life
	interval := max(threshold/24, 15)
	reminder := fmt.Sprintf("/restapi/v1.0/subscription/~?threshold=%d&interval=%d", threshold, interval)
	return subscriptionRequest{EventFilters: []string{listFilter, reminder}, ExpiresIn: life}
}

func subscriptionPath(id string) string { return "/subscription/" + url.PathEscape(id) }

// ours translates; every status but Active means that nothing is delivered. The
// vendor may grant less than was asked for, and does not always say so.
func (p *Provider) ours(s subscription) (subscriptions.Subscription, error) {
	expires := parseTime(s.ExpirationTime)
	if expires.IsZero() && s.ExpiresIn > 0 {
		expires = time.Now().Add(min(time.Duration(s.ExpiresIn), MaxLife/time.Second) * time.Second)
	}
	if events.CheckID(s.ID) != nil || expires.IsZero() {
		return subscriptions.Subscription{}, fmt.Errorf("%w: subscription without id or expiry", client.ErrMalformed)
	}
	status := client.Clip(s.Status)
	if s.Blacklisted.Reason != "" {
		status += ": " + client.Clip(s.Blacklisted.Reason)
	}
	out := subscriptions.Subscription{
		ID: s.ID, Want: wantAccount, Address: s.DeliveryMode.Address, Active: s.Status == "Active", Status: status,
		Created: parseTime(s.CreationTime), Expires: expires,
	}
	told := false // of the list filter
	for _, f := range s.EventFilters {
		told = told || p.isList(f)
		out.Filters = append(out.Filters, clipFilter(f))
	}
	for _, d := range s.DisabledFilters {
		told = told || p.isList(d.Filter)
		if strings.Contains(d.Filter, "/subscription/~") {
			continue // reminders: no change goes by them
		}
		out.Disabled = append(out.Disabled, clipFilter(d.Filter)+": "+client.Word(d.Reason))
	}
	if !told {
		out.Disabled = append(out.Disabled, listFilter+": not granted")
	}
	return out, nil
}

// isList: the vendor expands "~" in what it grants.
func (p *Provider) isList(filter string) bool {
	kind, _, err := p.classify(filter)
	return err == nil && kind == listEvent
}

func clipFilter(f string) string {
	if len(f) > maxFilter || !printable(f) {
		return "?"
	}
	return f
}
