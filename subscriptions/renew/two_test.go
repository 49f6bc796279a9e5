package renew_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// A holder that is killed between a Create and the note of it: whoever follows
// goes on with what was made, since its address tells its secret, and mends the gap.
func TestATakeoverBetweenCreateAndSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		first := run(t, f)
		synctest.Wait()
		f.with(func(f *fake) { f.subs = nil })
		f.after = func(call string) {
			if call == "create" && f.fail["save"] == nil { // killed: nothing that it does has an effect
				f.with(func(f *fake) { f.fail["save"] = errors.New("dead") })
			}
		}
		f.heard()
		later(5*time.Minute + 31*time.Second)
		first.stop()
		f.after = nil
		f.with(func(f *fake) { clear(f.fail); f.told, f.sweeps = nil, nil })
		f.done()
		run(t, f)
		synctest.Wait()
		wantCalls(t, f)
		wantTold(t, f, "swept a subscription was gone, or did not serve all", "alive")
		wantLife(t, f, "2")
		if e := f.notes(t).Entries[0]; fmt.Sprint(e.Serial) != f.borne[1] {
			t.Errorf("entry %+v, borne %q", e, f.borne)
		}
	})
}

// A holder that hangs in the middle of a rotation, and wakes when another has taken
// over, takes nothing away that lives.
func TestAHolderThatWakesDoesNoHarm(t *testing.T) {
	for _, at := range []string{"list", "create", "delete"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := own(week)
				old := run(t, f)
				synctest.Wait()
				wake := make(chan struct{})
				f.before = func(call string) {
					if verb, _, _ := strings.Cut(call, " "); verb == at {
						f.with(func(f *fake) { f.before = nil })
						<-wake
					}
				}
				asked := make(chan struct{})
				go func() {
					defer close(asked)
					_, _ = old.Obey(t.Context(), renew.Order{Do: renew.DoRotate}) // whatever becomes of it
				}()
				synctest.Wait()
				other := run(t, f)
				synctest.Wait()
				_ = obey(t, other, renew.Order{Do: renew.DoRotate})
				close(wake)
				<-asked
				old.stop()
				l := f.notes(t)
				f.with(func(f *fake) {
					if !slices.ContainsFunc(f.subs, func(s subscriptions.Subscription) bool { return l.Entry(s.ID) != nil }) {
						t.Errorf("nothing is left that anybody knows: %+v, %+v", f.subs, l.Entries)
					}
				})
				later(7 * time.Minute)
				if len(f.subs) != 1 {
					t.Errorf("there are %+v", f.subs)
				}
				wantLife(t, f, f.subs[0].ID)
			})
		})
	}
}

// Whoever finds that another has written the ledger reads it again.
func TestAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		run(t, f)
		synctest.Wait()
		f.done()
		f.with(func(f *fake) { f.revision += 5; f.subs = nil })
		later(6 * time.Minute)
		wantCalls(t, f, "create")
		wantLife(t, f, "2")
	})
}

// A store that was lost begins anew; what is there stays, since its address tells its
// secret.
func TestTheStoreIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		c := config(f, f)
		book := renew.NewBook(map[events.Home][]string{home: f.wanted},
			func(_ events.Home, serial int64) subscriptions.Secret { return c.Secret(serial) }, c.Log)
		c.Noted = book.Note
		f.before = func(call string) {
			if call != "create" {
				return
			}
			next := f.saved[len(f.saved)-1].Serial
			if !slices.ContainsFunc(book.Secrets(home), func(s subscriptions.Secret) bool { return s.Equal(fmt.Sprint(next)) }) {
				t.Error("one is made whose secret the listener does not take")
			}
		}
		k := start(t, c, nil)
		synctest.Wait()
		was := f.notes(t).Serial
		f.with(func(f *fake) { f.ledger, f.revision = nil, 0 })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if l := f.notes(t); len(l.Entries) != 1 || l.Entries[0].Serial != was || l.Serial != was || len(f.subs) != 1 {
			t.Errorf("entries %+v", l.Entries)
		}
		obey(t, k, renew.Order{Do: renew.DoRotate})
		later(2 * time.Minute)
		wantLife(t, f, "2")
	})
}

// Whatever the provider lists and however calls fail, nothing is deleted that is not
// ours, and once the faults are over all that is wanted is there.
func TestNothingThatIsNotOursIsEverDeleted(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			f := newFake(time.Duration(1+r.IntN(100)) * time.Hour)
			f.terms.OwnSecret, f.wanted = r.IntN(2) == 0, []string{"f0", "f1", "f2"}[:1+r.IntN(3)]
			f.made = 1000
			foreign := map[string]bool{}
			add := func() {
				s := sub(fmt.Sprint(r.IntN(900)), fmt.Sprintf("f%d", r.IntN(4)), appAt, time.Duration(r.IntN(60)-6)*time.Hour)
				strange := []string{"", "https://other.example", address + "/", address[:len(address)-1], address, address + "/01",
					address + "/9223372036854775807", address + "/1"}
				if f.terms.OwnSecret {
					s.Address, strange[7] = fmt.Sprint(address, "/", 1+r.IntN(30000000)), appAt
				}
				if slices.ContainsFunc(f.subs, func(o subscriptions.Subscription) bool { return o.ID == s.ID }) || foreign[s.ID] {
					return
				}
				s.Active = r.IntN(4) > 0
				if r.IntN(2) == 0 {
					s.Address = strange[r.IntN(len(strange))]
					foreign[s.ID] = true
				}
				f.subs = append(f.subs, s)
			}
			for range r.IntN(6) {
				add()
			}
			f.before = func(call string) {
				if id, ok := strings.CutPrefix(call, "delete "); ok && foreign[id] {
					t.Errorf("seed %d: %s", seed, call)
				}
			}
			k := run(t, f)
			for range 40 {
				f.with(func(f *fake) { shake(r, f, foreign, add) })
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				do := []renew.Do{renew.DoApply, renew.DoRenew, renew.DoRotate, renew.DoRemove, renew.DoMourn, renew.DoHear, renew.DoMend}[r.IntN(7)]
				_, _ = k.Obey(ctx, renew.Order{Do: do, ID: fmt.Sprint(1000 + r.IntN(20)), At: time.Now()}) // it may fail
				cancel()
				later(time.Duration(r.IntN(400)) * time.Second)
				if r.IntN(6) == 0 {
					k.stop()
					k = run(t, f)
				}
			}
			f.with(func(f *fake) { clear(f.fail); f.disabled = nil })
			obey(t, k, renew.Order{Do: renew.DoApply})
			later(2 * time.Hour)
			checkWhole(t, seed, f, foreign)
		})
		if t.Failed() {
			return
		}
	}
}

// shake changes something over there, or makes calls fail.
func shake(r *rand.Rand, f *fake, foreign map[string]bool, add func()) {
	clear(f.fail)
	for _, verb := range []string{"list", "create", "renew", "delete", "save", "load", "sweep"} {
		if r.IntN(5) == 0 {
			f.fail[verb] = []error{errors.New("500"), subscriptions.ErrMisconfigured, subscriptions.ErrGone,
				&subscriptions.Later{Until: time.Now().Add(time.Duration(r.IntN(90)) * time.Second)}}[r.IntN(4)]
		}
	}
	switch n := r.IntN(8); {
	case n == 0:
		f.subs = slices.DeleteFunc(f.subs, func(s subscriptions.Subscription) bool { return !foreign[s.ID] && r.IntN(2) == 0 })
	case n == 1 && len(f.subs) > 0:
		f.subs[r.IntN(len(f.subs))].Active = false
	case n == 2:
		f.disabled = []string{"x"}
	case n == 3:
		f.disabled = nil
	case n == 4:
		f.revision++ // another has written
	case n == 5:
		f.ledger, f.revision = nil, 0
	case n == 6:
		add()
	}
}

func checkWhole(t *testing.T, seed uint64, f *fake, foreign map[string]bool) {
	t.Helper()
	served := map[string]int{}
	for _, s := range f.subs {
		if !foreign[s.ID] {
			served[s.Want]++
		}
	}
	l := f.notes(t)
	for _, want := range f.wanted {
		if served[want] != 1 {
			t.Errorf("seed %d: %q is served by %d: %+v", seed, want, served[want], f.subs)
		}
	}
	if len(served) != len(f.wanted) || !l.Died.IsZero() || l.Problem != "" || time.Since(l.Proof) > renew.DefaultCheck*11/10 {
		t.Errorf("seed %d: %v served, ledger %+v", seed, served, l)
	}
	for _, g := range l.Gaps {
		if g.Mended == "" || g.To.Before(g.From) {
			t.Errorf("seed %d: gap %+v", seed, g)
		}
	}
}

// While nothing could be made in its place, what lives stays.
func TestWhatLivesStaysUntilAnotherIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.subs = []subscriptions.Subscription{sub("1", "account", appAt, 2*time.Hour), sub("2", "account", appAt, time.Hour)}
		f.fail["renew"], f.fail["create"] = subscriptions.ErrGone, errors.New("500")
		run(t, f)
		synctest.Wait()
		wantCalls(t, f, "renew 1", "create")
	})
}
