package ringcentral_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

const listAt = "GET /subscription"

// limited replies with headers: name and value in turn.
func limited(v *vendor, route string, status int, headers ...string) {
	v.on(route, func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		reply(w, status, `{"records":[],"errorCode":"CMN-301","message":"`+accessMark+`"}`)
	})
}

func TestPenalty(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		headers []string
		closed  time.Duration // 0: it stays open
	}{
		"429 with Retry-After":           {429, []string{"Retry-After", "17"}, 17 * time.Second},
		"429 with Retry-After 0":         {429, []string{"Retry-After", "0"}, time.Second},
		"429 without it":                 {429, nil, time.Minute},
		"429 without it, a short window": {429, []string{"X-Rate-Limit-Window", "5"}, time.Minute},
		"429 without it, a long window":  {429, []string{"X-Rate-Limit-Window", "90"}, 90 * time.Second},
		"429 with nonsense":              {429, []string{"Retry-After", "soon"}, time.Minute},
		"429 for a year":                 {429, []string{"Retry-After", "31536000"}, time.Hour},
		"503 with Retry-After":           {503, []string{"Retry-After", "8"}, 8 * time.Second},
		"nothing remains": {
			200, []string{"X-Rate-Limit-Remaining", "0", "X-Rate-Limit-Window", "30"}, 30 * time.Second,
		},
		"nothing remains, window unknown": {200, []string{"X-Rate-Limit-Remaining", "0"}, time.Minute},
		"one remains": {
			200, []string{"X-Rate-Limit-Remaining", "1", "X-Rate-Limit-Window", "30"}, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t, testConfig())
				limited(w.vendor, listAt, c.status, c.headers...)
				start := time.Now()
				_, err := w.List(t.Context())
				var later *subscriptions.Later
				if limited := errors.As(err, &later); limited != (c.status != 200) {
					t.Fatalf("first call: %v", err)
				}
				w.vendor.says(listAt, 200, `{"records":[]}`)
				if c.closed > 0 {
					time.Sleep(c.closed - time.Millisecond) // simulated
					_, err = w.List(t.Context())
					if !errors.As(err, &later) || !later.Until.Equal(start.Add(c.closed)) || later.Group != "light" {
						t.Errorf("just before the end: %v", err)
					}
					if n := w.vendor.count(listAt); n != 1 {
						t.Errorf("%d calls during the penalty", n-1)
					}
					time.Sleep(time.Millisecond) // simulated
				}
				if _, err = w.List(t.Context()); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

func TestPenaltyIsOfOneGroup(t *testing.T) {
	w := open(t, testConfig())
	limited(w.vendor, listAt, 429)
	w.vendor.says("POST /subscription", 200, subscriptionJSON("Active"))
	if _, err := w.List(t.Context()); err == nil {
		t.Fatal("no error")
	}
	if _, err := w.Create(t.Context(), order()); err != nil {
		t.Errorf("a medium call during a light penalty: %v", err)
	}
}

func TestPenaltyOfTheTokenEndpoint(t *testing.T) {
	w := open(t, testConfig())
	limited(w.vendor, tokenAt, 429, "Retry-After", "30")
	for range 3 {
		var later *subscriptions.Later
		if _, err := w.List(t.Context()); !errors.As(err, &later) || later.Group != "auth" {
			t.Fatalf("error %v", err)
		}
	}
	if n := w.vendor.count(tokenAt); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestRetries(t *testing.T) {
	ok := `{"records":[]}`
	for name, c := range map[string]struct {
		fails    int // before it succeeds
		status   int
		deadline time.Duration
		calls    int
		works    bool
	}{
		"a passing fault":              {1, 500, time.Hour, 2, true},
		"two of them":                  {2, 503, time.Hour, 3, true},
		"one that stays":               {9, 500, time.Hour, 3, false},
		"a deadline before the retry":  {1, 500, 500 * time.Millisecond, 1, false},
		"a fault that does not pass":   {9, 400, time.Hour, 1, false},
		"a redirect is not followed":   {9, 302, time.Hour, 1, false},
		"a reply that is cut short":    {1, 200, time.Hour, 2, true},
		"a request that took too long": {1, 408, time.Hour, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t, testConfig())
				left := c.fails
				w.vendor.on(listAt, func(rw http.ResponseWriter, _ *http.Request) {
					if left--; left >= 0 {
						rw.Header().Set("Location", "https://elsewhere.invalid/"+accessMark)
						reply(rw, c.status, `{"records":[`)
						return
					}
					reply(rw, 200, ok)
				})
				ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
				defer cancel()
				start := time.Now()
				_, err := w.List(ctx)
				if (err == nil) != c.works || w.vendor.count(listAt) != c.calls {
					t.Errorf("%d calls, want %d; error %v", w.vendor.count(listAt), c.calls, err)
				}
				if err != nil {
					noSecret(t, err.Error())
				}
				if took := time.Since(start); c.calls == 1 && took != 0 {
					t.Errorf("waited %s in vain", took)
				}
			})
		})
	}
}

func TestCreationIsNotRepeated(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says("POST /subscription", 500, `{}`)
	if _, err := w.Create(t.Context(), order()); err == nil {
		t.Error("no error")
	}
	if n := w.vendor.count("POST /subscription"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// TestOverTheNetwork is what a transport in memory cannot show.
func TestOverTheNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		reply http.HandlerFunc
		says  string
	}{
		"a body that breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"records":[]}`)
		}, "unexpected EOF"},
		"a body that is too long": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"records":[],"x":"`+strings.Repeat("x", 4<<20)+`"}`)
		}, "reply over 4194304 bytes"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/restapi/v1.0/elsewhere", http.StatusTemporaryRedirect)
		}, "status 307"},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVendor()
			v.on(listAt, c.reply)
			srv := httptest.NewServer(v)
			defer srv.Close()
			cfg := testConfig()
			cfg.BaseURL = srv.URL
			w := openWith(t, cfg, v, &http.Transport{DisableKeepAlives: true}, newMemory())
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := w.List(ctx)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
			if v.count("GET /elsewhere") != 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}

// TestErrorsTellCodesAndNeverWords: a vendor that repeats our secrets in every
// field of its errors.
func TestErrorsTellCodesAndNeverWords(t *testing.T) {
	evil := strings.Join([]string{clientSecret, jwtSecret, accessMark + "-1", deskSecret, doorSecret}, " ")
	body := fmt.Sprintf(`{"errorCode":%q,"message":%q,"error":"invalid_client","error_description":%q,
		"errors":[{"errorCode":"CMN-401","message":%q,"parameterName":%q,"permissionName":"ReadAccounts"}]}`,
		evil, evil, evil, evil, evil)
	for _, status := range []int{400, 401, 403, 404, 418, 429, 500, 503} {
		for _, route := range []string{
			tokenAt, exchangeAt, profileAt, rolesAt, roleAt + "7", permsAt, "POST /subscription",
		} {
			t.Run(fmt.Sprintf("%d %s", status, route), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := open(t, exchanging(testConfig()))
					full(w.vendor).says(exchangeAt, 400, `{"error":"invalid_grant"}`)
					w.vendor.says(route, status, body)
					_, err1 := w.Read(t.Context(), subject, newSession(100))
					_, err2 := w.Create(t.Context(), order())
					if err1 == nil && err2 == nil {
						t.Fatal("no error")
					}
					noSecret(t, fmt.Sprintf("%v %+v %#v", errors.Join(err1, err2), err1, err2))
					var e *ringcentral.APIError
					if errors.As(err1, &e) && (e.Code != "CMN-401" || e.RequestID != "req-1") {
						t.Errorf("error %+v", e)
					}
				})
			})
		}
	}
}
