package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// patience is how long a fetch that somebody waits for, or that has begun,
// waits for a call.
const patience = 500 * time.Millisecond

// tokenIdentity is whose limits the token endpoint counts in.
const tokenIdentity = "token"

// errand is one reading of a subject, of one call or more.
type errand struct {
	mu    sync.Mutex
	begun bool // a call was granted
	life  time.Duration
}

type errandKey struct{}

// WithErrand marks the calls of one reading.
func WithErrand(ctx context.Context) context.Context {
	return context.WithValue(ctx, errandKey{}, new(errand))
}

func errandOf(ctx context.Context) *errand {
	e, _ := ctx.Value(errandKey{}).(*errand)
	return e
}

// Life is the shortest life at which the limits suffice, by what the budget
// said of the errand's calls; zero if it said nothing.
func Life(ctx context.Context) time.Duration {
	e := errandOf(ctx)
	if e == nil {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.life
}

// grants are what a call was granted: a slot of the identity's, and one of the
// app's where that is limited too.
type grants struct {
	c         *Client
	op        Op
	own, apps subscriptions.Call
}

// done tells what became of the call; resp is nil if there was no reply.
func (g grants) done(ctx context.Context, status int, h http.Header, err error) subscriptions.Said {
	var own, apps subscriptions.Said
	if err != nil {
		own = unanswered(err)
		apps = own
	} else {
		own = g.c.vendor.Said(g.op, status, h)
		if g.apps != nil {
			apps = g.c.vendor.App.Said(status, h)
		}
	}
	g.own.Done(ctx, own)
	if g.apps != nil {
		g.apps.Done(ctx, apps)
	}
	own.Penalty = max(own.Penalty, apps.Penalty)
	return own
}

// take asks the budget for a call as that identity. Within an errand it is
// patient, and the calls after the first are as urgent as a reader's: what is
// begun is finished.
func (c *Client) take(ctx context.Context, identity string, op Op) (grants, error) {
	if name := cache.CallerOf(ctx); name != "" { // two calls of an errand have a turn each
		ctx = cache.WithCaller(ctx, name+" "+op.Name)
	}
	ask := func(ctx context.Context) (grants, error) { return c.ask(ctx, identity, op) }
	e := errandOf(ctx)
	if e == nil {
		return ask(ctx)
	}
	for end := time.Now().Add(patience); ; {
		g, urgent, err := e.take(ctx, ask)
		if err == nil && identity != tokenIdentity { // a token serves many readings
			e.note(g.life())
		}
		var later *subscriptions.Later
		if !urgent || !errors.As(err, &later) || later.Until.After(end) {
			return g, err
		}
		if pause(ctx, time.Until(later.Until)) != nil {
			return g, err
		}
	}
}

// ask asks each lane once. If the app's refuses, the other's slot is given back.
func (c *Client) ask(ctx context.Context, identity string, op Op) (grants, error) {
	own := subscriptions.Lane{Provider: c.o.Home.Provider, Group: op.Group,
		Identity: string(c.o.Home.Tenant) + ":" + identity}
	call, err := c.budget.Take(ctx, own, c.vendor.Usual[op.Group])
	if err != nil {
		return grants{}, c.unbudgeted(op, err)
	}
	g := grants{c: c, op: op, own: call}
	a := c.vendor.App
	if a == nil {
		return g, nil
	}
	app := subscriptions.Lane{Provider: c.o.Home.Provider, Identity: "app", Group: a.Group}
	if g.apps, err = c.budget.Take(ctx, app, a.Usual); err != nil {
		g.own.Done(ctx, subscriptions.Said{Unsent: true})
		return grants{}, c.unbudgeted(op, err)
	}
	return g, nil
}

// life is the longer one that its lanes tell.
func (g grants) life() time.Duration {
	if g.apps == nil {
		return g.own.Life()
	}
	return max(g.own.Life(), g.apps.Life())
}

func (c *Client) unbudgeted(op Op, err error) error {
	return fmt.Errorf("%s %s: %w", c.vendor.Name, op.Name, err)
}

// take asks once. Until the first call is granted, by all its lanes, the others
// wait for it.
func (e *errand) take(
	ctx context.Context, ask func(context.Context) (grants, error),
) (g grants, urgent bool, err error) {
	e.mu.Lock()
	if e.begun {
		e.mu.Unlock()
		g, err = ask(cache.WithPurpose(ctx, cache.ForReader))
		return g, true, err
	}
	defer e.mu.Unlock()
	g, err = ask(ctx)
	e.begun = err == nil
	return g, cache.PurposeOf(ctx) == cache.ForReader, err
}

// note remembers the life that a granted call told.
func (e *errand) note(life time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.life = max(e.life, life)
}

// penalised is what a reply that is a penalty comes to, else nil.
func penalised(op Op, status int, said subscriptions.Said) error {
	if said.Penalty <= 0 || status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return nil
	}
	return &subscriptions.Later{Until: time.Now().Add(said.Penalty), Group: cmp.Or(op.Group, op.Name)}
}

// unanswered is what an error of the network tells of the limits: a connection
// that was not made carried nothing.
func unanswered(err error) subscriptions.Said {
	var network *net.OpError
	return subscriptions.Said{Unsent: errors.As(err, &network) && network.Op == "dial"}
}
