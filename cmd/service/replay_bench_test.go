package service_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// From a webhook sent to the old entry gone, while a replay runs beside it.
func BenchmarkRevocationBesideAReplay(b *testing.B) {
	const history, rate, seconds = 100_000, 100, 5
	for _, replay := range []struct {
		name string
		rate int
	}{{"none", -1}, {"1000_per_s", 1000}, {"10000_per_s", 10_000}, {"unlimited", 0}} {
		b.Run(replay.name, func(b *testing.B) {
			// A world for each: what one leaves in the queue is named on the next one's channel.
			w := startWorld(b, options{quiet: true})
			w.fault(sim.Fault{Kind: sim.Delay, Delay: providerTime})
			w.publish(names(90, history)) // of source replay, which must be asked for
			w.drained(time.Minute)
			sel := stream.Selection{Source: events.Replay}
			if ok, err := w.stream.Span(b.Context(), &sel); !ok || err != nil {
				b.Fatal(ok, err)
			}
			for round := 0; b.Loop(); round++ {
				subjects := names(round, rate*seconds)
				w.seed(subjects)
				end := func() uint64 { return 0 }
				if replay.rate >= 0 {
					end = w.replaying(b, sel, replay.rate)
				}
				took := w.revoke(subjects, rate, 1)
				b.ReportMetric(float64(end()), "replayed")
				report(b, "ms", took)
			}
			if info := w.info(); info.Dead > 0 {
				b.Errorf("%d are dead", info.Dead)
			}
		})
	}
}

// replaying replays over and over until it is told to end, and says how many changes.
func (w *world) replaying(b *testing.B, sel stream.Selection, rate int) (end func() uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan uint64, 1)
	go func() {
		said := uint64(0)
		for i := 0; ctx.Err() == nil; i++ {
			r, err := w.stream.Replay(ctx, stream.Replay{Run: fmt.Sprint(rate, "-", time.Now().UnixNano()), Selection: sel, Rate: rate})
			if err != nil && !errors.Is(err, context.Canceled) {
				b.Error(err)
				break
			}
			said += r.Changes
		}
		done <- said
	}()
	return func() uint64 {
		cancel()
		return <-done
	}
}
