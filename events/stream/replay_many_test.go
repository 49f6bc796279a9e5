package stream_test

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events/stream"
)

// TestReplayMany says RESCIND_STORED changes again, as fast as that goes, and says how
// fast, and in how much memory.
func TestReplayMany(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("RESCIND_STORED"))
	if err != nil {
		n = 20_000
	}
	s, _ := opened(t)
	publishMany(t, s, n)
	sel := spanOf(t, s, stream.Selection{})
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, next, began := uint64(0), uint64(0), time.Now()
	done := replay(t, s, stream.Replay{Run: "many", Selection: sel, Report: func(r stream.Replayed) {
		if r.Changes >= next {
			next += uint64(n / 20)
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse)
		}
	}})
	took := time.Since(began)
	if done.Changes != uint64(n) || done.Next != uint64(n)+1 {
		t.Fatalf("of %d: %+v", n, done)
	}
	t.Logf("%d changes in %d messages in %s: %.0f a second; heap in use %d MiB before, %d MiB at most, the server's included",
		n, done.Messages, took, float64(n)/took.Seconds(), before.HeapInuse>>20, peak>>20)
	if grown := int64(peak) - int64(before.HeapInuse); grown > 200<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}
