package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

var (
	list   = client.Op{Name: "list", Group: "light", Method: http.MethodGet}
	create = client.Op{Name: "create", Group: "light", Method: http.MethodPost}
	mint   = client.Op{Name: "mint", Group: "auth", Method: http.MethodPost}
)

// lock is a mutex for one line: defer l.hold()().
type lock struct{ sync.Mutex }

func (l *lock) hold() func() { l.Lock(); return l.Unlock }

// vault is one in memory. before, if set, is called before each write and lock.
type vault struct {
	mu     lock
	kept   map[string]entry
	away   error
	before func(key string)
}

type entry struct {
	value  []byte // nil: cannot be opened
	rev    uint64
	locked bool
}

func (v *vault) Get(_ context.Context, key string) ([]byte, uint64, error) {
	defer v.mu.hold()()
	if e := v.kept[key]; e.value != nil || v.away != nil {
		return e.value, e.rev, v.away
	}
	return nil, v.kept[key].rev, subscriptions.ErrNoSecret
}

func (v *vault) Put(_ context.Context, key string, value []byte, revision uint64) error {
	defer v.mu.hold()()
	if v.before != nil {
		v.before(key)
	}
	if v.kept[key].rev != revision {
		return subscriptions.ErrConflict
	}
	v.kept[key] = entry{value: value, rev: revision + 1}
	return nil
}

func (v *vault) Lock(_ context.Context, key string, _ time.Duration) (func(), error) {
	defer v.mu.hold()()
	if v.before != nil {
		v.before(key)
	}
	if v.kept[key].locked {
		return nil, subscriptions.ErrConflict
	}
	v.kept[key] = entry{locked: true}
	return func() { defer v.mu.hold()(); delete(v.kept, key) }, nil
}

// budget writes down what it is asked ("identity group limit purpose caller") and
// told ("group penalty unsent"). A group in opens is closed until then.
type budget struct {
	mu          lock
	asked, told []string
	opens       map[string]time.Time
	life        map[string]time.Duration
	under       int // granted and not done
}

func (b *budget) Take(
	ctx context.Context, l subscriptions.Lane, usual subscriptions.Window,
) (subscriptions.Call, error) {
	defer b.mu.hold()()
	purpose := []string{"reader", "change", "upkeep", "sweep"}[cache.PurposeOf(ctx)]
	words := []any{l.Identity, l.Group, usual.Calls, purpose, cache.CallerOf(ctx)}
	b.asked = append(b.asked, strings.TrimSpace(fmt.Sprintln(words...)))
	if until := b.opens[l.Group]; until.After(time.Now()) {
		return nil, &subscriptions.Later{Until: until, Group: l.Group}
	}
	b.under++
	return slot{b, l.Group}, nil
}

type slot struct {
	b     *budget
	group string
}

func (s slot) Done(_ context.Context, said subscriptions.Said) {
	defer s.b.mu.hold()()
	s.b.under--
	unsent := map[bool]string{true: " unsent"}[said.Unsent]
	s.b.told = append(s.b.told, fmt.Sprint(s.group, " ", said.Penalty, unsent))
}

func (s slot) Life() time.Duration { return s.b.life[s.group] }

// session is one fetch, numbered 9.
type session struct {
	cache.Session
	needs   cache.Version
	refused string
	used    []string
}

func (s *session) Stamp() cache.Stamp                { return cache.Stamp{Number: 9, Fence: 7} }
func (s *session) Needs(...events.Tag) cache.Version { return s.needs }
func (s *session) Refused(name string) bool          { return name == s.refused }
func (s *session) Use(name string, at cache.Stamp, tags ...events.Tag) {
	s.used = append(s.used, fmt.Sprint(name, " ", at.Number, " ", tags))
}

type refusal int

func (r refusal) Error() string { return fmt.Sprint("status ", int(r)) }

// vendor has, if app, a limit of the app too. Its penalties are in the headers
// Own and App.
func vendor(app bool) client.Vendor {
	said := func(h http.Header, name string) (s subscriptions.Said) {
		s.Penalty, _ = time.ParseDuration(h.Get(name))
		return s
	}
	v := client.Vendor{Name: "toy", Usual: map[string]subscriptions.Window{"light": {Calls: 5}},
		Said:      func(_ client.Op, _ int, h http.Header) subscriptions.Said { return said(h, "Own") },
		Refusal:   func(_ client.Op, status int, _ http.Header, _ []byte) error { return refusal(status) },
		TokenDead: func(err error) bool { return errors.Is(err, refusal(401)) },
		RequestID: "X-Id"}
	if app {
		v.App = &client.AppLimit{Group: "all", Usual: subscriptions.Window{Calls: 9},
			Said: func(_ int, h http.Header) subscriptions.Said { return said(h, "App") }}
	}
	return v
}

// stage is a client whose vendor, vault and budget are in memory. A mint gives
// token-1, then token-2 and so on, all for the identity me, unless mint is set.
type stage struct {
	*client.Client
	vault  *vault
	budget *budget
	log    bytes.Buffer
	serve  func(*http.Request) (*http.Response, error)
	mint   func(context.Context) (client.Token, error)
	turn   chan struct{}
	minted atomic.Int32
	mu     sync.Mutex
	sent   []string // the tokens of the requests
}

// play runs a test in a bubble, where time is simulated.
func play(t *testing.T, name string, app bool, test func(*testing.T, *stage)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			test(t, newStage(t, app, &vault{kept: map[string]entry{}}))
		})
	})
}

func newStage(t *testing.T, app bool, keeps *vault) *stage {
	t.Helper()
	s := &stage{vault: keeps, budget: &budget{}, serve: replies(200, `{}`)}
	s.mint = func(context.Context) (client.Token, error) {
		access := subscriptions.NewSecret(fmt.Sprint("token-", s.minted.Load()))
		return client.Token{Access: access, Identity: "me", Expires: time.Now().Add(time.Hour)}, nil
	}
	var err error
	s.Client, err = client.New(vendor(app), client.Options{Home: events.Home{Provider: "toy", Tenant: "t"},
		BaseURL: "https://toy.invalid/v1", UserAgent: "rescind/test"},
		subscriptions.Deps{HTTP: &http.Client{Transport: s}, Vault: keeps, Budget: s.budget,
			Log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	same(t, "error", "", text(err))
	t.Cleanup(func() {
		same(t, "calls not done, or done twice", 0, s.budget.under)
		same(t, "secrets in the log", "", regexp.MustCompile(`token-|PRIVATE`).FindString(s.log.String()))
	})
	return s
}

func (s *stage) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.sent = append(s.sent, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	s.mu.Unlock()
	return s.serve(r)
}

// replies is a vendor that always says the same. Headers are names and values.
func replies(status int, body string, headers ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		for pair := range slices.Chunk(headers, 2) {
			h.Set(pair[0], pair[1])
		}
		said := io.NopCloser(strings.NewReader(body))
		return &http.Response{StatusCode: status, Header: h, Body: said, Request: r}, nil
	}
}

func (s *stage) ring() client.Ring {
	return client.Ring{Key: s.VaultKey("service"), Name: "token:service", Turn: s.turn,
		Tags: []events.Tag{events.AppTag},
		Mint: func(ctx context.Context) (client.Token, error) { s.minted.Add(1); return s.mint(ctx) }}
}

// keep puts a token into the vault that ends after left, with that stamp.
func (s *stage) keep(left time.Duration, number, fence int) {
	s.vault.kept[s.VaultKey("service")] = entry{rev: 3, value: fmt.Appendf(nil,
		`{"access":"old","identity":"me","expires":%q,"stamp":{"number":%d,"fence":%d}}`,
		time.Now().Add(left).Format(time.RFC3339Nano), number, fence)}
}

// call makes one call outside of a session.
func (s *stage) call(ctx context.Context, op client.Op) error {
	return s.Call(ctx, s.Registering(s.ring()), client.Request{Op: op, Path: "/x"}, &struct{}{})
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (- want, + got):\n%s", what, diff)
	}
}

// text is what an error says; empty: none.
func text(err error) string { return strings.TrimPrefix(fmt.Sprint(err), "<nil>") }
