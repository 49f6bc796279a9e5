package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

// tour shows the main job, step by step, with measured times.
type tour struct {
	world *world
	print *printer
}

var bea = events.Ref{Home: home, Subject: user}

// subscribe waits until the subscription is registered and active.
func (t tour) subscribe(ctx context.Context) error {
	start := time.Now()
	err := t.world.listener.Wait(ctx)
	list := t.world.sim.Subscriptions()
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("the simulator has %d subscriptions", len(list))
	}
	s := step{name: "subscribe", took: time.Since(start), text: "webhook registered at the simulator, handshake answered"}
	if err == nil {
		s.details = map[string]any{"subscription": list[0].ID}
	}
	return t.print.step(s, err)
}

// play plays the rest.
func (t tour) play(ctx context.Context) error {
	worker, err := lookup.NewHTTP(lookup.HTTPOptions{URL: "http://" + t.world.worker.Addr()})
	if err != nil {
		return err
	}
	for _, one := range []func(context.Context, *lookup.HTTP) error{t.ask, t.read, t.revoke, t.denied} {
		if err := one(ctx, worker); err != nil {
			return err
		}
	}
	return nil
}

// expect turns a decision into an error unless it is as it should be.
func expect(d lookup.Decision, err error, want cache.State) error {
	if err == nil && d.State != want {
		err = fmt.Errorf("got %s, want %s", d.State, want)
	}
	return err
}

func (t tour) ask(ctx context.Context, worker *lookup.HTTP) error {
	before := t.world.sim.Calls("readAuthorizationProfile")
	start := time.Now()
	d, err := worker.Ask(ctx, bea, grant)
	took := time.Since(start)
	calls := t.world.sim.Calls("readAuthorizationProfile") - before
	if err = expect(d, err, cache.Granted); err == nil && calls != 1 {
		err = fmt.Errorf("%d calls of authz-profile, want 1", calls)
	}
	return t.print.step(step{
		name: "ask", took: took, text: fmt.Sprintf("may %s do %s? %s: a miss, filled from the provider", user, grant, d.State),
		details: map[string]any{"state": d.State.String(), "basis": d.Basis, "provider_calls": calls},
	}, err)
}

func (t tour) read(ctx context.Context, _ *lookup.HTTP) error {
	c, err := lookup.New(t.world.rdb, lookup.Options{})
	if err != nil {
		return err
	}
	start := time.Now()
	d, err := c.Check(ctx, bea, grant)
	took := time.Since(start)
	left := time.Until(d.Until).Round(time.Second)
	return t.print.step(step{
		name: "read", took: took, text: fmt.Sprintf("the same from Redis: %s, for %s at most", d.State, left),
		details: map[string]any{"state": d.State.String(), "version": d.Version.String()},
	}, expect(d, err, cache.Granted))
}

// seen is when each thing was seen to happen.
type seen struct {
	sent, answered, stored, gone, fresh time.Time
}

// revoke changes the role through the simulator's own API and watches what
// follows.
func (t tour) revoke(ctx context.Context, _ *lookup.HTTP) error {
	var at seen
	err := t.watch(ctx, &at)
	steps := []struct {
		name, text string
		at         time.Time
	}{
		{"revoke", fmt.Sprintf("PUT …/extension/%s/assigned-role: role %s instead of %s", user, newRole, oldRole), at.answered},
		{"webhook", "the notice has arrived and stands in the stream", at.stored},
		{"vanish", "the entry is gone: no application can read the old right any more", at.gone},
		{"refresh", "fetched again from the provider, within the old deadline", at.fresh},
	}
	for _, s := range steps {
		serr := err
		if !s.at.IsZero() {
			serr = nil
		} else if serr == nil {
			serr = errors.New("not seen")
		}
		if err := t.print.step(step{name: s.name, text: s.text, took: s.at.Sub(at.sent), since: true}, serr); err != nil {
			return err
		}
	}
	return nil
}

func (t tour) watch(ctx context.Context, at *seen) error {
	changes, err := t.world.nc.SubscribeSync(events.AllChanges)
	if err != nil {
		return err
	}
	defer func() { _ = changes.Unsubscribe() }() // the connection ends with the command
	sub := t.world.rdb.Subscribe(ctx, cache.Keys{}.Changed(home))
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		return err
	}
	at.sent = time.Now()
	if err := t.world.assign(ctx, newRole); err != nil {
		return err
	}
	at.answered = time.Now()
	dropped := make(chan error, 1)
	go func() { dropped <- t.awaitEntry(ctx, sub, at) }()
	_, err = changes.NextMsgWithContext(ctx)
	stored := time.Now()
	if derr := <-dropped; err == nil {
		err = derr
	}
	at.stored = stored
	return err
}

// awaitEntry notes when the entry was dropped, then when it was stored again:
// the scripts publish its key each time.
func (t tour) awaitEntry(ctx context.Context, sub *redis.PubSub, at *seen) error {
	if _, err := sub.ReceiveMessage(ctx); err != nil {
		return err
	}
	at.gone = time.Now()
	if _, err := sub.ReceiveMessage(ctx); err != nil {
		return err
	}
	at.fresh = time.Now()
	return nil
}

func (t tour) denied(ctx context.Context, worker *lookup.HTTP) error {
	start := time.Now()
	d, err := worker.Ask(ctx, bea, grant)
	return t.print.step(step{
		name: "denied", took: time.Since(start), text: fmt.Sprintf("may %s do %s? %s", user, grant, d.State),
		details: map[string]any{"state": d.State.String(), "version": d.Version.String(), "basis": d.Basis},
	}, expect(d, err, cache.Denied))
}

// assign gives the user another role through the vendor's API.
func (w *world) assign(ctx context.Context, role string) error {
	url := fmt.Sprintf("%s/restapi/v1.0/account/%s/extension/%s/assigned-role", w.simURL, account, user)
	body := strings.NewReader(fmt.Sprintf(`{"records":[{"id":%q}]}`, role))
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.adminAuth)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the simulator answered %s", resp.Status)
	}
	return nil
}
