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
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

func TestWhatACallCarries(t *testing.T) {
	play(t, "a change as another", false, func(t *testing.T, s *stage) {
		var got strings.Builder
		s.serve = func(r *http.Request) (*http.Response, error) {
			same(t, "error", nil, r.Write(&got))
			return replies(200, `{"id":"7"}`)(r)
		}
		var out struct{ ID string }
		r := client.Request{Op: client.Op{Name: "change", Group: "light", Method: http.MethodPut}, Path: "/a%2Fb",
			Query: url.Values{"q": {"1 2"}}, Body: map[string]int{"n": 1}, Identity: "nine",
			Header: http.Header{"as-user": {"9"}, "Authorization": {"another"}}}
		same(t, "error", "", text(s.Call(t.Context(), s.Registering(s.ring()), r, &out)))
		same(t, "sent", "PUT /v1/a%2Fb?q=1+2 HTTP/1.1\r\nHost: toy.invalid\r\nUser-Agent: rescind/test\r\n"+
			"Content-Length: 7\r\nAccept: application/json\r\nAs-User: 9\r\nAuthorization: Bearer token-1\r\n"+
			"Content-Type: application/json\r\n\r\n{\"n\":1}", got.String())
		same(t, "asked", []string{"t:nine light 5 reader"}, s.budget.asked)
		same(t, "read", "7", out.ID)
	})
}

// Each is what the vendor always says; tries is how often it is asked.
func TestReplies(t *testing.T) {
	lost := func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }
	big := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}` }
	for name, c := range map[string]struct {
		op    client.Op
		serve func(*http.Request) (*http.Response, error)
		tries int
		says  string
	}{
		"4 MiB":                   {list, replies(200, big(4<<20)), 1, ""},
		"one byte more":           {list, replies(200, big(4<<20+1)), 1, "toy list: reply over 4194304 bytes"},
		"a redirect":              {list, replies(302, "", "Location", "https://toy.invalid/b"), 1, "status 302"},
		"not there":               {list, replies(404, `{}`), 1, "status 404"},
		"a silent 429":            {list, replies(429, `{}`), 1, "status 429"},
		"a fault":                 {list, replies(500, `{}`), 3, "status 500"},
		"a timeout":               {list, replies(408, `{}`), 3, "status 408"},
		"a silent 503":            {list, replies(503, `{}`), 3, "status 503"},
		"lost":                    {list, lost, 3, "toy list: unexpected EOF"},
		"a fault of a change":     {client.Op{Name: "c", Method: "PUT"}, replies(502, `{}`), 3, "status 502"},
		"a fault of a creation":   {create, replies(500, `{}`), 1, "status 500"},
		"a creation that is lost": {create, lost, 1, "toy create: unexpected EOF"},
		"cut short": {list, replies(200, `{"a":`, "X-Id", "r1"), 3,
			"toy list, request r1: malformed reply: unexpected end of JSON input"},
		"a Location that is none": {list, replies(307, "", "Location", "https://b.invalid:PRIVATE"), 3,
			"toy list: failed to parse Location header"},
	} {
		play(t, name, false, func(t *testing.T, s *stage) {
			s.serve = c.serve
			same(t, "error", c.says, text(s.call(t.Context(), c.op)))
			same(t, "tries", c.tries, len(s.sent))
		})
	}
	play(t, "no wait beyond the deadline", false, func(t *testing.T, s *stage) {
		s.serve = replies(500, `{}`)
		ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond) // the first wait is 1 s or more
		defer cancel()
		same(t, "error", "status 500", text(s.call(ctx, list)))
		same(t, "error of ctx", nil, ctx.Err())
	})
}

// What a server says that does not speak HTTP is a reply too.
func TestNoErrorRepeatsWhatIsNotHTTP(t *testing.T) {
	for name, reply := range map[string]string{
		"no status line":    "PRIVATE\r\n\r\n",
		"a broken header":   "HTTP/1.1 200 OK\r\nPRIVATE\r\n\r\n",
		"a broken trailer":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nPRIVATE\r\n\r\n",
		"an unknown coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: PRIVATE\r\n\r\n",
	} {
		play(t, name, false, func(t *testing.T, s *stage) {
			wire := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer theirs.Close()
					_, _ = theirs.Read(make([]byte, 1<<16))
					_, _ = io.WriteString(theirs, reply)
				}()
				return ours, nil
			}}
			defer wire.CloseIdleConnections()
			s.serve = wire.RoundTrip
			if err := s.call(t.Context(), create); !client.IsTransient(err) || strings.Contains(text(err), "PRIVATE") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestADeadTokenIsReplacedOnce(t *testing.T) {
	play(t, "for all", false, func(t *testing.T, s *stage) {
		s.serve = func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") != "Bearer token-1" {
				return replies(200, `{}`)(r)
			}
			<-time.After(time.Second) // all are sent before one is refused
			return replies(401, `{}`)(r)
		}
		b := s.Registering(s.ring())
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { same(t, "error", "", text(s.Call(t.Context(), b, client.Request{Op: create}, nil))) })
		}
		all.Wait()
		same(t, "mints and requests", []int{2, 40}, []int{int(s.minted.Load()), len(s.sent)})
		s.serve = replies(401, `{}`)
		same(t, "error", "status 401", text(s.Call(t.Context(), b, client.Request{Op: list}, nil)))
		same(t, "mints and requests", []int{2, 41}, []int{int(s.minted.Load()), len(s.sent)})
	})
}

func TestTwoLanes(t *testing.T) {
	broken := func(op string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return nil, &net.OpError{Op: op, Err: io.EOF} }
	}
	for name, c := range map[string]struct {
		serve func(*http.Request) (*http.Response, error)
		later time.Duration // that the error says; zero: none
		told  []string
	}{
		"none":           {replies(429, ``), 0, []string{"light 0s", "all 0s"}},
		"the identity's": {replies(429, ``, "Own", "3s"), 3 * time.Second, []string{"light 3s", "all 0s"}},
		"the app's":      {replies(503, ``, "App", "4s"), 4 * time.Second, []string{"light 0s", "all 4s"}},
		"both": {replies(429, ``, "Own", "5s", "App", "4s"), 5 * time.Second,
			[]string{"light 5s", "all 4s"}},
		"of what is ok":    {replies(200, `{}`, "Own", "3s"), 0, []string{"light 3s", "all 0s"}},
		"not connected":    {broken("dial"), 0, []string{"light 0s unsent", "all 0s unsent"}},
		"perhaps received": {broken("read"), 0, []string{"light 0s", "all 0s"}},
	} {
		play(t, name, true, func(t *testing.T, s *stage) {
			s.serve = c.serve
			var later *subscriptions.Later
			if errors.As(s.call(t.Context(), create), &later) {
				same(t, "until", time.Now().Add(c.later), later.Until)
			}
			same(t, "later", c.later > 0, later != nil)
			same(t, "told", c.told, s.budget.told)
			same(t, "asked", []string{"t:me light 5 reader", "app all 9 reader"}, s.budget.asked)
		})
	}
	play(t, "the app's is closed", true, func(t *testing.T, s *stage) {
		s.budget.opens = map[string]time.Time{"all": time.Now().Add(time.Hour)}
		var later *subscriptions.Later
		same(t, "later", true, errors.As(s.call(t.Context(), list), &later))
		same(t, "told", []string{"light 0s unsent"}, s.budget.told)
		same(t, "requests", 0, len(s.sent))
	})
}

// The group opens so long after the last of so many calls is made.
func TestPatience(t *testing.T) {
	soon, late := 400*time.Millisecond, 600*time.Millisecond
	for name, c := range map[string]struct {
		purpose cache.Purpose
		errand  bool
		calls   int
		group   string
		opens   time.Duration
		asked   string // at last
		waits   bool
	}{
		"a reader":                 {cache.ForReader, true, 1, "light", soon, "app all 9 reader s list", true},
		"a reader for the app":     {cache.ForReader, true, 1, "all", soon, "app all 9 reader s list", true},
		"a reader, too long":       {cache.ForReader, true, 1, "light", late, "t:me light 5 reader s list", false},
		"a reader, no errand":      {cache.ForReader, false, 1, "light", soon, "t:me light 5 reader s list", false},
		"a renewal":                {cache.ForUpkeep, true, 1, "light", soon, "t:me light 5 upkeep s list", false},
		"a renewal for the app":    {cache.ForUpkeep, true, 1, "all", soon, "app all 9 upkeep s list", false},
		"one begun":                {cache.ForUpkeep, true, 2, "light", soon, "app all 9 reader s list", true},
		"one begun, for the app":   {cache.ForUpkeep, true, 2, "all", soon, "app all 9 reader s list", true},
		"one begun, too long":      {cache.ForUpkeep, true, 2, "light", late, "t:me light 5 reader s list", false},
		"one not begun, no errand": {cache.ForUpkeep, false, 2, "light", soon, "t:me light 5 upkeep s list", false},
	} {
		play(t, name, true, func(t *testing.T, s *stage) {
			ctx := cache.WithCaller(cache.WithPurpose(t.Context(), c.purpose), "s")
			if c.errand {
				ctx = client.WithErrand(ctx)
			}
			for range c.calls - 1 {
				same(t, "error", "", text(s.call(ctx, create)))
			}
			began := time.Now()
			s.budget.opens = map[string]time.Time{c.group: began.Add(c.opens)}
			var later *subscriptions.Later
			same(t, "granted", c.waits, !errors.As(s.call(ctx, list), &later))
			same(t, "waited", map[bool]time.Duration{true: c.opens}[c.waits], time.Since(began))
			same(t, "asked at last", c.asked, s.budget.asked[len(s.budget.asked)-1])
		})
	}
	play(t, "what is refused is not begun", true, func(t *testing.T, s *stage) {
		s.budget.opens = map[string]time.Time{"all": time.Now().Add(time.Hour)}
		ctx := client.WithErrand(cache.WithPurpose(t.Context(), cache.ForSweep))
		same(t, "granted", []bool{false, false}, []bool{s.call(ctx, list) == nil, s.call(ctx, list) == nil})
		same(t, "asked at last", "app all 9 sweep", s.budget.asked[3])
	})
}

func TestLife(t *testing.T) {
	play(t, "of an errand", true, func(t *testing.T, s *stage) {
		s.mint = func(ctx context.Context) (client.Token, error) {
			r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://toy.invalid/token", nil)
			return client.Token{Access: subscriptions.NewSecret("token-x")}, s.Raw(ctx, mint, "token", r, nil)
		}
		ctx := client.WithErrand(t.Context())
		got := []time.Duration{client.Life(t.Context()), client.Life(ctx)}
		for _, light := range []time.Duration{1, 5, 2} {
			s.budget.life = map[string]time.Duration{"auth": 9, "light": light, "all": 3}
			same(t, "error", "", text(s.call(ctx, list)))
			got = append(got, client.Life(ctx))
		}
		same(t, "life: none, the app's, the own, the longest so far", []time.Duration{0, 0, 3, 5, 5}, got)
	})
}
