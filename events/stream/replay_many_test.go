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
	before := live()
	peak, next, began := before, uint64(0), time.Now()
	done := replay(t, s, stream.Replay{Run: "many", Selection: sel, Report: func(r stream.Replayed) {
		if r.Changes >= next {
			next += uint64(n / 20)
			peak = max(peak, live())
		}
	}})
	took := time.Since(began)
	if done.Changes != uint64(n) || done.Next != uint64(n)+1 {
		t.Fatalf("of %d: %+v", n, done)
	}
	t.Logf("%d changes in %d messages in %s: %.0f a second; %d MiB live before, %d MiB at most, the server's included",
		n, done.Messages, took, float64(n)/took.Seconds(), before>>20, peak>>20)
	if grown := peak - before; grown > 200<<20 { // the server keeps what it has just read and written
		t.Errorf("what is live grew by %d MiB", grown>>20)
	}
}

// live is how much of the heap is in use after a collection.
func live() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
