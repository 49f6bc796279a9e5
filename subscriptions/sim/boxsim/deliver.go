package boxsim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	maxRetries = 12
	retryEach  = 10 * time.Minute // 12 of them fill the vendor's two hours
)

// notice is what a trigger tells.
type notice struct {
	source any
	info   any     // additional_info; nil: the empty array
	also   []*Item // whose webhooks hear of it too
	but    []*Item // whose webhooks do not
}

// envelope is the body of a delivery.
type envelope struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	CreatedAt string `json:"created_at"`
	Trigger   string `json:"trigger"`
	Webhook   any    `json:"webhook"`
	CreatedBy any    `json:"created_by,omitempty"`
	Source    any    `json:"source,omitempty"`
	Info      any    `json:"additional_info"`
}

// trigger delivers to all webhooks on the item and what it lies in. The world is locked.
func (s *Box) trigger(name, by, item string, n notice) {
	chain := append(s.world.chain(item), n.also...)
	for _, x := range slices.Clone(s.hooks) {
		on := func(it *Item) bool { return it.ID == x.item() }
		here := slices.ContainsFunc(chain, on) && !slices.ContainsFunc(n.but, on)
		if here && slices.Contains(x.triggers, name) {
			s.notify(x, name, by, n)
		}
	}
}

// Trigger delivers to the webhooks on an item and what it lies in, without changing anything. Source nil is
// the item as it is; info nil the empty array.
func (s *Box) Trigger(name, by, item string, source, info map[string]any) error {
	defer s.lock()()
	it := s.world.items[item]
	if it == nil {
		return fmt.Errorf("item %q: %w", item, ErrUnknown)
	}
	n := notice{source: s.world.itemStandard(it)}
	if source != nil {
		n.source = source
	}
	if info != nil {
		n.info = info
	}
	s.trigger(name, by, item, n)
	return nil
}

// notify makes a delivery. Without a session or while the app is not authorized, it says so and nothing else.
func (s *Box) notify(x *webhook, trigger, by string, n notice) {
	x.triggered = time.Now()
	e := envelope{Type: "webhook_event", ID: uuid.NewString(), CreatedAt: stamp(x.triggered), Trigger: trigger,
		Webhook: obj{"id": x.id, "type": "webhook"}, CreatedBy: s.world.userMini(by), Source: n.source,
		Info: n.info}
	if s.quirks.FullWebhook {
		e.Webhook = s.webhook(x)
	}
	if (x.over || !s.apps[x.client].authorized) && trigger != "WEBHOOK.DELETED" {
		e.Trigger, e.CreatedBy, e.Source, e.Info = "NO_ACTIVE_SESSION", nil, nil, nil
	}
	if e.Info == nil {
		e.Info = []any{}
	}
	body, err := escaped(e)
	if err != nil {
		s.log.Error("encode delivery", "trigger", trigger, "error", err)
		return
	}
	s.post(&delivery{hook: x, body: body, last: x.gone})
}

// post lets the faults in force have the delivery, or sends it. The world is locked.
func (s *Box) post(d *delivery) {
	t, x := s.trouble(Deliveries), d.hook
	if t.drop {
		return
	}
	if t.duplicate {
		again := *d
		d.then = &again
	}
	if t.reorder && x.held == nil {
		x.held = d
		return
	}
	if x.held != nil {
		cmp.Or(d.then, d).then, x.held = x.held, nil
	}
	s.later(d, t.delay)
}

// later queues a delivery after a while.
func (s *Box) later(d *delivery, wait time.Duration) {
	if wait == 0 {
		s.deliver.put(d)
		return
	}
	s.deliver.background(func() {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
			s.deliver.put(d)
		case <-s.deliver.waiting.Done():
		}
	})
}

// send makes one attempt. It has a delivery id, a time and signatures of its own, with the keys of now.
func (s *Box) send(ctx context.Context, d *delivery) {
	at := stamp(time.Now())
	head := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Box-WH-Client/0.1"},
		"Box-Delivery-Id": {uuid.NewString()}, "Box-Delivery-Timestamp": {at}}
	s.mu.Lock()
	x := d.hook
	lost, address := x.gone && !d.last, x.address
	s.sign(head, x, d.body, at)
	s.mu.Unlock()
	if lost {
		return
	}
	s.settle(d, s.attempt(ctx, address, head, d.body))
}

// sign sets the headers that the app's keys give; without keys none. What the webhook of a deleted user sends
// verifies with no key. The world is locked.
func (s *Box) sign(head http.Header, x *webhook, body []byte, at string) {
	app := s.apps[x.client]
	primary, secondary := app.PrimaryKey, app.SecondaryKey
	if primary == "" && secondary == "" {
		return
	}
	if s.world.users[x.user] == nil {
		primary, secondary = rand.Text(), rand.Text()
	}
	head.Set("Box-Signature-Version", "1")
	head.Set("Box-Signature-Algorithm", "HmacSHA256")
	for name, key := range map[string]string{"Primary": primary, "Secondary": secondary} {
		switch {
		case key != "":
			head.Set("Box-Signature-"+name, Sign(key, body, at))
		case s.quirks.EmptySignature:
			head.Set("Box-Signature-"+name, "")
		}
	}
}

// Sign is the vendor's signature of a delivery: over the body's bytes and then the timestamp header, as it is
// written.
func Sign(key string, body []byte, timestamp string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	mac.Write([]byte(timestamp))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// settle counts the outcome, and tries again what failed.
func (s *Box) settle(d *delivery, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := d.hook
	if err == nil {
		x.delivered++
		x.succeeded = time.Now()
		return
	}
	x.failed++
	s.log.Debug("delivery failed", "webhook", x.id, "retries", d.retries, "error", err)
	if d.retries < maxRetries {
		again := *d
		again.retries++
		again.then = nil
		s.later(&again, s.scale(retryEach))
	}
}

// attempt succeeds when a 2xx comes in time. Redirects are not followed. Errors do not name the address,
// which may carry a secret.
func (s *Box) attempt(ctx context.Context, address string, head http.Header, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.DeliveryTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address is no URL")
	}
	r.Header = head
	answer, err := s.opts.Transport.RoundTrip(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)); err != nil {
		return err
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("the webhook answers %d", answer.StatusCode)
	}
	return nil
}
