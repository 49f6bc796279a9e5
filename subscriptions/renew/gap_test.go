package renew_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

func TestEveryLookAtAnActiveSubscriptionProvesItsFeedAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		run(t, f)
		synctest.Wait()
		take := func() (at []time.Time) {
			f.with(func(f *fake) { at, f.alive = f.alive, nil })
			return at
		}
		if got := take(); len(got) != 1 || !got[0].Equal(time.Now()) {
			t.Errorf("when it was made: %v", got)
		}
		last := time.Now()
		for range 20 {
			later(renew.Bound(renew.DefaultCheck))
			got := take()
			if len(got) == 0 {
				t.Fatal("no proof within two and a half checks")
			}
			if gap := got[0].Sub(last); gap > renew.DefaultCheck*11/10 {
				t.Errorf("a gap of %s", gap)
			}
			last = got[len(got)-1]
			if !f.notes(t).Proof.Equal(last) {
				t.Errorf("proof %s, want %s", f.notes(t).Proof, last)
			}
		}
	})
}

func TestASubscriptionThatIsNotActiveProvesNothing(t *testing.T) {
	inactive := []subscriptions.Subscription{{ID: "1", Want: "account", Address: appAt}}
	for name, shape := range map[string]func(*fake){
		"stopped by the provider": func(f *fake) { f.subs, f.fail["create"] = inactive, errors.New("no") },
		"another's is active": func(f *fake) {
			f.subs = []subscriptions.Subscription{sub("1", "account", "https://other.example", week)}
			f.fail["create"] = errors.New("no")
		},
		"none, and none can be made":    func(f *fake) { f.fail["create"] = errors.New("no") },
		"made, and over at once":        func(f *fake) { f.life = -time.Second },
		"the provider does not answer":  func(f *fake) { f.fail["list"] = errors.New("no") },
		"gone, and none can be made":    func(f *fake) { f.fail["create"] = subscriptions.ErrGone },
		"wrongly configured over there": func(f *fake) { f.fail["create"] = subscriptions.ErrMisconfigured },
		"its filters are not served":    func(f *fake) { f.disabled = []string{"x"} },
		"made by hand at our address": func(f *fake) {
			f.terms.OwnSecret = true
			f.subs, f.fail["create"] = []subscriptions.Subscription{sub("1", "account", address, week)}, errors.New("no")
		},
		"made by hand without a secret": func(f *fake) {
			f.terms.OwnSecret = true
			f.subs, f.fail["create"] = []subscriptions.Subscription{sub("1", "account", appAt, week)}, errors.New("no")
		},
		"it delivers to an earlier address": func(f *fake) {
			f.subs, f.fail["create"] = []subscriptions.Subscription{sub("1", "account", "https://earlier", week)}, errors.New("no")
			l := subscriptions.Ledger{Home: home, Entries: []subscriptions.Entry{{ID: "1", Want: "account", Active: true}}}
			f.ledger, _ = subscriptions.EncodeLedger(l) // it has a home
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				shape(f)
				run(t, f)
				later(time.Hour)
				if len(f.alive) > 0 || len(f.words()) == 0 {
					t.Errorf("%d proofs from %d calls", len(f.alive), len(f.words()))
				}
			})
		})
	}
}

// A proof is as old as the question, not as young as the answer.
func TestASlowLookProvesNoMoreThanItAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.subs = []subscriptions.Subscription{{ID: "1", Want: "account", Address: appAt, Active: true}}
		f.before = func(string) { time.Sleep(time.Minute) } // simulated
		began := time.Now()
		run(t, f)
		later(2 * time.Minute)
		if len(f.alive) != 1 || !f.alive[0].Equal(began) {
			t.Errorf("proofs of %v, asked at %s", f.alive, began)
		}
	})
}

// Each way in which changes may be missed, with its bounds and how it is mended.
func TestGaps(t *testing.T) {
	const lost, dead = "a subscription was gone, or did not serve all", "it was dead"
	long := func(f *fake, k *kept) {
		f.with(func(f *fake) { f.fail["list"] = errors.New("down") })
		later(13 * time.Minute)
		f.with(func(f *fake) { clear(f.fail) })
	}
	for name, c := range map[string]struct {
		happen func(*fake, *kept)
		cause  string
		mended subscriptions.Mending
		dead   bool // it was told
	}{
		"nothing":      {func(*fake, *kept) {}, "", "", false},
		"gone":         {func(f *fake, _ *kept) { f.with(func(f *fake) { f.subs = nil }) }, lost, subscriptions.Swept, false},
		"stopped":      {func(f *fake, _ *kept) { f.with(func(f *fake) { f.subs[0].Active = false }) }, lost, subscriptions.Swept, false},
		"followed":     {func(f *fake, _ *kept) { f.with(func(f *fake) { f.subs, f.terms.Tailed = nil, true }) }, lost, subscriptions.Followed, false},
		"tail is away": {func(f *fake, _ *kept) { f.with(func(f *fake) { f.subs, f.terms.Tailed, f.tailed = nil, true, false }) }, lost, subscriptions.Swept, false},
		"no answer for two looks": {func(f *fake, k *kept) {
			f.with(func(f *fake) { f.fail["list"] = errors.New("down") })
			later(7 * time.Minute)
			f.with(func(f *fake) { clear(f.fail) })
		}, "", "", false},
		"no answer for long": {long, "it was not shown to live", subscriptions.Swept, false},
		"another delivered meanwhile, unheard": {func(f *fake, k *kept) {
			f.with(func(f *fake) { f.subs = append(f.subs, sub("9", "account", appAt, 2*week)) })
		}, "", "", false},
		"deliveries went on": {func(f *fake, k *kept) {
			f.with(func(f *fake) { f.fail["list"] = errors.New("down") })
			for range 13 {
				_, _ = k.Obey(t.Context(), renew.Order{Do: renew.DoHear, ID: "1", At: time.Now()}) // never fails
				later(time.Minute)
			}
			f.with(func(f *fake) { clear(f.fail) })
		}, "", "", false},
		"dead": {func(f *fake, _ *kept) {
			f.with(func(f *fake) { f.subs, f.fail["create"] = nil, errors.New("no") })
			later(20 * time.Minute)
			f.with(func(f *fake) { clear(f.fail) })
		}, dead, subscriptions.Swept, true},
		"filters were not served": {func(f *fake, _ *kept) {
			f.with(func(f *fake) { f.subs[0].Disabled = []string{"x"} })
			later(6 * time.Minute)
			f.with(func(f *fake) { f.subs[0].Disabled = nil })
		}, lost, subscriptions.Swept, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				f.tailed = true
				k := run(t, f)
				synctest.Wait()
				proof := f.notes(t).Proof
				f.heard()
				c.happen(f, k)
				later(6 * time.Minute)
				l := f.notes(t)
				if c.cause == "" {
					if len(l.Gaps) > 0 || len(f.sweeps) > 0 {
						t.Errorf("gaps %+v", l.Gaps)
					}
					return
				}
				if len(l.Gaps) != 1 {
					t.Fatalf("gaps %+v", l.Gaps)
				}
				g := l.Gaps[0]
				if g.Cause != c.cause || g.Mended != c.mended || !g.From.Equal(proof) || g.To.Before(proof) || g.To.After(l.Proof) {
					t.Errorf("gap %+v, the proof before was of %s, the one since of %s", g, proof, l.Proof)
				}
				if swept := c.mended == subscriptions.Swept; (len(f.sweeps) > 0) != swept {
					t.Errorf("sweeps %+v", f.sweeps)
				}
				if told := f.heard(); told[len(told)-1] != "alive" || len(f.sweeps) > 2 || len(f.sweeps) == 2 != c.dead {
					t.Errorf("told %q", told)
				}
			})
		})
	}
}

// What could not be swept is swept later, by whoever is there then, and not called
// alive before.
func TestASweepThatFailsIsTriedAgain(t *testing.T) {
	for name, restart := range map[string]bool{"by the same": false, "by another": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := own(week)
				k := run(t, f)
				synctest.Wait()
				f.heard()
				f.with(func(f *fake) { f.subs, f.fail["sweep"] = nil, errors.New("no stream") })
				later(7 * time.Minute)
				wantTold(t, f)
				wantCalls(t, f, "create", "create")
				if g := f.notes(t).Gaps; len(g) != 1 || g[0].Mended != "" {
					t.Errorf("gaps %+v", g)
				}
				if restart {
					k.stop()
					run(t, f)
				}
				f.with(func(f *fake) { clear(f.fail) })
				later(3 * time.Minute)
				wantTold(t, f, "swept a subscription was gone, or did not serve all", "alive")
				if g := f.notes(t).Gaps; len(g) != 1 || g[0].Mended != subscriptions.Swept {
					t.Errorf("gaps %+v", g)
				}
			})
		})
	}
}

func TestADeathIsSweptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		k := run(t, f)
		synctest.Wait()
		f.heard()
		f.with(func(f *fake) { f.subs, f.fail["create"], f.fail["sweep"] = nil, errors.New("no"), errors.New("away") })
		later(6 * time.Minute)
		wantTold(t, f, "dead no")
		f.with(func(f *fake) { delete(f.fail, "sweep") })
		later(time.Hour)
		wantTold(t, f, "dead no", "swept no", "dead no")
		died := f.notes(t).Died
		k.stop()
		run(t, f)
		later(time.Hour)
		wantTold(t, f, "dead no")
		if n := k.log.count("feed is dead"); n != 1 || !f.notes(t).Died.Equal(died) {
			t.Errorf("logged %d times, died %s, was %s", n, f.notes(t).Died, died)
		}
	})
}

func TestALapse(t *testing.T) {
	for name, c := range map[string]struct {
		long        time.Duration
		gone, fails bool
		cause       string
		mended      subscriptions.Mending
	}{
		"swept":     {long: 2 * time.Minute, cause: "no listener ran", mended: subscriptions.Swept},
		"overnight": {long: 10 * time.Hour, cause: "it was not shown to live", mended: subscriptions.Swept},
		"the first look fails, and another comes": {long: time.Minute, fails: true, cause: "no listener ran",
			mended: subscriptions.Swept},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				k := run(t, f)
				later(3 * time.Minute)
				k.stop()
				lapse := subscriptions.Gap{From: time.Now(), Cause: "no listener ran"}
				time.Sleep(c.long)
				lapse.To = time.Now()
				f.with(func(f *fake) {
					if c.gone {
						f.subs = nil
					}
					if c.fails {
						f.fail["list"] = errors.New("down")
					}
				})
				k = start(t, config(f, f), &lapse)
				synctest.Wait()
				if c.fails {
					k.stop()
					f.with(func(f *fake) { clear(f.fail) })
					run(t, f)
					synctest.Wait()
				}
				l := f.notes(t)
				if len(l.Gaps) != 1 || l.Gaps[0].Cause != c.cause || l.Gaps[0].Mended != c.mended {
					t.Fatalf("gaps %+v", l.Gaps)
				}
				from := lapse.From
				if c.cause != lapse.Cause { // longer: since the last look
					from = from.Add(-3 * time.Minute)
				}
				if g := l.Gaps[0]; !g.From.Equal(from) || !g.To.Equal(lapse.To) {
					t.Errorf("gap %+v, want %s to %s", g, from, lapse.To)
				}
			})
		})
	}
}

// Of several, a delivery proves only its own.
func TestADeliveryProvesOnlyItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.wanted = []string{"f1", "f2"}
		k := run(t, f)
		synctest.Wait()
		proof := f.notes(t).Proof
		time.Sleep(time.Minute)
		obey(t, k, renew.Order{Do: renew.DoHear, ID: "1", At: time.Now()})
		f.with(func(f *fake) { f.fail["list"] = errors.New("down") })
		later(6 * time.Minute)
		l := f.notes(t)
		if !l.Proof.Equal(proof) || !l.Delivered.Equal(proof.Add(time.Minute)) {
			t.Errorf("proof %s, want %s; delivered %s", l.Proof, proof, l.Delivered)
		}
		at := time.Now()
		obey(t, k, renew.Order{Do: renew.DoHear, ID: "2", At: at.Add(time.Hour)}) // another's clock
		obey(t, k, renew.Order{Do: renew.DoHear, ID: "1", At: at})
		obey(t, k, renew.Order{Do: renew.DoHear, ID: "unknown", At: at})
		later(6 * time.Minute)
		if l := f.notes(t); !l.Proof.Equal(at) {
			t.Errorf("proof %s, want %s", l.Proof, at)
		}
	})
}

// Whoever finds one that is ours, and no notes, goes on with it: its address says which
// secret it has. What it delivered meanwhile was refused.
func TestALostLedgerIsAGap(t *testing.T) {
	for name, c := range map[string]struct {
		f      *fake
		told   []string
		tailed bool
	}{
		"of its own secret": {own(week), []string{"swept the notes of a subscription were lost, and its secret with them", "alive"}, false},
		"the app's":         {newFake(week), []string{"alive"}, false},
		"tailed":            {own(week), []string{"alive"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.f
				f.terms.Tailed, f.tailed = c.tailed, c.tailed
				k := run(t, f)
				synctest.Wait()
				was, made := f.notes(t).Entries[0], time.Now()
				later(time.Hour)
				k.stop()
				f.with(func(f *fake) { f.ledger, f.revision = []byte("{"), 1 })
				f.heard()
				f.done()
				run(t, f)
				later(20 * time.Minute)
				wantCalls(t, f)
				wantTold(t, f, c.told...)
				wantLife(t, f, "1")
				l := f.notes(t)
				if e := l.Entries[0]; e.Serial != was.Serial || !e.Made.Equal(made) || e.Want != was.Want || !e.Expires.Equal(was.Expires) {
					t.Errorf("entry %+v, was %+v", e, was)
				}
				if gap := f.terms.OwnSecret; gap != (len(l.Gaps) == 1) || gap && !l.Gaps[0].From.Equal(made) {
					t.Errorf("gaps %+v", l.Gaps)
				}
			})
		})
	}
}

// Serials are counted on from what is found: else the next secret would be an old one,
// and its registration would seem the older.
func TestALostLedgerRepeatsNoSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		k := run(t, f)
		synctest.Wait()
		for range 9 { // more than there are minutes
			obey(t, k, renew.Order{Do: renew.DoRotate})
		}
		later(2 * time.Minute)
		was := f.notes(t).Serial
		k.stop()
		f.with(func(f *fake) { f.ledger, f.revision = nil, 0 })
		k = run(t, f)
		synctest.Wait()
		obey(t, k, renew.Order{Do: renew.DoRotate})
		later(2 * time.Minute)
		if l := f.notes(t); len(l.Entries) != 1 || l.Entries[0].ID != "11" || l.Entries[0].Serial <= was {
			t.Errorf("entries %+v, the last serial was %d", l.Entries, was)
		}
	})
}

// What was just found has no notes: its secret is not taken for an old one.
func TestWhatIsFoundIsNotRotatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		f.subs = []subscriptions.Subscription{sub("9", "account", address+"/5", week)}
		c := config(f, f)
		c.Rotate = 30 * 24 * time.Hour
		start(t, c, nil)
		later(time.Hour)
		wantCalls(t, f)
	})
}

// Nobody learns of a registration before its secret can be known.
func TestTheSerialIsStoredBeforeItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := own(week)
		f.before = func(call string) {
			if call == "create" && (len(f.saved) == 0 || f.saved[len(f.saved)-1].Serial == 0) {
				t.Error("made before its serial was stored")
			}
		}
		run(t, f)
		synctest.Wait()
		e := f.notes(t).Entries
		if len(e) != 1 || f.borne[0] != fmt.Sprint(e[0].Serial) || e[0].Serial != f.notes(t).Serial {
			t.Errorf("entries %+v, borne %q", e, f.borne)
		}
	})
}

func TestTheStoreIsAway(t *testing.T) {
	for _, away := range []error{errors.New("no server"), context.DeadlineExceeded} {
		synctest.Test(t, func(t *testing.T) {
			f := own(week)
			f.wanted = []string{"f1", "f2"}
			run(t, f)
			synctest.Wait()
			f.done()
			f.with(func(f *fake) { // one is gone, one is due, and one too many is there
				f.subs[1].Expires = time.Now().Add(6 * time.Minute)
				f.subs = append(f.subs[1:], sub("9", "f2", address+"/1", -time.Minute))
				f.fail["save"] = away
			})
			later(6 * time.Minute)
			calls := f.done()
			if diff := cmp.Diff([]string{"delete 9", "renew 2"}, calls); diff != "" {
				t.Errorf("%v: renewal alone goes on, and the removal of the dead (-want +got):\n%s", away, diff)
			}
			f.with(func(f *fake) { clear(f.fail) })
			later(3 * time.Minute)
			wantCalls(t, f, "create f1")
			wantLife(t, f, "2 3")
		})
	}
}
