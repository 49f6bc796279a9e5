package box_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The secrets of the tests; none may appear in an error or in a log.
const (
	clientSecret = "SECRET-client"
	keyOne       = "SECRET-key-one"
	keyTwo       = "SECRET-key-two"
	accessMark   = "SECRET-access"
)

var home = events.Home{Provider: "box", Tenant: "987"}

func ref(subject events.Subject, resource events.Resource) events.Ref {
	return events.Ref{Home: home, Subject: subject, Resource: resource}
}

func testConfig() box.Config {
	return box.Config{
		Enterprise: "987", BaseURL: "http://127.0.0.1:1", ClientID: "client",
		ClientSecret: subscriptions.NewSecret(clientSecret),
		SignatureKey: subscriptions.NewSecret(keyOne), SignatureKey2: subscriptions.NewSecret(keyTwo),
		Watch: []string{"folder:11", "file:12"}, Scopes: []string{"root_readwrite"},
	}
}

// vendor is a small Box: a handler for each "METHOD /path", and what it was asked.
// It serves without a network, so that time can be simulated.
type vendor struct {
	mu     sync.Mutex
	routes map[string]http.HandlerFunc
	calls  []string // "METHOD /path"
	minted int
}

func newVendor() *vendor {
	v := &vendor{routes: map[string]http.HandlerFunc{}}
	v.on("POST /oauth2/token", func(w http.ResponseWriter, _ *http.Request) { v.mint(w, "[]") })
	return v
}

func (v *vendor) mint(w http.ResponseWriter, restrictedTo string) {
	v.mu.Lock()
	v.minted++
	n := v.minted
	v.mu.Unlock()
	reply(w, 200,
		fmt.Sprintf(`{"access_token":"%s-%d","token_type":"bearer","expires_in":4123,"restricted_to":%s}`,
			accessMark, n, restrictedTo))
}

func (v *vendor) on(route string, h http.HandlerFunc) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.routes[route] = h
}

// says replies to a route with a status and a body.
func (v *vendor) says(route string, status int, body string) {
	v.on(route, func(w http.ResponseWriter, _ *http.Request) { reply(w, status, body) })
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Box-Request-Id", "req-1")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// denies replies as Box does where a scope is missing or a token is dead.
func (v *vendor) denies(route string, status int, word string) {
	v.on(route, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Service", error="`+word+`", error_description="x"`)
		w.WriteHeader(status)
	})
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/2.0")
	v.mu.Lock()
	v.calls = append(v.calls, route)
	h := v.routes[route]
	v.mu.Unlock()
	if h == nil {
		reply(w, 404, `{"type":"error","status":404,"code":"not_found","message":"`+accessMark+`"}`)
		return
	}
	h(w, r)
}

func (v *vendor) count(route string) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.calls {
		if c == route {
			n++
		}
	}
	return n
}

func (v *vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	return w.Result(), nil
}

// memory is a vault in memory.
type memory struct {
	mu    sync.Mutex
	kept  map[string][]byte
	revs  map[string]uint64
	locks map[string]bool
}

func newMemory() *memory {
	return &memory{kept: map[string][]byte{}, revs: map[string]uint64{}, locks: map[string]bool{}}
}

func (m *memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] == 0 {
		return nil, 0, subscriptions.ErrNoSecret
	}
	return bytes.Clone(m.kept[key]), m.revs[key], nil
}

func (m *memory) Put(_ context.Context, key string, value []byte, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] != revision {
		return subscriptions.ErrConflict
	}
	m.kept[key], m.revs[key] = bytes.Clone(value), revision+1
	return nil
}

// Keep keeps it for longer than any test runs.
func (m *memory) Keep(ctx context.Context, key string, value []byte, revision uint64, _ time.Duration) error {
	return m.Put(ctx, key, value, revision)
}

func (m *memory) Lock(_ context.Context, key string, _ time.Duration) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[key] {
		return nil, subscriptions.ErrConflict
	}
	m.locks[key] = true
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, key)
	}), nil
}

// session is one fetch, and what was used in it. needs is the lowest number of a
// token.
type session struct {
	stamp cache.Stamp
	needs cache.Version

	mu   sync.Mutex
	used map[string][]events.Tag
}

func newSession(number cache.Version) *session {
	return &session{stamp: cache.Stamp{Number: number, Fence: 7}, used: map[string][]events.Tag{}}
}

func (s *session) Stamp() cache.Stamp { return s.stamp }

func (s *session) Part(ctx context.Context, spec cache.PartSpec) ([]byte, error) {
	return spec.Fetch(ctx)
}

func (s *session) Use(name string, _ cache.Stamp, tags ...events.Tag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[name] = tags
}

func (s *session) Refused(string) bool { return false }

func (s *session) Needs(...events.Tag) cache.Version { return s.needs }

// world is a provider with the vendor that it stands on, and what it logged.
type world struct {
	*box.Provider
	vendor *vendor
	log    *journal
}

type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// unlimited grants every call, which tests that make thousands of them need.
type unlimited struct{}

func (u unlimited) Take(context.Context, subscriptions.Lane, subscriptions.Window) (subscriptions.Call,
	error) {
	return u, nil
}

func (unlimited) Done(context.Context, subscriptions.Said) {}

func (unlimited) Life() time.Duration { return 0 }

// open makes a provider before a vendor without a network.
func open(t testing.TB, c box.Config) *world {
	t.Helper()
	return openWith(t, c, newMemory())
}

func openWith(t testing.TB, c box.Config, vault *memory) *world {
	t.Helper()
	v, log := newVendor(), &journal{}
	p, err := box.New(c, subscriptions.Deps{HTTP: &http.Client{Transport: v}, Vault: vault,
		Budget: unlimited{},
		Log:    slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	t.Cleanup(func() { noSecret(t, log.String()) })
	return &world{p, v, log}
}

// noSecret fails if a text holds one of the secrets.
func noSecret(t testing.TB, text string) {
	t.Helper()
	for _, s := range []string{clientSecret, keyOne, keyTwo, accessMark} {
		if strings.Contains(text, s) {
			t.Errorf("secret %s in %s", s, text)
		}
	}
}

// spell writes tags, in order.
func spell(tags []events.Tag) string {
	var out []string
	for _, tag := range tags {
		out = append(out, tag.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// spellGrants writes grants of a kind with their widths, in order.
func spellGrants(a cache.Answer, kind cache.Kind) string {
	var out []string
	for g, width := range a.Grants {
		if g.Kind() != kind {
			continue
		}
		if width != cache.Unlimited {
			g += cache.Grant("=" + width)
		}
		out = append(out, g.Name())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func spellCovers(a cache.Answer) string {
	var out []string
	for _, k := range a.Covers {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
