package mural_test

import (
	"bytes"
	"context"
	"errors"
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
	"github.com/rescindhq/rescind/subscriptions/mural"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

const (
	appSecret = "SECRET-of-the-app"
	space     = "rescind1234"
	open      = "1650000000001"
	private   = "1650000000002"
)

var home = events.Home{Provider: "mural", Tenant: space}

// board is the id of a mural of the simulator's world.
func board(n int) string { return fmt.Sprintf("%s.16500000000%d", space, n) }

// memory is a vault in memory. fail is called before each write.
type memory struct {
	mu    sync.Mutex
	kept  map[string][]byte
	revs  map[string]uint64
	locks map[string]bool
	fail  func(key string) error
}

func newMemory() *memory {
	return &memory{kept: map[string][]byte{}, revs: map[string]uint64{}, locks: map[string]bool{}}
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] == 0 {
		return nil, 0, subscriptions.ErrNoSecret
	}
	return bytes.Clone(m.kept[key]), m.revs[key], ctx.Err()
}

func (m *memory) Put(ctx context.Context, key string, value []byte, revision uint64) error {
	m.mu.Lock()
	fail := m.fail
	m.mu.Unlock()
	if fail != nil {
		if err := fail(key); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] != revision {
		return subscriptions.ErrConflict
	}
	m.kept[key], m.revs[key] = bytes.Clone(value), revision+1
	return ctx.Err()
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

// onPut sets what is called before each write.
func (m *memory) onPut(fail func(key string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

// session is one fetch. It keeps what was used.
type session struct {
	stamp cache.Stamp
	needs cache.Version
	mu    sync.Mutex
	used  map[string]cache.Stamp
	tags  []string
}

func newSession(number cache.Version) *session {
	return &session{stamp: cache.Stamp{Number: number, Fence: 7}, used: map[string]cache.Stamp{}}
}

func (s *session) Stamp() cache.Stamp { return s.stamp }

func (s *session) Part(context.Context, cache.PartSpec) ([]byte, error) {
	return nil, errors.New("this provider has no parts")
}

func (s *session) Use(name string, at cache.Stamp, tags ...events.Tag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[name] = at
	for _, t := range tags {
		s.tags = append(s.tags, t.String())
	}
}

func (s *session) Needs(...events.Tag) cache.Version { return s.needs }

func (s *session) Refused(string) bool { return false }

// stage is a provider before a simulated Mural, without a network, so that time
// can be simulated.
type stage struct {
	*mural.Provider
	sim   *muralsim.Mural
	vault *memory
	log   *bytes.Buffer
	front http.Handler // before the simulator; nil: nothing
}

type transport struct{ h http.Handler }

func (t transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() { // how a handler drops a line
		if why := recover(); why == http.ErrAbortHandler {
			resp, err = nil, errors.New("connection lost")
		} else if why != nil {
			panic(why)
		}
	}()
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody // as a server has it
	}
	w := httptest.NewRecorder()
	t.h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func config() mural.Config {
	return mural.Config{Workspace: space, Poller: "u2", ClientID: "rescind-dev",
		ClientSecret: subscriptions.NewSecret(appSecret)}
}

func newStage(t *testing.T, o muralsim.Options) *stage {
	t.Helper()
	o.ClientSecret = appSecret
	sim := muralsim.New(o)
	return another(t, &stage{sim: sim, vault: newMemory()}, config())
}

// another is another worker: the same vault, the same vendor.
func another(t *testing.T, s *stage, c mural.Config) *stage {
	t.Helper()
	log := &bytes.Buffer{}
	h := s.front
	if h == nil {
		h = s.sim
	}
	p, err := mural.New(c, subscriptions.Deps{
		HTTP: &http.Client{Transport: transport{h}}, Vault: s.vault, Budget: budget.NewLocal(),
		Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noSecret(t, log.String()) })
	return &stage{Provider: p, sim: s.sim, vault: s.vault, log: log}
}

// noSecret fails if a text holds the app's secret or a token.
func noSecret(t *testing.T, text string) {
	t.Helper()
	for _, s := range []string{appSecret, "eyJ"} {
		if strings.Contains(text, s) {
			t.Errorf("%s in %s", s, text)
		}
	}
}

// consent puts in a grant of each user.
func (s *stage) consent(t *testing.T, users ...string) *stage {
	t.Helper()
	for _, u := range users {
		s.consentTo(t, u)
	}
	return s
}

func (s *stage) consentTo(t *testing.T, user string, scopes ...string) {
	t.Helper()
	_, refresh, err := s.sim.Authorize(user, scopes...)
	if err == nil {
		err = s.PutGrant(t.Context(), events.Subject(user), subscriptions.NewSecret(refresh))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read reads, and writes the answer as lines.
func (s *stage) read(t *testing.T, user, resource string) (cache.Answer, *session) {
	t.Helper()
	at := newSession(100)
	a, err := s.Read(t.Context(), events.Ref{Home: home, Subject: events.Subject(user),
		Resource: events.Resource(resource)}, at)
	if err != nil {
		t.Fatal(err)
	}
	return a, at
}

// short is an answer without its reasons: basis, kinds covered, grants.
func short(a cache.Answer) string {
	var kinds, grants []string
	for _, k := range a.Covers {
		kinds = append(kinds, string(k))
	}
	for g := range a.Grants {
		if g.Kind() != cache.Scope {
			grants = append(grants, string(g))
		}
	}
	slices.Sort(kinds)
	slices.Sort(grants)
	return fmt.Sprintf("%s %v %v", a.Basis, kinds, grants)
}

func texts(tags []events.Tag) (all []string) {
	for _, t := range tags {
		all = append(all, t.String())
	}
	return all
}

// must fails the test if a step of it does not work.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call makes a call as u2 beside the provider.
func (s *stage) call(method, path, body string) error {
	access, _, err := s.sim.Authorize("u2")
	if err != nil {
		return err
	}
	r := httptest.NewRequest(method, "/api/public/v1"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+access)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.sim.ServeHTTP(w, r)
	if w.Code/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return nil
}

func (s *stage) patch(mural, body string) error { return s.call("PATCH", "/murals/"+mural, body) }

func (s *stage) patchRoom(room, body string) error { return s.call("PATCH", "/rooms/"+room, body) }

// cutAfter serves lists of murals' members until there were so many; then nothing
// works.
func cutAfter(s *stage, n int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.sim.Calls("getMuralUsers") >= n {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		s.sim.ServeHTTP(w, r)
	})
}

// expireOnce lets the first page token that comes back be expired.
func expireOnce(s *stage) http.Handler {
	var once sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("next") != "" {
			once.Do(s.sim.ExpireNext)
		}
		s.sim.ServeHTTP(w, r)
	})
}
