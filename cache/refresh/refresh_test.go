package refresh_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// notebook is a queue that writes down what it is asked for.
type notebook struct {
	mu     sync.Mutex
	tasks  []stream.Task
	at     []time.Time
	buried []stream.Task
	reason error
}

func (n *notebook) EnqueueAll(_ context.Context, tasks []stream.Task) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tasks = append(n.tasks, tasks...)
	return len(tasks), nil
}

func (n *notebook) EnqueueAt(_ context.Context, t stream.Task, at time.Time) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tasks, n.at = append(n.tasks, t), append(n.at, at)
	return at.Before(t.Until), nil
}

func (n *notebook) BuryTask(_ context.Context, t stream.Task, reason error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.buried, n.reason = append(n.buried, t), reason
	return nil
}

// noting is a worker with a notebook for a queue.
func (w *world) noting() (*refresh.Worker, *notebook) {
	w.t.Helper()
	n := &notebook{}
	return &refresh.Worker{Store: w.store, Filler: w.filler(), Queue: n, Log: w.log.logger()}, n
}

func task(subject string, left time.Duration) stream.Task {
	now := time.Now()
	until := now.Add(left).Truncate(time.Millisecond)
	return stream.Task{Ref: ref(subject), Until: until, Asked: now, Reason: "test"}
}

func TestRefreshKeepsTheDeadline(t *testing.T) {
	each(t, func(w *world) {
		worker, _ := w.noting()
		w.get(worker.Filler, "42")
		before, _ := w.entry(ref("42"))
		w.provider.always("new")
		alive := w.invalidate(subject("42")).Alive
		if len(alive) != 1 || !alive[0].Until.Equal(before.Until) {
			w.t.Fatalf("alive: %+v, the entry's deadline was %s", alive, before.Until)
		}
		worker.Refresh(w.ctx, stream.Task{Ref: ref("42"), Until: alive[0].Until, Asked: time.Now()})
		after, ok := w.entry(ref("42"))
		kept := after.Until.Equal(before.Until)
		if !ok || !kept || after.Version <= before.Version || after.Grants[read] != "new" {
			w.t.Errorf("before %+v, after %+v", before, after)
		}
	})
}

func TestRefreshOfAnEntryThatAReaderFilled(t *testing.T) {
	each(t, func(w *world) {
		worker, n := w.noting()
		r := w.get(worker.Filler, "42")
		worker.Refresh(w.ctx, task("42", 20*time.Second))
		if got := w.provider.asked(ref("42")); got != 1 {
			w.t.Errorf("asked %d times, want once", got)
		}
		if e, ok := w.entry(ref("42")); !ok || !e.Until.Equal(r.Until) {
			w.t.Errorf("the reader's entry became %+v", e)
		}
		if len(n.tasks)+len(n.buried) > 0 {
			w.t.Errorf("queued %+v, buried %+v", n.tasks, n.buried)
		}
	})
}

func TestTasksThatNeedNothing(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	worker, n := w.noting()
	worker.Refresh(w.ctx, task("42", -time.Millisecond))
	if w.provider.asked(ref("42")) != 0 {
		t.Error("an expired task asks the provider")
	}
	stranger := task("42", time.Minute)
	stranger.Provider = "box"
	worker.Refresh(w.ctx, stranger)
	ended, end := context.WithCancel(w.ctx)
	end()
	worker.Refresh(ended, task("42", time.Minute))
	if len(n.tasks)+len(n.buried) > 0 || w.provider.asked(ref("42")) != 0 {
		t.Errorf("queued %+v, buried %+v", n.tasks, n.buried)
	}
}

func TestRefreshThatFailsComesAgain(t *testing.T) {
	each(t, func(w *world) {
		worker, n := w.noting()
		teapot := errors.New("teapot")
		w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
			return cache.Answer{}, teapot
		})
		next := task("42", cache.Ceiling)
		for attempt := 1; attempt < refresh.MaxAttempts; attempt++ {
			start := time.Now()
			worker.Refresh(w.ctx, next)
			if len(n.tasks) != attempt {
				w.t.Fatalf("after %d tries: queued %+v", attempt, n.tasks)
			}
			asked := next.Asked
			next = n.tasks[attempt-1]
			pause := n.at[attempt-1].Sub(start)
			least := time.Second << (attempt - 1)
			if next.Attempt != attempt || pause < least || pause > 3*least+time.Second || !next.Asked.Equal(asked) {
				w.t.Errorf("try %d comes again as %+v after %s", attempt, next, pause)
			}
			w.wantNoEntry("42")
			w.wantNoLease()
		}
		worker.Refresh(w.ctx, next)
		if len(n.buried) != 1 || n.buried[0].Attempt != refresh.MaxAttempts || !errors.Is(n.reason, teapot) {
			w.t.Errorf("after the last try: buried %+v because of %v", n.buried, n.reason)
		}
		if len(n.tasks) != refresh.MaxAttempts-1 {
			w.t.Errorf("queued %d times", len(n.tasks))
		}
	})
}

func TestRefreshThatIsRateLimited(t *testing.T) {
	each(t, func(w *world) {
		for left, wait := range map[time.Duration]time.Duration{
			10 * time.Second: 10 * time.Second, 2 * time.Minute: 2 * time.Minute,
			-time.Hour: time.Second, 0: time.Second, // over already: not at once, or it would spin
		} {
			worker, n := w.noting()
			start := time.Now()
			w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
				return cache.Answer{}, later{start.Add(left)}
			})
			given := task("42", time.Minute)
			given.Attempt = refresh.MaxAttempts - 1
			worker.Refresh(w.ctx, given)
			if len(n.tasks) != 1 || len(n.buried) != 0 {
				w.t.Fatalf("%s: queued %+v, buried %+v", left, n.tasks, n.buried)
			}
			pause := n.at[0].Sub(start)
			if pause < wait || pause > wait+3*time.Second || n.tasks[0].Attempt != given.Attempt {
				w.t.Errorf("%s: again after %s as %+v", left, pause, n.tasks[0])
			}
		}
	})
}

func TestRefreshThroughTheRealQueue(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	s := w.site()
	worker := s.worker()
	first := time.Now()
	var again, beyond time.Time
	s.provider.says(func(_ context.Context, r events.Ref, _ cache.Session) (cache.Answer, error) {
		n := s.provider.asked(r)
		switch {
		case r.Subject == "beyond":
			beyond = time.Now()
			return cache.Answer{}, later{first.Add(time.Hour)}
		case n == 1:
			return cache.Answer{}, later{first.Add(1500 * time.Millisecond)}
		}
		again = time.Now()
		return grants(strconv.Itoa(n)), nil
	})
	for _, name := range []string{"42", "beyond"} {
		if ok, err := s.Enqueue(s.ctx, task(name, time.Minute)); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	stop := s.background(func(ctx context.Context) error { return s.ConsumeRefreshes(ctx, 2, worker.Refresh) })
	eventually(t, "the entry is filled", func() bool { _, ok := s.entry(ref("42")); return ok })
	eventually(t, "the queue is empty", func() bool { return s.info().Queued == 0 })
	stop()
	s.wantEntry("42", "2")
	if again.Sub(first) < 1500*time.Millisecond || beyond.IsZero() || s.provider.asked(ref("beyond")) != 1 {
		t.Errorf("again after %s; beyond asked %d times", again.Sub(first), s.provider.asked(ref("beyond")))
	}
	if s.info().Dead != 0 {
		t.Errorf("dead: %v", s.dead())
	}
}

func TestRefreshThatLosesAgainstChangesLeavesNothingOld(t *testing.T) {
	each(t, func(w *world) {
		worker, n := w.noting()
		w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
			w.invalidate(subject("42"))
			return grants("old"), nil
		})
		worker.Refresh(w.ctx, task("42", time.Minute))
		w.wantNoEntry("42")
		w.wantNoLease()
		if len(n.buried) > 0 {
			w.t.Errorf("buried %+v", n.buried)
		}
	})
}

func TestChangeAsksForARefreshWithinTheOldDeadline(t *testing.T) {
	each(t, func(w *world) {
		s := w.site()
		worker := s.worker()
		n := &notebook{}
		worker.Queue = n
		r := s.stored(ref("42"))
		s.publish(changeOf(home, "a", subject("42")))
		s.apply(worker.Apply)
		s.settled()
		eventually(s.t, "a task", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return len(n.tasks) == 1 })
		got := n.tasks[0]
		if got.Ref != ref("42") || !got.Until.Equal(r.Until) || got.Attempt != 0 ||
			got.Reason != events.ChangeID(home, "a") {
			s.t.Errorf("task %+v, the entry's deadline was %s", got, r.Until)
		}
	})
}

// What may only have been missed, or is told again, goes after what has changed.
func TestWhoGoesAfterOthers(t *testing.T) {
	tenant := func(source events.Source) events.Change {
		c := changeOf(home, string(source), events.TenantTag)
		c.Source = source
		return c
	}
	correction := changeOf(home, "late", subject("42"))
	correction.Source = events.Sweep
	for name, c := range map[string]struct {
		change events.Change
		low    bool
	}{
		"a notice":               {tenant(events.Webhook), false},
		"a poll":                 {tenant(events.Tail), false},
		"the sweep of a gap":     {tenant(events.Sweep), true},
		"a replay":               {tenant(events.Replay), true},
		"a late provider's word": {correction, false},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) {
				s := w.site()
				asked := make(chan cache.Purpose, 1)
				worker := s.worker()
				n := &notebook{}
				worker.Queue = n
				s.stored(ref("42"))
				s.publish(c.change)
				s.apply(worker.Apply)
				s.settled()
				eventually(s.t, "a task", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return len(n.tasks) == 1 })
				s.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
					asked <- cache.PurposeOf(ctx)
					return grants("*"), nil
				})
				worker.Refresh(s.ctx, n.tasks[0])
				want := cache.ForChange
				if c.low {
					want = cache.ForSweep
				}
				if got := <-asked; got != want || n.tasks[0].Low != c.low {
					s.t.Errorf("asked as %d, want %d; task %+v", got, want, n.tasks[0])
				}
			})
		})
	}
}
