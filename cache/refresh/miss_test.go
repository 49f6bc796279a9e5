package refresh_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

func TestMissIsFetchedOnceHoweverManyAsk(t *testing.T) {
	for name, processes := range map[string]int{"one process": 1, "two processes": 2} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) { fetchedOnce(w, processes, 10_000) })
		})
	}
}

func fetchedOnce(w *world, processes, readers int) {
	w.t.Helper()
	release := make(chan struct{})
	w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
		return grants("*"), until(ctx, release)
	})
	fillers := make([]*refresh.Filler, processes)
	for i := range fillers {
		fillers[i] = w.filler()
	}
	var wg sync.WaitGroup
	var asking, wrong atomic.Int64
	for i := range readers {
		wg.Go(func() {
			asking.Add(1)
			r, err := fillers[i%processes].Get(w.ctx, ref("42"))
			if err != nil || r.Grants[read] != "*" || !r.Stored {
				wrong.Add(1)
				w.t.Logf("reader %d: %+v, %v", i, r, err)
			}
		})
	}
	eventually(w.t, "everybody asks", func() bool {
		return asking.Load() == int64(readers) && w.provider.asked(ref("42")) > 0
	})
	close(release)
	finish(w.t, &wg, "everybody has an answer")
	if got := w.provider.asked(ref("42")); got != 1 {
		w.t.Errorf("the provider was asked %d times, want once", got)
	}
	if wrong.Load() > 0 {
		w.t.Errorf("%d of %d got something else", wrong.Load(), readers)
	}
	w.wantEntry("42", "*")
	w.wantNoLease()
}

func TestWhoAsksAfterAChangeNeverGetsAnAnswerFromBefore(t *testing.T) {
	each(t, func(w *world) {
		var truth atomic.Int64
		began, release := make(chan struct{}, 8), make(chan struct{})
		w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
			now := strconv.FormatInt(truth.Load(), 10)
			began <- struct{}{}
			return grants(now), until(ctx, release)
		})
		f := w.filler()
		answers := make(chan refresh.Result, 2)
		ask := func() {
			r, err := f.Get(w.ctx, ref("42"))
			if err != nil {
				w.t.Error(err)
			}
			answers <- r
		}
		go ask()
		receive(w.t, began, "first fetch")
		truth.Store(1)
		w.invalidate(subject("42"))
		go ask()
		close(release)
		for range 2 {
			if r := receive(w.t, answers, "answer"); r.Grants[read] != "1" {
				w.t.Errorf("got the answer of truth %q", r.Grants[read])
			}
		}
		w.wantEntry("42", "1")
	})
}

// A fetch that has used up its tries gives out an answer which the fence has
// refused: right for who asked before it began, too old for who came later.
func TestWhoAsksLateGetsNoUnstoredAnswerFromBefore(t *testing.T) {
	each(t, func(w *world) {
		var truth, reads atomic.Int64
		w.db.AddHook(counting{"hgetall", &reads})
		began, release := make(chan struct{}), make(chan struct{})
		w.provider.says(func(ctx context.Context, r events.Ref, _ cache.Session) (cache.Answer, error) {
			now := grants(strconv.FormatInt(truth.Load(), 10))
			switch n := w.provider.asked(r); {
			case n < 4:
				w.invalidate(subject("42"))
			case n == 4:
				close(began)
				return now, until(ctx, release)
			}
			return now, nil
		})
		f := w.filler()
		early, late := make(chan refresh.Result, 1), make(chan refresh.Result, 1)
		go func() { r, _ := f.Get(w.ctx, ref("42")); early <- r }()
		receive(w.t, began, "the last try")
		truth.Store(1)
		w.invalidate(subject("42"))
		seen := reads.Load()
		go func() { r, _ := f.Get(w.ctx, ref("42")); late <- r }()
		eventually(w.t, "the late one has found nothing", func() bool { return reads.Load() > seen })
		close(release)
		if r := receive(w.t, early, "answer"); r.Stored || r.Grants[read] != "0" {
			w.t.Errorf("who asked early got %+v", r)
		}
		if r := receive(w.t, late, "answer"); r.Grants[read] != "1" {
			w.t.Errorf("who asked late got %+v", r)
		}
	})
}

// counting counts the commands of a name that were answered.
type counting struct {
	name string
	n    *atomic.Int64
}

func (c counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == c.name {
			c.n.Add(1)
		}
		return err
	}
}

// The provider's truth is a counter. A reader notes what was applied before it
// asks; an answer below that is stale. Most fetches lose against a change, so
// stored and unstored answers, joined and own flights all occur.
func TestNoStaleAnswerUnderAStormOfChanges(t *testing.T) {
	each(t, func(w *world) {
		var truth, applied, stale, unstored, answered atomic.Int64
		w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
			now := strconv.FormatInt(truth.Load(), 10)
			select {
			case <-time.After(rand.N(4 * time.Millisecond)):
			case <-ctx.Done():
			}
			return grants(now), ctx.Err()
		})
		fillers := []*refresh.Filler{w.filler(), w.filler()}
		ctx, cancel := context.WithTimeout(w.ctx, 2*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				n := truth.Add(1)
				w.invalidate(subject("42"))
				applied.Store(n)
				<-time.After(rand.N(6 * time.Millisecond))
			}
		})
		for i := range 16 {
			wg.Go(func() {
				for ctx.Err() == nil {
					least := applied.Load()
					r, err := fillers[i%2].Get(w.ctx, ref("42"))
					if err != nil {
						w.t.Error(err)
						return
					}
					answered.Add(1)
					if !r.Stored {
						unstored.Add(1)
					}
					if got, err := strconv.ParseInt(r.Grants[read], 10, 64); err != nil || got < least {
						stale.Add(1)
					}
				}
			})
		}
		finish(w.t, &wg, "storm is over")
		w.t.Logf("%d changes, %d answers, %d of them unstored", applied.Load(), answered.Load(), unstored.Load())
		if stale.Load() > 0 || unstored.Load() == 0 || unstored.Load() == answered.Load() {
			w.t.Errorf("%d stale answers of %d, %d unstored", stale.Load(), answered.Load(), unstored.Load())
		}
		w.wantNoLease()
	})
}

func TestAskerMayLeaveAndTheFetchGoesOn(t *testing.T) {
	each(t, func(w *world) {
		began, release := make(chan struct{}, 1), make(chan struct{})
		w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
			began <- struct{}{}
			return grants("*"), until(ctx, release)
		})
		f := w.filler()
		ctx, leave := context.WithCancel(w.ctx)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := f.Get(ctx, ref("42")); first <- err }()
		receive(w.t, began, "fetch")
		go func() { _, err := f.Get(w.ctx, ref("42")); second <- err }()
		leave()
		if err := receive(w.t, first, "return of who left"); !errors.Is(err, context.Canceled) {
			w.t.Errorf("who left got %v", err)
		}
		close(release)
		if err := receive(w.t, second, "return of who stayed"); err != nil {
			w.t.Errorf("who stayed got %v", err)
		}
		if got := w.provider.asked(ref("42")); got != 1 {
			w.t.Errorf("asked %d times, want once", got)
		}
		w.wantEntry("42", "*")
	})
}

func TestCloseEndsFetchesAndLeavesNoLease(t *testing.T) {
	each(t, func(w *world) {
		w.provider.says(func(ctx context.Context, r events.Ref, s cache.Session) (cache.Answer, error) {
			if r.Subject == "43" {
				_, err := s.Part(ctx, role(func() (string, error) {
					<-ctx.Done()
					return "too late", nil
				}))
				return grants("*"), errors.Join(err, ctx.Err())
			}
			<-ctx.Done()
			return grants("*"), ctx.Err()
		})
		f := w.filler()
		errs := make(chan error, 2)
		for _, s := range []string{"42", "43"} {
			go func() { _, err := f.Get(w.ctx, ref(s)); errs <- err }()
		}
		eventually(w.t, "two fetches and a part's", func() bool {
			n, err := w.db.Keys(w.ctx, "*:l:*").Result()
			return err == nil && len(n) == 3
		})
		f.Close()
		for range 2 {
			if err := receive(w.t, errs, "return"); !errors.Is(err, context.Canceled) {
				w.t.Errorf("got %v, want the end", err)
			}
		}
		w.wantNoLease()
		w.wantNoEntry("42")
		if _, err := f.Get(w.ctx, ref("44")); err == nil {
			w.t.Error("a closed filler fetches")
		}
		w.wantNoLease()
	})
}

func TestUsableEntryIsNotFetched(t *testing.T) {
	each(t, func(w *world) {
		first := w.get(w.filler(), "42")
		again := w.get(w.filler(), "42")
		if !first.Fetched || !first.Stored || again.Fetched || !again.Stored {
			w.t.Errorf("first %+v, again %+v", first, again)
		}
		if again.Version != first.Version || !again.Until.Equal(first.Until) || w.provider.asked(ref("42")) != 1 {
			w.t.Errorf("first %+v, again %+v, asked %d", first, again, w.provider.asked(ref("42")))
		}
	})
}

func TestFlightsAreBounded(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	var now, most atomic.Int64
	release := make(chan struct{})
	w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		return grants("*"), until(ctx, release)
	})
	f, err := refresh.NewFiller(refresh.Config{
		Redis: w.db, Store: w.store, Readers: w.readers, Flights: 3, Log: w.log.logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := f.Get(w.ctx, ref(strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "three fetches", func() bool { return now.Load() == 3 })
	close(release)
	finish(t, &wg, "all answered")
	if most.Load() != 3 {
		t.Errorf("%d fetches at once, want 3", most.Load())
	}
}

// The reader comes while the fetch for a change is under way, for which there
// is no call; for a reader there would be one.
func TestAReaderIsNotHeldBackByWhoIsLessUrgent(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	f := w.filler()
	started, release := make(chan struct{}, 1), make(chan struct{})
	w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
		if cache.PurposeOf(ctx) == cache.ForReader {
			return grants("*"), nil
		}
		started <- struct{}{}
		if err := until(ctx, release); err != nil {
			return cache.Answer{}, err
		}
		return cache.Answer{}, later{time.Now().Add(time.Minute)}
	})
	worker := &refresh.Worker{Store: w.store, Filler: f, Queue: &notebook{}, Log: w.log.logger()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		worker.Refresh(w.ctx, stream.Task{Ref: ref("1"), Until: time.Now().Add(time.Minute), Asked: time.Now()})
	}()
	receive(t, started, "the change's fetch")
	var readers, begun sync.WaitGroup
	for range 50 { // most of them wait before it is over
		begun.Add(1)
		readers.Go(func() {
			begun.Done()
			if _, err := f.Get(w.ctx, ref("1")); err != nil {
				t.Errorf("a reader, for whom there is a call, gets %v", err)
			}
		})
	}
	begun.Wait()
	close(release)
	readers.Wait()
	<-done
}
