package refresh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// truth is a provider whose rights change: each subject and each of four roles
// has a counter; a subject holds the role of its number modulo four.
type truth struct {
	mu     sync.Mutex
	counts map[events.Tag]int
}

func roleOf(subject int) events.Tag { return events.RoleTag(strconv.Itoa(subject % 4)) }

func (p *truth) bump(tag events.Tag) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[tag]++
}

func (p *truth) of(tag events.Tag) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strconv.Itoa(p.counts[tag])
}

// Read takes the role from a part, and is slow now and then.
func (p *truth) Read(ctx context.Context, r events.Ref, s cache.Session) (cache.Answer, error) {
	n, err := strconv.Atoi(string(r.Subject))
	if err != nil {
		return cache.Answer{}, err
	}
	own := p.of(subject(string(r.Subject)))
	select {
	case <-time.After(rand.N(10 * time.Millisecond)):
	case <-ctx.Done():
		return cache.Answer{}, ctx.Err()
	}
	role, err := s.Part(ctx, cache.PartSpec{
		Name: roleOf(n).String(), Tags: []events.Tag{roleOf(n)}, Life: time.Minute,
		Fetch: func(context.Context) ([]byte, error) { return []byte(p.of(roleOf(n))), nil },
	})
	return grants(own + "+" + string(role)), err
}

// run is a process: it applies and refreshes until its context ends.
func (s *site) run(ctx context.Context, p *truth) error {
	f, err := refresh.NewFiller(refresh.Config{
		Redis: s.db, Store: s.store, Readers: func(events.Home) refresh.Reader { return p }, Log: s.log.logger(),
	})
	if err != nil {
		return err
	}
	defer f.Close()
	w := &refresh.Worker{Store: s.store, Filler: f, Queue: s.Stream, Log: s.log.logger()}
	defer w.Wait()
	errs := make(chan error, 2)
	go func() {
		errs <- s.ConsumeChanges(ctx, stream.ConsumeOptions{Batch: 16, AckWait: 2 * time.Second}, w.Apply)
	}()
	go func() { errs <- s.ConsumeRefreshes(ctx, 8, w.Refresh) }()
	for range 2 {
		if one := <-errs; one != nil {
			err = one
		}
	}
	return err
}

// TestEveryEntryAgreesInTheEnd kills one of two workers again and again while
// rights change and readers read.
func TestEveryEntryAgreesInTheEnd(t *testing.T) {
	t.Parallel()
	const subjects, changes = 40, 400
	s := open(t, cachetest.Redis(t)).site()
	p := &truth{counts: map[events.Tag]int{}}
	s.background(func(ctx context.Context) error { return s.run(ctx, p) })
	ctx, over := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	var kills, reads atomic.Int64
	wg.Go(func() { s.mortal(ctx, p, &kills) })
	front, err := refresh.NewFiller(refresh.Config{
		Redis: s.db, Store: s.store, Readers: func(events.Home) refresh.Reader { return p }, Log: s.log.logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := front.Get(s.ctx, ref(strconv.Itoa(rand.N(subjects)))); err != nil {
					t.Error(err)
				}
				reads.Add(1)
				<-time.After(rand.N(2 * time.Millisecond))
			}
		})
	}
	for i := range changes {
		tag := subject(strconv.Itoa(rand.N(subjects)))
		if i%10 == 0 {
			tag = roleOf(rand.N(4))
		}
		p.bump(tag)
		s.publish(changeOf(home, fmt.Sprint(i), tag))
		<-time.After(rand.N(6 * time.Millisecond))
	}
	s.settled()
	over()
	finish(t, &wg, "readers and the mortal worker")
	s.settled()
	eventually(t, "the queue is empty", func() bool { return s.info().Queued == 0 })
	t.Logf("%d reads, %d kills", reads.Load(), kills.Load())
	if kills.Load() < 3 || s.info().Dead != 0 {
		t.Errorf("%d kills, %d dead", kills.Load(), s.info().Dead)
	}
	s.agree(front, p, subjects)
}

// mortal runs a worker that is killed and born again.
func (s *site) mortal(ctx context.Context, p *truth, kills *atomic.Int64) {
	for ctx.Err() == nil {
		life, kill := context.WithTimeout(ctx, 20*time.Millisecond+rand.N(200*time.Millisecond))
		if err := s.run(life, p); err != nil {
			s.t.Error(err)
		}
		kill()
		kills.Add(1)
	}
}

// agree compares what stands in Redis, then what a reader is told.
func (s *site) agree(f *refresh.Filler, p *truth, subjects int) {
	s.t.Helper()
	stand := 0
	for i := range subjects {
		name := strconv.Itoa(i)
		want := p.of(subject(name)) + "+" + p.of(roleOf(i))
		if e, ok := s.entry(ref(name)); ok {
			stand++
			if e.Grants[read] != want {
				s.t.Errorf("entry %s = %q, the provider says %q", name, e.Grants[read], want)
			}
		}
		if r := s.get(f, name); r.Grants[read] != want {
			s.t.Errorf("reader of %s got %q, the provider says %q", name, r.Grants[read], want)
		}
	}
	if stand == 0 {
		s.t.Error("no entry was left to compare")
	}
}
