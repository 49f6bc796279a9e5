package lookup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

const token = "s3cr3t-t0ken"

// worker answers every question alike.
func worker(t *testing.T, h http.HandlerFunc) *lookup.HTTP {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return asker(t, lookup.HTTPOptions{
		URL: srv.URL, Token: token, Client: srv.Client(), Timeout: 20 * time.Second,
	})
}

func asker(t *testing.T, o lookup.HTTPOptions) *lookup.HTTP {
	t.Helper()
	a, err := lookup.NewHTTP(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

func TestTheQuestion(t *testing.T) {
	t.Parallel()
	type asked struct {
		Method, Path, Type, Authorization string
		Body                              any
	}
	var got asked
	a := worker(t, func(w http.ResponseWriter, r *http.Request) {
		got = asked{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), nil}
		if err := json.NewDecoder(r.Body).Decode(&got.Body); err != nil {
			t.Error(err)
		}
		io.WriteString(w, `{"decision":false}`)
	})
	for name, tc := range map[string]struct{ resource, properties string }{
		"on the tenant": {"", `{"provider":"ringcentral"}`},
		"on a resource": {"folder/11", `{"provider":"ringcentral","resource":"folder/11"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := a.Ask(t.Context(), ref("42", events.Resource(tc.resource)), read, scope); err != nil {
				t.Fatal(err)
			}
			want := asked{"POST", "/access/v1/evaluation", "application/json", "Bearer " + token, nil}
			body := `{"subject":{"type":"user","id":"42"},
				"action":{"name":"permission/ReadMessages+scope/ReadAccounts"},
				"resource":{"type":"tenant","id":"37439510","properties":` + tc.properties + `}}`
			if err := json.Unmarshal([]byte(body), &want.Body); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheAnswer(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 10, 0, 0, 123e6, time.UTC)
	for name, tc := range map[string]struct {
		body string
		want lookup.Decision
	}{
		"granted, in full": {
			`{"decision":true,"context":{"state":"granted","as_of":"2026-11-21T10:00:00.123Z",
			"until":"2026-11-21T10:01:00.123Z","version":"1795255200123456","basis":"authz-profile",
			"covers":["permission","scope"],"confirmed":true,"width":{"permission/ReadMessages":"Self"},
			"message":"read just now","more":{"a":1}},"more":1}`,
			lookup.Decision{
				State: cache.Granted, AsOf: at, Until: at.Add(time.Minute), Version: 1795255200123456,
				Basis: "authz-profile", Covers: []cache.Kind{cache.Permission, cache.Scope}, Confirmed: true,
				Widths: map[cache.Grant]string{read: "Self"}, Message: "read just now",
			},
		},
		"denied, with the reason": {
			`{"decision":false,"context":{"state":"denied","reason":{"permission/ReadMessages":"no licence"}}}`,
			lookup.Decision{
				State: cache.Denied, Missing: []cache.Grant{read},
				Reasons: map[cache.Grant]string{read: "no licence"},
			},
		},
		"unknown": {
			`{"decision":false,"context":{"state":"unknown","message":"the provider is down"}}`,
			lookup.Decision{Message: "the provider is down"},
		},
		"a bare yes":                      {`{"decision":true}`, lookup.Decision{}},
		"a bare no":                       {`{"decision":false,"context":null}`, lookup.Decision{}},
		"a yes that says denied":          {`{"decision":true,"context":{"state":"denied"}}`, lookup.Decision{}},
		"a yes that says unknown":         {`{"decision":true,"context":{"state":"unknown"}}`, lookup.Decision{}},
		"a no that says granted":          {`{"decision":false,"context":{"state":"granted"}}`, lookup.Decision{}},
		"a yes in words yet to be spoken": {`{"decision":true,"context":{"state":"Granted"}}`, lookup.Decision{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := worker(t, says(tc.body)).Ask(t.Context(), ref("42", ""), read)
			if err != nil {
				t.Fatal(err)
			}
			tc.want.Source = lookup.FromWorker
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissingOfSeveral(t *testing.T) {
	t.Parallel()
	a := worker(t, says(`{"decision":false,"context":{"state":"denied","missing":["scope/ReadAccounts"]}}`))
	d, err := a.Ask(t.Context(), ref("42", ""), read, scope)
	if err != nil || !cmp.Equal(d.Missing, []cache.Grant{scope}) {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestRepliesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":                     ``,
		"no JSON":                     `<html>`,
		"cut short":                   `{"decision":true,"context":{"state":"granted"`,
		"two replies":                 `{"decision":true,"context":{"state":"granted"}}{}`,
		"no decision":                 `{"context":{"state":"granted"}}`,
		"a decision in words":         `{"decision":"true"}`,
		"a version that is no number": `{"decision":true,"context":{"state":"granted","version":"x"}}`,
		"a time that is none":         `{"decision":true,"context":{"state":"granted","until":"soon"}}`,
		"a reply without end":         `{"decision":true,"context":{"state":"granted"}}` + strings.Repeat(" ", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			d, err := worker(t, says(body)).Ask(t.Context(), ref("42", ""), read)
			if d.State != cache.Unknown || !errors.Is(err, lookup.ErrReply) {
				t.Errorf("got %+v, %v", d, err)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status     int
		retryAfter string
		want       string
		wait       time.Duration
	}{
		"a question it cannot read": {400, "", "does not understand", 0},
		"a bad token":               {401, "", "does not accept the token", 0},
		"a token without the right": {403, "", "not allowed to ask", 0},
		"nobody there":              {404, "", "no worker", 0},
		"too often":                 {429, "7", "too often, try again in 7s", 7 * time.Second},
		"too often, unsaid":         {429, "", "too often", 0},
		"not now":                   {503, "2", "cannot answer now, try again in 2s", 2 * time.Second},
		"not now, until long ago":   {503, "Sat, 21 Nov 2020 10:00:00 GMT", "cannot answer now", 0},
		"not now, in other words":   {503, "-3", "cannot answer now", 0},
		"something else":            {500, "", "status 500", 0},
		"no content":                {204, "", "status 204", 0},
		"somewhere else":            {307, "", "status 307", 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := worker(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.retryAfter != "" {
					w.Header().Set("Retry-After", tc.retryAfter)
				}
				w.WriteHeader(tc.status)
				if tc.status != http.StatusNoContent {
					io.WriteString(w, `{"decision":true,"context":{"state":"granted"}}`)
				}
			})
			d, err := a.Ask(t.Context(), ref("42", ""), read)
			var refused *lookup.StatusError
			if d.State != cache.Unknown || !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %+v, %v", d, err)
			}
			if refused.Status != tc.status || refused.RetryAfter != tc.wait {
				t.Errorf("got %+v", refused)
			}
		})
	}
}

func TestRetryAfterADate(t *testing.T) {
	t.Parallel()
	a := worker(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	_, err := a.Ask(t.Context(), ref("42", ""), read)
	var refused *lookup.StatusError
	if !errors.As(err, &refused) || refused.RetryAfter < 50*time.Minute || refused.RetryAfter > time.Hour {
		t.Errorf("got %+v, %v", refused, err)
	}
}

// TestNoRedirect uses the asker's own client: a token goes nowhere else.
func TestNoRedirect(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			t.Error("the redirect was followed")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(srv.Close)
	_, err := asker(t, lookup.HTTPOptions{URL: srv.URL, Token: token}).Ask(t.Context(), ref("42", ""), read)
	var refused *lookup.StatusError
	if !errors.As(err, &refused) || refused.Status != http.StatusTemporaryRedirect {
		t.Errorf("got %v", err)
	}
}

func TestAWorkerThatHangs(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does the server notice who has gone
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	a := asker(t, lookup.HTTPOptions{URL: srv.URL, Client: srv.Client(), Timeout: 50 * time.Millisecond})
	if d, err := a.Ask(t.Context(), ref("42", ""), read); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	t.Parallel()
	a := worker(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	for name, tc := range map[string]struct {
		ref  events.Ref
		need []cache.Grant
		want string
	}{
		"a grant with a plus": {ref("42", ""), []cache.Grant{read, "permission/a+b"}, `"permission/a+b" holds a +`},
		"no grant":            {ref("42", ""), nil, "no grant"},
		"no subject":          {ref("", ""), []cache.Grant{read}, "subject"},
	} {
		d, err := a.Ask(t.Context(), tc.ref, tc.need...)
		if d.State != cache.Unknown || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestNewHTTPRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]lookup.HTTPOptions{
		"no URL":             {},
		"no scheme":          {URL: "worker:8080"},
		"another scheme":     {URL: "ftp://worker"},
		"no host":            {URL: "http:///x"},
		"no URL at all":      {URL: "http://" + token + "\x7f"},
		"credentials":        {URL: "http://u:" + token + "@worker"},
		"a query":            {URL: "http://worker?key=" + token},
		"a fragment":         {URL: "http://worker#" + token},
		"a negative timeout": {URL: "http://worker", Token: token, Timeout: -1},
	} {
		a, err := lookup.NewHTTP(o)
		if err == nil || a != nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error tells the token: %v", name, err)
		}
	}
}

func TestTheTokenIsNeverPrinted(t *testing.T) {
	t.Parallel()
	o := lookup.HTTPOptions{URL: "http://127.0.0.1:1/base/", Token: token}
	a := asker(t, o)
	_, err := a.Ask(t.Context(), ref("42", ""), read)
	if err == nil || !strings.Contains(err.Error(), "/base/access/v1/evaluation") {
		t.Errorf("error %v does not name the address", err)
	}
	echo := worker(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, r.Header.Get("Authorization"))
	})
	_, echoed := echo.Ask(t.Context(), ref("42", ""), read)
	var out bytes.Buffer
	for _, v := range []any{o, &o, a, *a, err, echoed} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q\n", v, v, v, v, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", slog.Any("v", v))
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", slog.Any("o", struct{ O lookup.HTTPOptions }{o}))
	if strings.Contains(out.String(), token) {
		t.Errorf("it is: %s", out.String())
	}
}

func TestAMissIsAskedOfTheWorker(t *testing.T) {
	t.Parallel()
	a := worker(t, says(`{"decision":true,"context":{"state":"granted","basis":"assigned-roles"}}`))
	d := check(t, client(t, cachetest.StandIn(t), lookup.Options{Asker: a}), ref("42", ""), read)
	if !d.Allowed() || d.Source != lookup.FromWorker || d.Basis != "assigned-roles" {
		t.Errorf("got %+v", d)
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"decision":true,"context":{"state":"granted","version":"1"}}`))
	f.Add([]byte(`{"decision":false,"context":{"state":"denied","reason":{"x":"y"}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := lookup.ReadReply(body, []cache.Grant{read})
		if err != nil && !cmp.Equal(d, lookup.Decision{}) {
			t.Fatalf("%+v beside %v", d, err)
		}
		if d.Allowed() && !bytes.Contains(body, []byte("true")) {
			t.Fatalf("allowed by %q", body)
		}
	})
}
