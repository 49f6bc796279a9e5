package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// contents is all that Redis holds, as text.
func (w *world) contents() map[string]string {
	w.t.Helper()
	keys, err := w.db.Keys(w.ctx, "*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for _, k := range keys {
		if w.db.Type(w.ctx, k).Val() == "hash" {
			all[k] = fmt.Sprint(w.db.HGetAll(w.ctx, k).Val())
			continue
		}
		all[k] = fmt.Sprint(w.db.ZRangeWithScores(w.ctx, k, 0, -1).Val())
	}
	return all
}

// compare compares, and fails if anything was written.
func (w *world) compare(f *refresh.Filler, subject string) refresh.Compared {
	w.t.Helper()
	before := w.contents()
	c, err := f.Compare(w.ctx, ref(subject))
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.contents()); diff != "" {
		w.t.Errorf("it has written (-before +after):\n%s", diff)
	}
	return c
}

func TestCompareFindsWhatDiffers(t *testing.T) {
	each(t, func(w *world) {
		f := w.filler()
		facts := func(covers []cache.Kind, grants, why map[cache.Grant]string) reading {
			return func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
				return cache.Answer{Facts: cache.Facts{Basis: "test", Covers: covers, Grants: grants, Why: why}}, nil
			}
		}
		both := []cache.Kind{cache.Permission, cache.Scope}
		w.provider.says(facts(both, map[cache.Grant]string{"permission/A": "Self", "permission/B": "*", "scope/C": "*"},
			map[cache.Grant]string{"permission/D": "no licence"}))
		stored := w.get(f, "42")

		c := w.compare(f, "42")
		if !c.Match() || c.Cached == nil || c.Cached.Version != stored.Version || c.Provider.Basis != "test" {
			t.Errorf("of the same: %+v", c)
		}
		w.provider.says(facts([]cache.Kind{cache.Permission}, map[cache.Grant]string{
			"permission/A": "Account", "permission/D": "*", "scope/C": "*"}, map[cache.Grant]string{"permission/B": "taken"}))
		want := []refresh.Difference{
			{Field: "_covers", Cached: "permission,scope", Provider: "permission"},
			{Field: "permission/A", Cached: "Self", Provider: "Account"},
			{Field: "permission/B", Cached: "*"}, {Field: "permission/D", Provider: "*"},
			{Field: "why/permission/B", Provider: "taken"}, {Field: "why/permission/D", Cached: "no licence"},
		}
		c = w.compare(f, "42")
		if diff := cmp.Diff(want, c.Differences); diff != "" || c.Match() || c.Changed {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
		// The order in which kinds were read says nothing.
		w.provider.says(facts([]cache.Kind{cache.Scope, cache.Permission}, stored.Grants, stored.Why))
		if c := w.compare(f, "42"); !c.Match() {
			t.Errorf("of the same in another order: %+v", c)
		}
		if c := w.compare(f, "43"); c.Cached != nil || c.Provider == nil || c.Match() || len(c.Differences) > 0 {
			t.Errorf("of nothing: %+v", c)
		}
		w.wantNoEntry("43")
	})
}

// An entry that lives too long, or is over, is none.
func TestCompareTakesWhatIsUsable(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.StandIn(t))
	f := w.filler()
	w.get(f, "42")
	far := time.Now().Add(2 * cache.Ceiling).UnixMilli()
	if err := w.db.HSet(w.ctx, w.keys.Entry(ref("42")), "_until", far).Err(); err != nil {
		t.Fatal(err)
	}
	if c := w.compare(f, "42"); c.Cached != nil || c.Provider == nil {
		t.Errorf("%+v", c)
	}
}

// A part that others share may be what is wrong: it is fetched, and kept for this
// reading alone.
func TestCompareTrustsNoPart(t *testing.T) {
	each(t, func(w *world) {
		f := w.filler()
		var mu sync.Mutex
		said, fetched := "old", 0
		w.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
			spec := cache.PartSpec{Name: "role:7", Tags: []events.Tag{admin}, Life: cache.Ceiling,
				Fetch: func(context.Context) ([]byte, error) {
					mu.Lock()
					defer mu.Unlock()
					fetched++
					return []byte(said), nil
				}}
			if _, err := s.Part(ctx, spec); err != nil {
				return cache.Answer{}, err
			}
			data, err := s.Part(ctx, spec)
			return grants(string(data)), err
		})
		w.get(f, "42")
		mu.Lock()
		said = "new"
		mu.Unlock()
		w.get(f, "43") // with the part as it is kept
		c := w.compare(f, "43")
		if diff := cmp.Diff([]refresh.Difference{{Field: string(read), Cached: "old", Provider: "new"}},
			c.Differences); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]events.Tag{admin, subject("43"), events.TenantTag}, c.Tags); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
		if fetched != 2 {
			t.Errorf("the part was fetched %d times, want once for the cache and once for the comparison", fetched)
		}
	})
}

// What a provider sees: the lowest rank, a turn of its own, a bound, and numbers under
// which what it obtains is no fresher than it is.
func TestCompareIsALowlyReading(t *testing.T) {
	each(t, func(w *world) {
		f := w.filler()
		w.get(f, "41")
		changed := w.invalidate(subject("42")).Number
		w.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
			if p := cache.PurposeOf(ctx); p != cache.ForSweep {
				t.Errorf("purpose %d, want %d", p, cache.ForSweep)
			}
			if name := cache.CallerOf(ctx); name != "compare e:42" {
				t.Errorf("caller %q", name)
			}
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("no deadline")
			}
			at := s.Stamp()
			if need := s.Needs(subject("42"), events.AppTag); need != changed || at.Number != changed || at.Fence == 0 {
				t.Errorf("needs %s at %+v, want %s", need, at, changed)
			}
			if s.Refused("token") {
				t.Error("refused")
			}
			s.Use("token", at, events.AppTag)
			return grants("*"), nil
		})
		c := w.compare(f, "42")
		if diff := cmp.Diff([]events.Tag{events.AppTag, subject("42"), events.TenantTag}, c.Tags); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	})
}

// A change that arrives while the provider is asked is no difference.
func TestCompareLooksAgain(t *testing.T) {
	for name, c := range map[string]struct {
		changes int  // in how many readings the entry changes meanwhile
		vanish  bool // and is not there afterwards
		changed bool
		reads   int
	}{
		"once":            {1, false, false, 2},
		"once, and gone":  {1, true, false, 2},
		"twice":           {2, false, true, 2},
		"never":           {0, false, false, 1},
		"again and again": {9, false, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) {
				f, other := w.filler(), w.filler()
				w.provider.always("old")
				w.get(f, "42")
				comparing, n := true, 0
				w.provider.says(func(ctx context.Context, r events.Ref, s cache.Session) (cache.Answer, error) {
					if !comparing {
						return grants(fmt.Sprintf("new %d", n)), nil
					}
					n++
					if n > c.changes {
						return grants(fmt.Sprintf("new %d", c.changes)), nil
					}
					w.invalidate(subject("42"))
					if !c.vanish {
						comparing = false
						if _, err := other.Get(ctx, r); err != nil {
							t.Error(err)
						}
						comparing = true
					}
					return grants("new"), nil
				})
				got, err := f.Compare(w.ctx, ref("42"))
				if err != nil || got.Changed != c.changed || n != c.reads {
					t.Fatalf("%+v, %v after %d readings, want changed %v after %d", got, err, n, c.changed, c.reads)
				}
				if differs := len(got.Differences) > 0; differs != (c.changes == 0) {
					t.Errorf("differences %+v", got.Differences)
				}
				if (got.Cached == nil) != c.vanish {
					t.Errorf("cached %+v", got.Cached)
				}
			})
		})
	}
}

func TestCompareTellsWhatItCan(t *testing.T) {
	each(t, func(w *world) {
		f := w.filler()
		w.get(f, "42")
		before := w.contents()
		away := errors.New("away")
		w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
			return cache.Answer{}, away
		})
		c, err := f.Compare(w.ctx, ref("42"))
		if !errors.Is(err, away) || c.Cached == nil || c.Provider != nil || c.Match() {
			t.Errorf("%+v, %v", c, err)
		}
		w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
			return grants(""), nil // which nobody could read
		})
		if c, err := f.Compare(w.ctx, ref("42")); err == nil || c.Provider != nil {
			t.Errorf("unreadable: %+v, %v", c, err)
		}
		if diff := cmp.Diff(before, w.contents()); diff != "" {
			t.Errorf("it has written (-before +after):\n%s", diff)
		}
		stranger := events.Ref{Home: events.Home{Provider: "box", Tenant: "987"}, Subject: "42"}
		if _, err := f.Compare(w.ctx, stranger); !errors.Is(err, refresh.ErrNoReader) {
			t.Errorf("of nobody's tenant: %v", err)
		}
		if _, err := f.Compare(w.ctx, events.Ref{Home: home}); err == nil {
			t.Error("of no subject: no error")
		}
	})
}

func TestCompareWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.StandIn(t))
	w.impatient()
	f := w.filler()
	w.db.Mini.Close()
	if _, err := f.Compare(w.ctx, ref("42")); !errors.Is(err, refresh.ErrStore) {
		t.Errorf("compare: %v", err)
	}
	if _, err := f.Reach(w.ctx, home, 1, admin); !errors.Is(err, refresh.ErrStore) {
		t.Errorf("reach: %v", err)
	}
	if _, err := f.Tags(w.ctx, ref("42")); !errors.Is(err, refresh.ErrStore) {
		t.Errorf("tags: %v", err)
	}
}

// Comparisons wait for one another, and never for long after the filler is closed.
func TestCompareLeavesRoom(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.StandIn(t))
	f := w.filler()
	began, hold := make(chan struct{}, 100), make(chan struct{})
	w.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
		if cache.PurposeOf(ctx) == cache.ForSweep {
			began <- struct{}{}
			return grants("*"), until(ctx, hold)
		}
		return grants("*"), nil
	})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { f.Compare(w.ctx, ref(fmt.Sprint(i))) })
	}
	for range 8 {
		receive(t, began, "a comparison")
	}
	w.get(f, "42")
	select {
	case <-began:
		t.Error("a ninth comparison has begun")
	default:
	}
	f.Close()
	finish(t, &wg, "the comparisons to end")
}

// From Redis 7.2 on it is told what was read, since it can be looked at quietly.
func TestReachTellsWhatWasRead(t *testing.T) {
	t.Parallel()
	db := cachetest.StandIn(t)
	db.Mini.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if cmd == "CLIENT" && len(args) == 2 && strings.EqualFold(args[0], "no-touch") {
			c.WriteOK()
			return true
		}
		return false
	})
	w := open(t, db)
	f := w.filler()
	w.provider.always("*", admin)
	start := time.Now()
	for _, s := range []string{"42", "43", "44"} {
		w.get(f, s)
	}
	db.Mini.SetTime(start.Add(10 * time.Second))
	w.db.Exists(w.ctx, w.keys.Entry(ref("43"))) // a reading, to the stand-in
	db.Mini.SetTime(start.Add(15 * time.Second))
	r, err := f.Reach(w.ctx, home, 2, admin)
	if err != nil || r.Alive != 3 || r.Cut || len(r.Standing) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	for i, want := range []bool{false, true} {
		if s := r.Standing[i]; s.Read != want || !s.Told {
			t.Errorf("%+v, want read %v", s, want)
		}
	}
	if diff := cmp.Diff(map[string]int{"test": 3}, r.Bases); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	tags, err := f.Tags(w.ctx, ref("42"))
	if diff := cmp.Diff([]events.Tag{admin, subject("42"), events.TenantTag}, tags); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
