package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// role is a part whose fetch is told.
func role(fetch func() (string, error)) cache.PartSpec {
	return cache.PartSpec{Name: "role:7", Tags: []events.Tag{admin}, Life: time.Minute,
		Fetch: func(context.Context) ([]byte, error) {
			data, err := fetch()
			return []byte(data), err
		}}
}

func TestChangeDuringTheFetch(t *testing.T) {
	each(t, func(w *world) {
		var applied cache.Version
		w.provider.says(func(_ context.Context, r events.Ref, _ cache.Session) (cache.Answer, error) {
			if w.provider.asked(r) == 1 {
				applied = w.invalidate(subject("42")).Number
				return grants("old"), nil
			}
			return grants("new"), nil
		})
		r := w.get(w.filler(), "42")
		if r.Grants[read] != "new" || !r.Stored || r.Version <= applied || w.provider.asked(ref("42")) != 2 {
			w.t.Errorf("got %+v after %d calls; the change was %d", r, w.provider.asked(ref("42")), applied)
		}
		w.wantEntry("42", "new")
		w.wantNoLease()
	})
}

func TestEveryTagOfAnEntryRefuses(t *testing.T) {
	each(t, func(w *world) {
		for i, tag := range []events.Tag{admin, events.GroupTag("9"), events.AppTag, events.TenantTag} {
			s := strconv.Itoa(i)
			w.provider.says(func(_ context.Context, r events.Ref, _ cache.Session) (cache.Answer, error) {
				n := w.provider.asked(r)
				if n == 1 {
					w.invalidate(tag)
				}
				return grants(strconv.Itoa(n), admin, events.GroupTag("9"), events.AppTag), nil
			})
			if r := w.get(w.filler(), s); r.Grants[read] != "2" || !r.Stored {
				w.t.Errorf("%s: got %+v", tag, r)
			}
		}
	})
}

func TestBusyTagEndsAfterBoundedTries(t *testing.T) {
	each(t, func(w *world) {
		w.provider.says(func(_ context.Context, r events.Ref, _ cache.Session) (cache.Answer, error) {
			w.invalidate(subject("42"))
			return grants(strconv.Itoa(w.provider.asked(r))), nil
		})
		r := w.get(w.filler(), "42")
		if r.Stored || !r.Fetched || r.Grants[read] != "4" || w.provider.asked(ref("42")) != 4 {
			w.t.Errorf("got %+v after %d calls, want the fourth, unstored", r, w.provider.asked(ref("42")))
		}
		if r.Facts.Judge(read) != cache.Granted {
			w.t.Errorf("the facts say %s", r.Facts.Judge(read))
		}
		w.wantNoEntry("42")
		w.wantNoLease()
	})
}

func TestPartIsFetchedAgainAfterAChangeOfItsTag(t *testing.T) {
	for name, during := range map[string]bool{"during its fetch": true, "after its fetch": false} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) { partAgain(w, during) })
		})
	}
}

func partAgain(w *world, during bool) {
	w.t.Helper()
	fetched, told := 0, []bool{}
	w.provider.says(func(ctx context.Context, r events.Ref, s cache.Session) (cache.Answer, error) {
		told = append(told, s.Refused("role:7"))
		data, err := s.Part(ctx, role(func() (string, error) {
			if fetched++; fetched == 1 && during {
				w.invalidate(admin)
			}
			return strconv.Itoa(fetched), nil
		}))
		if fetched == 1 && !during {
			w.invalidate(admin)
		}
		return grants(string(data)), err
	})
	r := w.get(w.filler(), "42")
	if r.Grants[read] != "2" || !r.Stored || fetched != 2 {
		w.t.Errorf("got %+v, part fetched %d times", r, fetched)
	}
	want := "[false]" // only the part was tried again
	if !during {
		want = "[false true]"
	}
	if got := fmt.Sprint(told); got != want {
		w.t.Errorf("refused in each try: %s, want %s", got, want)
	}
	w.wantEntry("42", "2")
	w.wantNoLease()
	w.invalidate(admin)
	w.wantNoEntry("42") // the part's tag is the entry's
}

func TestBusyPartEndsAfterBoundedTries(t *testing.T) {
	each(t, func(w *world) {
		fetched := 0
		w.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
			data, err := s.Part(ctx, role(func() (string, error) {
				fetched++
				w.invalidate(admin)
				return strconv.Itoa(fetched), nil
			}))
			return grants(string(data)), err
		})
		r := w.get(w.filler(), "42")
		if r.Stored || fetched != 12 || r.Grants[read] != "12" {
			w.t.Errorf("got %+v, part fetched %d times, want 4 tries of 3", r, fetched)
		}
		w.wantNoEntry("42")
		w.wantNoLease()
	})
}

func TestPartSharedByManyEntriesCostsOneFetch(t *testing.T) {
	each(t, func(w *world) {
		var fetched atomic.Int64
		w.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
			data, err := s.Part(ctx, role(func() (string, error) {
				fetched.Add(1)
				return "wide", nil
			}))
			return grants(string(data)), err
		})
		fillers := []*refresh.Filler{w.filler(), w.filler()}
		w.invalidate(events.TenantTag) // whoever makes a tenant's fence drains it
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if r, err := fillers[i%2].Get(w.ctx, ref(strconv.Itoa(i))); err != nil || r.Grants[read] != "wide" {
					w.t.Errorf("%d: %+v, %v", i, r, err)
				}
			})
		}
		finish(w.t, &wg, "all filled")
		if fetched.Load() != 1 {
			w.t.Errorf("part fetched %d times, want once", fetched.Load())
		}
		if got := len(w.invalidate(admin).Alive); got != 100 {
			w.t.Errorf("a change of the part's tag drops %d entries, want 100", got)
		}
	})
}

func TestPartThatCannotBeFetched(t *testing.T) {
	each(t, func(w *world) {
		broken := errors.New("role is on fire")
		w.provider.says(func(ctx context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
			_, err := s.Part(ctx, role(func() (string, error) { return "", broken }))
			return grants("*"), err
		})
		f := w.filler()
		if r, err := f.Get(w.ctx, ref("42")); !errors.Is(err, broken) || r.Facts.Judge(read) != cache.Unknown {
			w.t.Errorf("got %+v, %v", r, err)
		}
		w.wantNoEntry("42")
		w.wantNoLease()
		broken = nil
		if r := w.get(f, "42"); !r.Stored {
			w.t.Errorf("after it was mended: %+v", r)
		}
	})
}

// wallet keeps a token as a provider does: for hours, outside of Redis.
type wallet struct {
	stamp  cache.Stamp
	scopes string
	minted int
}

func (k *wallet) name() string { return "token@" + k.stamp.Number.String() }

// use takes the token, or mints one with the scopes of now.
func (k *wallet) use(s cache.Session, now string) string {
	if k.minted == 0 || s.Refused(k.name()) {
		k.stamp, k.scopes = s.Stamp(), now
		k.minted++
	}
	s.Use(k.name(), k.stamp, events.AppTag)
	return k.scopes
}

func TestTokenFromBeforeAChangeIsRefused(t *testing.T) {
	each(t, func(w *world) {
		purse, truth := &wallet{}, "before"
		w.provider.says(func(_ context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
			return grants(purse.use(s, truth)), nil
		})
		f := w.filler()
		w.get(f, "41")
		old := purse.stamp
		if r := w.get(f, "42"); r.Version != old.Number || purse.minted != 1 {
			w.t.Errorf("version %d, minted %d; want the token's number %d", r.Version, purse.minted, old.Number)
		}
		truth = "after"
		if got := len(w.invalidate(events.AppTag).Alive); got != 2 {
			w.t.Errorf("%d entries dropped, want 2", got)
		}
		r := w.get(f, "42")
		if r.Grants[read] != "after" || !r.Stored || purse.minted != 2 || r.Version <= old.Number {
			w.t.Errorf("got %+v, minted %d", r, purse.minted)
		}
	})
}

// The fence names one reason at a time; a busy tag must not hide a token that
// is too old behind itself.
func TestBusyTagDoesNotHideAnOldToken(t *testing.T) {
	each(t, func(w *world) {
		purse, truth := &wallet{}, "before"
		w.provider.says(func(_ context.Context, r events.Ref, s cache.Session) (cache.Answer, error) {
			width := purse.use(s, truth)
			if r.Subject == "42" {
				w.invalidate(subject("42"))
			}
			return grants(width), nil
		})
		f := w.filler()
		w.get(f, "41")
		truth = "after"
		w.invalidate(events.AppTag)
		if r := w.get(f, "42"); r.Grants[read] != "after" || r.Stored {
			w.t.Errorf("got %+v, want the scopes after the change, unstored", r)
		}
	})
}

func TestFullMemory(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	purse, truth := &wallet{}, "before"
	w.provider.says(func(ctx context.Context, r events.Ref, s cache.Session) (cache.Answer, error) {
		switch {
		case strings.HasPrefix(string(r.Subject), "part"):
			data, err := s.Part(ctx, role(func() (string, error) { return "*", nil }))
			return grants(string(data)), err
		case strings.HasPrefix(string(r.Subject), "token"):
			return grants(purse.use(s, truth)), nil
		}
		return grants("*"), nil
	})
	f := w.filler()
	w.get(f, "token-1")
	truth = "after"
	if err := w.db.ConfigSet(w.ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	w.invalidate(events.AppTag)
	for _, s := range []string{"plain", "part-1", "part-2"} {
		if r := w.get(f, s); r.Grants[read] != "*" || r.Stored {
			t.Errorf("%s: got %+v, want an answer that is not stored", s, r)
		}
	}
	// Nobody could say that the token is too old.
	if r, err := f.Get(w.ctx, ref("token-1")); err == nil && r.Grants[read] != "after" {
		t.Errorf("the scopes of before the change were given out: %+v", r)
	}
	w.wantNoLease()
}

// A token from before the change reaches us under a new name, when there is no
// try left to refuse it by that name.
func TestOldThingThatTurnsUpInTheLastTryIsNoAnswer(t *testing.T) {
	each(t, func(w *world) {
		var old cache.Stamp
		tries := 0
		w.provider.says(func(_ context.Context, _ events.Ref, s cache.Session) (cache.Answer, error) {
			if old.Number == 0 {
				old = s.Stamp()
				return grants("old"), nil
			}
			if tries++; tries < 4 {
				w.invalidate(subject("42")) // the try loses
				return grants("new"), nil
			}
			s.Use("token:late", old, events.AppTag)
			return grants("old"), nil
		})
		f := w.filler()
		w.get(f, "42")
		w.invalidate(events.AppTag, subject("42"))
		if r, err := f.Get(w.ctx, ref("42")); err == nil || tries != 4 {
			w.t.Errorf("after %d tries: %+v, %v; want an error after 4", tries, r, err)
		}
		w.wantNoEntry("42")
		w.wantNoLease()
	})
}
