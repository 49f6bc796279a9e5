package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of a test.
const limit = 20 * time.Second

var home = events.Home{Provider: "ringcentral", Tenant: "400130394008"}

func startServer(t testing.TB, o natslocal.Options) *natslocal.Server {
	t.Helper()
	srv, err := natslocal.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopServer(t, srv) })
	return srv
}

func stopServer(t testing.TB, srv *natslocal.Server) {
	t.Helper()
	if err := srv.Stop(); err != nil {
		t.Errorf("stop server: %v", err)
	}
}

func connect(t testing.TB, srv *natslocal.Server) *nats.Conn {
	t.Helper()
	nc, err := srv.Connect()
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, nc)
	return nc
}

// closeAtEnd waits until the connection's goroutines are gone.
func closeAtEnd(t testing.TB, nc *nats.Conn) {
	t.Helper()
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		nc.Close()
		select {
		case <-closed:
		case <-time.After(limit):
			t.Error("connection does not close")
		}
	})
}

func openOn(t testing.TB, nc *nats.Conn) *stream.Stream {
	t.Helper()
	s, err := stream.Open(t.Context(), nc, stream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// opened is a fresh server with our streams on it.
func opened(t testing.TB) (*stream.Stream, *nats.Conn) {
	t.Helper()
	nc := connect(t, startServer(t, natslocal.Options{}))
	return openOn(t, nc), nc
}

// outage is a server that can go away and come back where it was.
type outage struct {
	opts natslocal.Options
	srv  *natslocal.Server
}

func withOutage(t *testing.T) (*outage, *nats.Conn) {
	t.Helper()
	o := &outage{opts: natslocal.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0"}}
	o.srv = startServer(t, o.opts)
	o.opts.Addr = strings.TrimPrefix(o.srv.URL(), "nats://")
	nc, err := stream.Connect(t.Context(), stream.ConnectOptions{URL: o.srv.URL(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, nc)
	return o, nc
}

func (o *outage) restart(t *testing.T) {
	t.Helper()
	stopServer(t, o.srv)
	o.srv = startServer(t, o.opts)
}

func change(id string) events.Change {
	return events.Change{
		ID: events.ChangeID(home, id), Home: home, Source: events.Webhook,
		Tags: []events.Tag{events.SubjectTag(events.Subject(id))}, Received: time.Now().UTC(),
	}
}

func publish(t testing.TB, s *stream.Stream, c events.Change) stream.Ack {
	t.Helper()
	ack, err := s.Publish(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

// publishMany publishes changes "0" to "n-1", several at once.
func publishMany(t testing.TB, s *stream.Stream, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := worker; i < n; i += 16 {
				if _, err := s.Publish(t.Context(), change(fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
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

// consume runs a consumer until the test ends or stop is called, which waits
// for its return.
func consume(
	t testing.TB, s *stream.Stream, o stream.ConsumeOptions, handle func(context.Context, []stream.Message),
) (stop func()) {
	t.Helper()
	return background(t, func(ctx context.Context) error { return s.ConsumeChanges(ctx, o, handle) })
}

func background(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := receive(t, done, "return of what ran in the background"); err != nil {
			t.Errorf("returned %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// collector acknowledges what it gets and remembers it.
type collector struct {
	mu   sync.Mutex
	seen map[string]int
}

func newCollector() *collector { return &collector{seen: map[string]int{}} }

func (c *collector) handle(_ context.Context, batch []stream.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range batch {
		if err := m.Ack(); err == nil {
			c.seen[m.Change.ID]++
		}
	}
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

func (c *collector) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[id] > 0
}

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
}
