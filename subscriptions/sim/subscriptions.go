package sim

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	defaultLife = 604800    // seconds, when expiresIn is left out
	longestLife = 315360000 // seconds; more is cut down without a word
	blacklistAt = 10 * time.Minute
	recoverEach = 15 * time.Minute
)

// subscription is a webhook registration. All but its id is guarded by the world's lock.
type subscription struct {
	id, owner, client string
	address, secret   string
	filters           []filter
	disabled          []disabledFilter
	seconds           int // last asked for
	created, expires  time.Time
	failing           time.Time // since when every delivery fails; zero: the last one succeeded
	blacklisted       time.Time // zero: active
	reason            string
	held              *delivery
	delivered, failed int
	ctx               context.Context // ends with the subscription
	end               context.CancelFunc
	stopReminders     context.CancelFunc
}

func (x *subscription) status() string {
	if x.blacklisted.IsZero() {
		return "Active"
	}
	return "Blacklisted"
}

// Subscription is what the simulator knows of one.
type Subscription struct {
	ID, Owner, ClientID, Address, Status string
	Filters                              []string
	Expires                              time.Time
	Delivered, Failed                    int // deliveries
}

// Subscriptions lists the live ones of all users and apps, oldest first.
func (s *RingCentral) Subscriptions() []Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	list := make([]Subscription, 0, len(s.subs))
	for _, x := range s.subs {
		list = append(list, Subscription{ID: x.id, Owner: x.owner, ClientID: x.client, Address: x.address,
			Status: x.status(), Filters: filterTexts(x.filters), Expires: x.expires, Delivered: x.delivered,
			Failed: x.failed})
	}
	return list
}

// LoseSubscription forgets one without a word: as an administrator would who deletes it, or a fault over
// there. It errs if there is none.
func (s *RingCentral) LoseSubscription(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	for _, x := range s.subs {
		if x.id == id {
			s.forget(x)
			return nil
		}
	}
	return errors.New("lose subscription: there is none with that id")
}

func (s *RingCentral) forget(x *subscription) {
	x.end()
	s.subs = slices.DeleteFunc(s.subs, func(y *subscription) bool { return x == y })
}

// expire forgets what has run out, silently as the vendor does.
func (s *RingCentral) expire() {
	now := time.Now()
	s.subs = slices.DeleteFunc(s.subs, func(x *subscription) bool {
		if now.Before(x.expires) {
			return false
		}
		x.end()
		return true
	})
}

// mine are the caller's subscriptions with this app.
func (c *call) mine() []*subscription {
	c.s.expire()
	var list []*subscription
	for _, x := range c.s.subs {
		if x.owner == c.who.owner && x.client == c.who.client {
			list = append(list, x)
		}
	}
	return list
}

func (c *call) find() (*subscription, error) {
	for _, x := range c.mine() {
		if x.id == c.r.PathValue("id") {
			return x, nil
		}
	}
	return nil, errNotFound("subscriptionId")
}

type subscriptionInfo struct {
	URI         string           `json:"uri"`
	ID          string           `json:"id"`
	Created     string           `json:"creationTime"`
	Status      string           `json:"status"`
	Filters     []string         `json:"eventFilters"`
	Disabled    []disabledFilter `json:"disabledFilters,omitempty"`
	Expires     string           `json:"expirationTime"`
	ExpiresIn   int              `json:"expiresIn"`
	Mode        deliveryMode     `json:"deliveryMode"`
	Blacklisted *blacklistedData `json:"blacklistedData,omitempty"`
}

type deliveryMode struct {
	Transport  string `json:"transportType"`
	Encryption bool   `json:"encryption"`
	Address    string `json:"address"`
}

type blacklistedData struct {
	At     string `json:"blacklistedAt"`
	Reason string `json:"reason"`
}

func (c *call) subscriptionInfo(x *subscription) subscriptionInfo {
	info := subscriptionInfo{URI: c.base + "/subscription/" + x.id, ID: x.id, Created: stamp(x.created),
		Status: x.status(), Filters: filterTexts(x.filters), Disabled: slices.Clone(x.disabled),
		Expires: stamp(x.expires), ExpiresIn: max(1, int(time.Until(x.expires).Seconds())),
		Mode: deliveryMode{Transport: "WebHook", Address: x.address}}
	if !x.blacklisted.IsZero() {
		info.Blacklisted = &blacklistedData{At: stamp(x.blacklisted), Reason: x.reason}
	}
	return info
}

func (c *call) listSubscriptions() (any, error) {
	list := struct {
		URI     string             `json:"uri"`
		Records []subscriptionInfo `json:"records"`
	}{URI: c.base + "/subscription", Records: []subscriptionInfo{}}
	for _, x := range c.mine() {
		list.Records = append(list.Records, c.subscriptionInfo(x))
	}
	return list, nil
}

func (c *call) readSubscription() (any, error) {
	x, err := c.find()
	if err != nil {
		return nil, err
	}
	return c.subscriptionInfo(x), nil
}

func (c *call) deleteSubscription() (any, error) {
	x, err := c.find()
	if err != nil {
		return nil, err
	}
	c.s.forget(x)
	c.status = http.StatusNoContent
	return nil, nil
}

type subscriptionBody struct {
	Filters   []string `json:"eventFilters"`
	ExpiresIn *int     `json:"expiresIn"`
	Mode      struct {
		Transport string `json:"transportType"`
		Address   string `json:"address"`
		Secret    string `json:"verificationToken"`
	} `json:"deliveryMode"`
}

// seconds is the life asked for, cut down to the longest.
func (b subscriptionBody) seconds(absent int) (int, error) {
	if b.ExpiresIn == nil {
		return absent, nil
	}
	if *b.ExpiresIn < 1 {
		return 0, errParameter("expiresIn", "")
	}
	return min(*b.ExpiresIn, longestLife), nil
}

// createSubscription asks the webhook before it answers; the world is unlocked meanwhile.
func (c *call) createSubscription() (any, error) {
	x, err := c.draft()
	if err != nil {
		return nil, err
	}
	if err := c.room(); err != nil {
		return nil, err
	}
	if err := c.unlocked(func() error { return c.s.handshake(c.r.Context(), x.address, x.secret) }); err != nil {
		return nil, err
	}
	if err := c.room(); err != nil {
		return nil, err
	}
	now := time.Now()
	x.id, x.created = uuid.NewString(), now
	x.ctx, x.end = context.WithCancel(c.s.deliver.waiting)
	c.s.subs = append(c.s.subs, x)
	c.s.renew(x)
	return c.subscriptionInfo(x), nil
}

func (c *call) unlocked(f func() error) error {
	c.s.mu.Unlock()
	defer c.s.mu.Lock()
	return f()
}

func (c *call) room() error {
	if len(c.mine()) >= c.s.opts.MaxSubscriptions {
		return errSubscription(http.StatusForbidden, "SUB-505", "Subscriptions limit exceeded")
	}
	return nil
}

// draft is the subscription that the request describes.
func (c *call) draft() (*subscription, error) {
	var body subscriptionBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Mode.Transport != "WebHook" {
		return nil, errParameter("deliveryMode.transportType", body.Mode.Transport)
	}
	u, err := url.Parse(body.Mode.Address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errParameter("deliveryMode.address", "")
	}
	if u.Scheme != "https" && c.s.opts.RequireHTTPS {
		return nil, errSubscription(http.StatusBadRequest, "SUB-523", "HTTPS is required")
	}
	seconds, err := body.seconds(defaultLife)
	if err != nil {
		return nil, err
	}
	x := &subscription{owner: c.who.owner, client: c.who.client, address: body.Mode.Address, seconds: seconds,
		secret: body.Mode.Secret, stopReminders: func() {}}
	x.filters, x.disabled, err = c.filters(body.Filters, seconds)
	return x, err
}

// updateSubscription replaces the filters and renews; with an empty body it only renews.
func (c *call) updateSubscription() (any, error) {
	x, err := c.find()
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(c.body)) == "" {
		return c.renewSubscription()
	}
	var body subscriptionBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	seconds, err := body.seconds(x.seconds)
	if err != nil {
		return nil, err
	}
	filters, disabled, err := c.filters(body.Filters, seconds)
	if err != nil {
		return nil, err
	}
	if err := c.shakeAgain(x); err != nil {
		return nil, err
	}
	x.seconds, x.filters, x.disabled = seconds, filters, disabled
	c.s.renew(x)
	return c.subscriptionInfo(x), nil
}

func (c *call) renewSubscription() (any, error) {
	x, err := c.find()
	if err != nil {
		return nil, err
	}
	if err := c.shakeAgain(x); err != nil {
		return nil, err
	}
	c.s.renew(x)
	return c.subscriptionInfo(x), nil
}

// shakeAgain asks the webhook once more, where that is the reading; the subscription may end meanwhile.
func (c *call) shakeAgain(x *subscription) error {
	if !c.quirks.RenewalHandshake {
		return nil
	}
	if err := c.unlocked(func() error { return c.s.handshake(c.r.Context(), x.address, x.secret) }); err != nil {
		return err
	}
	_, err := c.find()
	return err
}

// renew starts the life and the reminders anew. The world is locked.
func (s *RingCentral) renew(x *subscription) {
	x.expires = time.Now().Add(s.scale(time.Duration(x.seconds) * time.Second))
	x.stopReminders()
	ctx, stop := context.WithCancel(x.ctx)
	x.stopReminders = stop
	for _, f := range x.filters {
		if f.reminder() {
			s.deliver.background(func() { s.remind(ctx, x, f) })
		}
	}
}

// remind sends reminders from the threshold on, until the subscription is renewed or over.
func (s *RingCentral) remind(ctx context.Context, x *subscription, f filter) {
	s.mu.Lock()
	expires := x.expires
	s.mu.Unlock()
	next := expires.Add(-s.scale(f.threshold))
	for wait(ctx, time.Until(next)) && time.Now().Before(expires) {
		s.mu.Lock()
		if slices.Contains(x.filters, f) { // it may have been disabled
			s.notify(x, f.text, map[string]any{"expiresIn": secondsUntil(expires)}, uuid.New())
		}
		s.mu.Unlock()
		next = next.Add(max(s.scale(f.interval), time.Millisecond))
	}
}

// wait returns whether the time has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stamp is the vendor's date-time.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
