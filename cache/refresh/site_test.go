package refresh_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
)

// site is a world with streams and a worker's parts.
type site struct {
	*world
	*stream.Stream
	nc *nats.Conn
}

func (w *world) site() *site {
	w.t.Helper()
	srv, err := natslocal.Start(w.ctx, natslocal.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			w.t.Errorf("stop nats: %v", err)
		}
	})
	nc, err := stream.Connect(w.ctx, stream.ConnectOptions{URL: srv.URL()})
	if err != nil {
		w.t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	w.t.Cleanup(func() {
		nc.Close()
		receive(w.t, closed, "end of the connection")
	})
	s, err := stream.Open(w.ctx, nc, stream.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return &site{w, s, nc}
}

// worker is another process.
func (s *site) worker() *refresh.Worker {
	s.t.Helper()
	w := &refresh.Worker{
		Store: s.store, Filler: s.filler(), Queue: s.Stream, Log: s.log.logger(), Pause: 5 * time.Millisecond,
	}
	s.t.Cleanup(w.Wait)
	return w
}

func changeOf(h events.Home, id string, tags ...events.Tag) events.Change {
	return events.Change{
		ID: events.ChangeID(h, id), Home: h, Source: events.Webhook, Tags: tags, Received: time.Now().UTC(),
	}
}

func (s *site) publish(c events.Change) {
	s.t.Helper()
	if _, err := s.Publish(s.ctx, c); err != nil {
		s.t.Fatal(err)
	}
}

// apply runs a worker's consumer until the test ends or stop is called.
func (s *site) apply(handle func(context.Context, []stream.Message)) (stop func()) {
	s.t.Helper()
	return s.background(func(ctx context.Context) error {
		return s.ConsumeChanges(ctx, stream.ConsumeOptions{}, handle)
	})
}

func (s *site) background(run func(context.Context) error) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := receive(s.t, done, "return of what ran in the background"); err != nil {
			s.t.Errorf("returned %v", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *site) info() stream.Info {
	s.t.Helper()
	info, err := s.Info(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return info
}

// settled waits until every change was acknowledged.
func (s *site) settled() {
	s.t.Helper()
	eventually(s.t, "all changes settled", func() bool {
		info := s.info()
		return info.Pending == 0 && info.InFlight == 0 && info.Settled == info.LastSeq
	})
}

// dead lists the headers of what was buried.
func (s *site) dead() (list []nats.Header) {
	s.t.Helper()
	js, err := jetstream.New(s.nc)
	if err != nil {
		s.t.Fatal(err)
	}
	st, err := js.Stream(s.ctx, stream.Graveyard)
	if err != nil {
		s.t.Fatal(err)
	}
	for seq := st.CachedInfo().State.FirstSeq; seq > 0 && seq <= st.CachedInfo().State.LastSeq; seq++ {
		m, err := st.GetMsg(s.ctx, seq)
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, m.Header)
	}
	return list
}

// stored fills an entry that must be kept.
func (s *site) stored(r events.Ref) refresh.Result {
	s.t.Helper()
	f := s.filler()
	got, err := f.Get(s.ctx, r)
	if err != nil || !got.Stored {
		s.t.Fatalf("fill %s: %+v, %v", r, got, err)
	}
	return got
}

func tenant(n int) events.Home {
	return events.Home{Provider: home.Provider, Tenant: events.Tenant(fmt.Sprint(n))}
}
