package renew_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

func TestAPlanDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		synctest.Wait()
		f.with(func(f *fake) { f.subs = nil })
		f.done()
		saved := len(f.saved)
		r := obey(t, k, renew.Order{Do: renew.DoPlan})
		want := []renew.Step{{Verb: renew.Create, Want: "account", Why: "gone at the provider"}}
		if diff := cmp.Diff(want, r.Steps); diff != "" || r.Error != "" {
			t.Errorf("error %q, steps (-want +got):\n%s", r.Error, diff)
		}
		if calls := f.words(); !slices.Equal(calls, []string{"list"}) || len(f.saved) != saved || len(r.Ledger.Entries) != 1 {
			t.Errorf("calls %q, saved %d times", calls, len(f.saved)-saved)
		}
		r = obey(t, k, renew.Order{Do: renew.DoApply})
		if diff := cmp.Diff(want, r.Steps); diff != "" || r.Error != "" || r.Ledger.Entry("2") == nil {
			t.Errorf("applied: %+v (-want +got):\n%s", r, diff)
		}
		wantCalls(t, f, "create")
		f.with(func(f *fake) { f.fail["list"] = errors.New("down at " + address) })
		if r := obey(t, k, renew.Order{Do: renew.DoPlan}); r.Error != "down at [address]" {
			t.Errorf("error %q", r.Error)
		}
	})
}

func TestRemoveAndApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		f.subs = []subscriptions.Subscription{sub("x", "account", "https://other.example", week)}
		k := run(t, f)
		synctest.Wait()
		f.done()
		f.heard()
		obey(t, k, renew.Order{Do: renew.DoRemove})
		wantCalls(t, f, "delete 1")
		wantTold(t, f, "dead taken down on order", "swept taken down on order", "dead taken down on order")
		paused := f.notes(t).Paused
		time.Sleep(time.Minute)
		obey(t, k, renew.Order{Do: renew.DoRemove})
		k.stop()
		k = run(t, f)
		later(time.Hour)
		if l := f.notes(t); !l.Paused.Equal(paused) || l.Problem != "taken down on order" {
			t.Errorf("ledger %+v", l)
		}
		wantCalls(t, f)
		f.heard()
		if r := obey(t, k, renew.Order{Do: renew.DoApply}); r.Error != "" {
			t.Error(r.Error)
		}
		wantCalls(t, f, "create")
		wantTold(t, f, "swept it was dead", "alive")
		wantLife(t, f, "2")
	})
}

// Before anything that lives is taken down, the order is stored: else whoever comes
// next would make it anew.
func TestNothingIsTakenDownThatCannotBeNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		synctest.Wait()
		f.done()
		f.with(func(f *fake) { f.fail["save"] = errors.New("no server") })
		if r := obey(t, k, renew.Order{Do: renew.DoRemove}); !strings.Contains(r.Error, "save ledger: no server") {
			t.Errorf("report %+v", r)
		}
		wantCalls(t, f)
	})
}

func TestRenewOnOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		later(time.Minute)
		obey(t, k, renew.Order{Do: renew.DoRenew})
		wantCalls(t, f, "create", "renew 1")
		if e := f.notes(t).Entries[0]; !e.Renewed.Equal(time.Now()) || !e.Expires.Equal(time.Now().Add(week)) {
			t.Errorf("entry %+v", e)
		}
	})
}

// The new one is made, and known; the old one delivers for a minute more, and its
// secret is taken for two minutes after that.
func TestRotation(t *testing.T) {
	for name, ordered := range map[string]bool{"on order": true, "by age": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := own(week)
				f.before = func(call string) {
					if call == "delete 1" && (len(f.subs) != 2 || f.saved[len(f.saved)-1].Entry("2") == nil) {
						t.Error("the old one is removed before the new one is there, and known")
					}
				}
				c := config(f, f)
				c.Rotate = 3 * 24 * time.Hour
				k := start(t, c, nil)
				synctest.Wait()
				old := f.notes(t).Entries[0].Serial
				f.done()
				f.heard()
				if ordered {
					obey(t, k, renew.Order{Do: renew.DoRotate})
				} else {
					later(3*24*time.Hour - 6*time.Minute)
					wantCalls(t, f)
					for i := 0; len(f.notes(t).Entries) < 2 && i < 1000; i++ {
						later(time.Second)
					}
				}
				wantCalls(t, f, "create")
				l := f.notes(t)
				if since := time.Since(l.Entry("1").Leaving); since < 0 || since > time.Second || !l.Entry("2").Leaving.IsZero() {
					t.Errorf("entries %+v", l.Entries)
				}
				later(58 * time.Second)
				wantCalls(t, f)
				wantLife(t, f, "1 2")
				later(4 * time.Second)
				wantCalls(t, f, "delete 1")
				l = f.notes(t)
				if s := l.Serials(time.Now()); !slices.Contains(s, old) || !slices.Contains(s, l.Entry("2").Serial) {
					t.Errorf("serials %v", s)
				}
				if s := l.Serials(time.Now().Add(2 * time.Minute)); slices.Contains(s, old) || l.Entry("2").Serial == old {
					t.Errorf("serials %v", s)
				}
				wantTold(t, f, "alive")
				wantLife(t, f, "2")
				if len(l.Gaps) > 0 {
					t.Errorf("gaps %+v", l.Gaps)
				}
			})
		})
	}
}

func TestARotationThatFailsLosesNothing(t *testing.T) {
	for _, verb := range []string{"create", "delete", "save"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := own(week)
				k := run(t, f)
				synctest.Wait()
				f.heard()
				f.with(func(f *fake) { f.fail[verb] = errors.New("no") })
				r := obey(t, k, renew.Order{Do: renew.DoRotate})
				if strings.Contains(r.Error, "no") == (verb == "delete") {
					t.Errorf("report %+v", r)
				}
				later(90 * time.Second)
				if len(f.subs) == 0 || f.subs[0].ID != "1" {
					t.Errorf("there is %+v", f.subs)
				}
				f.with(func(f *fake) { clear(f.fail) })
				later(6 * time.Minute)
				wantTold(t, f, "alive")
				if len(f.subs) != 1 || (verb == "delete") != (f.subs[0].ID == "2") {
					t.Errorf("there is %+v", f.subs)
				}
			})
		})
	}
}

// Whoever follows in the minute in which the old one still delivers lets it have the
// rest of it, and no more.
func TestARestartInARotation(t *testing.T) {
	for name, noted := range map[string]bool{"noted": true, "not noted": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := own(week)
				k := run(t, f)
				synctest.Wait()
				before := f.ledger
				obey(t, k, renew.Order{Do: renew.DoRotate})
				later(30 * time.Second)
				k.stop()
				left := 30 * time.Second
				if !noted {
					f.with(func(f *fake) { f.ledger = before })
					left = time.Minute
				}
				f.done()
				f.heard()
				run(t, f)
				later(left - 2*time.Second)
				wantCalls(t, f)
				later(4 * time.Second)
				wantCalls(t, f, "delete 1")
				wantTold(t, f, "alive")
				wantLife(t, f, "2")
			})
		})
	}
}

// One that was leaving, and is the only one that is left, stays: it is no reason to
// look again and again, and the next one beside it has its minute too.
func TestOneThatWasLeavingMayStay(t *testing.T) {
	for name, lose := range map[string]func(*fake){
		"the new one is gone":    func(f *fake) { f.subs = f.subs[:1] },
		"the new one is stopped": func(f *fake) { f.subs[1].Active = false },
		"and the old one is due": func(f *fake) { f.subs = f.subs[:1]; f.subs[0].Expires = time.Now().Add(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := own(week)
				k := run(t, f)
				synctest.Wait()
				obey(t, k, renew.Order{Do: renew.DoRotate})
				f.with(lose)
				later(10 * time.Minute)
				wantLife(t, f, "1")
				if l := f.notes(t); !l.Entries[0].Leaving.IsZero() {
					t.Errorf("entries %+v", l.Entries)
				}
				f.with(func(f *fake) { f.calls = nil })
				later(time.Hour)
				if n := len(f.words()); n > 15 {
					t.Errorf("%d looks in an hour", n)
				}
				f.done()
				serial := f.notes(t).Serial
				f.with(func(f *fake) { f.subs = append(f.subs, sub("9", "account", fmt.Sprint(address, "/", serial+1), week)) })
				for i := 0; len(f.notes(t).Entries) < 2 && i < 400; i++ {
					later(time.Second)
				}
				later(50 * time.Second)
				wantCalls(t, f)
				wantLife(t, f, "1 9")
			})
		})
	}
}

// One that is leaving is not renewed, and is no reason to look for that.
func TestOneThatIsLeavingIsNotDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		k := run(t, f)
		later(time.Second)
		f.with(func(f *fake) { f.subs[0].Expires = time.Now().Add(time.Hour) })
		obey(t, k, renew.Order{Do: renew.DoRotate})
		f.with(func(f *fake) { f.calls = nil })
		later(90 * time.Second)
		if diff := cmp.Diff([]string{"list", "delete 1"}, f.words()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// As many as are ordered while there is room; then it is said why not.
func TestManyRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		f.terms.Most = 5
		k := run(t, f)
		synctest.Wait()
		for i := range 8 {
			r := obey(t, k, renew.Order{Do: renew.DoRotate})
			if full := i >= 4; full != (r.Steps[0].Verb == renew.Keep && strings.Contains(r.Steps[0].Why, "no room")) {
				t.Errorf("order %d: %+v", i, r.Steps)
			}
		}
		synctest.Wait()
		wantLife(t, f, "1 2 3 4 5")
		later(62 * time.Second)
		wantLife(t, f, "5")
		wantCalls(t, f, "create", "create", "create", "create", "create", "delete 1", "delete 2", "delete 3", "delete 4")
	})
}

func TestTheAppsSecretIsNotRotatedFromHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := run(t, newFake(week))
		if _, err := k.Obey(t.Context(), renew.Order{Do: renew.DoRotate}); !errors.Is(err, renew.ErrAppSecret) {
			t.Errorf("error %v", err)
		}
		if _, err := k.Obey(t.Context(), renew.Order{Do: "explode"}); err == nil || !strings.Contains(err.Error(), "plan, apply") {
			t.Errorf("error %v", err)
		}
	})
}

// Orders that come together are carried out one after the other, and what they
// report is the caller's own.
func TestOrdersThatComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		k := run(t, f)
		var all sync.WaitGroup
		for i := range 40 {
			do := []renew.Do{renew.DoApply, renew.DoPlan, renew.DoRenew, renew.DoRotate, renew.DoHear, renew.DoMourn}[i%6]
			all.Go(func() {
				r, err := k.Obey(t.Context(), renew.Order{Do: do, ID: fmt.Sprint(i / 6), At: time.Now()})
				if err != nil {
					t.Error(err)
				}
				for range 20 {
					if _, err := json.Marshal(r); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		later(10 * time.Minute)
		if len(f.subs) != 1 {
			t.Errorf("there are %+v", f.subs)
		}
		wantLife(t, f, f.subs[0].ID)
	})
}

func TestAnOrderEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k, err := renew.New(config(f, f))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Obey(ctx, renew.Order{Do: renew.DoApply}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody runs: %v", err)
		}
		f.before = func(string) { time.Sleep(90 * time.Second) } // simulated
		run := start(t, config(f, f), nil)
		later(3 * time.Minute)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := run.Obey(ctx, renew.Order{Do: renew.DoApply}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it is slow: %v", err)
		}
		f.with(func(f *fake) { f.before = nil })
		later(5 * time.Minute)
		if r := obey(t, run, renew.Order{Do: renew.DoPlan}); r.Error != "" {
			t.Error(r.Error)
		}
	})
}

func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := run(t, newFake(week))
		for order, want := range map[string]string{
			`{"do":"plan"}`:    "",
			`{"do":"rotate"}`:  renew.ErrAppSecret.Error(),
			`not JSON`:         "the order is not JSON",
			`{"do":"explode"}`: "unknown",
		} {
			var r renew.Report
			if err := json.Unmarshal(k.Answer(t.Context(), []byte(order)), &r); err != nil {
				t.Fatal(err)
			}
			if want == "" && r.Error != "" || !strings.Contains(r.Error, want) {
				t.Errorf("%s: %q, want %q", order, r.Error, want)
			}
		}
	})
}

// A registration that says that it is over is replaced at once, whatever the provider
// lists.
func TestTheEndIsBelieved(t *testing.T) {
	for name, down := range map[string]bool{"the provider answers": false, "it does not": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				k := run(t, f)
				later(time.Minute)
				f.heard()
				f.with(func(f *fake) {
					if down {
						f.fail["list"] = errors.New("down")
					}
				})
				obey(t, k, renew.Order{Do: renew.DoMourn, ID: "1", At: time.Now()})
				later(time.Second)
				if down {
					if told := f.heard(); len(told) < 2 || told[0] != "dead down" || told[1] != "swept down" {
						t.Errorf("told %q", told)
					}
					f.with(func(f *fake) { clear(f.fail) })
					later(3 * time.Minute)
					if told := f.heard(); !slices.Equal(told[max(0, len(told)-2):], []string{"swept it was dead", "alive"}) {
						t.Errorf("told %q", told)
					}
				} else {
					wantTold(t, f, "swept a subscription was gone, or did not serve all", "alive")
				}
				wantCalls(t, f, "create", "delete 1", "create")
				wantLife(t, f, "2")
			})
		})
	}
}

func TestAFloodOfWordsIsNoFloodOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		synctest.Wait()
		f.done()
		for i := range 20000 {
			obey(t, k, renew.Order{Do: renew.DoMourn, ID: fmt.Sprint("x", i)})
			if i%100 == 0 {
				later(100 * time.Millisecond)
			}
		}
		obey(t, k, renew.Order{Do: renew.DoMourn, ID: strings.Repeat("x", 1<<20)})
		if n := len(f.words()); n > 25 { // in 20 s
			t.Errorf("%d calls", n)
		}
	})
}

// An end that was heard is not lost with notes that another has written over.
func TestAConflictLosesNoWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		later(time.Minute)
		f.with(func(f *fake) { f.revision++; f.fail["list"] = errors.New("down") })
		obey(t, k, renew.Order{Do: renew.DoMourn, ID: "1", At: time.Now()})
		later(2 * time.Second)
		f.with(func(f *fake) { clear(f.fail) })
		later(3 * time.Minute)
		wantLife(t, f, "2")
	})
}

func TestWhatWasRefusedIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		later(time.Minute)
		f.heard()
		at := time.Now()
		time.Sleep(time.Minute)
		if r := obey(t, k, renew.Order{Do: renew.DoMend, At: at}); !r.Mended || r.Error != "" {
			t.Errorf("report %+v", r)
		}
		want := []subscriptions.Gap{{From: at.UTC(), To: time.Now().UTC(), Cause: "deliveries were refused: not stored", Mended: "swept"}}
		if diff := cmp.Diff(want, f.notes(t).Gaps); diff != "" {
			t.Errorf("gaps (-want +got):\n%s", diff)
		}
		wantTold(t, f, "swept deliveries were refused: not stored", "alive")
		f.with(func(f *fake) { f.fail["list"], f.fail["save"] = errors.New("down"), errors.New("away") })
		if r := obey(t, k, renew.Order{Do: renew.DoMend, At: at}); r.Mended {
			t.Errorf("report %+v", r)
		}
		f.with(func(f *fake) { delete(f.fail, "save") })
		if r := obey(t, k, renew.Order{Do: renew.DoMend, At: at}); !r.Mended {
			t.Errorf("it is part of a gap that will be mended: %+v", r)
		}
		k.stop()
		f.with(func(f *fake) { clear(f.fail) })
		run(t, f)
		synctest.Wait()
		wantTold(t, f, "swept deliveries were refused: not stored", "alive")
	})
}
