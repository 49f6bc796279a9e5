package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

var (
	home   = events.Home{Provider: "toy", Tenant: "t"}
	list   = client.Op{Name: "list", Group: "light", Method: http.MethodGet}
	change = client.Op{Name: "change", Group: "light", Method: http.MethodPut}
	create = client.Op{Name: "create", Group: "light", Method: http.MethodPost}
	mint   = client.Op{Name: "mint", Group: "auth", Method: http.MethodPost}
	light  = subscriptions.Window{Calls: 5, Length: time.Second}
)

// vault is one in memory. before, if set, is called before each write.
type vault struct {
	mu     sync.Mutex
	kept   map[string][]byte // nil: there, but cannot be opened
	revs   map[string]uint64
	locks  map[string]bool
	away   error
	before func()
}

func (v *vault) Get(_ context.Context, key string) ([]byte, uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kept[key] == nil {
		return nil, v.revs[key], errors.Join(v.away, subscriptions.ErrNoSecret)
	}
	return v.kept[key], v.revs[key], v.away
}

func (v *vault) Put(_ context.Context, key string, value []byte, revision uint64) error {
	if v.before != nil {
		v.before()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.revs[key] != revision {
		return subscriptions.ErrConflict
	}
	v.set(key, value)
	return nil
}

func (v *vault) set(key string, value []byte) { v.kept[key], v.revs[key] = value, v.revs[key]+1 }

func (v *vault) Lock(_ context.Context, key string, _ time.Duration) (func(), error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.locks[key] {
		return nil, subscriptions.ErrConflict
	}
	v.locks[key] = true
	return sync.OnceFunc(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.locks, key)
	}), nil
}

// budget writes down what it is asked ("identity group purpose caller") and told.
// A lane, by its group, is closed until open, if that is set.
type budget struct {
	mu    sync.Mutex
	asked []string
	usual []subscriptions.Window
	told  map[string][]subscriptions.Said
	open  map[string]time.Time
	life  map[string]time.Duration
	under int // granted and not done
}

type slot struct {
	b     *budget
	group string
}

func (b *budget) Take(
	ctx context.Context, l subscriptions.Lane, usual subscriptions.Window,
) (subscriptions.Call, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	purpose := []string{"reader", "change", "upkeep", "sweep"}[cache.PurposeOf(ctx)]
	b.asked = append(b.asked, strings.TrimSpace(l.Identity+" "+l.Group+" "+purpose+" "+cache.CallerOf(ctx)))
	b.usual = append(b.usual, usual)
	if until := b.open[l.Group]; until.After(time.Now()) {
		return nil, &subscriptions.Later{Until: until, Group: l.Group}
	}
	b.under++
	return slot{b, l.Group}, nil
}

func (s slot) Done(_ context.Context, said subscriptions.Said) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.under--
	s.b.told[s.group] = append(s.b.told[s.group], said)
}

func (s slot) Life() time.Duration { return s.b.life[s.group] }

// session is one fetch.
type session struct {
	stamp   cache.Stamp
	needs   cache.Version
	refused string
	used    []string
}

func (s *session) Stamp() cache.Stamp { return s.stamp }
func (s *session) Part(context.Context, cache.PartSpec) ([]byte, error) {
	return nil, errors.New("none")
}
func (s *session) Use(name string, at cache.Stamp, tags ...events.Tag) {
	s.used = append(s.used, fmt.Sprint(name, " ", at.Number, " ", tags))
}
func (s *session) Needs(...events.Tag) cache.Version { return s.needs }
func (s *session) Refused(name string) bool          { return name == s.refused }

func at(number cache.Version) *session {
	return &session{stamp: cache.Stamp{Number: number, Fence: 7}}
}

// stage is a client whose vendor, vault and budget are in memory. A mint gives
// token-1, then token-2 and so on, all for the identity me, unless mint is set.
type stage struct {
	*client.Client
	vault  *vault
	budget *budget
	log    *journal
	serve  func(*http.Request) (*http.Response, error)
	mint   func(context.Context) (client.Token, error)

	mu     sync.Mutex
	sent   []string // the tokens of the requests
	minted int
}

type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func vendor() client.Vendor {
	return client.Vendor{Name: "toy", Usual: map[string]subscriptions.Window{"light": light},
		Said: func(_ client.Op, _ int, h http.Header) subscriptions.Said { return saidOf(h, "Own") },
		Refusal: func(op client.Op, status int, _ http.Header, _ []byte) error {
			return refusal(status)
		},
		TokenDead: func(err error) bool { return errors.Is(err, refusal(http.StatusUnauthorized)) },
		RequestID: "X-Id", FirstWait: time.Second, TokenWait: time.Second}
}

type refusal int

func (r refusal) Error() string { return fmt.Sprint("status ", int(r)) }

func saidOf(h http.Header, name string) (s subscriptions.Said) {
	s.Penalty, _ = time.ParseDuration(h.Get(name))
	return s
}

func withApp() client.Vendor {
	v := vendor()
	v.App = &client.AppLimit{Group: "all", Usual: subscriptions.Window{Calls: 9, Length: time.Minute},
		Said: func(_ int, h http.Header) subscriptions.Said { return saidOf(h, "App") }}
	return v
}

func newStage(t *testing.T, v client.Vendor) *stage {
	t.Helper()
	return another(t, v, &vault{kept: map[string][]byte{}, revs: map[string]uint64{}, locks: map[string]bool{}})
}

// another is another process with the same vault.
func another(t *testing.T, v client.Vendor, keeps *vault) *stage {
	t.Helper()
	s := &stage{vault: keeps, log: &journal{}, serve: replies(http.StatusOK, `{}`), budget: &budget{
		told: map[string][]subscriptions.Said{}, open: map[string]time.Time{}, life: map[string]time.Duration{}}}
	c, err := client.New(v, client.Options{Home: home, BaseURL: "https://toy.invalid/v1", UserAgent: "rescind/test"},
		subscriptions.Deps{HTTP: &http.Client{Transport: s}, Vault: keeps, Budget: s.budget,
			Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	must(t, err)
	s.Client = c
	t.Cleanup(func() {
		if s.budget.under != 0 {
			t.Errorf("%d calls granted and not done, or done twice", s.budget.under)
		}
		for _, secret := range []string{"token-", "PRIVATE"} {
			if strings.Contains(s.log.b.String(), secret) {
				t.Errorf("%s in the log:\n%s", secret, s.log.b.String())
			}
		}
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
		return &http.Response{StatusCode: status, Header: h, Request: r, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// ring is that of the service's token.
func (s *stage) ring() client.Ring {
	return client.Ring{Key: s.VaultKey("service"), Name: "token:service", Tags: []events.Tag{events.AppTag},
		Mint: func(ctx context.Context) (client.Token, error) {
			s.mu.Lock()
			s.minted++
			t := client.Token{Access: subscriptions.NewSecret(fmt.Sprint("token-", s.minted)), Identity: "me",
				Expires: time.Now().Add(time.Hour)}
			s.mu.Unlock()
			if s.mint != nil {
				return s.mint(ctx)
			}
			return t, nil
		}}
}

// keep puts a token into the vault that ends after left, minted under that number.
func (s *stage) keep(left time.Duration, number, fence int) {
	s.vault.set(s.VaultKey("service"), fmt.Appendf(nil,
		`{"access":"old","identity":"me","expires":%q,"stamp":{"number":%d,"fence":%d}}`,
		time.Now().Add(left).Format(time.RFC3339Nano), number, fence))
}

// call makes one call that is not for a session.
func (s *stage) call(ctx context.Context, op client.Op) error {
	return s.Call(ctx, s.Registering(s.ring()), client.Request{Op: op, Path: "/x"}, &struct{}{})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
