//go:build unix

package stream_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/events/stream"
)

// BenchmarkLooks plans looks at many entries, each replaced once as a second
// change would, and tells what one pending look costs the server and us, who
// are one process here.
func BenchmarkLooks(b *testing.B) {
	for _, entries := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			for b.Loop() {
				benchLooks(b, entries)
			}
		})
	}
}

func benchLooks(b *testing.B, entries int) {
	b.Helper()
	s, _ := benchServer(b, false)
	before := heap()
	due := time.Now().Add(time.Minute + time.Duration(entries)*200*time.Microsecond)
	start, used := time.Now(), cpu()
	for range 2 {
		planLooks(b, s, entries, due)
	}
	b.ReportMetric(float64(2*entries)/time.Since(start).Seconds(), "looks/s")
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(2*entries), "cpu-us/look")
	b.ReportMetric(float64(heap()-before)/float64(entries), "B/pending")
	idle, was := time.Now(), cpu()
	for end := idle.Add(3 * time.Second); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
	}
	b.ReportMetric(100*(cpu()-was).Seconds()/time.Since(idle).Seconds(), "idle-cpu-%")
}

func planLooks(b *testing.B, s *stream.Stream, entries int, due time.Time) {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(64)
	for i := range entries {
		g.Go(func() error {
			t := stream.Task{Ref: ref(fmt.Sprint(i)), Until: due.Add(time.Minute), Look: true, Asked: time.Now()}
			_, err := s.EnqueueAt(b.Context(), t, due)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
