package mural_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/providertest"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

func TestContract(t *testing.T) {
	for name, consenting := range map[string][]string{
		"with the subject's token": {"u2", "u3"}, "with the poller's": {"u2"},
	} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Site{
				Home: home, Lanes: 2, Tokens: 1, Secrets: []string{appSecret, "eyJ"},
				Open: func(t testing.TB, w providertest.Wiring) providertest.World {
					return contractWorld(t, w, consenting)
				},
			})
		})
	}
}

func contractWorld(t testing.TB, w providertest.Wiring, consenting []string) providertest.World {
	t.Helper()
	s := muralsim.New(muralsim.Options{ClientSecret: appSecret, UserLimit: -1, AppLimit: -1,
		Quirks: muralsim.Quirks{ReuseAllowed: true}}) // else a reply that is cut costs the grant
	w.Serve(s)
	p, err := mural.New(config(), w.Deps)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range consenting {
		_, refresh, err := s.Authorize(user)
		if err == nil {
			err = p.PutGrant(t.Context(), events.Subject(user), subscriptions.NewSecret(refresh))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ref := func(user, resource string) events.Ref {
		return events.Ref{Home: home, Subject: events.Subject(user), Resource: events.Resource(resource)}
	}
	return providertest.World{
		Provider: p, Calls: func() int { return total(s.AllCalls()) },
		Ref: ref("u3", "mural:"+board(13)), Held: cache.NewGrant(cache.Role, "facilitator"),
		Revoke: func() error { return s.RemoveMuralMember(board(13), "u3") },
		Others: []events.Ref{
			ref("u2", ""), ref("u3", ""), ref("u4", ""), ref("u3", "room:"+open), ref("u1", "room:"+open),
			ref("u3", "mural:"+board(12)), ref("u6", "mural:"+board(12)), ref("u3", "mural:"+board(14)),
		},
		Unknown: []events.Ref{
			ref("nobody", ""), ref("nobody", "room:"+open), ref("nobody", "mural:"+board(13)),
			ref("u3", "room:4711"), ref("u3", "mural:"+space+".4711"),
		},
		Misshapen: []events.Resource{"room:x", "room:1/../2", "mural:", "mural:../users/me", "mural:elsewhere.1",
			"mural:" + space + ".",
			"mural:" + space + "...", "folder:1"},
		Change: func(n int) error {
			return s.SetVisitors(board(12), []string{"write", "none"}[n%2], "read")
		},
		Tag: events.MuralTag(board(12)),
		Kill: func() {
			s.ExpireTokens("u2")
			s.ExpireTokens("u3")
		},
		Dead: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"code":"TOKEN_EXPIRED"}`)
		},
		Limited: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Minute).Unix()))
			w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusTooManyRequests)
		},
	}
}

func total(calls map[string]int) (n int) {
	for _, one := range calls {
		n += one
	}
	return n
}
