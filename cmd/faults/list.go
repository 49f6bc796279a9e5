package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// fault is something that breaks. What strike breaks, [world.heal] mends.
type fault struct {
	name string
	what string
	on   stage
	// quick faults are in the quick subset; paired ones may be drawn for a pair.
	quick, paired bool
	pair          bool // two at a time
	// lateness is for how long the provider itself says what is over.
	lateness time.Duration
	strike   func(context.Context, *world) error
}

// excuse is for how long after a change an answer may be what the provider
// still said: until the entry is read again, soon after.
func (f fault) excuse() time.Duration {
	if f.lateness == 0 {
		return 0
	}
	return cache.Soon + f.lateness + 2*time.Second
}

// How long something stays broken.
const (
	dead    = 3 * time.Second  // a server that was killed
	silent  = 4 * time.Second  // a line to all, less than it takes to notice
	lost    = 16 * time.Second // a line to one, until it was noticed: NATS pings every 5 s
	ill     = 4 * time.Second  // the provider
	penalty = 3 * time.Second  // that it tells, once more
	late    = 2 * time.Second  // the line to a replica
	behind  = time.Second      // what the provider says
	skewed  = 3 * time.Second  // a clock
	failing = 20 * time.Second // the most that Sentinel may take
)

// faults lists them all, in the order in which they happen.
func faults() []fault {
	list := []fault{
		{name: "none", what: "nothing: what the others are compared with",
			strike: func(ctx context.Context, _ *world) error { return pause(ctx, dead) }},
	}
	for i := range nodes {
		list = append(list, fault{name: fmt.Sprintf("nats-%d", i+1), paired: true,
			what:   fmt.Sprintf("kill -9 of NATS server %d for %s", i+1, dead),
			strike: func(ctx context.Context, w *world) error { return w.killFor(ctx, w.nats[i]) }})
	}
	return slices.Concat(list, killings(), cuts(), illnesses())
}

// killings are the processes that die.
func killings() []fault {
	return []fault{
		{name: "nats-leader", quick: true, paired: true,
			what: "kill -9 of the leader of CHANGES", strike: killLeader},
		{name: "worker", quick: true, paired: true,
			what: "kill -9 of a worker in mid-fetch", strike: killWorker},
		{name: "listener", paired: true,
			what: "kill -9 of a listener in mid-request", strike: killListener},
		{name: "redis", paired: true,
			what:   "kill -9 of the Redis primary, started again at once",
			strike: func(_ context.Context, w *world) error { return w.killPrimary() }},
		{name: "promotion", quick: true, paired: true,
			what: "kill -9 of the Redis primary, its replica is promoted", strike: promote},
		{name: "promotion-late", paired: true,
			what: "as before, but the replica has not heard of the last changes", strike: promoteLate},
		{name: "flush", quick: true, paired: true, what: "FLUSHALL", strike: flush},
	}
}

// cuts are the lines that fall silent.
func cuts() []fault {
	return []fault{
		{name: "cut-nats", paired: true,
			what: fmt.Sprintf("no byte to or from any NATS server for %s", silent), strike: cutNATS},
		{name: "cut-nats-one", paired: true,
			what: fmt.Sprintf("no byte to or from one NATS server for %s", lost), strike: cutOne},
		{name: "cut-redis", paired: true,
			what: "no byte to or from the Redis primary until its replica is promoted", strike: cutRedis},
	}
}

// illnesses are what goes wrong where nothing dies.
func illnesses() []fault {
	return []fault{
		{name: "provider-429", paired: true,
			what:   fmt.Sprintf("the provider limits every call, with a penalty of %s", penalty),
			strike: spoil(sim.Fault{Kind: sim.Status, Status: http.StatusTooManyRequests, Delay: penalty})},
		{name: "provider-500", quick: true, paired: true,
			what:   "the provider fails every call",
			strike: spoil(sim.Fault{Kind: sim.Status, Status: http.StatusInternalServerError})},
		{name: "provider-half", paired: true,
			what: "the provider sends half of every reply", strike: spoil(sim.Fault{Kind: sim.Truncate})},
		{name: "provider-late", paired: true, lateness: behind,
			what:   fmt.Sprintf("the provider answers with what was %s ago", behind),
			strike: spoil(sim.Fault{Kind: sim.Stale, Delay: behind})},
		{name: "disk", on: diskStage,
			what: "every JetStream's file system is full", strike: fillDisks},
		{name: "clock", on: clockStage,
			what: "the clock of every Redis jumps 5 min ahead, back, 5 min behind", strike: jump},
	}
}

// Names lists the faults, in the order in which they happen.
func Names() (names []string) {
	for _, f := range faults() {
		names = append(names, f.name)
	}
	return names
}

// What says what a fault does; empty if there is none of that name.
func What(name string) string {
	for _, f := range faults() {
		if f.name == name {
			return f.what
		}
	}
	return ""
}

// unable says why a fault cannot happen on this machine; empty if it can.
func (f fault) unable() string {
	switch {
	case f.on == clockStage && libfaketime() == "":
		return "libfaketime is not installed (apt-get install faketime)"
	case f.on == diskStage && os.Geteuid() != 0:
		return "mounting a small file system takes root"
	}
	return ""
}

// both is two faults at a time.
func both(a, b fault) fault {
	return fault{name: a.name + " + " + b.name, what: a.what + "; " + b.what, on: plainStage, pair: true,
		lateness: max(a.lateness, b.lateness),
		strike: func(ctx context.Context, w *world) error {
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return a.strike(ctx, w) })
			g.Go(func() error { return b.strike(ctx, w) })
			return g.Wait()
		}}
}

func (w *world) killFor(ctx context.Context, p *part) error {
	p.kill()
	return pause(ctx, dead)
}

func killLeader(ctx context.Context, w *world) error {
	var leader *part
	err := await(ctx, failing, "CHANGES has a leader", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, tryLimit)
		defer cancel()
		s, err := w.js.Stream(ctx, stream.Changes)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false, nil // as while another server is away
		}
		i := slices.IndexFunc(w.nats, func(p *part) bool { return p.name == s.CachedInfo().Cluster.Leader })
		if i >= 0 {
			leader = w.nats[i]
		}
		return i >= 0, nil
	})
	if leader == nil {
		w.miss("%v; nobody is killed", err)
		return ctx.Err()
	}
	return w.killFor(ctx, leader)
}

// killWorker asks one worker for what nobody has read, holds the provider's
// answer back, and kills the worker while it waits.
func killWorker(ctx context.Context, w *world) error {
	subject, one := w.truth.subjects[victim], w.workers[0]
	if _, err := w.truth.turn(subject); err != nil { // what is known of it is dropped
		return err
	}
	held := w.watched.holdUp(subject + "/assigned-role")
	defer close(held.released)
	a, err := lookup.NewHTTP(lookup.HTTPOptions{
		URL: "http://" + one.addr, Token: askToken, Timeout: askLimit, Client: &http.Client{Transport: w.transport},
	})
	if err != nil {
		return err
	}
	var asking errgroup.Group
	asking.Go(func() error {
		return await(ctx, failing, "the worker dies", func(ctx context.Context) (bool, error) {
			_, _ = a.Ask(ctx, ref(subject), digits...) // there will be no answer
			return !one.alive(), nil
		})
	})
	select {
	case <-held.came:
	case <-time.After(dead):
		w.miss("no fetch began within %s; the worker is killed all the same", dead)
	case <-ctx.Done():
	}
	one.kill()
	return errors.Join(asking.Wait(), pause(ctx, dead))
}

// killListener holds NATS back until a listener has a delivery in hand.
func killListener(ctx context.Context, w *world) error {
	for _, n := range w.nats {
		n.proxy.cut()
	}
	err := await(ctx, 3*time.Second, "a listener has a delivery in hand", func(context.Context) (bool, error) {
		return w.balance.at(0) > 0, nil
	})
	w.listeners[0].kill()
	for _, n := range w.nats {
		n.proxy.heal()
	}
	if err != nil {
		w.miss("%v; it is killed all the same", err)
	}
	return pause(ctx, dead)
}

func (w *world) killPrimary() error {
	p, err := w.primary()
	if err == nil {
		p.kill()
	}
	return err
}

// promoted waits until Sentinel names another primary.
func (w *world) promoted(ctx context.Context, old *part) error {
	err := await(ctx, failing, "Sentinel names another primary", func(context.Context) (bool, error) {
		return w.follow.primary() != old.proxy.addr, nil
	})
	if err != nil && ctx.Err() == nil {
		w.miss("%v", err) // as when both are away: what follows is judged all the same
		return nil
	}
	return err
}

func promote(ctx context.Context, w *world) error {
	old, err := w.primary()
	if err != nil {
		return err
	}
	old.kill()
	if err := w.promoted(ctx, old); err != nil {
		return err
	}
	return pause(ctx, time.Second)
}

// promoteLate lets changes come that the replica does not hear of, and sees to
// it that it never will.
func promoteLate(ctx context.Context, w *world) error {
	old, err := w.primary()
	if err != nil {
		return err
	}
	old.proxy.cutReplica()
	if err := pause(ctx, late); err != nil {
		return err
	}
	old.kill()
	old.proxy.reset()
	if err := w.promoted(ctx, old); err != nil {
		return err
	}
	return pause(ctx, time.Second)
}

func flush(ctx context.Context, w *world) error {
	for range 3 {
		c, err := w.follow.client()
		if err != nil {
			return err
		}
		if err := c.FlushAll(ctx).Err(); err != nil {
			w.miss("FLUSHALL: %v", err) // another fault has taken Redis away
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func cutNATS(ctx context.Context, w *world) error {
	for _, n := range w.nats {
		n.proxy.cut()
	}
	return pause(ctx, silent)
}

// cutOne cuts the first server off from its clients, not from its peers.
func cutOne(ctx context.Context, w *world) error {
	w.nats[0].proxy.cut()
	return pause(ctx, lost)
}

func cutRedis(ctx context.Context, w *world) error {
	old, err := w.primary()
	if err != nil {
		return err
	}
	old.proxy.cut()
	if err := w.promoted(ctx, old); err != nil {
		return err
	}
	return pause(ctx, 2*time.Second)
}

// spoil lets every call to the provider go wrong.
func spoil(f sim.Fault) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		if err := w.sim.Fault(f); err != nil {
			return err
		}
		return pause(ctx, ill)
	}
}

func fillDisks(ctx context.Context, w *world) error {
	for _, n := range w.nats {
		if err := w.fillDisk(n); err != nil {
			return err
		}
	}
	return pause(ctx, 2*dead)
}

func jump(ctx context.Context, w *world) error {
	for _, by := range []time.Duration{5 * time.Minute, 0, -5 * time.Minute} {
		if err := w.setClock(by); err != nil {
			return err
		}
		if err := pause(ctx, skewed); err != nil {
			return err
		}
	}
	return nil
}
