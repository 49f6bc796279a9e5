package ringcentral_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// ledger is a budget that notes who asked, and refuses what it is told to.
type ledger struct {
	mu     sync.Mutex
	asked  []string // "identity group purpose", in order
	as     []string // the callers' names, likewise
	said   []subscriptions.Said
	refuse func(group string) error
	life   map[string]time.Duration // by group
}

// charge is a call that was granted.
type charge struct {
	*ledger
	group string
}

func (c charge) Life() time.Duration { return c.life[c.group] }

var purposes = []string{"reader", "change", "upkeep", "sweep"}

func (l *ledger) Take(
	ctx context.Context, lane subscriptions.Lane, _ subscriptions.Window,
) (subscriptions.Call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, lane.Identity+" "+lane.Group+" "+purposes[cache.PurposeOf(ctx)])
	l.as = append(l.as, cache.CallerOf(ctx))
	if l.refuse != nil {
		if err := l.refuse(lane.Group); err != nil {
			return nil, err
		}
	}
	return charge{l, lane.Group}, nil
}

func (l *ledger) Done(_ context.Context, said subscriptions.Said) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, said)
}

func openLedger(t *testing.T) (*world, *ledger) {
	t.Helper()
	l, v := &ledger{}, newVendor()
	w := openOn(t, testConfig(), subscriptions.Deps{HTTP: &http.Client{Transport: v}, Vault: newMemory(), Budget: l}, v)
	full(v)
	return w, l
}

// TestWhatIsBegunIsFinished: the first call of a reading goes by its purpose,
// the others are as urgent as a reader's, and so is the token.
func TestWhatIsBegunIsFinished(t *testing.T) {
	w, l := openLedger(t)
	ctx := cache.WithPurpose(t.Context(), cache.ForSweep)
	if _, err := w.Read(ctx, subject, newSession(100)); err != nil {
		t.Fatal(err)
	}
	if want := "37439510:token auth reader"; l.asked[0] != want {
		t.Errorf("first asked %q, want %q", l.asked[0], want)
	}
	for _, asked := range l.asked[1:] {
		if !slices.Contains([]string{"37439510:256440016 light reader", "37439510:256440016 medium reader"}, asked) {
			t.Errorf("asked %q after a call was granted", asked)
		}
	}
	l.asked = nil
	if _, err := w.Read(ctx, subject, newSession(100)); err != nil {
		t.Fatal(err)
	}
	for i, asked := range l.asked {
		if urgent := asked[len(asked)-6:] == "reader"; urgent != (i > 0) {
			t.Errorf("call %d asked %q", i, asked)
		}
	}
	if len(l.asked) < 2 {
		t.Errorf("asked %q", l.asked)
	}
}

// TestEachCallHasATurn of its own: those of one reading that are made at the
// same time do not share it.
func TestEachCallHasATurn(t *testing.T) {
	w, l := openLedger(t)
	ctx := cache.WithCaller(t.Context(), "e:42")
	if _, err := w.Read(ctx, subject, newSession(100)); err != nil {
		t.Fatal(err)
	}
	slices.Sort(l.as)
	want := []string{"e:42 getToken", "e:42 listPermissions", "e:42 listUserAssignedRoles",
		"e:42 readAuthorizationProfile", "e:42 readUserRole"}
	if got := slices.Compact(l.as); !slices.Equal(got, want) {
		t.Errorf("called as %q, want %q", got, want)
	}
}

// TestAnAnswerSaysHowLongItMustLive: as the scarcest of its calls does.
func TestAnAnswerSaysHowLongItMustLive(t *testing.T) {
	for _, life := range []map[string]time.Duration{
		nil,
		{"light": 20 * time.Second},
		{"light": 20 * time.Second, "medium": 90 * time.Second},
		{"light": 300 * time.Second, "medium": 90 * time.Second},
	} {
		w, l := openLedger(t)
		l.life = life
		a, err := w.Read(t.Context(), subject, newSession(100))
		if want := max(life["light"], life["medium"]); err != nil || a.Life != want {
			t.Errorf("lanes %v: life %s, want %s; %v", life, a.Life, want, err)
		}
	}
}

func TestAReaderWaitsALittle(t *testing.T) {
	for name, c := range map[string]struct {
		as    cache.Purpose
		wait  time.Duration // until the budget grants
		reads bool
	}{
		"a reader, soon":       {cache.ForReader, 400 * time.Millisecond, true},
		"a reader, not soon":   {cache.ForReader, 600 * time.Millisecond, false},
		"a refresh, soon":      {cache.ForChange, 400 * time.Millisecond, false},
		"a refresh, at once":   {cache.ForChange, 0, true},
		"a sweep, in a minute": {cache.ForSweep, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, l := openLedger(t)
				if _, err := w.Read(t.Context(), subject, newSession(100)); err != nil { // has a token then
					t.Fatal(err)
				}
				until := time.Now().Add(c.wait)
				l.refuse = func(group string) error {
					if time.Now().Before(until) {
						return &subscriptions.Later{Until: until, Group: group}
					}
					return nil
				}
				_, err := w.Read(cache.WithPurpose(t.Context(), c.as), subject, newSession(100))
				var later *subscriptions.Later
				if c.reads && err != nil || !c.reads && !errors.As(err, &later) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

var errAway = errors.New("the account of calls is away")

func TestAnOutageOfTheBudget(t *testing.T) {
	for name, group := range map[string]string{"for the token": "auth", "for a call": "light"} {
		t.Run(name, func(t *testing.T) {
			w, l := openLedger(t)
			l.refuse = func(of string) error {
				if of == group {
					return errAway
				}
				return nil
			}
			_, err := w.Read(t.Context(), subject, newSession(100))
			var later *subscriptions.Later
			if !errors.Is(err, errAway) || errors.As(err, &later) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestEveryCallIsDone: whatever becomes of it, and exactly once.
func TestEveryCallIsDone(t *testing.T) {
	for name, c := range map[string]struct {
		reply http.HandlerFunc
		want  subscriptions.Said
	}{
		"a reply": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Rate-Limit-Limit", "75")
			w.Header().Set("X-Rate-Limit-Remaining", "74")
			w.Header().Set("X-Rate-Limit-Window", "60")
			reply(w, 200, `{"records":[]}`)
		}, subscriptions.Said{Limit: 75, Remaining: 74, Told: true, Window: time.Minute}},
		"a 429": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			reply(w, 429, `{}`)
		}, subscriptions.Said{Penalty: 7 * time.Second}},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) { reply(w, 403, `{}`) }, subscriptions.Said{}},
	} {
		t.Run(name, func(t *testing.T) {
			w, l := openLedger(t)
			w.vendor.on(listAt, c.reply)
			_, _ = w.List(t.Context()) // what it says of the limits is all that counts here
			if len(l.said) != len(l.asked) || len(l.said) != 2 || l.said[1] != c.want {
				t.Errorf("asked %q, said %+v, want %+v", l.asked, l.said, c.want)
			}
		})
	}
}

func TestWhatNeverLeftIsNotCounted(t *testing.T) {
	l, v := &ledger{}, newVendor()
	w := openOn(t, testConfig(), subscriptions.Deps{HTTP: &http.Client{Transport: &http.Transport{}},
		Vault: newMemory(), Budget: l}, v) // nobody listens at port 1
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := w.List(ctx); err == nil {
		t.Error("no error")
	}
	if want := (subscriptions.Said{Unsent: true}); len(l.said) != 1 || l.said[0] != want {
		t.Errorf("said %+v", l.said)
	}
}

// A call that is given up may have restarted the penalty: its reply must be heard.
func TestARefusalGivesUpNoOtherCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, exchanging(testConfig()))
		full(w.vendor).says(exchangeAt, 200, `{"access_token":"a","expires_in":600,"scope":""}`)
		begun, heard := make(chan struct{}), false
		w.vendor.on(profileAt, func(rw http.ResponseWriter, _ *http.Request) {
			<-begun
			rw.Header().Set("Retry-After", "60")
			reply(rw, 429, "{}")
		})
		w.vendor.on(featuresAt, func(rw http.ResponseWriter, r *http.Request) {
			close(begun)
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
				heard = true
			}
			reply(rw, 200, features)
		})
		var later *subscriptions.Later
		if _, err := w.Read(t.Context(), subject, newSession(100)); !errors.As(err, &later) {
			t.Errorf("error %v", err)
		}
		if !heard {
			t.Error("the other call was given up")
		}
	})
}
