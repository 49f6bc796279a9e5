package box

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	hooksPage = 100 // documents differ on whether more are allowed
	maxHooks  = 100 // pages
	// seenLife is how long it is taken for granted that a webhook which is listed is
	// as it was: only we change it.
	seenLife = time.Hour
)

// webhook is the vendor's; a list leaves out address and triggers.
type webhook struct {
	ID     id `json:"id"`
	Target struct {
		ID   id     `json:"id"`
		Type string `json:"type"`
	} `json:"target"`
	Address  string   `json:"address"`
	Triggers []string `json:"triggers"`
}

func (w webhook) target() string { return item{w.Target.Type, string(w.Target.ID)}.String() }

// ours translates. One that lacks triggers does not serve what it is for.
func (w webhook) ours(wanted []string) subscriptions.Subscription {
	s := subscriptions.Subscription{ID: string(w.ID), Address: w.Address, Active: true, Status: "active"}
	if !slices.Contains(wanted, w.target()) {
		return s
	}
	s.Want = w.target()
	target := item{w.Target.Type, string(w.Target.ID)}
	for _, name := range triggersOn(target) {
		if !slices.Contains(w.Triggers, name) {
			s.Active, s.Status = false, "triggers are missing"
		}
	}
	return s
}

// hook is a webhook as it was last read.
type hook struct {
	webhook
	at time.Time
}

// hooks remembers webhooks: which calls are made depends on it, and which of them are
// dead although Box still lists them.
type hooks struct {
	mu   sync.Mutex
	seen map[string]hook
	dead map[string]bool
}

func (h *hooks) get(id string) (webhook, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, ok := h.seen[id]
	return one.webhook, ok && time.Since(one.at) < seenLife
}

func (h *hooks) put(w webhook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[string(w.ID)] = hook{w, time.Now()}
}

// keep forgets all that are not listed.
func (h *hooks) keep(listed []webhook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gone := func(id string) bool {
		return !slices.ContainsFunc(listed, func(w webhook) bool { return string(w.ID) == id })
	}
	maps.DeleteFunc(h.seen, func(id string, _ hook) bool { return gone(id) })
	maps.DeleteFunc(h.dead, func(id string, _ bool) bool { return gone(id) })
}

// bury takes down that a webhook delivers no more, until it is not listed either.
func (h *hooks) bury(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead[id] = true
}

func (h *hooks) isDead(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead[id]
}

// subscription is one that is inactive if Box has told us that its session is over:
// no change mends it, so it must be deleted and made anew.
func (p *Provider) subscription(w webhook) subscriptions.Subscription {
	s := w.ours(p.cfg.Watch)
	if p.hooks.isDead(string(w.ID)) {
		s.Active, s.Status = false, "no active session"
	}
	return s
}

// Terms are those of guides/webhooks/v2/limitations-v2.
func (p *Provider) Terms() subscriptions.Terms { return subscriptions.Terms{Most: 1000} }

// Wanted lists the items that are watched.
func (p *Provider) Wanted() []string { return slices.Clone(p.cfg.Watch) }

// List returns the webhooks of this app and its service account. Box lists them
// without their addresses: each is read once an hour.
func (p *Provider) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	list, err := p.listWebhooks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	p.hooks.keep(list)
	var out []subscriptions.Subscription
	for _, w := range list {
		whole, err := p.whole(ctx, w)
		if errors.Is(err, subscriptions.ErrGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list webhooks: %w", err)
		}
		out = append(out, p.subscription(whole))
	}
	return out, nil
}

func (p *Provider) whole(ctx context.Context, w webhook) (webhook, error) {
	if known, ok := p.hooks.get(string(w.ID)); ok && known.target() == w.target() {
		return known, nil
	}
	return p.hook(ctx, client.Request{Op: opWebhook, Path: hookPath(string(w.ID))})
}

func (p *Provider) listWebhooks(ctx context.Context) (all []webhook, err error) {
	query := url.Values{"limit": {strconv.Itoa(hooksPage)}}
	for range maxHooks {
		var page struct {
			Entries []webhook `json:"entries"`
			Next    string    `json:"next_marker"`
		}
		r := client.Request{Op: opListWebhooks, Path: "/webhooks", Query: query}
		if err := p.client.Call(ctx, p.registering(), r, &page); err != nil {
			return nil, denied(err, "the service account must be allowed webhooks")
		}
		if page.Entries == nil {
			return nil, fmt.Errorf("box %s: %w: no entries", opListWebhooks.Name, client.ErrMalformed)
		}
		all = append(all, page.Entries...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("marker", page.Next)
	}
	return nil, fmt.Errorf("box %s: %w: over %d pages", opListWebhooks.Name, client.ErrMalformed, maxHooks)
}

// Create registers the address for an item. Box allows one webhook an item for
// an app and user: one that is there already, whatever its address, becomes this.
func (p *Provider) Create(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	address, want := o.Address, o.Want
	target, err := parseItem(want)
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("create webhook: %w", err)
	}
	w, err := p.hook(ctx, client.Request{Op: opCreateWebhook, Path: "/webhooks", Body: map[string]any{
		"target": map[string]string{"id": target.id, "type": target.kind}, "address": address,
		"triggers": triggersOn(target),
	}})
	var e *APIError
	if errors.As(err, &e) && e.Status == http.StatusConflict {
		w, err = p.adopt(ctx, address, target)
	}
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("create webhook for %s: %w", want, notCreated(err))
	}
	return p.subscription(w), nil
}

// notCreated says what a person must do.
func notCreated(err error) error {
	var e *APIError
	switch {
	case !errors.As(err, &e):
		return err
	case e.Status == http.StatusNotFound:
		return fmt.Errorf("%w: the item must exist and be shared with the service account: status %d, request %s",
			subscriptions.ErrMisconfigured, e.Status, e.RequestID)
	case e.Status == http.StatusBadRequest:
		return fmt.Errorf("%w: the address must be https, on port 443 of a public host: %w",
			subscriptions.ErrMisconfigured, err)
	}
	return denied(err, "the service account must be co-owner of the item, or another that may have webhooks")
}

// adopt finds the webhook of an item and gives it our address and triggers.
func (p *Provider) adopt(ctx context.Context, address string, target item) (webhook, error) {
	list, err := p.listWebhooks(ctx)
	if err != nil {
		return webhook{}, err
	}
	for _, w := range list {
		if w.target() == target.String() {
			return p.update(ctx, string(w.ID), map[string]any{"address": address, "triggers": triggersOn(target)})
		}
	}
	return webhook{}, fmt.Errorf("box %s: there is another, but it is not listed", opCreateWebhook.Name)
}

// Renew sees to it that the triggers are those that we want; no webhook expires.
func (p *Provider) Renew(ctx context.Context, id string) (subscriptions.Subscription, error) {
	w, err := p.hook(ctx, client.Request{Op: opWebhook, Path: hookPath(id)})
	if err == nil {
		w, err = p.update(ctx, id, map[string]any{
			"triggers": triggersOn(item{w.Target.Type, string(w.Target.ID)}),
		})
	}
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("renew webhook %.80s: %w", id, err)
	}
	return p.subscription(w), nil
}

// Delete removes a webhook; one that is gone is no error.
func (p *Provider) Delete(ctx context.Context, id string) error {
	err := p.client.Call(ctx, p.registering(), client.Request{Op: opDeleteWebhook, Path: hookPath(id)}, nil)
	if err != nil && !errors.Is(err, subscriptions.ErrGone) {
		return fmt.Errorf("delete webhook %.80s: %w", id, err)
	}
	return nil
}

func (p *Provider) update(ctx context.Context, id string, change map[string]any) (webhook, error) {
	return p.hook(ctx, client.Request{Op: opUpdateWebhook, Path: hookPath(id), Body: change})
}

// hook makes a call that answers with a whole webhook, and remembers it.
func (p *Provider) hook(ctx context.Context, r client.Request) (webhook, error) {
	var w webhook
	if err := p.client.Call(ctx, p.registering(), r, &w); err != nil {
		return webhook{}, err
	}
	if events.CheckID(string(w.ID)) != nil || w.Address == "" {
		return webhook{}, fmt.Errorf("box %s: %w: webhook without id or address", r.Op.Name, client.ErrMalformed)
	}
	p.hooks.put(w)
	return w, nil
}

func hookPath(id string) string { return "/webhooks/" + url.PathEscape(id) }
