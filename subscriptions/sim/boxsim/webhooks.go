package boxsim

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	vendorHooks  = 1000                // of one user with one app
	idleLife     = 30 * 24 * time.Hour // without a success, before a webhook is cleaned up,
	idleTriggers = 14 * 24 * time.Hour // if it was triggered so long after the last one
)

// webhook is a registration. All but its id is guarded by the world's lock.
type webhook struct {
	id, client, user, address string
	target                    obj
	triggers                  []string
	created                   time.Time
	succeeded, triggered      time.Time // last; a new one counts as succeeded
	held                      *delivery
	delivered, failed         int
	gone                      bool
	over                      bool // its session
}

// Webhook is what the simulator knows of one.
type Webhook struct {
	ID, ClientID, User, Target, Address string
	Triggers                            []string
	Delivered, Failed                   int // attempts
}

// Webhooks lists those of all users and apps, oldest first.
func (s *Box) Webhooks() []Webhook {
	defer s.lock()()
	list := make([]Webhook, 0, len(s.hooks))
	for _, x := range s.hooks {
		list = append(list, Webhook{ID: x.id, ClientID: x.client, User: x.user, Target: x.item(),
			Address: x.address, Triggers: slices.Clone(x.triggers), Delivered: x.delivered, Failed: x.failed})
	}
	return list
}

// DeleteWebhook deletes a webhook as the vendor does by itself, with WEBHOOK.DELETED to its address.
func (s *Box) DeleteWebhook(id string) error {
	return s.onWebhook(id, func(x *webhook) { s.dropHook(x, true) })
}

// LoseWebhook deletes a webhook, and tells nobody.
func (s *Box) LoseWebhook(id string) error {
	return s.onWebhook(id, func(x *webhook) { s.dropHook(x, false) })
}

// EndSession ends the session that a webhook was made with: from now on it delivers NO_ACTIVE_SESSION, until
// it is deleted.
func (s *Box) EndSession(id string) error {
	return s.onWebhook(id, func(x *webhook) { x.over = true })
}

func (s *Box) onWebhook(id string, do func(*webhook)) error {
	defer s.lock()()
	for _, x := range s.hooks {
		if x.id == id {
			do(x)
			return nil
		}
	}
	return fmt.Errorf("webhook %q: %w", id, ErrUnknown)
}

// SetUnreachable has addresses at these hosts refused from now on, and at no others but those that always
// are: so it is with a certificate of no known authority. Webhooks that are there stay.
func (s *Box) SetUnreachable(hosts ...string) {
	defer s.lock()()
	s.unreachable = slices.Clone(hosts)
}

// dropHook ends a webhook; its retries are dropped. Told, it gets a last delivery.
func (s *Box) dropHook(x *webhook, told bool) {
	x.gone = true
	s.hooks = slices.DeleteFunc(s.hooks, func(y *webhook) bool { return x == y })
	if told {
		s.notify(x, "WEBHOOK.DELETED", x.user, notice{source: x.target, info: obj{"reason": "auto_cleanup"}})
	}
}

// cleanUp ends webhooks that have failed for long.
func (s *Box) cleanUp(now time.Time) {
	var dead []*webhook
	for _, x := range s.hooks {
		if now.Sub(x.succeeded) >= s.scale(idleLife) && x.triggered.Sub(x.succeeded) > s.scale(idleTriggers) {
			dead = append(dead, x)
		}
	}
	for _, x := range dead {
		s.dropHook(x, true)
	}
}

func (x *webhook) item() string {
	id, _ := x.target["id"].(string)
	return id
}

func (x *webhook) mini() obj { return obj{"id": x.id, "type": "webhook", "target": x.target} }

// webhook is the whole object.
func (s *Box) webhook(x *webhook) obj {
	all := x.mini()
	all["created_by"], all["created_at"] = s.world.userMini(x.user), stamp(x.created)
	all["address"], all["triggers"] = x.address, slices.Clone(x.triggers)
	return all
}

// mine are the caller's webhooks with this app. Nobody sees those of others.
func (c *call) mine() []*webhook {
	return slices.DeleteFunc(slices.Clone(c.s.hooks), func(x *webhook) bool {
		return x.client != c.token.client || x.user != c.me.ID
	})
}

func (c *call) findWebhook() (*webhook, error) {
	for _, x := range c.mine() {
		if x.id == c.id() {
			return x, nil
		}
	}
	return nil, errNotFound("webhook_id", c.id())
}

func (c *call) listWebhooks() (any, error) {
	id := func(x *webhook) string { return x.id }
	return marked(c, c.mine(), bounds{100, 200}, id, func(x *webhook) any { return x.mini() })
}

func (c *call) readWebhook() (any, error) {
	x, err := c.findWebhook()
	if err != nil {
		return nil, err
	}
	return c.s.webhook(x), nil
}

func (c *call) deleteWebhook() (any, error) {
	x, err := c.findWebhook()
	if err != nil {
		return nil, err
	}
	c.s.dropHook(x, c.quirks.DeleteNotice)
	c.status = http.StatusNoContent
	return nil, nil
}

type webhookBody struct {
	Target   *struct{ ID, Type string }
	Address  *string
	Triggers *[]string
}

func (c *call) createWebhook() (any, error) {
	var body webhookBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Target == nil || body.Address == nil || body.Triggers == nil {
		return nil, errParameter("target", "target, address and triggers are required")
	}
	if most := c.s.opts.MaxWebhooks; len(c.mine()) >= most {
		return nil, c.refuseHook("webhook", "limit_exceeded", fmt.Sprint("There are ", most, " webhooks"))
	}
	now := time.Now()
	x := &webhook{client: c.token.client, user: c.me.ID, created: now, succeeded: now}
	if err := c.fill(x, body); err != nil {
		return nil, err
	}
	x.id = c.s.newID()
	c.s.hooks = append(c.s.hooks, x)
	c.status = http.StatusCreated
	return c.s.webhook(x), nil
}

func (c *call) updateWebhook() (any, error) {
	x, err := c.findWebhook()
	if err != nil {
		return nil, err
	}
	var body webhookBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := c.fill(x, body); err != nil {
		return nil, err
	}
	return c.s.webhook(x), nil
}

// refuseHook is a 400. What it names is a guess, so a quirk has it name nothing.
func (c *call) refuseHook(name, reason, message string) error {
	e := refuse(http.StatusBadRequest, "bad_request", "Bad Request")
	if !c.quirks.BareRefusals {
		e.context = obj{"errors": []obj{{"reason": reason, "name": name, "message": message}}}
	}
	return e
}

// fill checks what the body names, and only then writes it.
func (c *call) fill(x *webhook, body webhookBody) error {
	target, address, triggers := x.target, cmp.Or(body.Address, &x.address), cmp.Or(body.Triggers, &x.triggers)
	if body.Target != nil {
		target = obj{"id": body.Target.ID, "type": body.Target.Type}
		if err := c.checkTarget(x, body.Target.Type, body.Target.ID); err != nil {
			return err
		}
	}
	kind, _ := target["type"].(string)
	if len(*triggers) == 0 {
		return c.refuseHook("triggers", "invalid_parameter", "triggers are required")
	}
	for _, t := range *triggers {
		if !triggerable(kind, t) {
			return c.refuseHook("triggers", "invalid_parameter", "Invalid trigger '"+t+"' for a "+kind)
		}
	}
	if body.Address != nil && !c.reachable(*address) {
		return c.refuseHook("address", "invalid_parameter", "Invalid address")
	}
	x.target, x.address, x.triggers = target, *address, slices.Clone(*triggers)
	return nil
}

// checkTarget refuses the root, what the caller does not see, and what has a webhook already.
func (c *call) checkTarget(x *webhook, kind, id string) error {
	if kind != "file" && kind != "folder" || id == rootID {
		return c.refuseHook("target", "invalid_parameter", "Invalid target")
	}
	if _, err := c.find(c.s.world, kind, id); err != nil {
		return err
	}
	for _, other := range c.mine() {
		if other != x && other.item() == id {
			return errConflict("A webhook with this target, application and user exists")
		}
	}
	return nil
}

// reachable tells whether an address will do. Nothing is looked up and no certificate is looked at: see
// SetUnreachable.
func (c *call) reachable(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	if host == "box.com" || strings.HasSuffix(host, ".box.com") || slices.Contains(c.s.unreachable, host) {
		return false
	}
	return !c.s.opts.RequireHTTPS ||
		u.Scheme == "https" && (u.Port() == "" || u.Port() == "443") && public(host)
}

// public tells whether a host may be reached from outside, as far as its name tells.
func public(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host != "localhost" && strings.Contains(host, ".")
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// known are the triggers by what they can be asked for, as the vendor's guide and its description list them.
var known = map[string][]string{
	"any": strings.Fields(`FILE.PREVIEWED FILE.DOWNLOADED FILE.TRASHED FILE.DELETED FILE.RESTORED FILE.COPIED
		FILE.MOVED FILE.LOCKED FILE.UNLOCKED FILE.RENAMED COMMENT.CREATED COMMENT.UPDATED COMMENT.DELETED
		TASK_ASSIGNMENT.CREATED TASK_ASSIGNMENT.UPDATED METADATA_INSTANCE.CREATED METADATA_INSTANCE.UPDATED
		METADATA_INSTANCE.DELETED WEBHOOK.DELETED SHARED_LINK.CREATED SHARED_LINK.UPDATED SHARED_LINK.DELETED
		SIGN_REQUEST.COMPLETED SIGN_REQUEST.DECLINED SIGN_REQUEST.EXPIRED SIGN_REQUEST.SIGNER_EMAIL_BOUNCED
		SIGN_REQUEST.SIGNER_SIGNED SIGN_REQUEST.SIGNATURE_REQUESTED SIGN_REQUEST.ERROR_FINALIZING
		SIGN_REQUEST.SIGN_SIGNER_SIGNED SIGN_REQUEST.SIGN_DOCUMENT_CREATED
		SIGN_REQUEST.SIGN_ERROR_FINALIZING`),
	"folder": strings.Fields(`FILE.UPLOADED FOLDER.CREATED FOLDER.RENAMED FOLDER.DOWNLOADED FOLDER.RESTORED
		FOLDER.DELETED FOLDER.COPIED FOLDER.MOVED FOLDER.TRASHED COLLABORATION.CREATED COLLABORATION.ACCEPTED
		COLLABORATION.REJECTED COLLABORATION.REMOVED COLLABORATION.UPDATED`),
	"file": strings.Fields(`DOCGEN_DOCUMENT_GENERATION_STARTED DOCGEN_DOCUMENT_GENERATION_SUCCEEDED
		DOCGEN_DOCUMENT_GENERATION_FAILED`),
}

func triggerable(kind, trigger string) bool {
	return slices.Contains(known["any"], trigger) || slices.Contains(known[kind], trigger)
}
