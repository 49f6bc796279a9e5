package stream_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
)

// line is a way to a server that can be made to swallow what the server says,
// and be cut.
type line struct {
	listener net.Listener
	target   string
	deaf     atomic.Bool
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newLine(t *testing.T, srv *natslocal.Server) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, target: strings.TrimPrefix(srv.URL(), "nats://")}
	l.running.Go(func() { l.serve(t) })
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		l.cut()
		l.running.Wait()
	})
	return l
}

func (l *line) url() string { return "nats://" + l.listener.Addr().String() }

func (l *line) serve(t *testing.T) {
	for {
		client, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		server, err := net.Dial("tcp", l.target)
		if err != nil {
			t.Error(err)
			client.Close()
			return
		}
		l.mu.Lock()
		l.conns = append(l.conns, client, server)
		l.mu.Unlock()
		l.running.Go(func() { l.carry(server, client, &atomic.Bool{}) })
		l.running.Go(func() { l.carry(client, server, &l.deaf) })
	}
}

// carry copies until either end closes, and then closes both.
func (l *line) carry(to, from net.Conn, swallow *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if swallow.Load() {
			n = 0
		}
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close() // it may be closed already
	}
	l.conns = nil
}

// What a dying connection took along is there again within seconds.
func TestWhatADyingConnectionTookAlongComesAgainSoon(t *testing.T) {
	srv := startServer(t, natslocal.Options{Addr: "127.0.0.1:0"})
	far := openOn(t, connect(t, srv))
	l := newLine(t, srv)
	nc, err := stream.Connect(t.Context(), stream.ConnectOptions{URL: l.url()})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, nc)
	got := newCollector()
	consume(t, openOn(t, nc), stream.ConsumeOptions{}, got.handle)
	first := change("first")
	publish(t, far, first)
	eventually(t, "first delivery", func() bool { return got.has(first.ID) })

	l.deaf.Store(true)
	lost := change("lost")
	publish(t, far, lost)
	eventually(t, "delivery into the void", func() bool {
		info, err := far.Info(t.Context())
		return err == nil && info.Pending == 0 && info.InFlight == 1
	})
	l.deaf.Store(false)
	l.cut()
	began := time.Now()
	eventually(t, "what was lost comes again", func() bool { return got.has(lost.ID) })
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
}

// Neither what a slow handler has in hand nor what waits behind it is delivered
// again.
func TestWhatIsInHandIsExtended(t *testing.T) {
	s, nc := opened(t)
	publishMany(t, s, 2)
	const wait = 300 * time.Millisecond
	handled := make(chan uint64, 10)
	o := stream.ConsumeOptions{Batch: 1, AckWait: wait}
	consume(t, s, o, func(_ context.Context, batch []stream.Message) {
		<-time.After(2 * wait)
		handled <- batch[0].Sequence
		if err := batch[0].Ack(); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		receive(t, handled, "a slow handler")
	}
	cons, err := jetStream(t, nc).Consumer(t.Context(), stream.Changes, stream.DefaultDurable)
	if err != nil {
		t.Fatal(err)
	}
	if n := cons.CachedInfo().Delivered.Consumer; n != 2 {
		t.Errorf("%d deliveries of 2 changes", n)
	}
}

// A handler that hangs does not keep a change from another worker for ever.
func TestAHandlerThatHangsLosesItsChange(t *testing.T) {
	s, _ := opened(t)
	const wait = 200 * time.Millisecond
	hung := make(chan struct{}, 10)
	consume(t, s, stream.ConsumeOptions{Batch: 1, AckWait: wait},
		func(ctx context.Context, _ []stream.Message) {
			hung <- struct{}{}
			<-ctx.Done()
		})
	c := change("1")
	publish(t, s, c)
	receive(t, hung, "a handler that hangs")
	began := time.Now()
	got := newCollector()
	consume(t, s, stream.ConsumeOptions{Batch: 1, AckWait: wait}, got.handle)
	eventually(t, "another worker gets it", func() bool { return got.has(c.ID) })
	if took := time.Since(began); took < 4*wait {
		t.Errorf("taken away after %s", took)
	}
}
