package providertest

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

var toyHome = events.Home{Provider: "toy", Tenant: "1"}

// toy is a provider as it should be.
type toy struct {
	c    *client.Client
	deps subscriptions.Deps
}

func newToy(t testing.TB, d subscriptions.Deps) *toy {
	t.Helper()
	c, err := client.New(client.Vendor{
		Name: "toy",
		Said: func(_ client.Op, status int, _ http.Header) (s subscriptions.Said) {
			if status == http.StatusTooManyRequests {
				s.Penalty = time.Minute
			}
			return s
		},
		Refusal: toyRefusal, TokenDead: isDead,
	}, client.Options{Home: toyHome, BaseURL: "http://127.0.0.1:1"}, d)
	must(t, err)
	return &toy{c, d}
}

var errDead = errors.New("token is dead")

func toyRefusal(_ client.Op, status int, _ http.Header, body []byte) error {
	var b struct{ Code string }
	if json.Unmarshal(body, &b) != nil {
		return fmt.Errorf("status %d", status)
	}
	switch b.Code {
	case "dead":
		return errDead
	case "not_found":
		return subscriptions.ErrGone
	case "full":
		return fmt.Errorf("%w: %w", subscriptions.ErrMisconfigured, subscriptions.ErrFull)
	case "unreachable":
		return fmt.Errorf("%w: %w", subscriptions.ErrMisconfigured, subscriptions.ErrUnreachable)
	}
	return fmt.Errorf("status %d", status)
}

func (p *toy) ring() client.Ring {
	return client.Ring{Key: p.c.VaultKey("service"), Name: "token", Tags: []events.Tag{events.AppTag},
		Mint: func(ctx context.Context) (client.Token, error) {
			t, _, err := p.c.Grant(ctx, op("token", http.MethodPost), &clientcredentials.Config{ClientID: "toy",
				ClientSecret: toySecret, TokenURL: "http://127.0.0.1:1/oauth/token"})
			t.Identity = "service"
			return t, err
		}}
}

func op(name, method string) client.Op { return client.Op{Name: name, Group: "all", Method: method} }

func (p *toy) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	r := client.Request{Op: op(path, method), Path: path, Query: query, Body: body}
	return p.c.Call(ctx, p.c.Registering(p.ring()), r, out)
}

func (p *toy) Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
	if ref.Home != toyHome || ref.Resource != "" || ref.Validate() != nil {
		return cache.Answer{}, errors.New("no such reference")
	}
	ctx = client.WithErrand(ctx)
	b := p.c.Reading(p.ring(), s)
	var reply struct{ Rights []string }
	err := p.c.Call(ctx, b, client.Request{Op: op("rights", http.MethodGet),
		Path: "/rights/" + url.PathEscape(string(ref.Subject))}, &reply)
	if err == nil && reply.Rights == nil {
		err = client.ErrMalformed
	}
	if err != nil && !errors.Is(err, subscriptions.ErrGone) {
		return cache.Answer{}, err
	}
	a := cache.Answer{Facts: cache.Facts{Basis: "rights", Covers: []cache.Kind{cache.Permission, cache.Scope},
		Grants: map[cache.Grant]string{"scope/all": "*"}}}
	for _, right := range reply.Rights {
		a.Grants[cache.NewGrant(cache.Permission, right)] = cache.Unlimited
	}
	b.Confess(s)
	return a, nil
}

func (p *toy) Verify(d subscriptions.Delivery) (subscriptions.Reply, error) {
	stamp := d.Header.Get("X-Stamp")
	n, _ := strconv.ParseInt(stamp, 10, 64)
	age := d.Received.Sub(time.Unix(n, 0))
	signed := false
	for _, secret := range d.Secrets {
		sign := toySign(d.Body, stamp, secret.Reveal())
		signed = hmac.Equal([]byte(sign), []byte(d.Header.Get("X-Signature"))) || signed
	}
	if d.Home != toyHome || !signed || age > time.Minute || age < -time.Minute {
		return subscriptions.Reply{}, fmt.Errorf("%w: toy", subscriptions.ErrRefused)
	}
	return subscriptions.Reply{}, nil
}

func (p *toy) Translate(d subscriptions.Delivery) (events.Change, bool, error) {
	var n struct{ ID, Subject string }
	if json.Unmarshal(d.Body, &n) != nil || n.ID == "" {
		return events.Change{}, false, errToy
	}
	c := events.Change{ID: events.ChangeID(toyHome, n.ID), Home: toyHome, Source: events.Webhook,
		Received: d.Received, Tags: []events.Tag{events.SubjectTag(events.Subject(n.Subject))}}
	if c.Validate() != nil {
		return events.Change{}, false, errToy
	}
	return c, true, nil
}

func (p *toy) Wanted() []string { return []string{"all"} }

func (p *toy) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	var reply struct{ Hooks map[string]string }
	err := p.call(ctx, http.MethodGet, "/hooks", nil, nil, &reply)
	if err == nil && reply.Hooks == nil {
		err = client.ErrMalformed
	}
	var all []subscriptions.Subscription
	for id, to := range reply.Hooks {
		all = append(all, subscriptions.Subscription{ID: id, Want: "all", Address: to, Active: true})
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (p *toy) Terms() subscriptions.Terms { return subscriptions.Terms{Most: 10, OwnSecret: true} }

func (p *toy) Origin(d subscriptions.Delivery) subscriptions.Origin {
	var n struct{ Hook string }
	if json.Unmarshal(d.Body, &n) != nil || events.CheckID(n.Hook) != nil {
		return subscriptions.Origin{}
	}
	return subscriptions.Origin{Subscription: n.Hook}
}

func (p *toy) Create(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	if o.Secret.Empty() {
		return subscriptions.Subscription{}, errors.New("no secret")
	}
	made := subscriptions.Subscription{Want: o.Want, Address: o.Address, Active: true}
	body := map[string]string{"address": o.Address, "secret": o.Secret.Reveal()}
	if err := p.call(ctx, http.MethodPost, "/hooks", nil, body, &made); err != nil {
		return subscriptions.Subscription{}, err
	}
	return made, nil
}

func (p *toy) Renew(ctx context.Context, id string) (subscriptions.Subscription, error) {
	made := subscriptions.Subscription{Want: "all", Address: address, Active: true}
	err := p.call(ctx, http.MethodPut, "/hooks/"+url.PathEscape(id), nil, nil, &made)
	return made, err
}

func (p *toy) Delete(ctx context.Context, id string) error {
	err := p.call(ctx, http.MethodDelete, "/hooks/"+url.PathEscape(id), nil, nil, nil)
	if errors.Is(err, subscriptions.ErrGone) {
		return nil
	}
	return err
}

func (p *toy) Poll(ctx context.Context, cursor []byte) ([]events.Change, []byte, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(string(cursor), "at "))
	known := err == nil && fmt.Sprintf("at %d", n) == string(cursor)
	query := url.Values{}
	if known {
		query.Set("n", strconv.Itoa(n))
	}
	var reply struct {
		Events []string
		Next   *int
	}
	err = p.call(ctx, http.MethodGet, "/events", query, nil, &reply)
	if err == nil && (reply.Events == nil || reply.Next == nil) {
		err = client.ErrMalformed
	}
	if err != nil {
		return nil, nil, err
	}
	var all []events.Change
	tell := func(id string, tag events.Tag) {
		all = append(all, events.Change{ID: events.ChangeID(toyHome, id), Home: toyHome, Tags: []events.Tag{tag},
			Source: events.Tail, Received: time.Now()})
	}
	if !known && len(cursor) > 0 {
		tell(fmt.Sprintf("lost-%x", cursor), events.TenantTag)
	}
	for i, subject := range reply.Events {
		tell(fmt.Sprintf("e-%d", n+i), events.SubjectTag(events.Subject(subject)))
	}
	return all, fmt.Appendf(nil, "at %d", *reply.Next), nil
}

func (p *toy) Interval() time.Duration { return time.Second }
func (p *toy) Delay() time.Duration    { return 2 * time.Second }

// toySite is a site with the provider that make makes of a good one.
func toySite(make func(*toy) Provider) Site {
	return Site{Home: toyHome, Secrets: []string{toyKey, toySecret}, Lanes: 1, Tokens: 1, Signed: true,
		Age: time.Minute,
		Open: func(t testing.TB, w Wiring) World {
			t.Helper()
			v := newToyVendor(w.Deliveries)
			w.Serve(v)
			ref := func(s events.Subject) events.Ref { return events.Ref{Home: toyHome, Subject: s} }
			return World{Provider: make(newToy(t, w.Deps)), Calls: v.count,
				Ref: ref("1"), Held: "permission/touch", Revoke: v.revoke, Others: []events.Ref{ref("2")},
				Unknown: []events.Ref{ref("3")}, Trigger: v.trigger, Change: v.change, Tag: events.SubjectTag("1"),
				Kill: v.kill, Dead: status(401, `{"code":"dead"}`), Limited: status(429, ""),
				Full: status(403, `{"code":"full"}`), Unreachable: status(400, `{"code":"unreachable"}`),
			}
		}}
}
