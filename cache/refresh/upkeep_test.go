package refresh_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// upkept is a worker whose looks are written down, on a store whose clock is
// driven.
type upkept struct {
	*world
	worker *refresh.Worker
	looks  *notebook
	told   []events.Change
}

func (u *upkept) Publish(_ context.Context, c events.Change) (stream.Ack, error) {
	u.told = append(u.told, c)
	return stream.Ack{}, nil
}

func upkeep(t *testing.T) *upkept {
	t.Helper()
	w := open(t, cachetest.StandIn(t))
	u := &upkept{world: w, looks: &notebook{}}
	f, err := refresh.NewFiller(refresh.Config{
		Redis: w.db, Store: w.store, Readers: w.readers, Log: w.log.logger(), Later: u.looks, Life: 3 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	u.worker = &refresh.Worker{Store: w.store, Filler: f, Queue: u.looks, Changes: u, Log: w.log.logger()}
	return u
}

// next is the n-th look that was asked for.
func (u *upkept) next(n int) (stream.Task, time.Duration) {
	u.t.Helper()
	var task stream.Task
	var in time.Duration
	eventually(u.t, "a look", func() bool {
		u.looks.mu.Lock()
		defer u.looks.mu.Unlock()
		if len(u.looks.tasks) < n {
			return false
		}
		task, in = u.looks.tasks[n-1], time.Until(u.looks.at[n-1])
		return true
	})
	if !task.Look {
		u.t.Fatalf("not a look: %+v", task)
	}
	return task, in
}

func (u *upkept) later(d time.Duration) {
	now, err := u.db.Time(u.ctx).Result()
	if err != nil {
		u.t.Fatal(err)
	}
	u.db.Mini.SetTime(now.Add(d))
}

func between(t *testing.T, what string, d, least, most time.Duration) {
	t.Helper()
	if d < least || d > most {
		t.Errorf("%s: in %s, want %s to %s", what, d, least, most)
	}
}

// After a change an entry is read at once, after 3 s and after 30 s; what the
// provider corrects in between is told, and then it is confirmed.
func TestLateProviderIsFoundOut(t *testing.T) {
	t.Parallel()
	u := upkeep(t)
	journal := &notes{}
	u.worker.Filler.Journal = journal
	u.worker.Filler.Get(u.ctx, ref("41")) // makes the fence
	u.later(time.Minute)
	u.invalidate(subject("42"))
	u.later(100 * time.Millisecond)
	u.provider.always("old")
	u.get(u.worker.Filler, "42")
	look, in := u.next(2)
	between(t, "the second read", in, 2*time.Second, 3*time.Second)
	if look.Since.IsZero() {
		t.Error("the look does not know after which change")
	}

	u.later(3 * time.Second)
	u.provider.always("new")
	u.worker.Refresh(u.ctx, look)
	u.wantEntry("42", "new")
	if len(u.told) != 1 || !slices.Equal(u.told[0].Tags, []events.Tag{subject("42")}) {
		t.Errorf("told %+v, want one change of the subject", u.told)
	}
	look, in = u.next(3)
	between(t, "the third read", in, 26*time.Second, 27*time.Second)

	u.later(27 * time.Second)
	u.worker.Refresh(u.ctx, look)
	if e, _ := u.entry(ref("42")); !e.Confirmed {
		t.Errorf("not confirmed: %+v", e)
	}
	if n := u.provider.asked(ref("42")); n != 3 {
		t.Errorf("%d reads in all, want 3", n)
	}
	if len(u.told) != 1 {
		t.Errorf("told again: %+v", u.told[1:])
	}
	late := strings.TrimPrefix(u.told[0].ID, events.ChangeID(home, ""))
	journal.wantSaid(t, events.Late, "late change="+late+" seq=0 seqs=0 together=0 1:42")
	journal.wantSaid(t, events.Refetched, "refetched change= seq=0 seqs=0 together=0 1:42")
	journal.wantSaid(t, events.Confirmed, "confirmed change= seq=0 seqs=0 together=0 1:42")
	between(t, "the provider was late", journal.of(events.Late)[0].SinceApplied, 3*time.Second, 4*time.Second)
	between(t, "confirmed", journal.of(events.Confirmed)[0].SinceApplied, 30*time.Second, 31*time.Second)
}

// A look that comes early, or twice, asks nobody.
func TestLookWithoutNeedAsksNobody(t *testing.T) {
	t.Parallel()
	u := upkeep(t)
	u.worker.Filler.Get(u.ctx, ref("41"))
	u.later(time.Minute)
	u.invalidate(subject("42"))
	u.get(u.worker.Filler, "42")
	look, _ := u.next(2)
	u.worker.Refresh(u.ctx, look)
	u.worker.Refresh(u.ctx, look)
	if n := u.provider.asked(ref("42")); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
}

// The part that an answer rests on is fetched again too, once it has settled.
func TestPartsSettleToo(t *testing.T) {
	t.Parallel()
	u := upkeep(t)
	said, fetched := "old", 0
	u.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
		data, err := s.Part(ctx, cache.PartSpec{
			Name: "role:7", Tags: []events.Tag{events.RoleTag("7")}, Life: cache.Ceiling, Own: true,
			Fetch: func(context.Context) ([]byte, error) { fetched++; return []byte(said), nil },
		})
		return grants(string(data), events.RoleTag("7")), err
	})
	u.worker.Filler.Get(u.ctx, ref("41"))
	u.later(time.Minute)
	u.invalidate(events.RoleTag("7"))
	u.get(u.worker.Filler, "42")
	u.wantEntry("42", "old")
	look, _ := u.next(2)
	said = "new"
	u.later(4 * time.Second)
	u.worker.Refresh(u.ctx, look)
	u.wantEntry("42", "new")
	if fetched != 3 {
		t.Errorf("the part was fetched %d times, want before the change, after it, and 3 s later", fetched)
	}
}

// An entry that is read stays; one that was read once ends with its life.
func TestBusyEntryIsRenewed(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.Redis(t)).site()
	const life = cache.MinLife
	f, err := refresh.NewFiller(refresh.Config{
		Redis: s.db, Store: s.store, Readers: s.readers, Log: s.log.logger(), Later: s.Stream, Life: life,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	worker := &refresh.Worker{Store: s.store, Filler: f, Queue: s.Stream, Log: s.log.logger()}
	s.background(func(ctx context.Context) error { return s.ConsumeRefreshes(ctx, 4, worker.Refresh) })

	s.get(f, "once")
	s.get(f, "busy")
	misses, tick := 0, time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(5 * life / 2); time.Now().Before(end); <-tick.C {
		if _, ok := s.entry(ref("busy")); !ok {
			misses++
		}
	}
	if misses > 0 {
		t.Errorf("a reader that asks every second met %d misses", misses)
	}
	if n := s.provider.asked(ref("busy")); n < 3 || n > 5 {
		t.Errorf("the provider was asked %d times in two and a half lives", n)
	}
	if n := s.provider.asked(ref("once")); n != 1 {
		t.Errorf("the provider was asked %d times for an entry that was read once", n)
	}
	if _, ok := s.entry(ref("once")); ok {
		t.Error("an entry that nobody reads lives on")
	}
}

// Where changes may not reach us lives are short, and a part that tells of
// rights must not keep what the entries drop.
func TestAPartOfRightsIsAtMostTwoLivesOld(t *testing.T) {
	t.Parallel()
	u := upkeep(t)
	fetched := map[string]int{}
	u.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
		for _, own := range []bool{true, false} {
			name := map[bool]string{true: "role:7", false: "dictionary"}[own]
			_, err := s.Part(ctx, cache.PartSpec{
				Name: name, Life: cache.Ceiling, Own: own,
				Fetch: func(context.Context) ([]byte, error) { fetched[name]++; return []byte("x"), nil },
			})
			if err != nil {
				return cache.Answer{}, err
			}
		}
		return grants("*"), nil
	})
	f := u.lives(refresh.Config{Lives: func(events.Home, time.Duration) time.Duration { return cache.MinLife }})
	for range 5 { // at 0, 8, 16, 24 and 32 s
		u.get(f, "42")
		u.later(8 * time.Second)
		if err := u.db.Del(u.ctx, cache.Keys{}.Entry(ref("42"))).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := fetched["role:7"]; got != 2 { // at 0 and 24 s
		t.Errorf("the role was fetched %d times, want 2", got)
	}
	if got := fetched["dictionary"]; got != 1 {
		t.Errorf("the dictionary was fetched %d times, want 1", got)
	}
}
