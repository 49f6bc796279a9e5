package mural_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

// calledType lets the vendor call the owner of a token by another type.
func calledType(s *stage, word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/users/me") {
			s.sim.ServeHTTP(w, r)
			return
		}
		reply := httptest.NewRecorder()
		s.sim.ServeHTTP(reply, r)
		w.WriteHeader(reply.Code)
		fmt.Fprint(w, strings.Replace(reply.Body.String(), `"type":"member"`, `"type":"`+word+`"`, 1))
	})
}

func TestWhoMayBeAMemberHasNoVisitorsRights(t *testing.T) {
	few := []string{"identity:read", "murals:read", "users:read", "rooms:read"}
	all := append(few[:4:4], "workspaces:read")
	const unknown = "own-token [role scope] [permission/view]"
	for name, c := range map[string]struct {
		scopes []string
		word   string
		want   string
	}{
		"a member":                      {all, "member", "own-token [permission role scope] [permission/view]"},
		"without workspaces:read":       {few, "member", unknown},
		"a type that nobody documented": {all, "admin", unknown},
		"a guest": {all, "guest",
			"own-token [permission role scope] [permission/edit permission/view]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{})
				must(t, s.sim.SetVisitors(board(12), "write", "read"))
				s.front = calledType(s, c.word)
				s = another(t, s, config())
				s.consentTo(t, "u4", c.scopes...)
				a, _ := s.read(t, "u4", "mural:"+board(12))
				if got := short(a); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				if c.want == unknown && !strings.Contains(a.Why["permission/edit"], "member or a guest") {
					t.Errorf("why: %v", a.Why)
				}
			})
		})
	}
}

func TestOnlyWhoIsCalledAMemberIsOneOfTheWorkspace(t *testing.T) {
	for name, c := range map[string]struct {
		user, word string
		granted    bool
	}{
		"a member":             {"u3", "member", true},
		"a guest":              {"u6", "member", false}, // who is not renamed
		"an unheard of type":   {"u3", "admin", false},
		"no type in the reply": {"u3", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{})
				s.front = calledType(s, c.word)
				s = another(t, s, config()).consent(t, c.user)
				a, _ := s.read(t, c.user, "")
				_, granted := a.Grants["role/member"]
				if granted != c.granted || slices.Contains(a.Covers, "role") {
					t.Errorf("%s", short(a))
				}
				if !granted && !strings.Contains(a.Why["role/member"], "member or a guest") {
					t.Errorf("why: %v", a.Why)
				}
			})
		})
	}
}

func TestNothingByDefaultIsKnownInAClosedWorkspace(t *testing.T) {
	for word, end := range map[string]func(*muralsim.Workspace){
		"suspended": func(w *muralsim.Workspace) { w.Suspended = true },
		"locked":    func(w *muralsim.Workspace) { w.Locked = true },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, muralsim.Options{}).consent(t, "u4")
			w := workspace()
			end(&w)
			must(t, s.sim.PutWorkspace(w))
			a, _ := s.read(t, "u4", "mural:"+board(11))
			if got := short(a); got != "own-token [scope] []" || !strings.Contains(a.Why["permission/view"], word) {
				t.Errorf("%s: %s, %v", word, got, a.Why)
			}
		})
	}
}

// A suspended user gets no token any more; the lists show it all the same.
func TestAUserWhoseGrantIsDeadIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, muralsim.Options{}).consent(t, "u2", "u3")
		must(t, s.sim.Suspend("u3"))
		time.Sleep(16 * time.Minute) // the access token has ended
		for _, resource := range []string{"", "room:" + private, "mural:" + board(14)} {
			for range 2 { // it dies, it is dead
				a, _ := s.read(t, "u3", resource)
				if got := short(a); got != "dead-grant [] []" || !strings.Contains(a.Why["role/member"], "is dead") {
					t.Errorf("%q: %s, %v", resource, got, a.Why)
				}
			}
		}
		if a, _ := s.read(t, "u1", "mural:"+board(11)); a.Basis != "member-list" {
			t.Errorf("who never had a grant is read by %s", a.Basis)
		}
	})
}

func TestARefusalOfATokenThatHidesItsScopesDeniesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		code   string
		want   string
	}{
		"forbidden":      {http.StatusForbidden, "FORBIDDEN", "own-token [] []"},
		"does not exist": {http.StatusNotFound, "NOT_FOUND", "no-access"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, muralsim.Options{})
				s.front = opaque(c.status, c.code)
				s = another(t, s, config())
				must(t, s.PutGrant(t.Context(), "u1", subscriptions.NewSecret("given")))
				for _, resource := range []string{"", "room:" + open, "mural:" + board(11)} {
					a, _ := s.read(t, "u1", resource)
					if got := short(a); !strings.HasPrefix(got, c.want) {
						t.Errorf("%q: %s", resource, got)
					}
					why := a.Why["role/member"]
					if c.status == http.StatusForbidden && !strings.Contains(why, "does not tell its scopes") {
						t.Errorf("%q: why %v", resource, a.Why)
					}
				}
			})
		})
	}
}

// opaque issues tokens without claims, and refuses all calls but the first that
// each grant needs.
func opaque(status int, code string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/token"):
			fmt.Fprint(w, `{"access_token":"opaque","refresh_token":"r","expires_in":900,"token_type":"Bearer"}`)
		case strings.HasSuffix(r.URL.Path, "/users/me"):
			fmt.Fprint(w, `{"value":{"id":"u1","type":"member"}}`)
		default:
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"code":%q}`, code)
		}
	})
}
