package muralsim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
	"go.uber.org/goleak"
)

const (
	v1    = "/api/public/v1"
	pages = v1 + "/authorization/oauth2"
	space = "/workspaces/rescind1234"

	openRoom    = int64(1650000000001)
	privateRoom = int64(1650000000002)
	atOpen      = "/rooms/1650000000001"
	atPrivate   = "/rooms/1650000000002"

	plan     = "rescind1234.1650000000011"
	aMap     = "rescind1234.1650000000012"
	salaries = "rescind1234.1650000000013"
	tender   = "rescind1234.1650000000014"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a simulator behind a server.
type world struct {
	*muralsim.Mural
	url    string
	client *http.Client
}

func start(t testing.TB, opts muralsim.Options) *world {
	t.Helper()
	s := muralsim.New(opts)
	server := httptest.NewServer(s)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(server.Close)
	return &world{s, server.URL, client}
}

// answer is a reply of the simulator.
type answer struct {
	status int
	head   http.Header
	raw    []byte
}

// ask makes a request. A string body is sent as it is, nil is none, others as JSON.
func (w *world) ask(t testing.TB, head http.Header, method, path string, body any) (answer, error) {
	t.Helper()
	var reader io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = head
	reply, err := w.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer reply.Body.Close()
	raw, err := io.ReadAll(reply.Body)
	return answer{reply.StatusCode, reply.Header, raw}, err
}

// call is ask with a bearer token, below the API's base.
func (w *world) call(t testing.TB, token, method, path string, body any) answer {
	t.Helper()
	head := http.Header{"Content-Type": {"application/json"}}
	if token != "" {
		head.Set("Authorization", "Bearer "+token)
	}
	a, err := w.ask(t, head, method, v1+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) get(t testing.TB, token, path string) answer {
	t.Helper()
	return w.call(t, token, http.MethodGet, path, nil)
}

func (w *world) post(t testing.TB, token, path string, body any) answer {
	t.Helper()
	return w.call(t, token, http.MethodPost, path, body)
}

// form posts to an OAuth page with the credentials of the app in the body.
func (w *world) form(t testing.TB, page string, fields ...string) answer {
	t.Helper()
	form := url.Values{"client_id": {"rescind-dev"}, "client_secret": {"rescind-dev-secret"}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	head := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	a, err := w.ask(t, head, http.MethodPost, pages+page, form.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) renew(t testing.TB, refresh string) answer {
	t.Helper()
	return w.form(t, "/token", "grant_type", "refresh_token", "refresh_token", refresh)
}

// as is an access token of a user; no scopes means all.
func (w *world) as(t testing.TB, user string, scopes ...string) string {
	t.Helper()
	access, _, err := w.Authorize(user, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return access
}

// want checks status and code; an empty code means a success.
func (a answer) want(t testing.TB, status int, code string) answer {
	t.Helper()
	var body struct{ Code, Error string }
	if len(a.raw) > 0 {
		a.into(t, &body)
	}
	if got := body.Code + body.Error; a.status != status || got != code {
		t.Fatalf("got %d %q, want %d %q: %s", a.status, got, status, code, a.raw)
	}
	return a
}

// into decodes the answer.
func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.raw, v); err != nil {
		t.Fatalf("decode %s: %v", a.raw, err)
	}
}

type item struct {
	ID          any
	Email       string
	Owner       bool
	RefCode     string
	Rejected    bool
	Permissions struct{ Owner, Facilitator bool }
}

// ids are those of a list.
func (a answer) ids(t testing.TB) []string {
	t.Helper()
	var list struct {
		Value []struct{ ID json.RawMessage }
	}
	a.want(t, 200, "").into(t, &list)
	ids := make([]string, 0, len(list.Value))
	for _, v := range list.Value {
		ids = append(ids, strings.TrimPrefix(strings.Trim(string(v.ID), `"`), "rescind1234."))
	}
	return ids
}

func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls a condition, for at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}
