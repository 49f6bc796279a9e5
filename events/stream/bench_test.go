package stream_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
)

// benchServer is reached over a socket, as in production.
func benchServer(b *testing.B, syncAlways bool) (*stream.Stream, *nats.Conn) {
	b.Helper()
	srv := startServer(b, natslocal.Options{Addr: "127.0.0.1:0", SyncAlways: syncAlways})
	nc, err := stream.Connect(b.Context(), stream.ConnectOptions{URL: srv.URL()})
	if err != nil {
		b.Fatal(err)
	}
	closeAtEnd(b, nc)
	return openOn(b, nc), nc
}

// BenchmarkPublish compares Publish with two that wait for a reply of their
// own: bare, which sends bytes that were encoded before, and request, which
// does all that Publish does.
func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, callers := range []int{1, 64, 512} {
			for _, way := range []string{"bare", "request", "publish"} {
				b.Run(fmt.Sprintf("sync=%v/callers=%d/%s", sync, callers, way), func(b *testing.B) {
					s, nc := benchServer(b, sync)
					benchPublish(b, callers, publishWay(b, s, nc, way))
				})
			}
		}
	}
}

func publishWay(b *testing.B, s *stream.Stream, nc *nats.Conn, way string) func(events.Change) error {
	b.Helper()
	js := jetStream(b, nc)
	ready, err := events.Encode(change("ready"))
	if err != nil {
		b.Fatal(err)
	}
	subject := events.ChangeSubject(home)
	switch way {
	case "bare":
		return func(events.Change) error {
			_, err := js.Publish(context.Background(), subject, ready)
			return err
		}
	case "request":
		return func(c events.Change) error {
			data, err := events.Encode(c)
			if err != nil {
				return err
			}
			_, err = js.PublishMsg(context.Background(), &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
				jetstream.MsgIDHeader: {c.ID}, "Content-Type": {events.ContentType},
			}})
			return err
		}
	}
	return func(c events.Change) error {
		_, err := s.Publish(context.Background(), c)
		return err
	}
}

func benchPublish(b *testing.B, callers int, publish func(events.Change) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := publish(change(fmt.Sprint(i))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkConsume drains a backlog.
func BenchmarkConsume(b *testing.B) {
	s, _ := benchServer(b, false)
	publishMany(b, s, b.N)
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.ResetTimer()
	consume(b, s, stream.ConsumeOptions{}, func(_ context.Context, batch []stream.Message) {
		for _, m := range batch {
			if err := m.Ack(); err != nil {
				b.Error(err)
			}
		}
		if left.Add(-int64(len(batch))) == 0 {
			close(done)
		}
	})
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkLatency measures from before a publish to the handler, one change
// at a time.
func BenchmarkLatency(b *testing.B) {
	s, _ := benchServer(b, false)
	handled := make(chan time.Time, 1)
	consume(b, s, stream.ConsumeOptions{}, func(_ context.Context, batch []stream.Message) {
		handled <- time.Now()
		for _, m := range batch {
			if err := m.Ack(); err != nil {
				b.Error(err)
			}
		}
	})
	var whole, rest []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		publish(b, s, change(fmt.Sprint(i)))
		acked := time.Now()
		at := <-handled
		whole, rest = append(whole, at.Sub(began)), append(rest, at.Sub(acked))
	}
	report(b, "publish-handle", whole)
	report(b, "ack-handle", rest)
}

func report(b *testing.B, name string, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*p/100].Microseconds()), fmt.Sprintf("%s-p%d-µs", name, p))
	}
}

// BenchmarkEnqueueAll queues 10,000 tasks an operation.
func BenchmarkEnqueueAll(b *testing.B) {
	s, _ := benchServer(b, false)
	const n = 10_000
	tasks := make([]stream.Task, n)
	for round := 0; b.Loop(); round++ {
		for i := range tasks {
			tasks[i] = stream.Task{
				Ref: ref(fmt.Sprintf("%d-%d", round, i)), Until: time.Now().Add(10 * time.Minute), Asked: time.Now(),
			}
		}
		ctx, cancel := context.WithTimeout(b.Context(), limit)
		accepted, err := s.EnqueueAll(ctx, tasks)
		cancel()
		if accepted != n || err != nil {
			b.Fatal(accepted, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkRefreshes takes tasks from a backlog with handlers that do nothing.
func BenchmarkRefreshes(b *testing.B) {
	for _, workers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			s, _ := benchServer(b, false)
			tasks := make([]stream.Task, b.N)
			for i := range tasks {
				tasks[i] = stream.Task{Ref: ref(fmt.Sprint(i)), Until: time.Now().Add(10 * time.Minute)}
			}
			ctx, cancel := context.WithTimeout(b.Context(), limit)
			defer cancel()
			if accepted, err := s.EnqueueAll(ctx, tasks); accepted != b.N || err != nil {
				b.Fatal(accepted, err)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{})
			b.ResetTimer()
			background(b, func(ctx context.Context) error {
				return s.ConsumeRefreshes(ctx, workers, func(context.Context, stream.Task) {
					if left.Add(-1) == 0 {
						close(done)
					}
				})
			})
			<-done
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
