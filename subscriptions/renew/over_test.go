package renew_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// One that said that it is over, could not be removed, and is what Create gives back,
// is not called alive; once it can be removed, another is made.
func TestADeadOneThatIsTakenOverIsDeadStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		later(time.Minute)
		f.heard()
		f.with(func(f *fake) { f.adopts, f.fail["delete"] = "1", errors.New("no") })
		obey(t, k, renew.Order{Do: renew.DoMourn, ID: "1", At: time.Now()})
		later(10 * time.Minute)
		for _, told := range f.heard() {
			if told == "alive" {
				t.Error("it is called alive")
			}
		}
		if l := f.notes(t); len(l.Entries) != 1 || !l.Entries[0].Over || l.Entries[0].Active || l.Entries[0].Want != "account" || l.Died.IsZero() {
			t.Errorf("died %s, entries %+v", l.Died, l.Entries)
		}
		f.with(func(f *fake) { f.adopts = ""; clear(f.fail) })
		later(3 * time.Minute)
		if l := f.notes(t); len(l.Entries) != 1 || !l.Entries[0].Active || l.Entries[0].Over || !l.Died.IsZero() || len(f.subs) != 1 {
			t.Errorf("died %s, entries %+v", l.Died, l.Entries)
		}
	})
}

// One that lives at an earlier address, could not be removed, and is what Create gives
// back, is alive: it delivers here now.
func TestAnAstrayOneThatIsTakenOverIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.terms.Most = 1
		k := run(t, f)
		synctest.Wait()
		k.stop()
		f.with(func(f *fake) {
			f.subs[0].Address = "https://earlier.example/0"
			f.adopts, f.fail["delete"] = "1", errors.New("no")
		})
		f.heard()
		run(t, f)
		later(2 * time.Minute)
		wantLife(t, f, "1")
		if told := f.heard(); told[len(told)-1] != "alive" || f.subs[0].Address != appAt {
			t.Errorf("told %q, %+v", told, f.subs)
		}
	})
}

func TestFiltersAreNotedOfAFew(t *testing.T) {
	for n, noted := range map[int]bool{50: true, 51: false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(week)
			f.wanted, f.terms.Most = nil, 100
			for i := range n {
				want := fmt.Sprint("f", i)
				s := sub(fmt.Sprint(i), want, appAt, week)
				s.Filters = []string{"FILE.TRASHED"}
				f.wanted, f.subs = append(f.wanted, want), append(f.subs, s)
			}
			run(t, f)
			later(6 * time.Minute)
			for _, e := range f.notes(t).Entries {
				if (len(e.Filters) > 0) != noted {
					t.Fatalf("of %d: %+v", n, e)
				}
			}
		})
	}
}

func TestAKeeperMayEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		c := config(f, f)
		asked := 0
		c.Ends = func(_ context.Context, l subscriptions.Ledger, revision uint64) bool {
			if asked++; revision != f.revision || len(l.Entries) != 1 {
				t.Errorf("revision %d, ledger %+v", revision, l.Entries)
			}
			return asked == 2
		}
		f.fail["list"] = errors.New("down")
		k, err := renew.New(c)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- k.Run(t.Context(), nil) }()
		later(time.Minute)
		if asked != 0 {
			t.Error("asked after a look that failed")
		}
		f.with(func(f *fake) { clear(f.fail) })
		if err := <-done; err != nil || asked != 2 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
}

// slow is a lease that answers what it held before only after a while.
type slow struct{ *lease }

func (s slow) Load(ctx context.Context) ([]byte, uint64, error) {
	time.Sleep(3 * time.Second) // simulated
	return s.lease.Load(ctx)
}

// Until a ledger tells of the lapse, the lease does: whoever follows learns of it.
func TestALapseIsOwedUntilItIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l := own(week), &lock{}
		_, stop := join(t, f, l)
		later(time.Minute)
		stop()
		from := time.Now()
		time.Sleep(3 * time.Minute)
		f.with(func(f *fake) { f.fail["save"] = errors.New("away") })
		_, stop = join(t, f, l)
		later(10 * time.Minute)
		stop()
		f.with(func(f *fake) { clear(f.fail) })
		k, err := renew.New(config(f, f))
		if err != nil {
			t.Fatal(err)
		}
		fleet := renew.Fleet{Lease: slow{&lease{lock: l}}, Keepers: []*renew.Keeper{k}, Log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := fleet.Run(ctx); err != nil {
			t.Error(err)
		}
		gaps := f.notes(t).Gaps
		if len(gaps) != 1 || gaps[0].From.After(from) || gaps[0].Mended != subscriptions.Swept {
			t.Errorf("gaps %+v, nobody was there since %s", gaps, from)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		var at struct{ At time.Time }
		if err := json.Unmarshal(l.value, &at); err != nil || time.Since(at.At) > 2*renew.LeaseLife {
			t.Errorf("once it is noted, the stamp moves: %s, %v", l.value, err)
		}
	})
}
