package races

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/cache/fence"
)

// event is something that will happen in a run.
type event struct {
	at  time.Duration
	seq int // of two at once, the one that was planned first
	do  func(context.Context) error
}

// agenda is a heap of events.
type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// run is one case under one strategy.
type run struct {
	schedule
	strategy strategy
	world    world
	count    Count
	agenda   agenda
	seq      int
	now      time.Duration
	truth    [facts]int
	applied  [facts][]time.Duration // when the change to 1, 2, ... was applied first; 0 if it was not
	latest   [facts]int             // the last change that was applied
	behind   bool                   // Redis has what its copy has not
	missed   []notice               // applied while it was behind
	ends     map[int]time.Duration  // when a subject's entry will expire, where the run sees to that
	note     func(format string, args ...any)
	fetches  int
}

// epoch is when a case begins, by a clock that is right.
func epoch() time.Time { return time.UnixMilli(1_800_000_000_000) }

func (r *run) plan(at time.Duration, do func(context.Context) error) {
	r.seq++
	heap.Push(&r.agenda, event{at, r.seq, do})
}

// all runs the case to its end.
func (r *run) all(ctx context.Context) error {
	r.ends = map[int]time.Duration{}
	for _, c := range r.changes {
		r.applied[c.fact] = append(r.applied[c.fact], 0)
		r.plan(c.at, func(context.Context) error {
			r.truth[c.fact] = c.value
			r.note("the provider changes %s to %d", factName(c.fact), c.value)
			return nil
		})
	}
	for _, n := range r.notices {
		r.plan(n.at, func(ctx context.Context) error { return r.apply(ctx, n) })
	}
	for i, one := range r.readers {
		r.plan(one.at, func(ctx context.Context) error { return r.read(ctx, &ask{reader: one, id: i}) })
	}
	for _, l := range r.losses {
		r.plan(l.at, func(ctx context.Context) error {
			r.note("the entry of subject %d vanishes", l.subject)
			return r.world.lose(ctx, r.strategy.entry(l.subject))
		})
	}
	for _, t := range r.troubles {
		r.planTrouble(t)
	}
	for len(r.agenda) > 0 {
		e := heap.Pop(&r.agenda).(event)
		r.now = e.at
		r.world.advance(e.at)
		if err := e.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func factName(fact int) string {
	switch fact {
	case role:
		return "the role"
	case app:
		return "the app's scopes"
	}
	return fmt.Sprintf("subject %d", fact)
}

func (r *run) planTrouble(t trouble) {
	switch t.kind {
	case flush:
		r.plan(t.at, func(ctx context.Context) error {
			r.note("Redis is flushed")
			return r.world.lose(ctx, r.strategy.keys()...)
		})
	case jump:
		r.plan(t.at, func(context.Context) error {
			r.note("the clock of Redis jumps by %s", t.jump)
			r.world.jump(t.jump)
			return nil
		})
	case failover:
		r.plan(t.copied, func(context.Context) error {
			r.note("the copy of Redis falls behind")
			r.behind = true
			r.world.fork()
			return nil
		})
		r.plan(t.at, func(ctx context.Context) error { return r.failOver(ctx, t.jump) })
	}
}

// failOver goes to the copy; the notices whose applying it does not have were
// not acknowledged and come again.
func (r *run) failOver(ctx context.Context, jump time.Duration) error {
	r.note("Redis fails over to its copy, whose clock differs by %s", jump)
	r.behind = false
	for i, n := range r.missed {
		r.plan(r.now+r.dice.span(time.Millisecond, time.Second, rollAgain, i), func(ctx context.Context) error {
			return r.apply(ctx, n)
		})
	}
	if err := r.world.failOver(ctx, r.strategy.keys()); err != nil {
		return err
	}
	r.world.jump(jump)
	return nil
}

func (r *run) apply(ctx context.Context, n notice) error {
	r.note("worker %d applies the change of %s to %d", n.worker, factName(n.fact), n.value)
	changed := epoch().Add(n.change.at + r.dice.skew(-1))
	if err := r.strategy.apply(ctx, n.fact, changed); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if r.behind {
		r.missed = append(r.missed, n)
		return nil
	}
	if at := &r.applied[n.fact][n.value-1]; *at == 0 {
		*at = r.now
	}
	r.latest[n.fact] = max(r.latest[n.fact], n.value)
	return nil
}

// ask is a reader who waits for an answer.
type ask struct {
	reader
	id    int
	first [facts]int // the changes that had been applied when it asked
	waits int
	tries int
}

func (r *run) read(ctx context.Context, a *ask) error {
	if a.waits == 0 {
		a.first = r.latest
	}
	got, ok, err := r.strategy.read(ctx, a.subject, r.world.clock())
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !ok {
		return r.begin(ctx, a)
	}
	r.count.Hits++
	r.judge(a, got, r.latest)
	return nil
}

// most is how often a reader looks again while another fetches, and how often
// a fill that was refused is fetched.
const most = 4

func (r *run) begin(ctx context.Context, a *ask) error {
	f := &fetch{subject: a.subject, began: epoch().Add(r.now + r.dice.skew(a.worker))}
	s, got, err := r.strategy.begin(ctx, f)
	switch {
	case err != nil:
		return fmt.Errorf("begin: %w", err)
	case s == hit:
		r.judge(a, got, r.latest)
		return nil
	case s == wait && a.waits == most:
		r.note("reader %d gives up waiting", a.id)
		return nil
	case s == wait:
		a.waits++
		pause := 25 * time.Millisecond << (2 * a.waits)
		r.plan(r.now+pause, func(ctx context.Context) error { return r.read(ctx, a) })
		return nil
	}
	r.fetches++
	id, began := r.fetches, r.now
	which := 10*a.id + a.tries
	r.note("reader %d misses; fetch %d of subject %d begins on worker %d", a.id, id, a.subject, a.worker)
	r.plan(r.now+r.delay(rollBefore, which), func(ctx context.Context) error {
		if err := r.strategy.fetch(ctx, f, r.provider); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		r.note("fetch %d sees %s", id, f.seen)
		r.plan(r.now+r.delay(rollAfter, which), func(ctx context.Context) error {
			return r.store(ctx, a, f, id, began)
		})
		return nil
	})
	return nil
}

// provider is where the truth is.
func (r *run) provider(fact int) int {
	r.count.Calls++
	return r.truth[fact]
}

// delay is what one half of a fetch takes: mostly some 100 ms, one in 20 far
// longer, the two together less than the longest fetch.
func (r *run) delay(what roll, which int) time.Duration {
	if r.dice.below(20, what, 1000+which) == 0 {
		return r.dice.span(time.Second, fence.LongestFetch/2, what, which)
	}
	return r.dice.span(5*time.Millisecond, 500*time.Millisecond, what, which)
}

func (r *run) store(ctx context.Context, a *ask, f *fetch, id int, began time.Duration) error {
	if r.dice.below(33, rollDeath, 10*a.id+a.tries) == 0 {
		r.note("fetch %d dies", id)
		r.ageLock(f.subject, began)
		return nil
	}
	stored, again, err := r.strategy.store(ctx, f)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if stored {
		r.note("fetch %d is stored", id)
		r.stored(f, began)
	} else {
		r.note("fetch %d is not stored", id)
	}
	a.tries++
	if again && a.tries < most {
		return r.begin(ctx, a)
	}
	if stored || !f.old { // else nobody has judged what is older than the fetch
		r.judge(a, f.seen, a.first)
	}
	return nil
}

// stored counts what has been stored, and sees to it that it expires.
func (r *run) stored(f *fetch, began time.Duration) {
	r.count.Fills++
	if stale, _ := r.stale(f.subject, f.seen, r.latest); stale {
		r.count.StaleStored++
		r.note("STALE: it was stored after the change had been applied")
	}
	if r.world.ages() {
		return
	}
	end := began + life
	r.ends[f.subject] = end
	r.plan(end, func(ctx context.Context) error {
		if r.ends[f.subject] != end {
			return nil
		}
		return r.world.lose(ctx, r.strategy.entry(f.subject))
	})
}

// ageLock ends the lock of a fetcher that died where no time passes.
func (r *run) ageLock(subject int, began time.Duration) {
	key := r.strategy.lock(subject)
	if key == "" || r.world.ages() {
		return
	}
	r.plan(began+lockLife, func(ctx context.Context) error { return r.world.lose(ctx, key) })
}

// stale says whether an answer lacks one of the changes that were applied, and
// since when.
func (r *run) stale(subject int, a answer, applied [facts]int) (stale bool, since time.Duration) {
	since = wholeTime
	var has [facts]int
	has[subject], has[role], has[app] = a.own, a.role, a.app
	for _, fact := range [...]int{subject, role, app} {
		for value := has[fact] + 1; value <= applied[fact]; value++ {
			if at := r.applied[fact][value-1]; at != 0 {
				stale, since = true, min(since, at)
			}
		}
	}
	return stale, since
}

// judge counts what a reader was told.
func (r *run) judge(a *ask, got answer, applied [facts]int) {
	stale, since := r.stale(a.subject, got, applied)
	r.count.Answers++
	if !stale {
		r.note("reader %d is told %s", a.id, got)
		return
	}
	r.count.StaleRead++
	r.count.Longest = max(r.count.Longest, r.now-since)
	r.note("STALE: reader %d is told %s, %s after the change was applied", a.id, got, r.now-since)
}
