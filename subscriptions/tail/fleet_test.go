package tail_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

const (
	limit     = 30 * time.Second // of every wait
	shortLife = 4 * time.Second  // of a lease
	often     = 100 * time.Millisecond
)

// fleet is a simulated RingCentral, a stream, and the workers between them.
type fleet struct {
	opts natslocal.Options
	srv  *natslocal.Server
	nc   *nats.Conn
	*stream.Stream
	rc  *sim.RingCentral
	api string

	mu        sync.Mutex
	published map[events.Tag]int // acknowledged by the stream
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{published: map[events.Tag]int{},
		opts: natslocal.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0"},
		rc: sim.NewRingCentral(sim.Options{Limits: map[string]sim.Limit{
			"light": {Calls: -1}, "medium": {Calls: -1}, "auth": {Calls: -1},
		}}),
	}
	api := httptest.NewServer(f.rc)
	f.api = api.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := f.rc.Close(ctx); err != nil {
			t.Error(err)
		}
		api.Close()
	})
	f.serve(t)
	t.Cleanup(func() { f.stop(t) })
	f.opts.Addr = strings.TrimPrefix(f.srv.URL(), "nats://")
	f.attach(t)
	return f
}

// serve starts the stream's server, where it was.
func (f *fleet) serve(t *testing.T) {
	t.Helper()
	var err error
	if f.srv, err = natslocal.Start(t.Context(), f.opts); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) stop(t *testing.T) {
	t.Helper()
	if err := f.srv.Stop(); err != nil {
		t.Error(err)
	}
}

func (f *fleet) attach(t *testing.T) {
	t.Helper()
	o := stream.ConnectOptions{URL: f.srv.URL(), Name: "test"}
	var err error
	if f.nc, err = stream.Connect(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	f.nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		f.nc.Close()
		<-closed
	})
	if f.Stream, err = stream.Open(t.Context(), f.nc, stream.Options{}); err != nil {
		t.Fatal(err)
	}
}

// publish notes what the stream has acknowledged.
func (f *fleet) publish(ctx context.Context, c events.Change) error {
	if _, err := f.Publish(ctx, c); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tag := range c.Tags {
		f.published[tag]++
	}
	return nil
}

func (f *fleet) saw(roles ...string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range roles {
		if f.published[events.RoleTag(id)] == 0 {
			return false
		}
	}
	return true
}

func (f *fleet) provider(t *testing.T) *ringcentral.Provider {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	p, err := ringcentral.New(ringcentral.Config{
		Account: home.Tenant, BaseURL: f.api, ClientID: "rescind-dev",
		ClientSecret:       subscriptions.NewSecret("rescind-dev-secret"),
		JWT:                subscriptions.NewSecret("sim-service-jwt"),
		VerificationTokens: []subscriptions.Secret{subscriptions.NewSecret("verification-token-hunter2")},
	}, subscriptions.Deps{HTTP: &http.Client{Transport: transport}, Vault: f.Vault([32]byte{1}),
		Budget: budget.NewLocal(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs a worker's loop until the test ends.
func (f *fleet) start(t *testing.T) *mortal {
	t.Helper()
	m := &mortal{fleet: f, tail: f.provider(t), Lease: f.Lease("roles", shortLife), died: make(chan struct{})}
	l, err := tail.New(tail.Config{Home: home, Tail: m, Lease: m, Publish: m.publish, Interval: often,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return m
}

// mortal is a worker that can be killed: from then on nothing it does has an
// effect, and it says good-bye to nobody.
type mortal struct {
	*stream.Lease
	fleet *fleet
	tail  subscriptions.Tail

	mu     sync.Mutex
	doomed string // the step before which it dies
	dead   bool
	died   chan struct{}
	polls  []time.Time
}

// kill makes it die as soon as it is about to do the step.
func (m *mortal) kill(step string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doomed = step
}

func (m *mortal) alive(ctx context.Context, step string) error {
	m.mu.Lock()
	if step == m.doomed && !m.dead {
		m.dead = true
		close(m.died)
	}
	dead := m.dead
	m.mu.Unlock()
	if dead {
		<-ctx.Done()
		return errors.New("dead")
	}
	return nil
}

func (m *mortal) polled() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.polls
}

func (m *mortal) Poll(ctx context.Context, cursor []byte) ([]events.Change, []byte, error) {
	if err := m.alive(ctx, "poll"); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	m.polls = append(m.polls, time.Now())
	m.mu.Unlock()
	return m.tail.Poll(ctx, cursor)
}

func (m *mortal) Interval() time.Duration { return m.tail.Interval() }

func (m *mortal) Delay() time.Duration { return m.tail.Delay() }

func (m *mortal) publish(ctx context.Context, c events.Change) error {
	if err := m.alive(ctx, "publish"); err != nil {
		return err
	}
	return m.fleet.publish(ctx, c)
}

func (m *mortal) Acquire(ctx context.Context) error {
	if err := m.alive(ctx, "acquire"); err != nil {
		return err
	}
	return m.Lease.Acquire(ctx)
}

func (m *mortal) Renew(ctx context.Context) error {
	if err := m.alive(ctx, "renew"); err != nil {
		return err
	}
	return m.Lease.Renew(ctx)
}

func (m *mortal) Save(ctx context.Context, cursor []byte) error {
	if err := m.alive(ctx, "save"); err != nil {
		return err
	}
	return m.Lease.Save(ctx, cursor)
}

func (m *mortal) Release(ctx context.Context) error {
	if err := m.alive(ctx, "release"); err != nil {
		return nil
	}
	return m.Lease.Release(ctx)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %s: %s", limit, what)
		}
	}
}

// baseline waits until the roles were looked at for the first time.
func (f *fleet) baseline(t *testing.T) {
	t.Helper()
	eventually(t, "the first look", func() bool {
		cursor, _, err := f.Lease("roles", shortLife).Load(t.Context())
		return err == nil && len(cursor) > 0
	})
}

// edit changes a role, or adds one if there is no id.
func (f *fleet) edit(t *testing.T, id string) string {
	t.Helper()
	r := sim.Role{DisplayName: "new"}
	if id != "" {
		var err error
		if r, err = f.rc.Role(id); err != nil {
			t.Fatal(err)
		}
		r.Description += "edited"
	}
	id, err := f.rc.PutRole(r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Wherever the holder dies, another follows within two lives, and no role that
// was touched before, during or after is missed.
func TestAHolderIsKilled(t *testing.T) {
	for name, step := range map[string]string{
		"before a poll": "poll", "before it publishes": "publish", "before it saves": "save",
		"before it renews": "renew",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			var roles [5]string
			for i := range roles {
				roles[i] = f.edit(t, "")
			}
			first := f.start(t)
			f.baseline(t)
			second := f.start(t)
			f.edit(t, roles[0])
			eventually(t, "an edit is published", func() bool { return f.saw(roles[0]) })
			first.kill(step)
			f.edit(t, roles[1])
			<-first.died
			killed := time.Now()
			f.edit(t, roles[2])
			added := f.edit(t, "")
			if err := f.rc.RemoveRole(roles[3]); err != nil {
				t.Fatal(err)
			}
			eventually(t, "another polls", func() bool { return len(second.polled()) > 0 })
			took := second.polled()[0].Sub(killed)
			t.Logf("followed after %s, the life is %s", took, shortLife)
			if took > 2*shortLife {
				t.Error("that is over two lives")
			}
			f.edit(t, roles[4])
			eventually(t, "every role that was touched is published", func() bool {
				return f.saw(append(roles[:], added)...)
			})
		})
	}
}

// A holder that is slow, and not dead, comes back when another has followed: it
// stores nothing.
func TestASlowHolderComesBack(t *testing.T) {
	f := newFleet(t)
	role := f.edit(t, "")
	slow := f.Lease("roles", time.Second)
	if err := slow.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := f.provider(t)
	_, old, err := p.Poll(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Save(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	f.edit(t, role)
	eventually(t, "another has found the edit", func() bool { return f.saw(role) })
	if err := slow.Save(t.Context(), old); !errors.Is(err, events.ErrConflict) {
		t.Errorf("the old cursor is written over the new one: %v", err)
	}
}

// A holder that stops lets another follow at once, and only one polls at a time.
func TestOneOfManyPolls(t *testing.T) {
	f := newFleet(t)
	all := []*mortal{f.start(t), f.start(t), f.start(t)}
	f.baseline(t)
	role := f.edit(t, "")
	eventually(t, "the role is published", func() bool { return f.saw(role) })
	pollers := 0
	for _, m := range all {
		if len(m.polled()) > 0 {
			pollers++
		}
	}
	if pollers != 1 {
		t.Errorf("%d poll", pollers)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.published[events.RoleTag(role)]; n != 1 {
		t.Errorf("published %d times", n)
	}
}

// What is edited while the stream is away is published when it is back.
func TestTheStreamIsAway(t *testing.T) {
	f := newFleet(t)
	role, deleted := f.edit(t, ""), f.edit(t, "")
	f.start(t)
	f.baseline(t)
	f.stop(t)
	f.edit(t, role)
	if err := f.rc.RemoveRole(deleted); err != nil {
		t.Fatal(err)
	}
	f.serve(t)
	eventually(t, "what was edited meanwhile is published", func() bool { return f.saw(role, deleted) })
}
