package refresh_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

func report(b *testing.B, name string, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*p/100].Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", name, p))
	}
}

// side runs work for 0 to n-1, sixteen at once.
func side(n int, work func(i int)) {
	var wg sync.WaitGroup
	for first := range 16 {
		wg.Go(func() {
			for i := first; i < n; i += 16 {
				work(i)
			}
		})
	}
	wg.Wait()
}

// dropped tells when each key was dropped, from the tenants' channels.
func (s *site) dropped(n int, at func(key string, now time.Time)) (all <-chan struct{}) {
	s.t.Helper()
	sub := s.db.PSubscribe(s.ctx, "*:changed")
	s.t.Cleanup(func() { sub.Close() })
	if _, err := sub.Receive(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	messages := sub.Channel(redis.WithChannelSize(100_000))
	go func() {
		for m := range messages {
			now := time.Now()
			for key := range strings.SplitSeq(m.Payload, "\n") {
				at(key, now)
				if n--; n == 0 {
					close(done)
				}
			}
		}
	}()
	return done
}

// quiet measures the worker and not its log.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func benchSite(b *testing.B) *site {
	b.Helper()
	w := open(b, cachetest.Redis(b))
	w.invalidate(events.TenantTag) // makes the fence
	return w.site()
}

// BenchmarkPublishToGone measures from before a change is published until its
// entry is unlinked, at a bounded rate. The refreshes are queued, not fetched.
func BenchmarkPublishToGone(b *testing.B) {
	for _, rate := range []int{100, 1000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) { publishToGone(b, rate) })
	}
}

func publishToGone(b *testing.B, rate int) {
	b.Helper()
	s := benchSite(b)
	side(b.N, func(i int) { s.plant(ref(fmt.Sprint(i))) })
	began := make([]time.Time, b.N)
	var mu sync.Mutex
	took := make([]time.Duration, 0, b.N)
	index := map[string]int{}
	for i := range b.N {
		index[s.keys.Entry(ref(fmt.Sprint(i)))] = i
	}
	done := s.dropped(b.N, func(key string, now time.Time) {
		mu.Lock()
		defer mu.Unlock()
		took = append(took, now.Sub(began[index[key]]))
	})
	worker := s.worker()
	worker.Log = quiet()
	s.apply(worker.Apply)
	b.ResetTimer()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var wg sync.WaitGroup
	for i := range b.N {
		<-tick.C
		wg.Go(func() {
			mu.Lock()
			began[i] = time.Now()
			mu.Unlock()
			s.publish(changeOf(home, fmt.Sprint(i), subject(fmt.Sprint(i))))
		})
	}
	wg.Wait()
	receive(b, done, "all entries gone")
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	report(b, "gone", took)
}

// BenchmarkBacklog drains b.N changes, each of another subject, with a journal and
// without. Use
// -benchtime=50000x.
func BenchmarkBacklog(b *testing.B) {
	for _, tenants := range []int{1, 100} {
		for _, batch := range []int{256, 1024, 4096} {
			for _, journal := range []bool{false, true} {
				b.Run(fmt.Sprintf("tenants=%d/batch=%d/journal=%v", tenants, batch, journal), func(b *testing.B) {
					backlog(b, tenants, batch, journal)
				})
			}
		}
	}
}

func backlog(b *testing.B, tenants, batch int, journal bool) {
	b.Helper()
	s := benchSite(b)
	side(b.N, func(i int) { s.publish(changeOf(tenant(i%tenants), fmt.Sprint(i), subject(fmt.Sprint(i)))) })
	worker := s.worker()
	worker.Log = quiet()
	if journal {
		j := s.Journal()
		worker.Filler.Journal = j
		s.background(j.Run)
	}
	var left, batches, applying atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.ResetTimer()
	s.background(func(ctx context.Context) error {
		o := stream.ConsumeOptions{Batch: batch}
		return s.ConsumeChanges(ctx, o, func(ctx context.Context, ms []stream.Message) {
			began := time.Now()
			worker.Apply(ctx, ms)
			batches.Add(1)
			applying.Add(int64(time.Since(began)))
			if left.Add(-int64(len(ms))) == 0 {
				close(done)
			}
		})
	})
	receive(b, done, "the backlog is drained")
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	b.ReportMetric(float64(b.N)/float64(batches.Load()), "changes/batch")
	b.ReportMetric(float64(applying.Load())/float64(b.Elapsed()), "share-of-apply")
	if s.info().Dead > 0 {
		b.Errorf("%d dead", s.info().Dead)
	}
}

// BenchmarkRoleEdited has a role with 10,000 live holders: from before the
// publish until the last of them is unlinked; then from before the publish of
// another tenant's change until that one's entry is, which has to wait for
// nothing but the queueing of the holders' refreshes.
func BenchmarkRoleEdited(b *testing.B) {
	var last, next []time.Duration
	for range b.N {
		b.StopTimer()
		l, n := roleEdited(b, 10_000)
		last, next = append(last, l), append(next, n)
		b.StartTimer()
	}
	report(b, "last-gone", last)
	report(b, "next-change", next)
}

func roleEdited(b *testing.B, holders int) (last, next time.Duration) {
	b.Helper()
	s := benchSite(b)
	bystander := events.Ref{Home: tenant(1), Subject: "42"}
	side(holders, func(i int) { s.plant(ref(fmt.Sprint(i)), admin) })
	s.stored(bystander)
	var gone, over time.Time
	left, all := holders, make(chan struct{})
	both := s.dropped(holders+1, func(key string, now time.Time) {
		if key == s.keys.Entry(bystander) {
			over = now
			return
		}
		if left--; left == 0 {
			gone = now
			close(all)
		}
	})
	worker := s.worker()
	worker.Log = quiet()
	stop := s.apply(worker.Apply)
	b.StartTimer()
	began := time.Now()
	s.publish(changeOf(home, "role", admin))
	receive(b, all, "all holders gone")
	again := time.Now()
	s.publish(changeOf(bystander.Home, "next", subject("42")))
	receive(b, both, "the bystander gone")
	b.StopTimer()
	eventually(b, "refreshes queued", func() bool { return int(s.info().Queued) == holders+1 })
	stop()
	return gone.Sub(began), over.Sub(again)
}

// BenchmarkMiss has 10,000 readers ask for the same missing entry.
func BenchmarkMiss(b *testing.B) {
	w := open(b, cachetest.Redis(b))
	f := w.filler()
	w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		return grants("*"), ctx.Err()
	})
	for i := 0; b.Loop(); i++ {
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() { w.get(f, fmt.Sprint(i)) })
		}
		wg.Wait()
		if got := w.provider.asked(ref(fmt.Sprint(i))); got != 1 {
			b.Errorf("asked %d times", got)
		}
	}
}
