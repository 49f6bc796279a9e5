package budget_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

const busyKey = "budget:{ringcentral:37439510%3A256440016}:light:c"

// asks lets so many callers ask for the purpose, whatever the answer.
func (b *bench) asks(as cache.Purpose, limit, callers int) {
	b.t.Helper()
	for i := range callers {
		askAs(cache.WithCaller(b.t.Context(), fmt.Sprint(i)), b.t, b, as, perMinute(limit))
	}
}

// lifeOf is the life that the only lane needs.
func (b *bench) lifeOf() time.Duration {
	b.t.Helper()
	all, err := b.Standings(b.t.Context(), lane.Provider)
	if err != nil || len(all) != 1 {
		b.t.Fatalf("standings %+v, %v", all, err)
	}
	return all[0].Life
}

func TestLife(t *testing.T) {
	for _, c := range []struct {
		as             cache.Purpose
		callers, limit int
		want           time.Duration
	}{
		{cache.ForUpkeep, 0, 40, 10 * time.Second},
		{cache.ForUpkeep, 5, 40, 10 * time.Second},
		{cache.ForReader, 10, 40, 18750 * time.Millisecond}, // 10 in 80 % of 40 calls a minute
		{cache.ForReader, 40, 40, 75 * time.Second},
		{cache.ForUpkeep, 40, 40, 75 * time.Second},
		{cache.ForUpkeep, 120, 40, 225 * time.Second},
		{cache.ForReader, 161, 40, cache.Ceiling},
		{cache.ForReader, 5000, 40, cache.Ceiling},
		{cache.ForChange, 120, 40, 10 * time.Second}, // these start no life
		{cache.ForSweep, 120, 40, 10 * time.Second},
		{cache.ForReader, 120, 0, 0}, // no limit
	} {
		t.Run(fmt.Sprintf("%d of %d, purpose %d", c.callers, c.limit, c.as), func(t *testing.T) {
			b := drivenBench(t)
			b.asks(c.as, c.limit, c.callers)
			if c.callers == 0 {
				b.asks(cache.ForSweep, c.limit, 1)
			}
			if got := b.lifeOf(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestACallTellsTheLife(t *testing.T) {
	b := drivenBench(t)
	b.asks(cache.ForReader, 40, 39)
	c, _ := ask(t, b, cache.ForReader, perMinute(40))
	if c == nil || c.Life() != 75*time.Second {
		t.Errorf("the fortieth call: %+v", c)
	}
}

// TestThoseWhoNeverComeBack count for what they ask, and not as if they were
// busy: 10 others, and 10 of 32 calls a minute for these.
func TestThoseWhoNeverComeBack(t *testing.T) {
	b := drivenBench(t)
	strangers := 0
	var lives []time.Duration
	for range 20 {
		b.asks(cache.ForReader, 40, 10)
		for range 10 {
			b.pass(minute / 20)
			strangers++
			ctx := cache.WithCaller(b.t.Context(), fmt.Sprint("stranger", strangers))
			askAs(ctx, t, b, cache.ForReader, perMinute(40))
		}
		b.pass(minute / 2)
		lives = append(lives, b.lifeOf())
	}
	for _, life := range lives[1:] {
		if life < 18*time.Second || life > 30*time.Second {
			t.Errorf("lives %s", lives)
			break
		}
	}
}

// TestWhoWaitsHasNotComeBack: to ask again at one's turn starts no other life.
func TestWhoWaitsHasNotComeBack(t *testing.T) {
	b := drivenBench(t)
	end(granted(t, b, cache.ForSweep, perMinute(10), 9), subscriptions.Said{})
	b.asks(cache.ForReader, 10, 10)
	b.pass(minute)
	b.asks(cache.ForReader, 10, 10)
	b.pass(minute)
	if got := b.lifeOf(); got != cache.MinLife {
		t.Errorf("when they are served %s", got)
	}
}

// TestACrowdThatIsGone stretches no life any more.
func TestACrowdThatIsGone(t *testing.T) {
	b := drivenBench(t)
	for range 2 {
		b.asks(cache.ForReader, 40, 500)
		b.pass(minute)
	}
	if got := b.lifeOf(); got != cache.Ceiling {
		t.Errorf("a minute later %s", got)
	}
	b.pass(cache.Ceiling)
	b.asks(cache.ForUpkeep, 40, 10)
	if got := b.lifeOf(); got > 20*time.Second {
		t.Errorf("after the longest life %s", got)
	}
}

// TestALifeStays while those who come back ask as seldom as it lets them: within
// 10 s there are no more of them than the lane has calls for.
func TestALifeStays(t *testing.T) {
	b := drivenBench(t)
	for i := range 200 {
		askAs(cache.WithCaller(t.Context(), fmt.Sprint(i%40)), t, b, cache.ForUpkeep, perMinute(40))
		b.pass(75 * time.Second / 40)
		if got := b.lifeOf(); i >= 80 && got != 75*time.Second {
			t.Fatalf("after %d calls %s", i+1, got)
		}
	}
}

func TestBusyCallersAreBounded(t *testing.T) {
	b := drivenBench(t)
	old := make([]redis.Z, 20_000)
	for i := range old {
		at := start.Add(time.Duration(i)*time.Microsecond - minute)
		old[i] = redis.Z{Score: float64(at.UnixMicro()), Member: i}
	}
	if err := b.ZAdd(t.Context(), busyKey, old...).Err(); err != nil {
		t.Fatal(err)
	}
	b.asks(cache.ForReader, 40, 3)
	n, err := b.ZCard(t.Context(), busyKey).Result()
	first, err2 := b.ZRange(t.Context(), busyKey, 0, 0).Result()
	if n != 20_000 || err != nil || err2 != nil || first[0] != "3" {
		t.Errorf("%d are kept, the oldest is %v; %v, %v", n, first, err, err2)
	}
	b.pass(cache.Ceiling)
	b.asks(cache.ForReader, 40, 3)
	all, err := b.Standings(t.Context(), lane.Provider)
	if err != nil || all[0].Busy != 3 {
		t.Errorf("after the longest life: %+v, %v", all, err)
	}
}

// TestALaneThatSustainsItsSubjects: each is fetched again a little before its
// entry ends, and the entry lives as long as the call said. When the first
// crowd is served nobody's entry ends before its renewal is granted.
func TestALaneThatSustainsItsSubjects(t *testing.T) {
	for _, subjects := range []int{10, 40, 100, 150} {
		t.Run(fmt.Sprint(subjects), func(t *testing.T) {
			w := newWorld(drivenBench(t), 1, 2)
			v := &vendor{limit: perMinute(40)}
			all := make([]*subject, subjects)
			for i := range all {
				all[i] = &subject{caller: caller{w: w, v: v, lane: lane, usual: perMinute(40), name: fmt.Sprint("s", i),
					latency: 300 * time.Millisecond}, settled: 15 * time.Minute}
				w.in(w.upTo(minute), all[i].renew)
			}
			w.run(30 * time.Minute)
			missed, renewed := 0, 0
			var lives []time.Duration
			for _, s := range all {
				missed, renewed, lives = missed+s.missed, renewed+s.granted, append(lives, s.told...)
			}
			slices.Sort(lives)
			t.Logf("%d renewals, %d too late, %d calls answered 429, lives from %s by %s to %s", renewed, missed,
				v.refused, lives[0], lives[len(lives)/2], lives[len(lives)-1])
			if missed > 0 || v.refused > 0 || renewed < 3*subjects {
				t.Errorf("%d of %d renewals came too late, %d calls answered 429", missed, renewed, v.refused)
			}
		})
	}
}

// subject is somebody whose entry is read all the time.
type subject struct {
	caller
	until   time.Duration // of its entry
	life    time.Duration
	settled time.Duration // from when on it counts
	missed  int
	told    []time.Duration // lives, once settled
}

func (s *subject) renew() {
	w := s.w
	s.purpose = cache.ForUpkeep
	if w.at >= s.until {
		s.purpose = cache.ForReader // an entry that is missing
		if w.at > s.settled {
			s.missed++
			s.settled = s.until + time.Hour // counts once
		}
	}
	s.then = func(c subscriptions.Call) {
		s.life = max(cache.DefaultLife, c.Life())
		if w.at > 15*time.Minute {
			s.told = append(s.told, s.life)
		}
		s.until = w.at + s.life
		lead := min(max(s.life/6, 2*time.Second), 10*time.Second)
		w.in(s.life-lead-w.upTo(lead/4), s.renew)
	}
	s.ask()
}
