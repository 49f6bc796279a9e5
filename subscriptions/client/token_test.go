package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// The token "old" lies in the vault, if it has any time left. It is read with, or
// token-1 is, while old makes the spare calls.
func TestWhatAReadingTakes(t *testing.T) {
	const hour, near = time.Hour, 2 * time.Minute
	const anew, kept = "token:service@7.9 9 [app]", "token:service@7.5 5 [app]"
	for name, c := range map[string]struct {
		left          time.Duration
		number, fence int
		needs         cache.Version
		refused       string
		sent, used    string
	}{
		"nothing kept":        {0, 0, 0, 0, "", "token-1", anew},
		"the same fence":      {hour, 5, 7, 5, "", "old", kept},
		"older than needed":   {hour, 5, 7, 6, "", "old token-1", anew},
		"another fence":       {hour, 5, 8, 0, "", "old token-1", anew},
		"of no session":       {hour, 0, 7, 0, "", "old token-1", anew},
		"refused":             {hour, 5, 7, 0, "token:service@7.5", "old token-1", anew},
		"another was refused": {hour, 5, 7, 0, "token:service@7.4", "old", kept},
		"2 minutes left":      {near, 5, 7, 0, "", "token-1", anew},
		"more than that":      {near + 1, 5, 7, 0, "", "old", kept},
		"2 minutes, no spare": {near, 5, 8, 0, "", "token-1", anew},
		"more, and it can be": {near + 1, 5, 8, 0, "", "old token-1", anew},
	} {
		play(t, name, false, func(t *testing.T, s *stage) {
			if c.left > 0 {
				s.keep(c.left, c.number, c.fence)
			}
			reader := &session{needs: c.needs, refused: c.refused}
			b := s.Reading(s.ring(), reader)
			for _, b := range []*client.Bearer{b.Spare(t.Context()), b} {
				if b != nil {
					same(t, "error", "", text(s.Call(t.Context(), b, client.Request{Op: list}, nil)))
				}
			}
			b.Confess(reader)
			same(t, "sent", c.sent, strings.Join(s.sent, " "))
			same(t, "used", []string{c.used}, reader.used)
		})
	}
}

func TestOneMintForManyProcesses(t *testing.T) {
	play(t, "and for many readers", false, func(t *testing.T, first *stage) {
		minted, turn := 0, make(chan struct{}, 1)
		var all sync.WaitGroup
		for i := range 12 {
			s := newStage(t, false, first.vault)
			s.mint = func(context.Context) (client.Token, error) {
				minted++                  // no two at once: the race detector would tell
				<-time.After(time.Second) // the vendor takes so long
				return client.Token{Access: subscriptions.NewSecret("token-x")}, nil
			}
			if i%2 == 0 {
				s.turn = turn
			}
			b := s.Reading(s.ring(), &session{})
			all.Go(func() { same(t, "error", "", text(s.Call(t.Context(), b, client.Request{Op: list}, nil))) })
		}
		all.Wait()
		same(t, "mints", 1, minted)
	})
}

// What the vault, or the mint, does: which token is used, what is logged.
func TestWhenTheVaultOrTheMintFails(t *testing.T) {
	keeps := func(value []byte) func(*stage) {
		return func(s *stage) { s.vault.kept[s.VaultKey("service")] = entry{value: value, rev: 3} }
	}
	fails := func(left time.Duration, err error) func(*stage) {
		return func(s *stage) {
			s.keep(left, 0, 0)
			s.mint = func(context.Context) (client.Token, error) { return client.Token{}, err }
		}
	}
	another := func(locking bool) func(*stage) { // stores old
		return func(s *stage) {
			s.vault.before = func(key string) {
				if locking == strings.HasSuffix(key, "/lock") {
					s.keep(time.Hour, 0, 0)
				}
			}
		}
	}
	locked := func(s *stage) { s.vault.kept[s.VaultKey("service")+"/lock"] = entry{locked: true} }
	down, late := errors.New("down"), "wait for token:service: token not obtained in time"
	for name, c := range map[string]struct {
		does             func(*stage)
		sent, says, logs string
	}{
		"another is stored first": {another(false), "token-1", "", "another was faster"},
		"another has just left":   {another(true), "old", "", ""},
		"another has the turn":    {func(s *stage) { s.turn = make(chan struct{}) }, "", late, ""},
		"no JSON is kept":         {keeps([]byte("PRIVATE")), "token-1", "", "unreadable token"},
		"no token is kept":        {keeps([]byte(`{"a":"PRIVATE"}`)), "token-1", "", "unreadable token"},
		"what cannot be opened":   {keeps(nil), "token-1", "", "cannot be opened"},
		"the vault is away": {func(s *stage) { s.vault.away = down }, "",
			"read token:service from the vault: down", ""},
		"another keeps the lock": {locked, "", late, ""},
		"enough time is left":    {fails(15*time.Second+1, down), "old", "", "token not renewed"},
		"not enough is left":     {fails(15*time.Second, down), "", "down", ""},
		"there will be no more":  {fails(time.Minute, client.ErrNoToken), "", client.ErrNoToken.Error(), ""},
	} {
		play(t, name, false, func(t *testing.T, s *stage) {
			c.does(s)
			same(t, "error", c.says, text(s.call(t.Context(), list)))
			same(t, "sent", c.sent, strings.Join(s.sent, " "))
			same(t, "logged", true, strings.Contains(s.log.String(), c.logs))
		})
	}
}

func TestATokenThatDoesNotTellItsEnd(t *testing.T) {
	play(t, "ends with the ceiling", false, func(t *testing.T, s *stage) {
		s.mint = func(context.Context) (client.Token, error) {
			return client.Token{Access: subscriptions.NewSecret("token-x")}, nil
		}
		for i, wait := range []time.Duration{0, cache.Ceiling - 2*time.Minute - 1, 1} {
			<-time.After(wait)
			same(t, "error", "", text(s.call(t.Context(), list)))
			same(t, "mints", []int32{1, 1, 2}[i], s.minted.Load())
		}
	})
}

func TestGrant(t *testing.T) {
	later := "toy mint: rate limited: no auth call before " // the bubble's clock begins with 2000
	refused := `{"error":"invalid_grant","error_description":"PRIVATE"}`
	for name, c := range map[string]struct {
		status              int
		body, penalty, says string
		tries               int
	}{
		"a token":        {200, `{"access_token":"a","expires_in":60,"scope":"b a"}`, "", "", 1},
		"a refusal":      {400, refused, "", "status 400", 1},
		"no JSON":        {400, `PRIVATE`, "", "status 400", 1},
		"a fault":        {500, refused, "", "status 500", 3},
		"cut short":      {200, `{"access_token":"PRIVATE`, "", "toy mint: malformed reply", 3},
		"no token":       {200, `{"PRIVATE":1}`, "", "toy mint: malformed reply", 3},
		"a bad redirect": {307, `PRIVATE`, "", "toy mint: failed to parse Location header", 3},
		"a penalty":      {429, refused, "1m", later + "2000-01-01T00:01:00Z", 1},
	} {
		play(t, name, true, func(t *testing.T, s *stage) {
			s.serve = replies(c.status, c.body, "Own", c.penalty, "Location", "https://b.invalid:PRIVATE",
				"Content-Type", "application/json")
			conf := clientcredentials.Config{ClientID: "app", ClientSecret: "PRIVATE", TokenURL: "https://b.invalid",
				AuthStyle: oauth2.AuthStyleInParams}
			got, _, err := s.Grant(cache.WithPurpose(t.Context(), cache.ForSweep), mint, &conf)
			same(t, "error", c.says, text(err))
			same(t, "tries", c.tries, len(s.sent))
			same(t, "asked", []string{"t:token auth 0 reader", "app all 9 reader"}, s.budget.asked[:2])
			if err == nil {
				same(t, "scopes", []string{"a", "b"}, got.Scopes)
				same(t, "expires", time.Now().Add(time.Minute), got.Expires)
			}
		})
	}
}

func TestWordAndClip(t *testing.T) {
	long := strings.Repeat("x", 65)
	for in, want := range map[string][2]string{"": {}, "C-4_0.8": {"C-4_0.8", "C-4_0.8"}, "a b": {"", "a b"},
		"a\n": {"", "?"}, "\x7f": {"", "?"}, "é": {"", "?"}, "\xff": {"", "?"}, long[1:]: {long[1:], long[1:]},
		long: {"", long[1:]}, long[2:] + "é": {"", "?"}} {
		same(t, in, want, [2]string{client.Word(in), client.Clip(in)})
	}
}
