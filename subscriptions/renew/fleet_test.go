package renew_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// lock is a lease's value that several compete for, in memory.
type lock struct {
	mu     sync.Mutex
	holder *lease
	until  time.Time
	value  []byte
	saves  int
}

// lease is one competitor's view of it.
type lease struct {
	*lock
	hung bool // nothing of it comes through
}

func (l *lease) Life() time.Duration { return renew.LeaseLife }

func (l *lease) Acquire(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.hung:
		return errors.New("no server")
	case l.holder != nil && l.holder != l && time.Now().Before(l.until):
		return events.ErrConflict
	}
	l.holder, l.until = l, time.Now().Add(l.Life())
	return nil
}

func (l *lease) Renew(ctx context.Context) error {
	l.mu.Lock()
	value := l.value
	l.mu.Unlock()
	return l.Save(ctx, value)
}

func (l *lease) Save(_ context.Context, value []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.hung:
		return errors.New("no server")
	case l.holder != l:
		return events.ErrConflict
	}
	l.value, l.until = value, time.Now().Add(l.Life())
	l.saves++
	return nil
}

func (l *lease) Load(context.Context) ([]byte, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value, 1, nil
}

func (l *lease) Release(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == l && !l.hung {
		l.holder = nil
	}
	return nil
}

// join is a listener that competes until stop.
func join(t *testing.T, f *fake, l *lock) (mine *lease, stop func()) {
	t.Helper()
	k, err := renew.New(config(f, f))
	if err != nil {
		t.Fatal(err)
	}
	mine = &lease{lock: l}
	fleet := renew.Fleet{Lease: mine, Keepers: []*renew.Keeper{k}, Log: slog.New(slog.DiscardHandler),
		Serve: func(ctx context.Context, _ *renew.Keeper) error { <-ctx.Done(); return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- fleet.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return mine, stop
}

func (l *lock) held() *lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}

// The one that holds the lease works; when it stops, or hangs, the other follows and
// finds nothing to do, and no lapse, since it was there.
func TestTwoCompete(t *testing.T) {
	for name, c := range map[string]struct {
		hang   bool
		within time.Duration
	}{"it stops": {false, 2 * time.Second}, "it hangs": {true, 8 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, l := own(week), &lock{}
				one, stop := join(t, f, l)
				synctest.Wait()
				two, _ := join(t, f, l)
				later(time.Minute)
				if l.held() != one {
					t.Fatal("the first has lost it")
				}
				wantCalls(t, f, "create")
				f.heard()
				if c.hang {
					l.mu.Lock()
					one.hung = true
					l.mu.Unlock()
				} else {
					stop()
				}
				later(c.within)
				if l.held() != two {
					t.Error("the second does not follow")
				}
				wantCalls(t, f)
				wantTold(t, f, "alive")
				if c.hang {
					l.mu.Lock()
					one.hung = false
					l.mu.Unlock()
				}
				later(20 * time.Minute)
				if l.held() != two || len(f.words()) > 6 || len(f.sweeps) > 0 {
					t.Errorf("%d looks, swept %v", len(f.words()), f.sweeps)
				}
			})
		})
	}
}

func TestALapseOfAllIsAGap(t *testing.T) {
	for name, c := range map[string]struct {
		away  time.Duration
		stamp string
		gaps  int
	}{
		"nobody was there for 3 min": {away: 3 * time.Minute, gaps: 1},
		"nobody knows since when":    {away: 3 * time.Minute, stamp: "{}", gaps: 0},
		"the stamp cannot be read":   {away: 3 * time.Minute, stamp: "x", gaps: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, l := own(week), &lock{}
				_, stop := join(t, f, l)
				later(time.Minute)
				began := time.Now()
				stop()
				time.Sleep(c.away)
				if c.stamp != "" {
					l.value = []byte(c.stamp)
				}
				join(t, f, l)
				synctest.Wait()
				gaps := f.notes(t).Gaps
				if len(gaps) != c.gaps {
					t.Fatalf("gaps %+v", gaps)
				}
				if c.gaps == 0 {
					return
				}
				if g := gaps[0]; g.Cause != "no listener ran" || g.From.After(began) ||
					g.From.Before(began.Add(-renew.LeaseLife)) || !g.To.Equal(time.Now()) || g.Mended != subscriptions.Swept {
					t.Errorf("gap %+v, they were away since %s", g, began)
				}
			})
		})
	}
}

// What could not be served, or asked, is tried again; without tenants nothing is
// competed for.
func TestAFleetThatCannotWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l := own(week), &lock{}
		k, err := renew.New(config(f, f))
		if err != nil {
			t.Fatal(err)
		}
		serves := 0
		fleet := renew.Fleet{Lease: &lease{lock: l}, Keepers: []*renew.Keeper{k}, Log: slog.New(slog.DiscardHandler),
			Serve: func(ctx context.Context, _ *renew.Keeper) error {
				if serves++; serves < 4 {
					return errors.New("no server")
				}
				<-ctx.Done()
				return nil
			}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := fleet.Run(ctx); err != nil || serves != 4 {
			t.Errorf("served %d times: %v", serves, err)
		}
		l.saves, fleet.Keepers = 0, nil
		ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := fleet.Run(ctx); err != nil || l.saves > 0 || l.held() != nil {
			t.Errorf("saved %d times: %v", l.saves, err)
		}
	})
}
