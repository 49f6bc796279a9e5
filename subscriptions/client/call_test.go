package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

func TestWhatACallCarries(t *testing.T) {
	s := newStage(t, vendor())
	var got []string
	s.serve = func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.String()+" "+string(body))
		for _, name := range []string{"Authorization", "User-Agent", "Accept", "Content-Type", "As-User"} {
			got = append(got, r.Header.Get(name))
		}
		return replies(http.StatusOK, `{"id":"7"}`)(r)
	}
	var out struct{ ID string }
	r := client.Request{Op: change, Path: "/a%2Fb", Query: url.Values{"q": {"1 2"}}, Body: map[string]int{"n": 1},
		Header: http.Header{"as-user": {"9"}, "Authorization": {"another"}}, Identity: "nine"}
	must(t, s.Call(t.Context(), s.Registering(s.ring()), r, &out))
	want := []string{`PUT https://toy.invalid/v1/a%2Fb?q=1+2 {"n":1}`, "Bearer token-1", "rescind/test",
		"application/json", "application/json", "9"}
	if diff := cmp.Diff(want, got); diff != "" || out.ID != "7" {
		t.Errorf("read %q, sent (- want, + got):\n%s", out.ID, diff)
	}
	if diff := cmp.Diff([]string{"t:nine light reader"}, s.budget.asked); diff != "" {
		t.Errorf("asked in another lane:\n%s", diff)
	}
}

// Each reply is what the vendor always says; tries is how often it is asked.
func TestReplies(t *testing.T) {
	lost := func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }
	big := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}` }
	for name, c := range map[string]struct {
		op    client.Op
		serve func(*http.Request) (*http.Response, error)
		tries int
		says  string // of the error; empty: none
	}{
		"a reply of 4 MiB":      {list, replies(200, big(4<<20)), 1, ""},
		"one byte more":         {list, replies(200, big(4<<20+1)), 1, "toy list: reply over 4194304 bytes"},
		"a redirect":            {list, replies(302, "", "Location", "https://b.invalid/PRIVATE"), 1, "status 302"},
		"a redirect to nowhere": {list, replies(307, "", "Location", "https://b.invalid:PRIVATE"), 1, "status 307"},
		"what is not there":     {list, replies(404, `{}`), 1, "status 404"},
		"a fault of theirs":     {list, replies(500, `{}`), 3, "status 500"},
		"a change with a fault": {change, replies(502, `{}`), 3, "status 502"},
		"a request timeout":     {list, replies(408, `{}`), 3, "status 408"},
		"a silent 503":          {list, replies(503, `{}`), 3, "status 503"},
		"a silent 429":          {list, replies(429, `{}`), 1, "status 429"},
		"a lost line":           {list, lost, 3, `toy list: Get "https://toy.invalid/v1/x": unexpected EOF`},
		"a cut reply": {list, replies(200, `{"a":`, "X-Id", "r1"), 3,
			"toy list, request r1: malformed reply: unexpected end of JSON input"},
		"a creation with a fault": {create, replies(500, `{}`), 1, "status 500"},
		"a creation that is lost": {create, lost, 1, `toy create: Post "https://toy.invalid/v1/x": unexpected EOF`},
		"a creation whose reply is cut": {create, replies(201, ``, "X-Id", "PRIVATE text"), 1,
			"toy create, request : malformed reply: unexpected end of JSON input"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, vendor())
				s.serve = c.serve
				says := ""
				if err := s.call(t.Context(), c.op); err != nil {
					says = err.Error()
				}
				if says != c.says || len(s.sent) != c.tries {
					t.Errorf("%d requests, want %d; %q, want %q", len(s.sent), c.tries, says, c.says)
				}
			})
		})
	}
}

func TestNoWaitGoesBeyondTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, vendor())
		s.serve = replies(500, `{}`)
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := s.call(ctx, list)
		if !errors.Is(err, refusal(500)) || len(s.sent) != 1 || time.Since(began) != 0 {
			t.Errorf("%v after %d requests and %s", err, len(s.sent), time.Since(began))
		}
	})
}

// What a server says that does not speak HTTP is a reply too.
func TestNoErrorRepeatsAReply(t *testing.T) {
	for name, reply := range map[string]string{
		"no HTTP":           "PRIVATE " + strings.Repeat("x", 1000) + "\r\n\r\n",
		"a broken header":   "HTTP/1.1 200 OK\r\nPRIVATE\r\n\r\n",
		"an unknown coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: PRIVATE\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, vendor())
				wire := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						_, _ = theirs.Read(make([]byte, 1<<16))
						_, _ = io.WriteString(theirs, reply)
						theirs.Close()
					}()
					return ours, nil
				}}
				defer wire.CloseIdleConnections()
				s.serve = wire.RoundTrip
				err := s.call(t.Context(), create)
				if err == nil || strings.Contains(err.Error(), "PRIVATE") || !client.IsTransient(err) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestADeadTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, vendor())
		s.serve = func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") != "Bearer token-1" {
				return replies(200, `{}`)(r)
			}
			<-time.After(time.Second) // until all have been sent
			return replies(401, `{}`)(r)
		}
		b := s.Registering(s.ring())
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := s.Call(t.Context(), b, client.Request{Op: create}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if s.minted != 2 || len(s.sent) != 40 {
			t.Errorf("%d mints, want 2; %d requests, want 40", s.minted, len(s.sent))
		}
		s.serve = replies(401, `{}`)
		err := s.Call(t.Context(), b, client.Request{Op: list}, nil)
		if !errors.Is(err, refusal(401)) || s.minted != 3 || len(s.sent) != 42 {
			t.Errorf("always dead: %v after %d mints and %d requests", err, s.minted-2, len(s.sent)-40)
		}
	})
}

func TestTwoLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			own, app string
			status   int
			wait     time.Duration // of the Later; zero: none
		}{
			"no penalty":            {"", "", 429, 0},
			"the identity's":        {"3s", "", 429, 3 * time.Second},
			"the app's":             {"", "4s", 503, 4 * time.Second},
			"both, the longer":      {"3s", "4s", 429, 4 * time.Second},
			"of a reply that is ok": {"3s", "4s", 200, 0},
		} {
			s := newStage(t, withApp())
			s.serve = replies(c.status, `{}`, "Own", c.own, "App", c.app)
			var later *subscriptions.Later
			if err := s.call(t.Context(), create); errors.As(err, &later) != (c.wait > 0) {
				t.Errorf("%s: %v", name, err)
			} else if later != nil && (time.Until(later.Until) != c.wait || later.Group != "light") {
				t.Errorf("%s: %v, want in %s", name, err, c.wait)
			}
			own, _ := time.ParseDuration(c.own)
			app, _ := time.ParseDuration(c.app)
			want := map[string][]subscriptions.Said{"light": {{Penalty: own}}, "all": {{Penalty: app}}}
			if diff := cmp.Diff(want, s.budget.told); diff != "" {
				t.Errorf("%s: told (- want, + got):\n%s", name, diff)
			}
			lanes := []string{"t:me light reader", "app all reader"}
			if diff := cmp.Diff(lanes, s.budget.asked) +
				cmp.Diff([]subscriptions.Window{light, withApp().App.Usual}, s.budget.usual); diff != "" {
				t.Errorf("%s: asked (- want, + got):\n%s", name, diff)
			}
		}
	})
}

func TestWhatTheAppRefusesIsGivenBack(t *testing.T) {
	s := newStage(t, withApp())
	s.budget.open["all"] = time.Now().Add(time.Hour)
	var later *subscriptions.Later
	if err := s.call(t.Context(), list); !errors.As(err, &later) || later.Group != "all" || len(s.sent) != 0 {
		t.Errorf("%v, %d requests", err, len(s.sent))
	}
	if diff := cmp.Diff(map[string][]subscriptions.Said{"light": {{Unsent: true}}}, s.budget.told); diff != "" {
		t.Errorf("told (- want, + got):\n%s", diff)
	}
}

// A connection that was not made carried nothing; a lost one may have.
func TestUnsent(t *testing.T) {
	for op, want := range map[string]bool{"dial": true, "read": false} {
		s := newStage(t, withApp())
		s.serve = func(*http.Request) (*http.Response, error) { return nil, &net.OpError{Op: op, Err: io.EOF} }
		if err := s.call(t.Context(), create); !client.IsTransient(err) {
			t.Errorf("%s: %v", op, err)
		}
		said := []subscriptions.Said{{Unsent: want}}
		if diff := cmp.Diff(map[string][]subscriptions.Said{"light": said, "all": said}, s.budget.told); diff != "" {
			t.Errorf("%s: told (- want, + got):\n%s", op, diff)
		}
	}
}

// The second lane opens so long after the call; calls is which of the errand's it is.
func TestPatience(t *testing.T) {
	soon, late := 400*time.Millisecond, 600*time.Millisecond
	for name, c := range map[string]struct {
		purpose cache.Purpose
		alone   bool // no errand
		calls   int
		group   string // that is closed
		opens   time.Duration
		asked   string // of the lane that is closed, the last time
		waits   bool
	}{
		"a reader":                        {cache.ForReader, false, 1, "light", soon, "t:me light reader s list", true},
		"a reader for the app":            {cache.ForReader, false, 1, "all", soon, "app all reader s list", true},
		"a reader for too long":           {cache.ForReader, false, 1, "light", late, "t:me light reader s list", false},
		"a reader without errand":         {cache.ForReader, true, 1, "light", soon, "t:me light reader s list", false},
		"a renewal":                       {cache.ForUpkeep, false, 1, "light", soon, "t:me light upkeep s list", false},
		"a renewal for the app":           {cache.ForUpkeep, false, 1, "all", soon, "app all upkeep s list", false},
		"a renewal that is begun":         {cache.ForUpkeep, false, 2, "light", soon, "t:me light reader s list", true},
		"one that is begun, for the app":  {cache.ForUpkeep, false, 2, "all", soon, "app all reader s list", true},
		"one that is begun, for too long": {cache.ForUpkeep, false, 2, "light", late, "t:me light reader s list", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, withApp())
				ctx := cache.WithCaller(cache.WithPurpose(t.Context(), c.purpose), "s")
				if !c.alone {
					ctx = client.WithErrand(ctx)
				}
				if c.calls == 2 {
					must(t, s.call(ctx, change))
				}
				began := time.Now()
				s.budget.open[c.group] = began.Add(c.opens)
				var later *subscriptions.Later
				if err := s.call(ctx, list); errors.As(err, &later) == c.waits || (err == nil) != c.waits {
					t.Error(err)
				}
				if took := time.Since(began); (took == c.opens) != c.waits || !c.waits && took != 0 {
					t.Errorf("took %s", took)
				}
				asked := s.budget.of(c.group)
				if last := asked[len(asked)-1]; last != c.asked {
					t.Errorf("asked %q, want %q", last, c.asked)
				}
			})
		})
	}
}

func TestLife(t *testing.T) {
	s := newStage(t, withApp())
	s.mint = func(ctx context.Context) (client.Token, error) {
		return client.Token{Access: subscriptions.NewSecret("token-x")}, s.token(ctx)
	}
	s.budget.life = map[string]time.Duration{"auth": time.Hour, "light": time.Second, "all": time.Minute}
	ctx := client.WithErrand(t.Context())
	if got := client.Life(t.Context()) + client.Life(ctx); got != 0 {
		t.Errorf("life %s before a call", got)
	}
	must(t, s.call(ctx, list))
	if got := client.Life(ctx); got != time.Minute {
		t.Errorf("life %s, want the app's 1m", got)
	}
	s.budget.life["light"] = 2 * time.Minute
	must(t, s.call(ctx, list))
	s.budget.life["light"] = time.Second
	must(t, s.call(ctx, list))
	if got := client.Life(ctx); got != 2*time.Minute {
		t.Errorf("life %s, want the longest, 2m", got)
	}
}
