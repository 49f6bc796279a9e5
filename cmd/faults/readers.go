package faults

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

const (
	plainReaders = 2 // of Redis alone
	askers       = 2 // of Redis, and of a worker where it does not know
	readPause    = 2 * time.Millisecond
	readLimit    = 500 * time.Millisecond
	askLimit     = 3 * time.Second
)

// reading is one look at one subject's rights.
type reading struct {
	began   time.Time
	subject string
	state   cache.State // of the first digit
	gen     int         // that it shows; -1 if unknown
	server  string      // of Redis that answered; empty if a worker did
	as      string      // who read
}

// readers look all the time and write down what they see.
type readers struct {
	w *world

	mu   sync.Mutex // guards what follows
	seen []reading
}

// run reads until ctx ends.
func (r *readers) run(ctx context.Context) error {
	var g errgroup.Group
	for range plainReaders {
		g.Go(func() error { return r.loop(ctx, "reader", nil) })
	}
	for i := range askers {
		a, err := r.w.asker(i)
		if err != nil {
			return err
		}
		g.Go(func() error { return r.loop(ctx, "asker", a) })
	}
	return g.Wait()
}

// loop goes round the subjects.
func (r *readers) loop(ctx context.Context, as string, a lookup.Asker) error {
	v := &view{follower: r.w.follow}
	c, err := lookup.New(v, lookup.Options{Asker: a, Timeout: readLimit})
	if err != nil {
		return err
	}
	tick := time.NewTicker(readPause)
	defer tick.Stop()
	var mine []reading
	for i := 0; ctx.Err() == nil; i++ {
		subject := r.w.truth.subjects[loaded+i%(len(r.w.truth.subjects)-loaded)]
		one := reading{began: time.Now(), subject: subject, as: as}
		d, err := c.Check(ctx, ref(subject), digits...)
		if ctx.Err() != nil {
			break // cut off by us
		}
		if err != nil {
			d = lookup.Decision{}
		}
		one.state, one.gen = r.w.truth.read(subject, d)
		if d.Source == lookup.FromCache {
			one.server = v.last
		}
		mine = append(mine, one)
		<-tick.C
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, mine...)
	return nil
}

// read is what a decision on all digits shows: whether the first is granted,
// and the generation, -1 if unknown.
func (t *truth) read(subject string, d lookup.Decision) (cache.State, int) {
	if d.State == cache.Unknown {
		return cache.Unknown, -1
	}
	code := 0
	for i, g := range digits {
		if d.Widths[g] != "" {
			code |= 1 << i
		}
	}
	state := cache.Denied
	if code&1 == 1 {
		state = cache.Granted
	}
	return state, t.shown(subject, code)
}

// asker asks one worker over HTTP, or another one if that cannot be reached.
func (w *world) asker(first int) (lookup.Asker, error) {
	var both inTurn
	for i := range w.workers {
		url := "http://" + w.workers[(first+i)%len(w.workers)].addr
		h, err := lookup.NewHTTP(lookup.HTTPOptions{
			URL: url, Token: askToken, Timeout: askLimit, Client: &http.Client{Transport: w.transport},
		})
		if err != nil {
			return nil, err
		}
		both = append(both, h)
	}
	return both, nil
}

// inTurn asks the next if one errs.
type inTurn []lookup.Asker

// Ask returns the first answer there is, else the last error.
func (a inTurn) Ask(ctx context.Context, r events.Ref, need ...cache.Grant) (d lookup.Decision, err error) {
	for _, one := range a {
		if d, err = one.Ask(ctx, r, need...); err == nil {
			return d, nil
		}
	}
	return lookup.Decision{}, err
}
