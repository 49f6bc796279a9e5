package stream_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

func ref(subject string) events.Ref {
	return events.Ref{Home: home, Subject: events.Subject(subject)}
}

func task(subject string) stream.Task {
	now := time.Now().UTC()
	return stream.Task{Ref: ref(subject), Until: now.Add(time.Minute), Reason: "test", Asked: now}
}

func enqueue(t *testing.T, s *stream.Stream, task stream.Task) bool {
	t.Helper()
	ok, err := s.Enqueue(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// refreshing runs a consumer of the queue that hands on what it gets.
func refreshing(t *testing.T, s *stream.Stream, workers int) (got chan stream.Task, stop func()) {
	t.Helper()
	got = make(chan stream.Task, 1000)
	stop = background(t, func(ctx context.Context) error {
		return s.ConsumeRefreshes(ctx, workers, func(_ context.Context, task stream.Task) { got <- task })
	})
	return got, stop
}

func TestTheFirstTaskOfAnEntryWins(t *testing.T) {
	s, _ := opened(t)
	first, second := task("1"), task("1")
	first.Reason, second.Reason = "first", "second"
	if !enqueue(t, s, first) || enqueue(t, s, second) || !enqueue(t, s, task("2")) {
		t.Error("want the first of each entry and no other")
	}
	got, _ := refreshing(t, s, 1)
	if diff := cmp.Diff(first, receive(t, got, "task")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	receive(t, got, "the other entry's task")
	if !enqueue(t, s, second) {
		t.Error("not accepted although nothing is pending any more")
	}
	receive(t, got, "second task")
}

func TestEntriesWithNastyNamesHaveAPlaceOfTheirOwn(t *testing.T) {
	s, _ := opened(t)
	got, _ := refreshing(t, s, 4)
	want := map[events.Ref]bool{}
	for _, id := range []string{"a.b", "a b", "*", ">", "%", "Größe", "a\nb", "a"} {
		for _, resource := range []events.Resource{"", events.Resource(id)} {
			task := task(id)
			task.Resource = resource
			if !enqueue(t, s, task) {
				t.Errorf("%q is not accepted", id)
			}
			want[task.Ref] = true
		}
	}
	for range len(want) {
		delete(want, receive(t, got, "task").Ref)
	}
	if len(want) > 0 {
		t.Errorf("never came: %v", want)
	}
}

func TestATaskThatIsTooLateIsNotQueued(t *testing.T) {
	s, _ := opened(t)
	late := task("1")
	late.Until = time.Now().Add(-time.Millisecond)
	if enqueue(t, s, late) {
		t.Error("accepted after its Until")
	}
	soon := task("2")
	if ok, err := s.EnqueueAt(t.Context(), soon, soon.Until); ok || err != nil {
		t.Errorf("for a time that is its Until: %v, %v", ok, err)
	}
}

func TestATaskNobodyTakesIsDroppedAtItsUntil(t *testing.T) {
	s, _ := opened(t)
	short := task("1")
	short.Until = time.Now().Add(1100 * time.Millisecond)
	if !enqueue(t, s, short) {
		t.Fatal("not accepted")
	}
	eventually(t, "the queue is empty", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.Queued == 0
	})
	if !enqueue(t, s, task("1")) {
		t.Error("the place is not free")
	}
}

func TestATaskIsAcknowledgedBeforeItIsHandled(t *testing.T) {
	s, _ := opened(t)
	begun, release := make(chan struct{}, 2), make(chan struct{})
	background(t, func(ctx context.Context) error {
		return s.ConsumeRefreshes(ctx, 1, func(context.Context, stream.Task) {
			begun <- struct{}{}
			<-release
		})
	})
	if !enqueue(t, s, task("1")) {
		t.Fatal("not accepted")
	}
	receive(t, begun, "handler")
	if !enqueue(t, s, task("1")) {
		t.Error("a newer task cannot queue while the older is handled")
	}
	close(release)
	receive(t, begun, "handler of the newer task")
}

func TestNoMoreThanTheWorkersRunAndAllAreAwaited(t *testing.T) {
	s, _ := opened(t)
	const workers, n = 3, 12
	var running, most, done atomic.Int64
	stop := background(t, func(ctx context.Context) error {
		return s.ConsumeRefreshes(ctx, workers, func(context.Context, stream.Task) {
			most.Store(max(most.Load(), running.Add(1)))
			<-time.After(10 * time.Millisecond)
			running.Add(-1)
			done.Add(1)
		})
	})
	var tasks []stream.Task
	for i := range n {
		tasks = append(tasks, task(fmt.Sprint(i)))
	}
	if got, err := s.EnqueueAll(t.Context(), tasks); got != n || err != nil {
		t.Fatalf("accepted %d, %v", got, err)
	}
	eventually(t, "all are handled", func() bool { return done.Load() == n })
	stop()
	if m := most.Load(); m > workers || m < 2 {
		t.Errorf("%d at once, want up to %d", m, workers)
	}
	if running.Load() != 0 {
		t.Error("returned while a handler ran")
	}
}

// A worker that stops leaves what it had not begun to the next.
func TestAStoppedRefresherLeavesTheRest(t *testing.T) {
	s, _ := opened(t)
	const n = 20
	for i := range n {
		enqueue(t, s, task(fmt.Sprint(i)))
	}
	begun, release := make(chan struct{}, n), make(chan struct{})
	stop := background(t, func(ctx context.Context) error {
		return s.ConsumeRefreshes(ctx, 2, func(ctx context.Context, _ stream.Task) {
			begun <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		})
	})
	receive(t, begun, "first handler")
	receive(t, begun, "second handler")
	stop()
	got, _ := refreshing(t, s, 4)
	for range n - 2 {
		receive(t, got, "one of the rest")
	}
	close(release)
}

func TestADelayedTaskFiresAndTheLastWins(t *testing.T) {
	s, _ := opened(t)
	got, _ := refreshing(t, s, 1)
	const delay = time.Second
	began := time.Now()
	first, second := task("1"), task("1")
	first.Attempt, second.Attempt = 1, 2
	if ok, err := s.EnqueueAt(t.Context(), first, began.Add(3*delay)); !ok || err != nil {
		t.Fatalf("first: %v, %v", ok, err)
	}
	if ok, err := s.EnqueueAt(t.Context(), second, began.Add(delay)); !ok || err != nil {
		t.Fatalf("second: %v, %v", ok, err)
	}
	if !enqueue(t, s, task("1")) {
		t.Error("a waiting step keeps a refresh from being queued now")
	}
	if now := receive(t, got, "the refresh that is due"); now.Attempt != 0 {
		t.Errorf("task = %+v", now)
	}
	if later := receive(t, got, "the delayed one"); later.Attempt != 2 {
		t.Errorf("task = %+v", later)
	}
	if took := time.Since(began); took < delay || took >= 3*delay {
		t.Errorf("fired after %s, want %s and a little", took, delay)
	}
	if info, err := s.Info(t.Context()); err != nil || info.Queued != 0 {
		t.Errorf("the first still waits: %+v, %v", info, err)
	}
	if ok, err := s.EnqueueAt(t.Context(), second, time.Now().Add(delay)); !ok || err != nil {
		t.Errorf("after it fired: %v, %v", ok, err)
	}
}

func TestADelayThatIsOverQueuesAtOnce(t *testing.T) {
	s, _ := opened(t)
	got, _ := refreshing(t, s, 1)
	if ok, err := s.EnqueueAt(t.Context(), task("1"), time.Now().Add(-time.Second)); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	receive(t, got, "task")
}

func TestManyTasksAtOnce(t *testing.T) {
	s, _ := opened(t)
	var tasks []stream.Task
	for i := range 10_000 {
		tasks = append(tasks, task(fmt.Sprint(i%5000))) // each entry twice
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	n, err := s.EnqueueAll(ctx, tasks)
	if n != 5000 || err != nil {
		t.Errorf("accepted %d, %v", n, err)
	}
	if n, err := s.EnqueueAll(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("none: accepted %d, %v", n, err)
	}
}

func TestAnUnusableTaskIsRefused(t *testing.T) {
	s, _ := opened(t)
	for name, spoil := range map[string]func(*stream.Task){
		"no subject":     func(t *stream.Task) { t.Subject = "" },
		"below zero":     func(t *stream.Task) { t.Attempt = -1 },
		"a far-off year": func(t *stream.Task) { t.Until = time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		t.Run(name, func(t *testing.T) {
			bad := task("1")
			spoil(&bad)
			if ok, err := s.Enqueue(t.Context(), bad); ok || err == nil {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
}

func TestAnUnreadableTaskGoesToDead(t *testing.T) {
	s, nc := opened(t)
	js := jetStream(t, nc)
	foreign, err := stream.EncodeTask(task("1"))
	if err != nil {
		t.Fatal(err)
	}
	for subject, data := range map[string][]byte{
		events.RefreshSubject(ref("9")): foreign, "perm.refresh.box.1.2": []byte("{"), "perm.refresh.odd": nil,
	} {
		if _, err := js.Publish(t.Context(), subject, data); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := refreshing(t, s, 2)
	eventually(t, "all three are in DEAD and out of the queue", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.Dead == 3 && info.Queued == 0
	})
	if len(got) != 0 {
		t.Errorf("handled %+v", <-got)
	}
}

// The queue is in memory: a restart of a single server takes it along, and it
// is made anew by whoever needs it first.
func TestTheQueueIsThereAgainAfterARestart(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	got, _ := refreshing(t, s, 2)
	enqueue(t, s, task("before"))
	receive(t, got, "task before the restart")
	o.restart(t)
	eventually(t, "a task is accepted", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		ok, err := s.Enqueue(ctx, task("after"))
		return ok && err == nil
	})
	if after := receive(t, got, "task after the restart"); after.Subject != "after" {
		t.Errorf("task = %+v", after)
	}
}

func TestEnqueueMakesTheQueueAnew(t *testing.T) {
	s, nc := opened(t)
	if err := jetStream(t, nc).DeleteStream(t.Context(), stream.Refreshes); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.Queued != 0 {
		t.Errorf("info without a queue = %+v, %v", info, err)
	}
	if n, err := s.EnqueueAll(t.Context(), []stream.Task{task("1"), task("2")}); n != 2 || err != nil {
		t.Errorf("accepted %d, %v", n, err)
	}
}

func FuzzDecodeTask(f *testing.F) {
	b, err := stream.EncodeTask(task("1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"provider":"p","tenant":"t","subject":"s","until":"0001-01-01T00:00:00+01:00",` +
		`"reason":"\u0000\ud800"}`))
	long := strings.Repeat("9", 2000)
	f.Add([]byte(`{"until":"` + long + `"}`))
	f.Add([]byte(`{"attempt":` + long + `}`))
	f.Add([]byte(`{"provider":"` + long + `","provider":"p","tenant":"t","subject":"` + long + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		task, err := stream.DecodeTask(b)
		if err != nil {
			if len(err.Error()) > 1024 || task != (stream.Task{}) {
				t.Fatalf("%+v beside an error of %d bytes: %.200s", task, len(err.Error()), err)
			}
			return
		}
		again, err := stream.EncodeTask(task)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		back, err := stream.DecodeTask(again)
		if err != nil {
			t.Fatalf("written but not read: %v", err)
		}
		if diff := cmp.Diff(task, back); diff != "" {
			t.Fatalf("differs:\n%s", diff)
		}
	})
}
