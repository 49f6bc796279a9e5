package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

// tour shows the main job, step by step, with measured times.
type tour struct {
	world  *world
	print  *printer
	worker *lookup.HTTP   // asks the worker
	redis  *lookup.Client // reads Redis alone
}

var bea = events.Ref{Home: home, Subject: user}

// loss is a right that is taken away at a provider.
type loss struct {
	ref    events.Ref
	grant  cache.Grant
	act    string // how it is taken away
	told   string // how we learn of it
	source events.Source
	revoke func(context.Context) error
	calls  func() int // how many calls have read this right so far
}

func newTour(w *world, p *printer) (t tour, err error) {
	t = tour{world: w, print: p}
	if t.worker, err = lookup.NewHTTP(lookup.HTTPOptions{URL: "http://" + w.worker.Addr()}); err != nil {
		return t, err
	}
	t.redis, err = lookup.New(w.rdb, lookup.Options{})
	return t, err
}

// begin waits until all that there is to be told reaches us.
func (t tour) begin(ctx context.Context) error {
	start := time.Now()
	err := t.world.listener.Wait(ctx)
	hooks := []string{}
	for _, s := range t.world.sim.Subscriptions() {
		hooks = append(hooks, "ringcentral "+s.ID)
	}
	for _, h := range t.world.box.sim.Webhooks() {
		hooks = append(hooks, "box "+h.ID)
	}
	if err == nil && len(hooks) != 2 {
		err = fmt.Errorf("the simulators have these webhooks, want one of each: %q", hooks)
	}
	err = t.print.step(step{
		name: "subscribe", took: time.Since(start), text: "webhooks registered at RingCentral and Box",
		details: map[string]any{"webhooks": hooks},
	}, err)
	if err != nil {
		return err
	}
	start = time.Now()
	feeds, err := t.awaitFeeds(ctx)
	return t.print.step(step{
		name: "alive", took: time.Since(start), details: map[string]any{"feeds": feeds},
		text: "every feed has shown that it works: two webhooks, three polls",
	}, err)
}

// awaitFeeds waits until the worker takes every feed for alive: before, it keeps
// answers for a short time only.
func (t tour) awaitFeeds(ctx context.Context) (feeds []string, err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if feeds, err = t.world.feeds(ctx); err != nil {
			return nil, err
		}
		doubtful := func(line string) bool { return !strings.HasSuffix(line, " 1") }
		if len(feeds) > 0 && !slices.ContainsFunc(feeds, doubtful) {
			return feeds, nil
		}
		select {
		case <-ctx.Done():
			return feeds, fmt.Errorf("not all are alive: %q: %w", feeds, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// feeds are the worker's lines of rescind_feed_alive, one for each.
func (w *world) feeds(ctx context.Context) (lines []string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.worker.AdminAddr()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	text, err := send(req)
	for line := range strings.Lines(text) {
		if rest, is := strings.CutPrefix(line, "rescind_feed_alive"); is {
			lines = append(lines, strings.TrimSpace(rest))
		}
	}
	return lines, err
}

// play takes one right after the other. Of the first it shows all that happens on
// the way.
func (t tour) play(ctx context.Context) error {
	whole := []func(context.Context, loss) error{t.ask, t.read, t.follow, t.denied}
	if err := each(ctx, t.world.loss(), whole); err != nil {
		return err
	}
	for _, l := range slices.Concat(t.world.box.losses(), t.world.mural.losses()) {
		short := []func(context.Context, loss) error{t.ask, t.revoke, t.denied}
		if err := each(ctx, l, short); err != nil {
			return err
		}
	}
	return nil
}

func each(ctx context.Context, l loss, steps []func(context.Context, loss) error) error {
	for _, one := range steps {
		if err := one(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// loss is what the tour takes away at RingCentral.
func (w *world) loss() loss {
	return loss{
		ref: bea, grant: grant, source: events.Webhook,
		act:    fmt.Sprintf("PUT …/extension/%s/assigned-role: role %s instead of %s", user, newRole, oldRole),
		told:   "the notice has arrived and stands in the stream",
		revoke: func(ctx context.Context) error { return w.assign(ctx, newRole) },
		calls:  func() int { return w.sim.Calls("readAuthorizationProfile") },
	}
}

// expect turns a decision into an error unless it is as it should be.
func expect(d lookup.Decision, err error, want cache.State) error {
	if err == nil && d.State != want {
		err = fmt.Errorf("got %s, want %s", d.State, want)
	}
	return err
}

// question says in words what is asked.
func (l loss) question() string {
	on := ""
	if l.ref.Resource != "" {
		on = " on " + string(l.ref.Resource)
	}
	return fmt.Sprintf("may %s do %s%s?", l.ref.Subject, l.grant, on)
}

func (t tour) ask(ctx context.Context, l loss) error {
	before, start := l.calls(), time.Now()
	d, err := t.worker.Ask(ctx, l.ref, l.grant)
	took, calls := time.Since(start), l.calls()-before
	if err = expect(d, err, cache.Granted); err == nil && calls != 1 {
		err = fmt.Errorf("%d calls that read it, want 1", calls)
	}
	return t.print.step(step{
		name: "ask", of: l.ref.Provider, took: took,
		text:    fmt.Sprintf("%s %s: a miss, filled from the provider", l.question(), d.State),
		details: map[string]any{"state": d.State.String(), "basis": d.Basis, "provider_calls": calls},
	}, err)
}

func (t tour) read(ctx context.Context, l loss) error {
	start := time.Now()
	d, err := t.redis.Check(ctx, l.ref, l.grant)
	took := time.Since(start)
	left := time.Until(d.Until).Round(time.Second)
	return t.print.step(step{
		name: "read", of: l.ref.Provider, took: took,
		text:    fmt.Sprintf("the same from Redis: %s, for %s at most", d.State, left),
		details: map[string]any{"state": d.State.String(), "version": d.Version.String()},
	}, expect(d, err, cache.Granted))
}

func (t tour) denied(ctx context.Context, l loss) error {
	start := time.Now()
	d, err := t.worker.Ask(ctx, l.ref, l.grant)
	return t.print.step(step{
		name: "denied", of: l.ref.Provider, took: time.Since(start),
		text:    fmt.Sprintf("%s %s", l.question(), d.State),
		details: map[string]any{"state": d.State.String(), "version": d.Version.String(), "basis": d.Basis},
	}, expect(d, err, cache.Denied))
}

// seen is when each thing was seen to happen; zero if it was not.
type seen struct {
	sent, answered, stored, gone, fresh time.Time
}

// sighting is a step that was seen, or not.
type sighting struct {
	name, text string
	at         time.Time
}

// revoke takes the right away, and waits until the entry is gone.
func (t tour) revoke(ctx context.Context, l loss) error {
	at, err := t.watch(ctx, l)
	return t.report(l, at, err,
		sighting{"revoke", l.act, at.answered},
		sighting{"vanish", l.told + ": the entry is gone", at.gone})
}

// follow is revoke with all that is seen.
func (t tour) follow(ctx context.Context, l loss) error {
	at, err := t.watch(ctx, l)
	return t.report(l, at, err,
		sighting{"revoke", l.act, at.answered},
		sighting{"webhook", l.told, at.stored},
		sighting{"vanish", "the entry is gone: no application can read the old right any more", at.gone},
		sighting{"refresh", "fetched again from the provider, within the old deadline", at.fresh})
}

// report prints what was seen, up to the first that was not, or the last: err is why.
func (t tour) report(l loss, at seen, err error, all ...sighting) error {
	for i, s := range all {
		failed := err
		switch {
		case s.at.IsZero() && err == nil:
			failed = errors.New("not seen")
		case !s.at.IsZero() && i < len(all)-1:
			failed = nil
		}
		took := max(0, s.at.Sub(at.sent))
		one := step{name: s.name, of: l.ref.Provider, text: s.text, took: took, since: true}
		if err := t.print.step(one, failed); err != nil {
			return err
		}
	}
	return nil
}

// watch takes the right away through the simulator's own API and notes what
// follows: that we were told by the way that was meant, that the entry is gone, and
// that it is there again, without the right.
func (t tour) watch(ctx context.Context, l loss) (at seen, err error) {
	notices, err := t.world.nc.SubscribeSync(events.ChangeSubject(l.ref.Home))
	if err != nil {
		return at, err
	}
	defer func() { _ = notices.Unsubscribe() }()             // the connection ends with the command
	if err := t.world.nc.FlushWithContext(ctx); err != nil { // else the notice may come before the server hears us
		return at, err
	}
	entries, err := t.entries(ctx, l.ref)
	if err != nil {
		return at, err
	}
	defer entries.Close()
	at.sent = time.Now()
	if err := l.revoke(ctx); err != nil {
		return at, err
	}
	at.answered = time.Now()
	g, waiting := errgroup.WithContext(ctx)
	g.Go(func() (err error) { at.stored, err = told(waiting, notices, l); return err })
	g.Go(func() (err error) {
		if at.gone, err = next(waiting, entries, l.ref); err != nil {
			return err
		}
		at.fresh, err = next(waiting, entries, l.ref)
		return err
	})
	if err := g.Wait(); err != nil {
		return at, err
	}
	d, err := t.redis.Check(ctx, l.ref, l.grant)
	if err == nil && d.State == cache.Granted {
		at.gone, at.fresh, err = time.Time{}, time.Time{}, errors.New("it is still granted in Redis")
	}
	return at, err
}

// told waits until a change of this source names the subject.
func told(ctx context.Context, notices *nats.Subscription, l loss) (time.Time, error) {
	for {
		m, err := notices.NextMsgWithContext(ctx)
		if err != nil {
			return time.Time{}, fmt.Errorf("wait for a change by %s: %w", l.source, err)
		}
		at := time.Now()
		c, err := events.Decode(m.Data)
		if err != nil {
			return time.Time{}, err
		}
		if c.Source == l.source && slices.Contains(c.Tags, events.SubjectTag(l.ref.Subject)) {
			return at, nil
		}
	}
}

// entries follows what is dropped or stored for the tenant.
func (t tour) entries(ctx context.Context, r events.Ref) (*redis.PubSub, error) {
	sub := t.world.rdb.Subscribe(ctx, cache.Keys{}.Changed(r.Home))
	if _, err := sub.Receive(ctx); err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return sub, nil
}

// next waits until the entry is dropped or stored: the scripts publish its key
// each time.
func next(ctx context.Context, sub *redis.PubSub, r events.Ref) (time.Time, error) {
	for {
		m, err := sub.ReceiveMessage(ctx)
		if err != nil {
			return time.Time{}, fmt.Errorf("wait for the entry: %w", err)
		}
		if slices.Contains(strings.Split(m.Payload, "\n"), cache.Keys{}.Entry(r)) {
			return time.Now(), nil
		}
	}
}

// assign gives the user another role through the vendor's API.
func (w *world) assign(ctx context.Context, role string) error {
	return call(ctx, http.MethodPut, w.roleURL(), w.adminAuth, roleBody(role))
}

func (w *world) roleURL() string {
	return fmt.Sprintf("%s/restapi/v1.0/account/%s/extension/%s/assigned-role", w.simURL, account, user)
}

func roleBody(role string) string { return fmt.Sprintf(`{"records":[{"id":%q}]}`, role) }

// call makes a call of a vendor's API. No body is an empty one.
func call(ctx context.Context, method, url, token, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	_, err = send(req)
	return err
}

// send returns the body of a good answer.
func send(req *http.Request) (string, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s answered %s", req.Method, req.URL.Path, resp.Status)
	}
	return string(body), err
}
