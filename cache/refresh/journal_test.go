package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// notes is a journal that can be asked.
type notes struct {
	mu  sync.Mutex
	all []events.Outcome
}

func (n *notes) Note(o events.Outcome) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, o.Bounded())
}

func (n *notes) of(k events.Kind) (some []events.Outcome) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.all {
		if o.Kind == k {
			some = append(some, o)
		}
	}
	return some
}

// worded is what matters of an outcome, in a line.
func worded(o events.Outcome) string {
	var names []string
	for _, e := range o.Entries {
		names = append(names, string(e.Subject))
	}
	slices.Sort(names)
	change := strings.TrimPrefix(o.Change, events.ChangeID(o.Home, ""))
	return fmt.Sprintf("%s change=%s seq=%d seqs=%d together=%d %d:%s", o.Kind, change, o.Sequence,
		len(o.Sequences), o.Together, o.EntryCount, strings.Join(names, ","))
}

func (n *notes) wantSaid(t *testing.T, k events.Kind, want ...string) {
	t.Helper()
	var got []string
	eventually(t, fmt.Sprintf("%d %s", len(want), k), func() bool { return len(n.of(k)) >= len(want) })
	for _, o := range n.of(k) {
		if o.At.IsZero() {
			t.Errorf("no time: %+v", o)
		}
		got = append(got, worded(o))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// journaled is a worker whose outcomes can be asked for.
func (s *site) journaled() (*refresh.Worker, *notes) {
	s.t.Helper()
	w, n := s.worker(), &notes{}
	w.Filler.Journal = n
	return w, n
}

// once applies what has been published, in one batch of all of it.
func (s *site) once(w *refresh.Worker, n int) {
	s.t.Helper()
	var batch []stream.Message
	done := make(chan struct{})
	s.background(func(ctx context.Context) error {
		return s.ConsumeChanges(ctx, stream.ConsumeOptions{}, func(ctx context.Context, ms []stream.Message) {
			if batch = append(batch, ms...); len(batch) == n {
				w.Apply(ctx, batch)
				close(done)
			}
		})
	})
	receive(s.t, done, "the batch")
	w.Wait()
}

func TestJournalHearsOfEachChange(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	w.invalidate(events.TenantTag) // makes the fence
	s := w.site()
	for _, name := range []string{"1", "2", "3", "4"} {
		s.plant(ref(name), admin)
	}
	worker, n := s.journaled()
	s.publish(changeOf(home, "a", subject("1"), subject("2")))
	s.publish(changeOf(home, "b", subject("99")))
	s.publish(changeOf(home, "c", admin, subject("2")))
	s.publish(changeOf(home, "d", subject("98")))
	s.once(worker, 4)
	n.wantSaid(t, events.Invalidated,
		"invalidated change=a seq=1 seqs=0 together=4 2:1,2",
		"invalidated change=c seq=3 seqs=0 together=4 3:2,3,4",
		"invalidated change= seq=0 seqs=2 together=0 0:")
	for _, o := range n.of(events.Invalidated) {
		if o.Version == 0 || o.Change != "" && (o.SinceReceived <= 0 || len(o.Tags) == 0) {
			t.Errorf("%+v", o)
		}
	}
	causes := map[string]string{}
	stop := s.background(func(ctx context.Context) error {
		return s.ConsumeRefreshes(ctx, 1, func(_ context.Context, task stream.Task) {
			n.mu.Lock()
			defer n.mu.Unlock()
			causes[string(task.Subject)] = strings.TrimPrefix(task.Reason, events.ChangeID(home, ""))
		})
	})
	eventually(t, "four refreshes", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(causes) == 4
	})
	stop()
	if diff := cmp.Diff(map[string]string{"1": "a", "2": "a", "3": "c", "4": "c"}, causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}

func TestJournalHearsOfOneChangeAlone(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	w.invalidate(events.TenantTag)
	s := w.site()
	worker, n := s.journaled()
	s.publish(changeOf(home, "a", subject("99")))
	s.once(worker, 1)
	n.wantSaid(t, events.Invalidated, "invalidated change= seq=0 seqs=1 together=0 0:")
}

func TestJournalHearsOfManyEntriesByCount(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	w.invalidate(events.TenantTag)
	s := w.site()
	for i := range 130 {
		s.plant(ref(fmt.Sprint(i)), admin)
	}
	worker, n := s.journaled()
	s.publish(changeOf(home, "a", admin))
	s.once(worker, 1)
	got := n.of(events.Invalidated)
	if len(got) != 1 || got[0].EntryCount != 130 || len(got[0].Entries) != events.MaxListed {
		t.Errorf("%d outcomes: %+v", len(got), got)
	}
}

func TestJournalHearsOfTheRefresh(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	s := w.site()
	worker, n := s.journaled()
	s.stored(ref("1"))
	s.publish(changeOf(home, "a", subject("1")))
	s.once(worker, 1)
	s.background(func(ctx context.Context) error { return s.ConsumeRefreshes(ctx, 1, worker.Refresh) })
	n.wantSaid(t, events.Refetched, "refetched change=a seq=0 seqs=0 together=0 1:1")
	if o := n.of(events.Refetched)[0]; o.SinceAsked <= 0 || o.Version == 0 {
		t.Errorf("%+v", o)
	}
}

func TestJournalHearsOfTheFence(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	f, n := w.filler(), &notes{}
	f.Journal = n
	first := true
	w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
		if first {
			first = false
			w.invalidate(subject("1"))
		}
		return grants("*"), nil
	})
	w.get(f, "1")
	n.wantSaid(t, events.Fenced, "fenced change= seq=0 seqs=0 together=0 1:1")
	if o := n.of(events.Fenced)[0]; !strings.Contains(o.Reason, "subject:1") {
		t.Errorf("reason %q", o.Reason)
	}
}

func TestJournalHearsOfTheDead(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	s := w.site()
	worker, n := s.journaled()
	w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
		return cache.Answer{}, errors.New("no such extension")
	})
	worker.Refresh(t.Context(), stream.Task{
		Ref: ref("1"), Until: time.Now().Add(time.Minute), Asked: time.Now(), Attempt: refresh.MaxAttempts - 1,
		Reason: events.ChangeID(home, "a"),
	})
	n.wantSaid(t, events.Dead, "dead change=a seq=0 seqs=0 together=0 1:1")
	if o := n.of(events.Dead)[0]; !strings.Contains(o.Reason, "no such extension") ||
		!strings.Contains(o.Reason, fmt.Sprintf("after %d attempts", refresh.MaxAttempts)) {
		t.Errorf("reason %q", o.Reason)
	}
	if _, err := s.nc.Request(events.ChangeSubject(home), []byte("?"), limit); err != nil {
		t.Fatal(err)
	}
	s.apply(worker.Apply)
	eventually(t, "the unreadable one is dead", func() bool { return len(n.of(events.Dead)) == 2 })
	if o := n.of(events.Dead)[1]; o.Home != home || o.Sequence != 1 || !strings.Contains(o.Reason, "decode") {
		t.Errorf("%+v", o)
	}
}
