package boxsim_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a simulator behind a server, whose every answer is checked against the vendor's description.
type world struct {
	*boxsim.Box
	url    string
	vendor *vendor
}

func start(t testing.TB, opts boxsim.Options) *world {
	t.Helper()
	s := boxsim.New(opts)
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &world{s, server.URL, loadVendor(t)}
}

// answer is a reply of the simulator.
type answer struct {
	status int
	head   http.Header
	raw    []byte
	json   map[string]any
}

// request is a call with a bearer token. Body nil is none, others go as JSON. More headers follow as pairs.
func (w *world) request(t testing.TB, token, method, path string, body any, head ...string) *http.Request {
	t.Helper()
	var reader io.Reader = http.NoBody
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+"/2.0"+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	return r
}

func (w *world) call(t testing.TB, token, method, path string, body any, head ...string) answer {
	t.Helper()
	return w.do(t, w.request(t, token, method, path, body, head...))
}

func (w *world) get(t testing.TB, token, path string, head ...string) answer {
	t.Helper()
	return w.call(t, token, http.MethodGet, path, nil, head...)
}

func (w *world) do(t testing.TB, r *http.Request) answer {
	t.Helper()
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	a := answer{status: reply.StatusCode, head: reply.Header}
	if a.raw, err = io.ReadAll(reply.Body); err != nil {
		t.Fatal(err)
	}
	if len(a.raw) > 0 && strings.HasPrefix(a.head.Get("Content-Type"), "application/json") {
		d := json.NewDecoder(bytes.NewReader(a.raw))
		d.UseNumber()
		if err := d.Decode(&a.json); err != nil {
			t.Fatalf("%v: %s", err, a.raw)
		}
	}
	if !strings.HasPrefix(r.URL.Path, "/sim/") {
		if err := w.vendor.check(r, a); err != nil {
			t.Errorf("%s %s: not as the vendor describes it: %v\n%s", r.Method, r.URL, reason(err), a.raw)
		}
	}
	return a
}

// want checks status and code; of a refusal without a body that is the error of WWW-Authenticate, with OAuth
// its error. An empty code means a success.
func (a answer) want(t testing.TB, status int, code string) answer {
	t.Helper()
	got := ""
	if a.status >= 400 {
		got = cmp.Or(text(a.json["code"]), text(a.json["error"]))
	}
	if _, rest, ok := strings.Cut(a.head.Get("WWW-Authenticate"), `error="`); ok {
		got, _, _ = strings.Cut(rest, `"`)
		if len(a.raw) > 0 {
			t.Errorf("a body beside WWW-Authenticate: %s", a.raw)
		}
	}
	if a.status != status || got != code {
		t.Fatalf("got %d %q, want %d %q: %s", a.status, got, status, code, a.raw)
	}
	return a
}

// text is a JSON value as Go prints it; empty for null and what is not there.
func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// at follows keys into objects.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// ids are those of a list's entries.
func (a answer) ids() string {
	var all []string
	list, _ := a.json["entries"].([]any)
	for _, e := range list {
		all = append(all, text(at(e, "id")))
	}
	return strings.Join(all, " ")
}

// form posts to an OAuth endpoint.
func (w *world) form(t testing.TB, path string, pairs ...string) answer {
	t.Helper()
	form := url.Values{"client_id": {"rescind-dev"}, "client_secret": {"rescind-dev-secret"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	body := strings.NewReader(form.Encode())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(t, r)
}

// ccg asks for a token by client credentials.
func (w *world) ccg(t testing.TB, kind, id string) answer {
	t.Helper()
	return w.form(t, "/oauth2/token", "grant_type", "client_credentials", "box_subject_type", kind,
		"box_subject_id", id)
}

// service is a token of the service account.
func (w *world) service(t testing.TB) string {
	t.Helper()
	return text(w.ccg(t, "enterprise", "987").want(t, 200, "").json["access_token"])
}

// as is a token of a user; without scopes with all of the app.
func (w *world) as(t testing.TB, user string, scopes ...string) string {
	t.Helper()
	token := w.IssueToken(user, scopes...)
	if token == "" {
		t.Fatalf("no token for %s", user)
	}
	return token
}

// must fails on the error of a method.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// id is the id that a method returns with an error.
func id(t testing.TB) func(string, error) string {
	return func(id string, err error) string { t.Helper(); must(t, err); return id }
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

// notice is a delivery as a webhook sees it.
type notice struct {
	head http.Header
	raw  []byte
	json map[string]any
}

func (n notice) trigger() string { return text(n.json["trigger"]) }

// hook is a webhook's address. It answers with what is set, 200 at first.
type hook struct {
	url     string
	notices chan notice
	status  func() int
}

func listen(t testing.TB, status func() int) *hook {
	t.Helper()
	h := &hook{notices: make(chan notice, 10000), status: status}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := notice{head: r.Header}
		n.raw, _ = io.ReadAll(r.Body)
		if err := json.Unmarshal(n.raw, &n.json); err != nil {
			t.Errorf("delivery: %v: %s", err, n.raw)
		}
		h.notices <- n
		if h.status != nil {
			w.WriteHeader(h.status())
		}
	}))
	h.url = server.URL + "/hook"
	t.Cleanup(server.Close)
	return h
}

// next waits for a delivery with this trigger, the only one that may come.
func (h *hook) next(t testing.TB, trigger string) notice {
	t.Helper()
	select {
	case n := <-h.notices:
		if n.trigger() != trigger {
			t.Fatalf("got %s, want %s", n.raw, trigger)
		}
		return n
	case <-time.After(10 * time.Second):
		t.Fatalf("no delivery, want %s", trigger)
		return notice{}
	}
}

// quiet fails if there is a delivery that nobody asked for. Call it when all that was sent has arrived.
func (h *hook) quiet(t testing.TB) {
	t.Helper()
	select {
	case n := <-h.notices:
		t.Fatalf("unexpected delivery: %s", n.raw)
	default:
	}
}

// subscribe makes a webhook that must succeed and returns its id.
func (w *world) subscribe(t testing.TB, token, kind, item, address string, triggers ...string) string {
	t.Helper()
	a := w.call(t, token, http.MethodPost, "/webhooks", webhookBody(kind, item, address, triggers...))
	return text(a.want(t, 201, "").json["id"])
}

func webhookBody(kind, item, address string, triggers ...string) map[string]any {
	return map[string]any{"target": map[string]string{"type": kind, "id": item}, "address": address,
		"triggers": triggers}
}
