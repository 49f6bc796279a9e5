package refresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/redislocal"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// stuck is a queue that does not answer.
type stuck struct {
	notebook
	entered chan struct{}
}

func (q *stuck) EnqueueAll(ctx context.Context, _ []stream.Task) (int, error) {
	q.entered <- struct{}{}
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestStuckQueueHoldsNoChangeBack(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.StandIn(t)).site()
	worker, queue := s.worker(), &stuck{entered: make(chan struct{}, 2)}
	worker.Queue = queue
	s.stored(ref("42"))
	s.stored(ref("43"))
	stop := s.apply(worker.Apply)
	s.publish(changeOf(home, "a", subject("42")))
	receive(t, queue.entered, "the queue is asked")
	start := time.Now()
	s.publish(changeOf(home, "b", subject("43")))
	receive(t, queue.entered, "the second change is applied")
	if took := time.Since(start); took > time.Second {
		t.Errorf("the second change waited %s for the queue", took)
	}
	s.settled()
	s.wantNoEntry("43")
	stop()
	worker.Wait()
	if !s.log.has("refreshes not queued") {
		t.Error("nobody heard of it")
	}
}

func TestChangeOutlivesAKilledRedis(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	w.impatient()
	s := w.site()
	s.stored(ref("42"))
	worker := s.worker()
	if err := s.db.Server.Kill(); err != nil {
		t.Fatal(err)
	}
	s.publish(changeOf(home, "a", subject("42")))
	s.apply(worker.Apply)
	eventually(t, "a word on the outage", func() bool { return s.log.has("redis is away") })
	next, err := redislocal.Start(s.ctx, redislocal.Options{Addr: s.db.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := next.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.settled()
	if info := s.info(); info.Dead != 0 {
		t.Errorf("%d dead", info.Dead)
	}
	s.stored(ref("42"))
}

func TestMetricsCount(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.StandIn(t)).site()
	registry := prometheus.NewRegistry()
	metrics := refresh.NewMetrics(registry)
	worker := s.worker()
	worker.Metrics, worker.Filler.Metrics = metrics, metrics
	s.get(worker.Filler, "42")
	s.publish(changeOf(home, "a", subject("42")))
	if err := s.nc.Publish(events.ChangeSubject(home), []byte("{")); err != nil {
		t.Fatal(err)
	}
	stop := s.apply(worker.Apply)
	s.settled()
	stop()
	worker.Wait()
	worker.Refresh(s.ctx, task("42", 20*time.Second))
	s.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
		return cache.Answer{}, later{time.Now().Add(time.Second)}
	})
	if _, err := worker.Filler.Get(s.ctx, ref("43")); err == nil {
		t.Error("a rate limit is an error")
	}
	for name, want := range map[string]float64{
		"rescind_changes_total outcome=applied provider=ringcentral":    1,
		"rescind_entries_dropped_total provider=ringcentral":            1,
		"rescind_fills_total outcome=stored provider=ringcentral":       2,
		"rescind_fills_total outcome=rate_limited provider=ringcentral": 1,
		"rescind_commits_total outcome=stored provider=ringcentral":     2,
		"rescind_refreshes_total outcome=stored provider=ringcentral":   1,
		"rescind_refreshes_queued_total outcome=accepted":               1,
	} {
		if got := counted(t, registry)[name]; got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

// counted lists counters by name and labels.
func counted(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			all[name] = m.GetCounter().GetValue()
		}
	}
	return all
}
