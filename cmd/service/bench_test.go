package service_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// syncs are the two settings of sync_interval: the default, and always.
var syncs = map[string]bool{"sync=default": false, "sync=always": true}

// providerTime is what the simulated provider takes to answer.
const providerTime = 100 * time.Millisecond

// From a webhook sent to the old entry gone, at a steady rate, everything on
// this machine. The simulated provider answers the refreshes that follow.
func BenchmarkRevocation(b *testing.B) {
	for _, rate := range []int{100, 1000} {
		for name, always := range syncs {
			b.Run(fmt.Sprintf("%d_per_s/%s", rate, name), func(b *testing.B) {
				w := startWorld(b, options{quiet: true, syncAlways: always})
				w.fault(sim.Fault{Kind: sim.Delay, Delay: providerTime})
				for round := 0; b.Loop(); round++ {
					subjects := names(round, 5*rate)
					w.seed(subjects)
					took := w.revoke(subjects, rate, 1)
					report(b, "ms", took)
				}
			})
		}
	}
}

// From a webhook sent to the fresh entry stored.
func BenchmarkRefresh(b *testing.B) {
	const rate = 20 // a second
	w := startWorld(b, options{quiet: true})
	subjects := names(9, 200)
	w.addExtensions(subjects)
	for b.Loop() {
		w.fill(subjects)
		w.sim.ClearFaults()
		w.fault(sim.Fault{Kind: sim.Delay, Delay: providerTime})
		report(b, "ms", w.revoke(subjects, rate, 2))
		w.sim.ClearFaults()
	}
}

func BenchmarkBacklog(b *testing.B) {
	const backlog = 50_000
	for name, always := range syncs {
		b.Run(name, func(b *testing.B) {
			w := startWorld(b, options{quiet: true, idle: true, syncAlways: always})
			var took time.Duration
			for round := 0; b.Loop(); round++ {
				b.StopTimer()
				w.publish(names(round, backlog))
				b.StartTimer()
				start := time.Now()
				worker := w.startWorker()
				w.drained(time.Minute)
				took += time.Since(start)
				worker.stop(b)
			}
			b.ReportMetric(float64(b.N*backlog)/took.Seconds(), "changes/s")
		})
	}
}

func BenchmarkTenThousandReadersOfOneMissingEntry(b *testing.B) {
	const readers = 10_000
	w := startWorld(b, options{quiet: true})
	w.client.Transport = &http.Transport{MaxIdleConnsPerHost: 1000, MaxConnsPerHost: 1000}
	w.expect(cem, cache.Granted, abroad) // tokens and roles are there
	w.fault(sim.Fault{Operation: rolesCall, Kind: sim.Delay, Delay: providerTime})
	for b.Loop() {
		before := w.sim.Calls(rolesCall)
		var other sync.Map // what was answered instead
		var group sync.WaitGroup
		for range readers {
			group.Go(func() {
				if d, err := w.ask(w.worker, bea, abroad); err != nil || d.State != cache.Granted {
					other.Store(fmt.Sprint(d.State, d.Message, err), true)
				}
			})
		}
		group.Wait()
		other.Range(func(answer, _ any) bool {
			b.Errorf("answered %q, want granted", answer)
			return true
		})
		b.ReportMetric(float64(w.sim.Calls(rolesCall)-before), "calls")
		if err := w.rdb.Unlink(context.Background(), cache.Keys{}.Entry(ref(bea))).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// drained is applied for much work.
func (w *world) drained(most time.Duration) {
	w.t.Helper()
	empty := w.nothingPends()
	for end := time.Now().Add(most); !empty(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not drained within %s: %+v", most, w.info())
		}
	}
}

// names are subjects that no other round has.
func names(round, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(2_000_000+round*1_000_000, fmt.Sprintf("%06d", i))
	}
	return list
}

// seed stores an entry for each subject, through the fence.
func (w *world) seed(subjects []string) {
	w.t.Helper()
	ctx := context.Background()
	store, err := fence.Open(ctx, w.rdb, cache.Keys{})
	if err != nil {
		w.t.Fatal(err)
	}
	facts := cache.Facts{Basis: "seeded", Covers: []cache.Kind{cache.Permission},
		Grants: map[cache.Grant]string{abroad: "Self"}}
	fields, err := facts.Fields()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := store.Invalidate(ctx, home, events.SubjectTag("nobody")); err != nil { // makes the fence
		w.t.Fatal(err)
	}
	w.each(subjects, 16, func(subject string) error {
		for {
			begun, err := store.Begin(ctx, home, cache.EntryName(ref(subject)), fence.Want{})
			if err != nil || begun.Lease == nil {
				return fmt.Errorf("begin %s: %+v, %w", subject, begun, err)
			}
			o, err := store.Commit(ctx, begun.Lease, fence.Fill{Fields: fields, Life: cache.DefaultLife,
				Tags: []events.Tag{events.SubjectTag(events.Subject(subject))}})
			if err != nil || o.Stored {
				return err
			} // refused while the fence is made
		}
	})
}

// fill asks for each subject, so that its entry is there.
func (w *world) fill(subjects []string) {
	w.t.Helper()
	w.each(subjects, 8, func(subject string) error {
		d, err := w.ask(w.worker, subject, abroad)
		if err == nil && d.State != cache.Granted {
			err = fmt.Errorf("%s: %s (%q)", subject, d.State, d.Message)
		}
		return err
	})
}

func (w *world) publish(subjects []string) {
	w.t.Helper()
	w.each(subjects, 256, func(subject string) error {
		_, err := w.stream.Publish(context.Background(), events.Change{
			ID: "backlog-" + subject, Home: home, Source: events.Replay, Received: time.Now(),
			Tags: []events.Tag{events.SubjectTag(events.Subject(subject))},
		})
		return err
	})
}

// each works through a list, some at a time.
func (w *world) each(list []string, most int, do func(string) error) {
	w.t.Helper()
	todo := make(chan string, len(list))
	for _, one := range list {
		todo <- one
	}
	close(todo)
	var group sync.WaitGroup
	for range most {
		group.Go(func() {
			for one := range todo {
				if err := do(one); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
}

func (w *world) addExtensions(ids []string) {
	w.t.Helper()
	list := make([]sim.Extension, len(ids))
	for i, id := range ids {
		list[i] = sim.Extension{ID: id, Number: id, Name: "Extension " + id}
	}
	if err := w.sim.AddExtensions(list...); err != nil {
		w.t.Fatal(err)
	}
	w.applied()
}

// revoke sends one delivery for each subject at a steady rate, and returns how
// long after its sending the nth word of the subject's entry came: the first
// says that it was dropped, the second that it is stored again.
func (w *world) revoke(subjects []string, rate, nth int) []time.Duration {
	w.t.Helper()
	words, sent := w.words(len(subjects), nth), make([]time.Time, len(subjects))
	var group sync.WaitGroup
	start := time.Now()
	for i, subject := range subjects {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate)))) // the pace
		body := notice("revoke-"+subject+start.String(), "s-1", subject)
		sent[i] = time.Now()
		group.Go(func() {
			got, err := w.send(w.listener.it.Addresses()[0], verificationToken, body)
			if got != http.StatusOK {
				w.t.Errorf("status %d, %v", got, err)
			}
		})
	}
	group.Wait()
	took := make([]time.Duration, 0, len(subjects))
	seen := words()
	for i, subject := range subjects {
		if times := seen[cache.Keys{}.Entry(ref(subject))]; len(times) >= nth {
			took = append(took, times[nth-1].Sub(sent[i]))
		}
	}
	if lost := len(subjects) - len(took); lost > 0 {
		w.t.Errorf("%d of %d were not seen", lost, len(subjects))
	}
	return took
}

// words notes when each key is named on the channel of changes. What it
// returns waits until that many keys were named so often.
func (w *world) words(keys, nth int) func() map[string][]time.Time {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	sub := w.rdb.Subscribe(ctx, cache.Keys{}.Changed(home))
	if _, err := sub.Receive(ctx); err != nil {
		w.t.Fatal(err)
	}
	seen, done := map[string][]time.Time{}, make(chan struct{})
	go func() {
		defer close(done)
		for left := keys; left > 0; {
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				return
			}
			now := time.Now()
			for key := range strings.SplitSeq(m.Payload, "\n") {
				if seen[key] = append(seen[key], now); len(seen[key]) == nth {
					left--
				}
			}
		}
	}()
	return func() map[string][]time.Time {
		select {
		case <-done:
		case <-time.After(limit):
		}
		cancel()
		_ = sub.Close() // its connection is of no use any more
		<-done
		return seen
	}
}

// report tells the median and what is slow.
func report(b *testing.B, unit string, took []time.Duration) {
	b.Helper()
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	for _, p := range []int{50, 90, 99} {
		d := took[(len(took)-1)*p/100]
		b.ReportMetric(float64(d.Microseconds())/1000, fmt.Sprintf("p%d-%s", p, unit))
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}
