package refresh_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// inOneBatch lets messages pile up behind a first one, so that they come in
// one batch after it.
func (s *site) inOneBatch(handle func(context.Context, []stream.Message), changes ...events.Change) {
	s.t.Helper()
	entered, release, size := make(chan struct{}), make(chan struct{}), make(chan int, 100)
	first := true
	s.publish(changeOf(tenant(999), "first", events.TenantTag))
	s.apply(func(ctx context.Context, ms []stream.Message) {
		if first {
			first = false
			close(entered)
			<-release
		} else {
			size <- len(ms)
		}
		handle(ctx, ms)
	})
	receive(s.t, entered, "the first batch")
	for _, c := range changes {
		s.publish(c)
	}
	eventually(s.t, "all delivered", func() bool { return int(s.info().InFlight) > len(changes) })
	close(release)
	if n := receive(s.t, size, "the second batch"); n != len(changes) {
		s.t.Logf("the batch has %d changes of %d", n, len(changes))
	}
}

func TestBatchOverSeveralTenants(t *testing.T) {
	each(t, func(w *world) {
		s := w.site()
		var changes []events.Change
		var hit, spared []events.Ref
		for i := range 12 {
			h := tenant(i)
			hit = append(hit, events.Ref{Home: h, Subject: "42"})
			spared = append(spared, events.Ref{Home: h, Subject: "43"})
			s.stored(hit[i])
			s.stored(spared[i])
			changes = append(changes, changeOf(h, "a", subject("42")), changeOf(h, "b", subject("77")))
		}
		s.inOneBatch(s.worker().Apply, changes...)
		s.settled()
		for i := range hit {
			if _, ok := s.entry(hit[i]); ok {
				s.t.Errorf("%s outlived its change", hit[i])
			}
			if _, ok := s.entry(spared[i]); !ok {
				s.t.Errorf("%s was dropped for nothing", spared[i])
			}
		}
		eventually(s.t, "a refresh of each that was alive", func() bool { return s.info().Queued == 12 })
		if n := s.info().Dead; n != 0 {
			s.t.Errorf("%d dead", n)
		}
	})
}

func TestUndecodableChangeIsDeadAndTheRestIsApplied(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.StandIn(t)).site()
	s.stored(ref("42"))
	for _, data := range []string{"{", `{"specversion":"9"}`} {
		if err := s.nc.Publish(events.ChangeSubject(home), []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	s.inOneBatch(s.worker().Apply, changeOf(home, "a", subject("42")))
	s.settled()
	s.wantNoEntry("42")
	dead := s.dead()
	if len(dead) != 2 {
		t.Fatalf("%d dead, want 2", len(dead))
	}
	for _, h := range dead {
		if !strings.Contains(h.Get(stream.HeaderReason), "decode") || h.Get(stream.HeaderStream) != stream.Changes {
			t.Errorf("dead: %v", h)
		}
	}
}

// Redis is away, but keeps what it has: the change must wait, unacknowledged,
// and drop the entry when Redis is back.
func TestChangeWaitsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.StandIn(t))
	w.impatient()
	s := w.site()
	s.stored(ref("42"))
	worker := s.worker()
	s.db.Mini.Close()
	for i := range 5 {
		s.publish(changeOf(home, fmt.Sprint(i), subject(fmt.Sprint(40+i))))
	}
	s.apply(worker.Apply)
	eventually(t, "a word on the outage", func() bool { return s.log.has("redis is away") })
	eventually(t, "held", func() bool { return s.info().InFlight == 5 })
	if info := s.info(); info.Dead != 0 || s.log.has("changes applied") {
		t.Errorf("while redis is away: %+v", info)
	}
	if err := s.db.Mini.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the entry is gone", func() bool { _, ok := s.entry(ref("42")); return !ok })
	s.settled()
	eventually(t, "a word on its end", func() bool { return s.log.has("redis is back") })
	if info := s.info(); info.Dead != 0 {
		t.Errorf("%d dead", info.Dead)
	}
}

func TestWorkerEndsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.StandIn(t))
	w.impatient()
	s := w.site()
	s.stored(ref("42"))
	worker := s.worker()
	s.db.Mini.Close()
	s.publish(changeOf(home, "a", subject("42")))
	stop := s.apply(worker.Apply)
	eventually(t, "a word on the outage", func() bool { return s.log.has("redis is away") })
	stop()
	if err := s.db.Mini.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.entry(ref("42")); !ok {
		t.Fatal("the entry must still stand, or this proves nothing")
	}
	s.apply(worker.Apply)
	eventually(t, "the entry is gone", func() bool { _, ok := s.entry(ref("42")); return !ok })
	s.settled()
	if info := s.info(); info.Dead != 0 {
		t.Errorf("%d dead", info.Dead)
	}
}

func TestRefusedChangeIsTriedThenDeadAndHurtsNobodyElse(t *testing.T) {
	each(t, func(w *world) {
		s := w.site()
		s.stored(ref("42"))
		other := events.Ref{Home: tenant(1), Subject: "42"}
		s.stored(other)
		s.db.AddHook(refusing{s.keys.Index(home, admin)})
		s.inOneBatch(s.worker().Apply, changeOf(home, "poison", admin), changeOf(home, "good", subject("42")),
			changeOf(other.Home, "other", subject("42")))
		eventually(s.t, "the poison is dead", func() bool { return s.info().Dead == 1 })
		s.settled()
		s.wantNoEntry("42")
		if _, ok := s.entry(other); ok {
			s.t.Error("the other tenant's entry outlived its change")
		}
		dead := s.dead()
		if len(dead) != 1 || !strings.Contains(dead[0].Get(stream.HeaderReason), "ERR refused by the test") ||
			dead[0].Get(stream.HeaderDeliveries) != fmt.Sprint(refresh.MaxDeliveries) {
			s.t.Errorf("dead: %v", dead)
		}
	})
}

// refusing answers every script that names a key as Redis answers one that has
// gone wrong.
type refusing struct{ key string }

// scriptError is what a server says; it is no outage.
type scriptError struct{}

func (scriptError) Error() string { return "ERR refused by the test" }

func (scriptError) RedisError() {}

func (refusing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (refusing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") && slices.Contains(cmd.Args(), any(r.key)) {
			cmd.SetErr(scriptError{})
			return scriptError{}
		}
		return next(ctx, cmd)
	}
}

func TestTenThousandSubjectsInOneChange(t *testing.T) {
	each(t, func(w *world) {
		s := w.site()
		tags := make([]events.Tag, 10_000)
		for i := range tags {
			tags[i] = subject(fmt.Sprint(i))
		}
		for _, i := range []string{"0", "499", "500", "9999"} {
			s.stored(ref(i))
		}
		s.stored(ref("10000"))
		s.publish(changeOf(home, "many", tags...))
		s.apply(s.worker().Apply)
		s.settled()
		for _, i := range []string{"0", "499", "500", "9999"} {
			s.wantNoEntry(i)
		}
		s.wantEntry("10000", "*")
		eventually(s.t, "four refreshes", func() bool { return s.info().Queued == 4 })
	})
}

func TestOnlyWhatWasAliveIsRefreshed(t *testing.T) {
	each(t, func(w *world) {
		s := w.site()
		s.stored(ref("alive"))
		s.stored(ref("gone"))
		if err := s.db.Del(s.ctx, s.keys.Entry(ref("gone"))).Err(); err != nil {
			s.t.Fatal(err)
		}
		// A tenant of a provider that is not configured any more.
		stranger := events.Ref{Home: events.Home{Provider: "box", Tenant: "1"}, Subject: "42"}
		s.plant(stranger)
		s.publish(changeOf(home, "a", subject("alive"), subject("gone"), subject("never")))
		s.publish(changeOf(stranger.Home, "b", subject("42")))
		s.apply(s.worker().Apply)
		s.settled()
		s.wantNoEntry("alive")
		if _, ok := s.entry(stranger); ok {
			s.t.Error("the unknown tenant's entry outlived its change")
		}
		eventually(s.t, "one refresh", func() bool { return s.info().Queued == 1 })
	})
}

// plant stores an entry without a filler.
func (w *world) plant(r events.Ref, tags ...events.Tag) {
	w.t.Helper()
	b, err := w.store.Begin(w.ctx, r.Home, cache.EntryName(r), fence.Want{Now: true})
	if err != nil || b.Lease == nil {
		w.t.Fatalf("begin %s: %+v, %v", r, b, err)
	}
	fields, err := grants("*").Fields()
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := w.store.Commit(w.ctx, b.Lease, fence.Fill{
		Fields: fields, Tags: append(tags, events.SubjectTag(r.Subject)), Life: cache.Ceiling,
	})
	if err != nil || !o.Stored {
		w.t.Fatalf("commit %s: %+v, %v", r, o, err)
	}
}

func TestFlushInBetween(t *testing.T) {
	each(t, func(w *world) {
		s := w.site()
		s.stored(ref("42"))
		if err := s.db.FlushAll(s.ctx).Err(); err != nil {
			s.t.Fatal(err)
		}
		s.publish(changeOf(home, "a", subject("42")))
		s.apply(s.worker().Apply)
		s.settled()
		if s.info().Dead != 0 || s.info().Queued != 0 {
			s.t.Errorf("after a flush: %+v", s.info())
		}
		s.stored(ref("42"))
		s.publish(changeOf(home, "b", subject("42")))
		s.settled()
		s.wantNoEntry("42")
	})
}
