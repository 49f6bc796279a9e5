package refresh_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of a test.
const limit = 30 * time.Second

var (
	home  = events.Home{Provider: "ringcentral", Tenant: "400130394008"}
	read  = cache.NewGrant(cache.Permission, "ReadMessages")
	admin = events.RoleTag("7")
)

func ref(subject string) events.Ref { return events.Ref{Home: home, Subject: events.Subject(subject)} }

func subject(s string) events.Tag { return events.SubjectTag(events.Subject(s)) }

// grants is an answer whose one grant is as wide as told.
func grants(width string, tags ...events.Tag) cache.Answer {
	return cache.Answer{Tags: tags, Facts: cache.Facts{
		Basis: "test", Covers: []cache.Kind{cache.Permission}, Grants: map[cache.Grant]string{read: width},
	}}
}

type reading func(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error)

// provider is a scripted one, and counts how often it is asked.
type provider struct {
	mu    sync.Mutex
	read  reading
	calls map[events.Ref]int
}

func (p *provider) Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
	p.mu.Lock()
	p.calls[ref]++
	read := p.read
	p.mu.Unlock()
	return read(ctx, ref, s)
}

func (p *provider) says(read reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = read
}

// always answers the same.
func (p *provider) always(width string, tags ...events.Tag) {
	p.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
		return grants(width, tags...), nil
	})
}

func (p *provider) asked(ref events.Ref) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[ref]
}

// world is a Redis, a provider, and what the tests say of them.
type world struct {
	t        testing.TB
	ctx      context.Context
	db       cachetest.DB
	keys     cache.Keys
	store    *fence.Store
	provider *provider
	log      *lines
}

func open(t testing.TB, db cachetest.DB) *world {
	t.Helper()
	s, err := fence.Open(t.Context(), db.UniversalClient, cache.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{calls: map[events.Ref]int{}}
	p.always("*")
	return &world{t: t, ctx: t.Context(), db: db, store: s, provider: p, log: &lines{}}
}

// each runs a test on the stand-in and on a real server.
func each(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	t.Run("stand-in", func(t *testing.T) {
		t.Parallel()
		test(open(t, cachetest.StandIn(t)))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(open(t, cachetest.Redis(t)))
	})
}

// impatient replaces the client by one that reports an outage at once.
func (w *world) impatient() {
	w.t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: w.db.Addr, MaxRetries: -1, DialerRetries: 1})
	w.t.Cleanup(func() { rdb.Close() })
	s, err := fence.Open(w.ctx, rdb, cache.Keys{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.db.UniversalClient, w.store = rdb, s
}

// filler is what one process has. Each call makes another process.
func (w *world) filler() *refresh.Filler {
	w.t.Helper()
	f, err := refresh.NewFiller(refresh.Config{
		Redis: w.db, Store: w.store, Readers: w.readers, Log: w.log.logger(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(f.Close)
	return f
}

// readers knows every tenant of one provider.
func (w *world) readers(h events.Home) refresh.Reader {
	if h.Provider != home.Provider {
		return nil
	}
	return w.provider
}

func (w *world) get(f *refresh.Filler, subject string) refresh.Result {
	w.t.Helper()
	r, err := f.Get(w.ctx, ref(subject))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// entry reads as an application would; ok is false where it would be unknown.
func (w *world) entry(r events.Ref) (e cache.Entry, ok bool) {
	w.t.Helper()
	fields, err := w.db.HGetAll(w.ctx, w.keys.Entry(r)).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	if len(fields) == 0 {
		return cache.Entry{}, false
	}
	if e, err = cache.Decode(fields); err != nil {
		w.t.Fatal(err)
	}
	return e, cache.Usable(time.Now(), e.Until)
}

func (w *world) wantEntry(subject, width string) {
	w.t.Helper()
	e, ok := w.entry(ref(subject))
	if !ok || e.Grants[read] != width {
		w.t.Errorf("entry %s = %q, usable %v; want %q", subject, e.Grants[read], ok, width)
	}
}

func (w *world) wantNoEntry(subject string) {
	w.t.Helper()
	if e, ok := w.entry(ref(subject)); ok {
		w.t.Errorf("entry %s = %+v, want none", subject, e)
	}
}

// wantNoLease looks for leases of entries and parts.
func (w *world) wantNoLease() {
	w.t.Helper()
	keys, err := w.db.Keys(w.ctx, "*:l:*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	if len(keys) > 0 {
		w.t.Errorf("leases %q are left", keys)
	}
}

func (w *world) invalidate(tags ...events.Tag) fence.Invalidated {
	w.t.Helper()
	in, err := w.store.Invalidate(w.ctx, home, tags...)
	if err != nil {
		w.t.Error(err) // not Fatal: providers call this from goroutines
	}
	return in
}

// lines is a log that can be asked.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in %s: %s", limit, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func receive[T any](t testing.TB, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(limit):
		t.Fatalf("not in %s: %s", limit, what)
	}
	return v
}

// finish waits for a group of goroutines.
func finish(t testing.TB, wg *sync.WaitGroup, what string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	receive(t, done, what)
}

// until blocks a provider until it is let go.
func until(ctx context.Context, release <-chan struct{}) error {
	select {
	case <-release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
