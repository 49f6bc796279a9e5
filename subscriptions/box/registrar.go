package box

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
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
	// seenLife is the time in which each webhook has its turn to be read again: with
	// the time between two lists it makes an hour.
	seenLife = 54 * time.Minute
)

// webhook is the vendor's; a list leaves out all but id and target.
type webhook struct {
	ID     id `json:"id"`
	Target struct {
		ID   id     `json:"id"`
		Type string `json:"type"`
	} `json:"target"`
	CreatedAt string   `json:"created_at"`
	Address   string   `json:"address"`
	Triggers  []string `json:"triggers"`
}

func (w webhook) on() item { return item{w.Target.Type, string(w.Target.ID)} }

// ours translates. Triggers that it lacks are told as disabled, without a reason, of
// which there is but that: it serves the others.
func (w webhook) ours(wanted []string) subscriptions.Subscription {
	s := subscriptions.Subscription{ID: string(w.ID), Address: w.Address, Active: true, Status: "active",
		Created: parseTime(w.CreatedAt)}
	for _, name := range w.Triggers {
		s.Filters = append(s.Filters, client.Clip(name))
	}
	if !slices.Contains(wanted, w.on().String()) {
		return s
	}
	s.Want = w.on().String()
	for _, name := range triggersOn(w.on()) {
		if !slices.Contains(w.Triggers, name) {
			s.Disabled = append(s.Disabled, name)
		}
	}
	return s
}

// hook is a webhook as it was last read.
type hook struct {
	webhook
	at time.Time
}

// hooks remembers webhooks, so that few need be read again.
type hooks struct {
	mu   sync.Mutex
	seen map[string]hook
	from time.Time // the turns until then have been had
}

func (h *hooks) get(id string) (webhook, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, ok := h.seen[id]
	return one.webhook, ok
}

// find is the one on an item.
func (h *hooks) find(on item) (webhook, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.seen {
		if one.on() == on {
			return one.webhook, true
		}
	}
	return webhook{}, false
}

func (h *hooks) put(w webhook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.from.IsZero() {
		h.from = time.Now()
	}
	h.seen[string(w.ID)] = hook{w, time.Now()}
}

func (h *hooks) drop(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.seen, id)
}

func (h *hooks) full() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.seen) >= MaxWatch
}

// due says which of those listed must be read: what is not known to be on that item,
// and of the others those whose turn it is, which are the ones that were read longest
// ago. What is not listed is forgotten.
func (h *hooks) due(listed []webhook, now time.Time) map[id]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	due, still := map[id]bool{}, map[string]hook{}
	for _, w := range listed {
		if known, ok := h.seen[string(w.ID)]; ok && known.on() == w.on() {
			still[string(w.ID)] = known
			continue
		}
		due[w.ID] = true
	}
	h.seen = still
	oldest := slices.SortedFunc(maps.Values(still), func(a, b hook) int { return a.at.Compare(b.at) })
	for _, known := range oldest[:h.turns(len(oldest), now)] {
		due[known.ID] = true
	}
	return due
}

// turns is how many of n have had their turn since it was last asked: all of them in
// seenLife, evenly, however often that is.
func (h *hooks) turns(n int, now time.Time) int {
	since := now.Sub(h.from)
	if n == 0 || since >= seenLife {
		h.from = now
		return n
	}
	turns := time.Duration(n) * since / seenLife
	h.from = h.from.Add(turns * seenLife / time.Duration(n))
	return int(turns)
}

// Terms are those of guides/webhooks/v2/limitations-v2. The enterprise's events do not
// tell all that webhooks do: see the package comment.
func (p *Provider) Terms() subscriptions.Terms {
	return subscriptions.Terms{Most: MaxWatch}
}

// Wanted lists the items that are watched.
func (p *Provider) Wanted() []string { return slices.Clone(p.cfg.Watch) }

// List returns the webhooks of this app and its service account. Box lists them
// without addresses and triggers: what is not known yet is read, and of the others a
// share, so that each is read again within an hour, however often they are listed. Of 1000
// that are known, every 5 min, about 93 are read, besides 10 calls for the list.
func (p *Provider) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	list, err := p.listWebhooks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	due := p.hooks.due(list, time.Now())
	var out []subscriptions.Subscription
	for _, w := range list {
		whole, err := p.whole(ctx, w, due[w.ID])
		if errors.Is(err, subscriptions.ErrGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list webhooks: %w", err)
		}
		out = append(out, whole.ours(p.cfg.Watch))
	}
	return out, nil
}

func (p *Provider) whole(ctx context.Context, w webhook, due bool) (webhook, error) {
	if known, ok := p.hooks.get(string(w.ID)); ok && !due {
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
		if err := p.callHooks(ctx, r, &page); err != nil {
			return nil, err
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
// an app and user: one that is there already, whatever its address, becomes this. The
// order's secret is ignored, since the app's keys sign for all.
func (p *Provider) Create(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	on, err := parseItem(o.Want)
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("create webhook: %w", err)
	}
	w, err := p.hook(ctx, client.Request{Op: opCreateWebhook, Path: "/webhooks", Body: map[string]any{
		"target": map[string]string{"id": on.id, "type": on.kind}, "address": o.Address,
		"triggers": triggersOn(on),
	}})
	if refusedWith(err, http.StatusConflict) {
		w, err = p.adopt(ctx, o.Address, on, err)
	}
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("create webhook for %s: %w", o.Want, p.notCreated(err))
	}
	return w.ours(p.cfg.Watch), nil
}

// madeByUs are addresses such as ours, today's and former ones: nobody else's end so.
var madeByUs = regexp.MustCompile(`/hooks/[^/]+/[0-9a-f]{32}(/[0-9]+)?$`)

// adopt gives the webhook of an item, which is in our way, our address and triggers.
// One at an address that cannot be of ours is left alone.
func (p *Provider) adopt(ctx context.Context, address string, on item, conflict error) (webhook, error) {
	there, ok := p.hooks.find(on)
	if !ok {
		list, err := p.listWebhooks(ctx)
		if err != nil {
			return webhook{}, err
		}
		i := slices.IndexFunc(list, func(w webhook) bool { return w.on() == on })
		if i < 0 {
			return webhook{}, fmt.Errorf("there is another, but it is not listed: %w", conflict)
		}
		there = list[i]
	}
	whole, err := p.whole(ctx, there, false)
	if err == nil && !madeByUs.MatchString(whole.Address) {
		return webhook{}, fmt.Errorf("%w: this app has a webhook on the item that we did not make: remove it, or "+
			"watch another item: %w", subscriptions.ErrMisconfigured, conflict)
	}
	if err != nil {
		return webhook{}, err
	}
	w, err := p.update(ctx, there, map[string]any{"address": address, "triggers": triggersOn(on)})
	if errors.Is(err, subscriptions.ErrGone) {
		p.hooks.drop(string(there.ID))
		return webhook{}, fmt.Errorf("there was another, which is gone: %w", conflict)
	}
	return w, err
}

// notCreated says what a person must do.
func (p *Provider) notCreated(err error) error {
	var e *APIError
	if !errors.As(err, &e) || e.Operation != opCreateWebhook.Name && e.Operation != opUpdateWebhook.Name {
		return err
	}
	switch {
	case e.Code == codeNoScope:
		return err
	case e.Status == http.StatusNotFound: // nothing of ours is gone, so the error is not wrapped
		return fmt.Errorf("%w: the item must exist and be shared with the service account, as co-owner: "+
			"status %d, request %s", subscriptions.ErrMisconfigured, e.Status, e.RequestID)
	case e.Code == codeTerms:
		return fmt.Errorf("%w: the service account must accept the terms of service: %w",
			subscriptions.ErrMisconfigured, err)
	case e.names("address"):
		return unreachable(err)
	case e.Status < 500 && (e.limits() || p.hooks.full()):
		return fmt.Errorf("%w: %w: %d for an app and user; remove some of this app's, or watch a folder "+
			"above instead of what lies in it: %w",
			subscriptions.ErrMisconfigured, subscriptions.ErrFull, MaxWatch, err)
	case e.Status == http.StatusBadRequest && (e.names("target") || e.names("triggers")):
		return fmt.Errorf("%w: Box allows no webhook with these triggers on the item: %w",
			subscriptions.ErrMisconfigured, err)
	case e.Status == http.StatusBadRequest: // the item and the triggers are ours to choose
		return unreachable(err)
	}
	return err
}

// unreachable has Box's rules for addresses (guides/webhooks/v2/limitations-v2).
func unreachable(err error) error {
	return fmt.Errorf("%w: %w: Box wants https, on port 443, at a public IP address, with a certificate of a "+
		"known authority and TLS 1.2 or newer, and at no host of box.com: %w",
		subscriptions.ErrMisconfigured, subscriptions.ErrUnreachable, err)
}

// Renew sees to it that the triggers are those that we want; no webhook expires.
func (p *Provider) Renew(ctx context.Context, id string) (subscriptions.Subscription, error) {
	w, err := p.hook(ctx, client.Request{Op: opWebhook, Path: hookPath(id)})
	if err == nil {
		w, err = p.update(ctx, w, map[string]any{"triggers": triggersOn(w.on())})
	}
	if errors.Is(err, subscriptions.ErrGone) {
		p.hooks.drop(id)
	}
	if err != nil {
		return subscriptions.Subscription{}, fmt.Errorf("renew webhook %.80s: %w", id, err)
	}
	return w.ours(p.cfg.Watch), nil
}

// Delete removes a webhook; one that is gone is no error.
func (p *Provider) Delete(ctx context.Context, id string) error {
	err := p.callHooks(ctx, client.Request{Op: opDeleteWebhook, Path: hookPath(id)}, nil)
	if err != nil && !errors.Is(err, subscriptions.ErrGone) {
		return fmt.Errorf("delete webhook %.80s: %w", id, err)
	}
	p.hooks.drop(id)
	return nil
}

func (p *Provider) update(ctx context.Context, w webhook, change map[string]any) (webhook, error) {
	return p.hook(ctx, client.Request{Op: opUpdateWebhook, Path: hookPath(string(w.ID)), Body: change})
}

// hook makes a call that answers with a whole webhook, and remembers it.
func (p *Provider) hook(ctx context.Context, r client.Request) (webhook, error) {
	var w webhook
	if err := p.callHooks(ctx, r, &w); err != nil {
		return webhook{}, err
	}
	if events.CheckID(string(w.ID)) != nil || w.Address == "" {
		return webhook{}, fmt.Errorf("box %s: %w: webhook without id or address", r.Op.Name, client.ErrMalformed)
	}
	p.hooks.put(w)
	return w, nil
}

// callHooks says which right is missing, if one is.
func (p *Provider) callHooks(ctx context.Context, r client.Request, out any) error {
	err := p.client.Call(ctx, p.registering(), r, out)
	if hasCode(err, codeNoScope) {
		return fmt.Errorf("the scope is manage_webhook: %w", err)
	}
	return denied(err, "the service account must be co-owner of the item, or another that may have webhooks")
}

func hookPath(id string) string { return "/webhooks/" + url.PathEscape(id) }
