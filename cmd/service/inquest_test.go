package service_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// How often the subscriptions are looked at here, by default every 5 min.
const deathCheck = time.Second

// notYet is a time that did not come, or is not to be measured.
const notYet = -time.Second

// whose is a right that readers ask for.
type whose struct {
	events.Ref
	need cache.Grant
}

// inquest sees a feed die and live again, from all sides at once.
type inquest struct {
	w      *world
	target whose       // whose right is taken away meanwhile
	other  whose       // whose entry is made anew all the time
	serves func() bool // whether the provider would deliver, by its own word
	feeds  *stream.Feeds
	stop   context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex
	died    time.Time
	revoked time.Time
	granted time.Time // last, by a reader
	denied  time.Time
	ledgers []noted
	states  []turn[events.FeedState]
	served  []turn[bool]
	told    []events.FeedState // by answers
	was     events.FeedState   // by the last answer
	life    time.Duration      // the longest of an entry made while the feed was not alive
}

// noted is a ledger, and when it was heard of.
type noted struct {
	at time.Time
	subscriptions.Ledger
}

// turn is a thing that is so from then on.
type turn[T comparable] struct {
	at time.Time
	is T
}

func turned[T comparable](list []turn[T], is T) []turn[T] {
	if n := len(list); n > 0 && list[n-1].is == is {
		return list
	}
	return append(list, turn[T]{time.Now(), is})
}

// inquire begins once the feed is alive and the target's right can be read. It ends
// with the test, or by close.
func (w *world) inquire(target, other whose, serves func() bool) *inquest {
	w.t.Helper()
	return w.inquireEvery(deathCheck, target, other, serves)
}

// inquireEvery is inquire where looks are as often as that.
func (w *world) inquireEvery(check time.Duration, target, other whose, serves func() bool) *inquest {
	w.t.Helper()
	v := &inquest{w: w, target: target, other: other, serves: serves}
	v.feeds = w.stream.Feeds(stream.FeedOptions{Feeds: []stream.Followed{
		{Home: target.Home, Kind: events.FeedWebhook, Bound: renew.Bound(check)},
	}})
	ctx, cancel := context.WithCancel(context.Background())
	v.stop = cancel
	v.group.Go(func() { _ = v.feeds.Run(ctx) })
	v.group.Go(func() { _ = w.stream.Ledgers().Watch(ctx, v.note) })
	w.t.Cleanup(v.close)
	w.await("the feed is alive", func() bool { return v.state() == events.FeedAlive })
	app := w.application()
	w.await("granted", func() bool {
		d, err := app.Check(ctx, target.Ref, target.need)
		return err == nil && d.State == cache.Granted
	})
	v.group.Go(func() { v.each(ctx, 2*time.Millisecond, func() { v.read(ctx, app) }) })
	v.group.Go(func() { v.each(ctx, 2*time.Millisecond, v.look) })
	v.group.Go(func() { v.each(ctx, 50*time.Millisecond, func() { v.ask(ctx) }) })
	return v
}

func (v *inquest) close() {
	v.stop()
	v.group.Wait()
}

// each calls again and again, with a pause, until ctx ends.
func (v *inquest) each(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

func (v *inquest) state() events.FeedState {
	state, _ := v.feeds.Health(v.target.Home)
	return state
}

// note takes in a ledger.
func (v *inquest) note(h events.Home, value []byte, _ uint64) {
	if h != v.target.Home || value == nil {
		return
	}
	l, err := subscriptions.DecodeLedger(value)
	if err != nil {
		v.w.t.Errorf("ledger: %v", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ledgers = append(v.ledgers, noted{time.Now(), l})
}

// read is what an application does all the time: Redis first, then the worker.
func (v *inquest) read(ctx context.Context, app *lookup.Client) {
	d, err := app.Check(ctx, v.target.Ref, v.target.need)
	if err != nil {
		return // it is asked again
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch d.State {
	case cache.Granted:
		v.granted = time.Now()
	case cache.Denied:
		v.denied = time.Now()
	}
}

// look asks how the feed stands, and whether the provider would deliver.
func (v *inquest) look() {
	state, serves := v.state(), v.serves()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states, v.served = turned(v.states, state), turned(v.served, serves)
}

// ask has an entry made anew, and sees what the answer tells of the feed and how long
// the entry lives. A life is judged if the feed was not alive before nor after.
func (v *inquest) ask(ctx context.Context) {
	a, err := v.w.answer(ctx, v.other)
	if err != nil || a.State != "granted" {
		return // what cannot be answered says nothing of the feed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(v.told, a.Feed) && !v.died.IsZero() {
		v.told = append(v.told, a.Feed)
	}
	if v.was == a.Feed && a.Feed != events.FeedAlive {
		v.life = max(v.life, a.left)
	}
	v.was = a.Feed
}

// die does what is deadly.
func (v *inquest) die(how func()) {
	v.mu.Lock()
	v.died = time.Now()
	v.mu.Unlock()
	how()
}

// revoke takes the right away.
func (v *inquest) revoke(how func()) {
	how()
	v.mu.Lock()
	v.revoked = time.Now()
	v.mu.Unlock()
}

// findings are what is known by now; a time that has not come is [notYet].
type findings struct {
	noticed, active, swept, alive time.Duration // since the death
	stale, life                   time.Duration
	told                          []events.FeedState
	mended                        subscriptions.Mending
	cause                         string
}

// none is when nothing has come.
func none() findings {
	return findings{noticed: notYet, active: notYet, swept: notYet, alive: notYet, stale: notYet, life: notYet}
}

func (v *inquest) findings() findings {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := none()
	f.told = slices.Clone(v.told)
	if v.life > 0 {
		f.life = v.life
	}
	if !v.revoked.IsZero() {
		f.stale = max(0, v.granted.Sub(v.revoked))
	}
	since := func(at time.Time) time.Duration { return max(0, at.Sub(v.died)) }
	for _, l := range v.ledgers {
		if f.noticed == notYet && l.at.After(v.died) && v.knows(l.Ledger) {
			f.noticed = since(l.at)
		}
		if g := lastGap(l.Ledger); f.swept == notYet && g.Mended != "" && g.To.After(v.died) && l.at.After(v.died) {
			f.swept, f.mended, f.cause = since(l.at), g.Mended, g.Cause
		}
	}
	for i, s := range v.states {
		switch {
		case s.is != events.FeedAlive && f.alive == notYet:
			if f.noticed == notYet || since(s.at) < f.noticed {
				f.noticed = since(s.at)
			}
		case s.is == events.FeedAlive && i > 0 && s.at.After(v.died): // again
			f.alive = since(s.at)
		}
	}
	for i, s := range v.served {
		if i > 0 && s.is && s.at.After(v.died) && f.active == notYet {
			f.active = since(s.at)
		}
	}
	return f
}

// knows says whether a ledger tells that something is wrong, or was.
func (v *inquest) knows(l subscriptions.Ledger) bool {
	g := lastGap(l)
	return !l.Died.IsZero() || l.Problem != "" || g.To.After(v.died)
}

func lastGap(l subscriptions.Ledger) (g subscriptions.Gap) {
	if n := len(l.Gaps); n > 0 {
		return l.Gaps[n-1]
	}
	return g
}

// ledger is the last that was heard of.
func (v *inquest) ledger() (l subscriptions.Ledger) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.ledgers); n > 0 {
		return v.ledgers[n-1].Ledger
	}
	return l
}

// healed waits until the gap is mended, the provider delivers, the feed is told to be
// alive, and readers know what was taken away.
func (v *inquest) healed() findings {
	v.w.t.Helper()
	v.w.awaitLong("healed", func() bool {
		v.mu.Lock()
		knows := v.revoked.IsZero() || v.denied.After(v.revoked) && v.denied.After(v.granted)
		v.mu.Unlock()
		return knows && v.findings().swept != notYet && v.serves() && v.is(events.FeedAlive)
	})
	return v.findings()
}

// is says whether the feed is so by its proofs, and by the last answer.
func (v *inquest) is(state events.FeedState) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.was == state && v.state() == state
}

// awaitLong is await for what may take as long as a takeover and a retry together.
func (w *world) awaitLong(what string, holds func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(3 * limit); !holds(); <-tick.C {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %s", what, 3*limit)
		}
	}
}

// deaths is the table of them all.
type deaths struct {
	mu   sync.Mutex
	rows []deathRow
}

type deathRow struct {
	n          int
	way        string
	found      findings
	production string
}

// add judges what holds of every death, and notes it.
func (d *deaths) add(t *testing.T, row deathRow, stale time.Duration) {
	t.Helper()
	f := row.found
	if f.life > cache.MinLife {
		t.Errorf("an entry that was made while the feed was not alive lives %s", f.life)
	}
	if f.stale > stale {
		t.Errorf("a right that was taken away was readable for %s, want %s at most", f.stale, stale)
	}
	if f.swept != notYet && f.noticed != notYet && f.swept < f.noticed {
		t.Errorf("swept after %s, and noticed after %s", f.swept, f.noticed)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows = append(d.rows, row)
}

// String is the table.
func (d *deaths) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortStableFunc(d.rows, func(a, b deathRow) int { return a.n - b.n })
	const line = "%2s %-48s %9s %9s %9s %9s %9s %9s  %-20s %s\n"
	var b strings.Builder
	fmt.Fprintf(&b, "Looks every %s here, every %s in production. Since the death it was\n", deathCheck,
		renew.DefaultCheck)
	fmt.Fprintf(&b, line, "", "", "noticed", "active", "swept", "alive", "readable", "life", "told", "mended")
	for _, r := range d.rows {
		f, told := r.found, []string{}
		for _, s := range r.found.told {
			told = append(told, string(s))
		}
		fmt.Fprintf(&b, line, strconv.Itoa(r.n), r.way, span(f.noticed), span(f.active), span(f.swept), span(f.alive),
			span(f.stale), span(f.life), strings.Join(told, ","), f.mended)
		fmt.Fprintf(&b, "%5s In production: %s.\n", "", r.production)
	}
	b.WriteString("noticed: one of us knew; active: the provider would deliver again; swept: the gap was mended;\n" +
		"alive: that was told again, if it had not been; readable: the longest that a right could be read after it\n" +
		"was taken away; life: the longest of entries made while the feed was not alive; told: by answers.\n")
	return b.String()
}

func span(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
