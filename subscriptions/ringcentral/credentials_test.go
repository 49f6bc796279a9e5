package ringcentral_test

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

func TestDeadTokenIsReplacedOnce(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says(listAt, 200, `{"records":[]}`)
	for range 2 {
		if _, err := w.List(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.vendor.kill()
	if _, err := w.List(t.Context()); err != nil {
		t.Fatalf("after the eviction: %v", err)
	}
	if w.vendor.minted != 2 {
		t.Errorf("%d tokens, want 2", w.vendor.minted)
	}
	w.vendor.says(listAt, 401, `{"errors":[{"errorCode":"OAU-128"}]}`)
	if _, err := w.List(t.Context()); err == nil {
		t.Error("no error")
	}
	if got := w.vendor.count(listAt); got != 6 || w.vendor.minted != 3 {
		t.Errorf("%d calls and %d tokens, want 6 and 3", got, w.vendor.minted)
	}
}

func TestFaultOfTheAppIsNotCuredByATokenMore(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says(listAt, 401, `{"errors":[{"errorCode":"OAU-151"}]}`)
	if _, err := w.List(t.Context()); !errors.Is(err, subscriptions.ErrMisconfigured) || w.vendor.minted != 1 {
		t.Errorf("%d tokens, error %v", w.vendor.minted, err)
	}
}

func TestManyReadersMintOnce(t *testing.T) {
	w := open(t, testConfig())
	full(w.vendor)
	together(50, func(n int) {
		if _, err := w.Read(t.Context(), subject, newSession(100)); err != nil {
			t.Errorf("read %d: %v", n, err)
		}
	})
	if w.vendor.minted != 1 {
		t.Fatalf("%d tokens, want 1", w.vendor.minted)
	}
	// The app changed: everybody is refused the same token.
	var mu sync.Mutex
	names := map[string]bool{}
	together(50, func(n int) {
		s := newSession(200)
		s.refused = []string{"token:service@7.100"}
		if _, err := w.Read(t.Context(), subject, s); err != nil {
			t.Errorf("read %d: %v", n, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for name := range s.used {
			names[name] = true
		}
	})
	if w.vendor.minted != 2 || len(names) != 1 || !names["token:service@7.200"] {
		t.Errorf("%d tokens, want 2; used %v", w.vendor.minted, names)
	}
}

func together(n int, f func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestTwoProcessesMintOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, m := newVendor(), newMemory()
		v.says(listAt, 200, `{"records":[]}`)
		v.on(tokenAt, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second) // simulated
			v.mint(w, "1")
		})
		a, b := openWith(t, testConfig(), v, v, m), openWith(t, testConfig(), v, v, m)
		together(2, func(n int) {
			if _, err := []*world{a, b}[n].List(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if v.minted != 1 {
			t.Errorf("%d tokens, want 1", v.minted)
		}
	})
}

func TestTokens(t *testing.T) {
	for name, c := range map[string]struct {
		between func(*world, *session) // two reads
		minted  int
	}{
		"a token is kept":                {func(*world, *session) {}, 1},
		"for 57 minutes of its hour":     {func(*world, *session) { time.Sleep(57 * time.Minute) }, 1},
		"and is replaced before its end": {func(*world, *session) { time.Sleep(59 * time.Minute) }, 2},
		"a new fence needs a new token":  {func(_ *world, s *session) { s.stamp.Fence = 8 }, 2},
		"one that was refused is replaced": {
			func(_ *world, s *session) { s.refused = []string{"token:service@7.100"} }, 2,
		},
		"the refusal of another is not its": {
			func(_ *world, s *session) { s.refused = []string{"token:service@7.99"} }, 1,
		},
		"what the vault garbled is replaced": {func(w *world, _ *session) { w.vault.garble() }, 2},
		"near its end it is used up if it must": {func(w *world, _ *session) {
			time.Sleep(59 * time.Minute)
			w.vendor.says(tokenAt, 400, `{"error":"invalid_client"}`)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t, testConfig())
				full(w.vendor)
				first, second := newSession(100), newSession(200)
				if _, err := w.Read(t.Context(), subject, first); err != nil {
					t.Fatal(err)
				}
				c.between(w, second)
				if _, err := w.Read(t.Context(), subject, second); err != nil {
					t.Fatal(err)
				}
				if w.vendor.minted != c.minted {
					t.Errorf("%d tokens, want %d", w.vendor.minted, c.minted)
				}
				for _, at := range second.used {
					if c.minted == 2 && at != second.stamp {
						t.Errorf("used a token of %v, want %v", at, second.stamp)
					}
				}
			})
		})
	}
}

func (m *memory) garble() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.kept {
		m.kept[key] = []byte("garbage")
	}
}

func TestTokenWithoutASessionIsNotReadWith(t *testing.T) {
	w := open(t, testConfig())
	full(w.vendor).says(listAt, 200, `{"records":[]}`)
	if _, err := w.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := newSession(100)
	if _, err := w.Read(t.Context(), subject, s); err != nil {
		t.Fatal(err)
	}
	if w.vendor.minted != 2 || s.used["token:service@7.100"] != s.stamp {
		t.Errorf("%d tokens, used %v", w.vendor.minted, s.used)
	}
	if _, err := w.List(t.Context()); err != nil || w.vendor.minted != 2 {
		t.Errorf("the registrar did not take the reader's: %d tokens, %v", w.vendor.minted, err)
	}
}

func TestWhatMayBeDoneIsReadWhileATokenIsObtained(t *testing.T) {
	w := open(t, exchanging(testConfig()))
	full(w.vendor).says(featuresAt, 200, features)
	read := make(chan string, 2)
	w.vendor.on(profileAt, func(rw http.ResponseWriter, r *http.Request) {
		read <- r.Header.Get("Authorization")
		reply(rw, 200, profile)
	})
	w.vendor.says(exchangeAt, 200, `{"access_token":"a","expires_in":600,"scope":"ReadAccounts"}`)
	if _, err := w.Read(t.Context(), subject, newSession(100)); err != nil {
		t.Fatal(err)
	}
	<-read
	w.vendor.on(exchangeAt, func(rw http.ResponseWriter, _ *http.Request) {
		select {
		case with := <-read:
			if with != "Bearer a" {
				t.Errorf("read with %q", with)
			}
		case <-time.After(5 * time.Second):
			t.Error("the reading waits for the token")
		}
		reply(rw, 200, `{"access_token":"b","expires_in":600,"scope":"ReadMessages"}`)
	})
	changed := newSession(200)
	changed.needs = 150
	a, err := w.Read(t.Context(), subject, changed)
	if err != nil {
		t.Fatal(err)
	}
	if a.Grants["scope/ReadMessages"] == "" || a.Grants["scope/ReadAccounts"] != "" {
		t.Errorf("the scopes are not the new token's: %v", a.Grants)
	}
	want := map[string]cache.Stamp{"token:subject:42@7.200": changed.stamp}
	if diff := cmp.Diff(want, changed.used); diff != "" {
		t.Errorf("used (-want +got):\n%s", diff)
	}
}

func TestVaultHoldsTokensUnderTheirNames(t *testing.T) {
	w := open(t, exchanging(testConfig()))
	full(w.vendor).says(exchangeAt, 200, `{"access_token":"a","expires_in":600}`)
	w.vendor.says(profileAt, 200, profile)
	w.vendor.says(featuresAt, 200, features)
	w.vendor.says(listAt, 200, `{"records":[]}`)
	_, err1 := w.Read(t.Context(), subject, newSession(100))
	_, err2 := w.List(t.Context())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for key := range w.vault.kept {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	want := []string{"ringcentral/37439510/service", "ringcentral/37439510/subject/42"}
	if !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
}

func TestRequestsSayWhoWeAre(t *testing.T) {
	w := open(t, testConfig())
	var agents, auths []string
	for route, body := range map[string]string{
		tokenAt: `{"access_token":"a","expires_in":600}`, listAt: `{"records":[]}`,
	} {
		w.vendor.on(route, func(rw http.ResponseWriter, r *http.Request) {
			agents = append(agents, r.UserAgent())
			auths = append(auths, r.Header.Get("Authorization")+r.FormValue("grant_type")+r.FormValue("assertion"))
			reply(rw, 200, body)
		})
	}
	if _, err := w.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"rescind/1", "rescind/1"}; !slices.Equal(agents, want) {
		t.Errorf("agents %q, want %q", agents, want)
	}
	want := []string{
		"Basic Y2xpZW50OlNFQ1JFVC1jbGllbnQ=urn:ietf:params:oauth:grant-type:jwt-bearer" + jwtSecret, "Bearer a",
	}
	if !slices.Equal(auths, want) {
		t.Errorf("authorizations %q, want %q", auths, want)
	}
}

func TestLimitsOfASubjectAreItsOwn(t *testing.T) {
	w := open(t, exchanging(testConfig()))
	w.vendor.says(exchangeAt, 200, `{"access_token":"a","expires_in":600,"scope":""}`)
	for _, id := range []events.Subject{"42", "43"} {
		at := "GET /account/37439510/extension/" + string(id)
		w.vendor.says(at+"/authz-profile", 200, profile)
		w.vendor.says(at+"/features", 200, features)
		w.vendor.says(at+"/assigned-role", 200, `{"records":[]}`)
	}
	limited(w.vendor, profileAt, 429)
	var later *subscriptions.Later
	if _, err := w.Read(t.Context(), subject, newSession(100)); !errors.As(err, &later) {
		t.Fatalf("error %v", err)
	}
	if _, err := w.Read(t.Context(), events.Ref{Home: home, Subject: "43"}, newSession(100)); err != nil {
		t.Errorf("another subject during the penalty: %v", err)
	}
}
