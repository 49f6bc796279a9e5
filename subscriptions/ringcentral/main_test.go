package ringcentral_test

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

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

// The secrets of the tests; none may appear in an error or in a log.
const (
	clientSecret = "SECRET-client"
	jwtSecret    = "SECRET-jwt"
	doorSecret   = "SECRET-door-0123456789"
	oldSecret    = "SECRET-old-door-0123456789"
	ownSecret    = "SECRET-of-a-registration-hunter2"
	nextSecret   = "SECRET-of-the-next-registration-hunter2"
	deskSecret   = "SECRET-desk"
	accessMark   = "SECRET-access"
)

var (
	home    = events.Home{Provider: "ringcentral", Tenant: "37439510"}
	subject = events.Ref{Home: home, Subject: "42"}
)

// vendor is a small RingCentral: a handler for each "METHOD /path" below
// /restapi, and what it was asked. Tokens are accessMark-1, -2, ...
type vendor struct {
	mu     sync.Mutex
	routes map[string]http.HandlerFunc
	calls  []string // "METHOD /path"
	minted int
	dead   map[string]bool // access tokens
}

func newVendor() *vendor {
	v := &vendor{routes: map[string]http.HandlerFunc{}, dead: map[string]bool{}}
	v.on("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) { v.mint(w, "256440016") })
	return v
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
	w.Header().Set("RCRequestId", "req-1")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func (v *vendor) mint(w http.ResponseWriter, owner string) {
	v.mu.Lock()
	v.minted++
	n := v.minted
	v.mu.Unlock()
	reply(w, 200, fmt.Sprintf(`{"access_token":"%s-%d","token_type":"bearer","expires_in":3600,
		"scope":"SubscriptionWebhook EditAccounts","owner_id":%q}`, accessMark, n, owner))
}

// kill makes all tokens minted until now unusable.
func (v *vendor) kill() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for n := range v.minted {
		v.dead[fmt.Sprintf("Bearer %s-%d", accessMark, n+1)] = true
	}
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := r.Method + " " + strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/restapi"), "/v1.0")
	v.mu.Lock()
	v.calls = append(v.calls, route)
	h, dead := v.routes[route], v.dead[r.Header.Get("Authorization")]
	v.mu.Unlock()
	switch {
	case dead:
		reply(w, 401, `{"errorCode":"TokenInvalid","message":"`+accessMark+`","errors":[{"errorCode":"OAU-213"}]}`)
	case h == nil:
		reply(w, 404, `{"errorCode":"CMN-120","errors":[{"errorCode":"CMN-120"}]}`)
	default:
		h(w, r)
	}
}

func (v *vendor) count(route string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, c := range v.calls {
		if c == route {
			n++
		}
	}
	return n
}

// RoundTrip serves without a network, so that time can be simulated.
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

// session is one fetch. It keeps parts, and what was used.
type session struct {
	stamp   cache.Stamp
	refused []string
	parts   map[string][]byte

	mu    sync.Mutex
	specs map[string][]events.Tag
	used  map[string]cache.Stamp
	tags  []events.Tag
	needs cache.Version
}

func newSession(number cache.Version) *session {
	return &session{stamp: cache.Stamp{Number: number, Fence: 7}, parts: map[string][]byte{},
		specs: map[string][]events.Tag{}, used: map[string]cache.Stamp{}}
}

func (s *session) Stamp() cache.Stamp { return s.stamp }

func (s *session) Part(ctx context.Context, spec cache.PartSpec) ([]byte, error) {
	s.mu.Lock() // held through the fetch, as the strictest implementation might
	defer s.mu.Unlock()
	s.specs[spec.Name] = spec.Tags
	if b := s.parts[spec.Name]; b != nil {
		return b, nil
	}
	b, err := spec.Fetch(ctx)
	if err == nil {
		s.parts[spec.Name] = b
	}
	return b, err
}

func (s *session) Use(name string, at cache.Stamp, tags ...events.Tag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[name] = at
	s.tags = append(s.tags, tags...)
}

func (s *session) Needs(...events.Tag) cache.Version { return s.needs }

func (s *session) Refused(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.refused, name)
}

// world is a provider with all that it stands on.
type world struct {
	*ringcentral.Provider
	vendor *vendor
	vault  *memory
	log    *journal
}

// journal is what was logged.
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

func testConfig() ringcentral.Config {
	return ringcentral.Config{
		Account: "37439510", BaseURL: "http://127.0.0.1:1", ClientID: "client",
		ClientSecret: subscriptions.NewSecret(clientSecret), JWT: subscriptions.NewSecret(jwtSecret),
		VerificationTokens: []subscriptions.Secret{
			subscriptions.NewSecret(doorSecret), subscriptions.NewSecret(oldSecret),
		},
	}
}

// order is for one registration, with a secret of its own.
func order() subscriptions.Order { return orderAt("https://a.example/x") }

func orderAt(address string) subscriptions.Order {
	return subscriptions.Order{Address: address, Want: "account", Secret: subscriptions.NewSecret(ownSecret)}
}

// exchanging adds the customer's endpoint.
func exchanging(c ringcentral.Config) ringcentral.Config {
	c.Exchange = &ringcentral.ExchangeConfig{URL: c.BaseURL + "/restapi/exchange", ClientID: "desk",
		ClientSecret: subscriptions.NewSecret(deskSecret)}
	return c
}

// open makes a provider before a vendor without a network.
func open(t testing.TB, c ringcentral.Config) *world {
	t.Helper()
	v := newVendor()
	return openWith(t, c, v, v, newMemory())
}

func openWith(t testing.TB, c ringcentral.Config, v *vendor, rt http.RoundTripper, m *memory) *world {
	t.Helper()
	return openOn(t, c, subscriptions.Deps{HTTP: &http.Client{Transport: rt}, Vault: m, Budget: roomy{budget.NewLocal()}}, v)
}

// roomy has ten times the vendor's usual limits, for tests that make many calls.
type roomy struct{ *budget.Local }

func (r roomy) Take(
	ctx context.Context, l subscriptions.Lane, usual subscriptions.Window,
) (subscriptions.Call, error) {
	usual.Calls *= 10
	return r.Local.Take(ctx, l, usual)
}

func openOn(t testing.TB, c ringcentral.Config, on subscriptions.Deps, v *vendor) *world {
	t.Helper()
	log := &journal{}
	on.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := ringcentral.New(c, on)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	m, _ := on.Vault.(*memory)
	w := &world{p, v, m, log}
	t.Cleanup(func() { noSecret(t, log.String()) })
	return w
}

// noSecret fails if a text holds one of the secrets.
func noSecret(t testing.TB, text string) {
	t.Helper()
	for _, s := range []string{clientSecret, jwtSecret, doorSecret, oldSecret, ownSecret, nextSecret, deskSecret, accessMark} {
		if strings.Contains(text, s) {
			t.Errorf("secret %s in %s", s, text)
		}
	}
}
