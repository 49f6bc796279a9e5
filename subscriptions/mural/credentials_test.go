package mural_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

// grantOf is what is told of a user's grant.
func (s *stage) grantOf(t *testing.T, user events.Subject) subscriptions.Grant {
	t.Helper()
	all, err := s.Grants(t.Context())
	must(t, err)
	for _, g := range all {
		if g.User == user {
			return g
		}
	}
	t.Fatalf("no grant of %s", user)
	return subscriptions.Grant{}
}

func TestATokenIsRefreshedBeforeItEndsAndRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u3")
		for hour := range 8 { // readings every 5 minutes for 40
			s.read(t, "u3", "")
			if hour < 7 {
				time.Sleep(5 * time.Minute) // of the bubble's clock
			}
		}
		if n := s.sim.Calls("token"); n != 1+3 || s.sim.Reuses() != 0 {
			t.Errorf("%d refreshes for 35 minutes, %d of a used token", n, s.sim.Reuses())
		}
		g := s.grantOf(t, "u3")
		if g.Refreshed.Before(time.Now().Add(-15*time.Minute)) || !g.Expires.After(g.Refreshed) || g.Dead != "" {
			t.Errorf("%+v", g)
		}
	})
}

// Two workers that refresh at once would end each other's grant.
func TestTwoWorkersRefreshOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{Quirks: muralsim.Quirks{ReuseEndsGrant: true}}).consent(t, "u3")
		workers := []*stage{s, another(t, s, config()), another(t, s, config())}
		must(t, s.sim.Fault(muralsim.Fault{Operation: "token", Kind: muralsim.Delay, Delay: time.Second}))
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() { workers[i%3].read(t, "u3", "room:"+private) })
		}
		all.Wait()
		if n := s.sim.Calls("token"); n != 2 || s.sim.Reuses() != 0 {
			t.Errorf("%d refreshes, %d of a used token", n, s.sim.Reuses())
		}
	})
}

func TestTheNewRefreshTokenIsStoredBeforeTheAccessTokenIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u3")
		before, writes := s.sim.Calls("getWorkspaces"), 0
		s.vault.onPut(func(key string) error {
			if strings.Contains(key, "/grant/") {
				if writes++; writes < 4 {
					return errors.New("the vault is away")
				}
				if s.sim.Calls("getWorkspaces") != before {
					t.Error("the access token was used first")
				}
			}
			return nil
		})
		if a, _ := s.read(t, "u3", ""); a.Basis != mural.BasisOwn || writes != 4 {
			t.Errorf("%s after %d writes", a.Basis, writes)
		}
	})
}

// A reader that leaves while the vendor answers must not cost the grant.
func TestARefreshIsNotGivenUpHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u3")
		ctx, leave := context.WithCancel(t.Context())
		s.front = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.sim.ServeHTTP(w, r)
			leave()
		})
		if _, err := another(t, s, config()).Read(ctx, ref("u3", ""), newSession(1)); err == nil {
			t.Error("the reader was gone, but was answered")
		}
		if a, _ := s.read(t, "u3", ""); a.Basis != mural.BasisOwn || s.sim.Reuses() != 0 {
			t.Errorf("%s, %d used tokens came again", a.Basis, s.sim.Reuses())
		}
	})
}

func TestAReplyWithoutRefreshTokenKeepsTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{Quirks: muralsim.Quirks{NoRefreshToken: true}}).consent(t, "u3")
		for range 3 {
			s.read(t, "u3", "")
			time.Sleep(20 * time.Minute) // of the bubble's clock
		}
		if g := s.grantOf(t, "u3"); g.Dead != "" || s.sim.Calls("token") != 4 || g.Expires.IsZero() {
			t.Errorf("%+v after %d refreshes", g, s.sim.Calls("token"))
		}
	})
}

func TestWhereTheAppsCredentialsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{Quirks: muralsim.Quirks{BasicOnly: true}}).consent(t, "u3")
		if n := s.sim.Calls("token"); n != 2 {
			t.Errorf("%d requests until it worked", n)
		}
		s.read(t, "u3", "")
		if n := s.sim.Calls("token"); n != 3 {
			t.Errorf("%d requests; what worked was not remembered", n)
		}
	})
}

func TestTheOtherRefreshAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.RefreshPath = "/refresh"
		s := another(t, newStage(t, muralsim.Options{}), c).consent(t, "u3")
		if s.sim.Calls("refresh") != 1 || s.sim.Calls("token") != 0 {
			t.Errorf("%v", s.sim.AllCalls())
		}
	})
}

func TestAGrantThatIsRefusedIsDead(t *testing.T) {
	for name, c := range map[string]struct {
		quirks muralsim.Quirks
		used   bool // a token is there already
		reason string
	}{
		"by the refresh":           {reason: "invalid_grant"},
		"by any call":              {used: true, reason: "invalid_grant"},
		"when the token has ended": {quirks: muralsim.Quirks{TokensOutliveGrant: true}, reason: "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{Quirks: c.quirks}).consent(t, "u2", "u3")
				if c.used {
					s.read(t, "u3", "")
				}
				s.sim.DropGrant("u3")
				a, _ := s.read(t, "u3", "mural:"+board(13)) // whose list still shows it
				if got := short(a); got != "dead-grant [] []" || !strings.Contains(a.Why["role/member"], "is dead") {
					t.Errorf("%s, %v", got, a.Why)
				}
				g := s.grantOf(t, "u3")
				if !strings.Contains(g.Dead, c.reason) || time.Since(g.Died) > time.Minute {
					t.Errorf("%+v", g)
				}
				asked := s.sim.Calls("token")
				s.read(t, "u3", "mural:"+board(13))
				if n := s.sim.Calls("token"); n != asked {
					t.Errorf("a dead grant was tried again")
				}
				s.consent(t, "u3")
				if a, _ := s.read(t, "u3", ""); a.Basis != mural.BasisOwn {
					t.Errorf("with a new grant: by %s", a.Basis)
				}
			})
		})
	}
}

// The vendor issues a token, and does not take it.
func TestAnUnauthorizedTokenThatIsNewEndsTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2", "u3")
		calls := 0
		s.front = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls > 1 && calls < 6 && r.Method == http.MethodGet { // the first is a refresh
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprint(w, `{"code":"UNAUTHORIZED","message":"eyJ"}`)
				return
			}
			s.sim.ServeHTTP(w, r)
		})
		s = another(t, s, config())
		s.Read(t.Context(), ref("u3", "mural:"+board(13)), newSession(1)) // as u2, it is refused too
		if g := s.grantOf(t, "u3"); !strings.Contains(g.Dead, "access token: UNAUTHORIZED") {
			t.Errorf("%+v", g)
		}
	})
}

func TestTheReuseOfATokenIsNotHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		must(t, s.sim.Fault(muralsim.Fault{Operation: "token", Kind: muralsim.Drop, Count: 1}))
		_, _, err := s.Poll(t.Context(), nil)
		if !errors.Is(err, subscriptions.ErrMisconfigured) || s.sim.Reuses() != 1 {
			t.Errorf("%v after %d used tokens", err, s.sim.Reuses())
		}
	})
}

func TestAnExpiredTokenIsReplacedWhateverTheStatus(t *testing.T) {
	for _, forbidden := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, muralsim.Options{Quirks: muralsim.Quirks{ExpiredForbidden: forbidden}}).consent(t, "u3")
			s.read(t, "u3", "")
			s.sim.ExpireTokens("u3")
			if a, _ := s.read(t, "u3", "mural:"+board(13)); a.Basis != mural.BasisOwn || s.sim.Calls("token") != 3 {
				t.Errorf("403 is %t: by %s, %d refreshes", forbidden, a.Basis, s.sim.Calls("token"))
			}
		})
	}
}

func TestASuspendedUserGetsNoNewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2", "u3")
		s.read(t, "u3", "")
		must(t, s.sim.Suspend("u3"))
		time.Sleep(15 * time.Minute) // of the bubble's clock
		if a, _ := s.read(t, "u3", ""); a.Basis == mural.BasisOwn {
			t.Error("the suspended user's token still reads")
		}
	})
}

func TestWrongCredentialsOfTheAppAreAPersonsToMend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2")
		s.sim.DeleteApp("rescind-dev")
		_, _, err := s.Poll(t.Context(), nil)
		if !errors.Is(err, subscriptions.ErrMisconfigured) || !strings.Contains(err.Error(),
			"client id and secret") {
			t.Errorf("%v", err)
		}
		if g := s.grantOf(t, "u2"); g.Dead != "" || !strings.Contains(g.Error, "invalid_client") {
			t.Errorf("the grant is not at fault: %+v", g)
		}
	})
}

// The operator's grant wins over a refresh of the old one that is under way.
func TestAGrantPutInDuringARefreshStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2", "u3")
		must(t, s.sim.Fault(muralsim.Fault{Operation: "token", Kind: muralsim.Delay, Delay: 5 * time.Second,
			Count: 1}))
		var reader sync.WaitGroup
		reader.Go(func() { s.read(t, "u3", "") })
		synctest.Wait()
		s.consent(t, "u3")
		obtained := s.grantOf(t, "u3").Obtained
		reader.Wait()
		if g := s.grantOf(t, "u3"); !g.Obtained.Equal(obtained) || g.Dead != "" {
			t.Errorf("%+v, put in at %s", g, obtained)
		}
		anew := newSession(500)
		anew.needs = 500
		if a, err := s.Read(t.Context(), ref("u3", ""), anew); err != nil || a.Basis != mural.BasisOwn {
			t.Errorf("%s, %v", a.Basis, err)
		}
	})
}

func TestPutGrantRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{})
		token := func(user string, scopes ...string) subscriptions.Secret {
			_, refresh, err := s.sim.Authorize(user, scopes...)
			must(t, err)
			return subscriptions.NewSecret(refresh)
		}
		for name, c := range map[string]struct {
			user  events.Subject
			token subscriptions.Secret
			want  string
		}{
			"no token":             {"u3", subscriptions.Secret{}, "no refresh token"},
			"no user":              {"", token("u3"), "user"},
			"somebody else's":      {"u3", token("u4"), `that of user "u4"`},
			"a token that is none": {"u3", subscriptions.NewSecret("eyJx"), "refuses the refresh token"},
			"no identity:read":     {"u3", token("u3", "murals:read"), "identity:read"},
		} {
			err := s.PutGrant(t.Context(), c.user, c.token)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
				continue
			}
			noSecret(t, err.Error())
		}
		// Only the poller is told of, who has none.
		if all, err := s.Grants(t.Context()); err != nil || len(all) != 1 || all[0].Dead == "" || !all[0].Obtained.IsZero() {
			t.Errorf("kept: %+v, %v", all, err)
		}
	})
}

// The operator's interrupt, once the token is used up, must not cost the grant.
func TestPutGrantIsNotGivenUpHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{})
		ctx, leave := context.WithCancel(t.Context())
		s.front = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.sim.ServeHTTP(w, r)
			leave()
		})
		_, refresh, err := s.sim.Authorize("u3")
		must(t, err)
		must(t, another(t, s, config()).PutGrant(ctx, "u3", subscriptions.NewSecret(refresh)))
		if a, _ := s.read(t, "u3", ""); a.Basis != mural.BasisOwn || s.sim.Reuses() != 0 {
			t.Errorf("%s, %d used tokens came again", a.Basis, s.sim.Reuses())
		}
	})
}

func TestGrantsListsFirstWhatFailsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u1")
		time.Sleep(time.Minute) // of the bubble's clock
		s.consent(t, "u2", "u3")
		s.sim.SetQuirks(muralsim.Quirks{OpaqueRefresh: true})
		s.consent(t, "u4")
		s.sim.DropGrant("u3")
		s.read(t, "u3", "")
		all, err := s.Grants(t.Context())
		var order []events.Subject
		for _, g := range all {
			order = append(order, g.User)
		}
		if got := texts(subjects(order)); err != nil || strings.Join(got,
			" ") != "subject:u3 subject:u1 subject:u2 subject:u4" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func subjects(all []events.Subject) (tags []events.Tag) {
	for _, s := range all {
		tags = append(tags, events.SubjectTag(s))
	}
	return tags
}

// A token serves the sessions that it is no older than.
func TestATokenIsKeptForTheNextReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u3")
		for _, needs := range []cache.Version{0, 50, 100} {
			at := newSession(100)
			at.needs = needs
			if _, err := s.Read(t.Context(), ref("u3", ""), at); err != nil || len(at.used) != 1 {
				t.Errorf("%v used, %v", at.used, err)
			}
		}
		if n := s.sim.Calls("token"); n != 2 {
			t.Errorf("%d refreshes", n)
		}
	})
}
