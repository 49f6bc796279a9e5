package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

const nodes = 3 // of NATS

// part is a process with its address and, where one stands before it, a proxy.
type part struct {
	*process
	addr   string // where it serves
	second string // where a service is asked for its health, and a NATS server routed to
	proxy  *proxy
}

// world is the whole system.
type world struct {
	o           Options
	on          stage
	dir         string
	undo        []func() error
	redisServer string // path

	nats      []*part
	redis     []*part
	sentinel  *part
	listeners []*part
	workers   []*part

	sim       *sim.RingCentral
	simURL    string
	hooksURL  string
	watched   watched
	truth     *truth
	balance   *balancer
	transport *http.Transport
	follow    *follower
	js        jetstream.JetStream
	stream    *stream.Stream
	watchers  sync.WaitGroup

	dead     uint64              // in DEAD, that was reported
	promised map[string]delivery // every delivery of the run that was answered with success
	fresh    int                 // of the balancer's deliveries, those that were judged
	reached  map[string]int      // the generation of each subject that earlier faults saw applied

	missing sync.Mutex
	missed  []string // what the fault under way could not do
}

// newWorld starts everything and waits until it works. After an error nothing
// is left running.
func newWorld(ctx context.Context, o Options, on stage) (*world, error) {
	w := &world{
		o: o, on: on, dir: filepath.Join(o.Dir, string(on)), promised: map[string]delivery{}, reached: map[string]int{},
		transport: &http.Transport{MaxIdleConnsPerHost: 32},
	}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, err
	}
	for _, open := range []func(context.Context) error{
		w.findRedis, w.openProvider, w.openNATS, w.openRedis, w.openServices, w.attach,
	} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

// close undoes what was opened, in reverse, all of it.
func (w *world) close() error {
	errs := []error{w.stopServices()}
	for _, undo := range slices.Backward(w.undo) {
		if err := undo(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	w.undo = nil
	w.transport.CloseIdleConnections()
	return errors.Join(errs...)
}

// stopServices ends listeners and workers while what they need is still there.
func (w *world) stopServices() error {
	var g errgroup.Group
	for _, p := range slices.Concat(w.listeners, w.workers) {
		g.Go(p.stop)
	}
	return g.Wait()
}

func (w *world) onClose(undo func() error) { w.undo = append(w.undo, undo) }

// ErrNoRedis says that there is no redis-server on PATH.
var ErrNoRedis = errors.New("redis-server is not on PATH")

func (w *world) findRedis(context.Context) error {
	var err error
	if w.redisServer, err = exec.LookPath("redis-server"); err != nil {
		return ErrNoRedis
	}
	return nil
}

// newPart is a process whose output goes to a file of its name. It serves on
// two ports of loopback that the system chooses.
func (w *world) newPart(name string) (*part, error) {
	p := &part{process: &process{name: name, log: filepath.Join(w.dir, name+".log")}}
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a port for %s: %w", name, err)
		}
		w.onClose(func() error { return l.Close() })
		p.ports = append(p.ports, l)
	}
	p.addr, p.second = p.ports[0].Addr().String(), p.ports[1].Addr().String()
	p.ready = listens(p.addr)
	w.onClose(p.stop)
	return p, nil
}

// self is the command line of a part that is our own program.
func (w *world) self(args ...string) []string { return append(slices.Clone(w.o.Self), args...) }

// shield puts a proxy before a part.
func (w *world) shield(p *part) (err error) {
	if p.proxy, err = newProxy(p.addr); err == nil {
		w.onClose(p.proxy.close)
	}
	return err
}

// write makes a file in the world's folder and returns its path.
func (w *world) write(name, text string) (string, error) {
	path := filepath.Join(w.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// openProvider serves the simulator, and the balancer that it delivers to.
func (w *world) openProvider(context.Context) error {
	free := sim.Limit{Calls: -1}
	w.sim = sim.NewRingCentral(sim.Options{AccountID: account, Limits: map[string]sim.Limit{
		"light": free, "medium": free, "heavy": free, "auth": free,
	}})
	w.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		return w.sim.Close(ctx)
	})
	var err error
	if w.truth, err = newTruth(w.sim, loaded+w.o.subjects()); err != nil {
		return err
	}
	w.watched.next = w.sim
	if w.simURL, err = w.serve(&w.watched); err != nil {
		return err
	}
	w.sim.SetBaseURL(w.simURL)
	for _, name := range []string{"listener-1", "listener-2"} {
		p, err := w.newPart(name)
		if err != nil {
			return err
		}
		w.listeners = append(w.listeners, p)
	}
	w.balance = newBalancer(w.truth, "http://"+w.listeners[0].addr, "http://"+w.listeners[1].addr)
	w.hooksURL, err = w.serve(w.balance)
	return err
}

// serve runs an HTTP server of the prover's own.
func (w *world) serve(h http.Handler) (url string, err error) {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(on) }()
	w.onClose(func() error {
		err := s.Close()
		<-done // it says that it was closed
		return err
	})
	return "http://" + on.Addr().String(), nil
}

// watched is the simulator with a hand on the line: one path can be held up.
type watched struct {
	next http.Handler

	mu   sync.Mutex // guards what follows
	part string
	hold *hold
}

// hold is a request that is let through no sooner than it is released.
type hold struct{ came, released chan struct{} }

// holdUp holds the next request up whose path has this part; came is closed
// when it comes.
func (h *watched) holdUp(part string) *hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.part, h.hold = part, &hold{make(chan struct{}), make(chan struct{})}
	return h.hold
}

// ServeHTTP lets the simulator answer.
func (h *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	var held *hold
	if h.hold != nil && strings.Contains(r.URL.Path, h.part) {
		held, h.hold = h.hold, nil
	}
	h.mu.Unlock()
	if held != nil {
		close(held.came)
		<-held.released
	}
	h.next.ServeHTTP(&slow{ResponseWriter: w, done: r.Context().Done()}, r)
}

// slowest is the most that a reply takes after the provider has looked.
const slowest = 150 * time.Millisecond

// slow holds each reply back for a while, so that changes come while fetches
// have the old answer in hand.
type slow struct {
	http.ResponseWriter
	done <-chan struct{}
	once sync.Once
}

func (s *slow) wait() {
	s.once.Do(func() {
		select {
		case <-time.After(rand.N(slowest)):
		case <-s.done:
		}
	})
}

func (s *slow) WriteHeader(status int) {
	s.wait()
	s.ResponseWriter.WriteHeader(status)
}

func (s *slow) Write(b []byte) (int, error) {
	s.wait()
	return s.ResponseWriter.Write(b)
}

// Unwrap lets the simulator get at the line.
func (s *slow) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// attach connects the prover itself, past the proxies, and follows Sentinel.
func (w *world) attach(ctx context.Context) error {
	var urls []string
	for _, n := range w.nats {
		urls = append(urls, "nats://"+n.addr)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.Name("prover"), nats.IgnoreDiscoveredServers(),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		return fmt.Errorf("connect to nats: %w", err)
	}
	w.onClose(func() error { nc.Close(); return nil })
	if w.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second)); err != nil {
		return err
	}
	if w.stream, err = stream.Attach(nc); err != nil {
		return err
	}
	return w.checkStart(ctx)
}

// checkStart wants what the proof takes for granted.
func (w *world) checkStart(ctx context.Context) error {
	var s jetstream.Stream
	var last error
	err := await(ctx, drainLimit, "the streams can be asked", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, tryLimit)
		defer cancel()
		info, err := w.stream.Info(ctx)
		if err == nil {
			w.dead = info.Dead
			s, err = w.js.Stream(ctx, stream.Changes)
		}
		last = err
		return err == nil, nil // leaders may still be elected
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	if n := s.CachedInfo().Config.Replicas; n != nodes {
		return fmt.Errorf("the prover is wrong: %s has %d replicas", stream.Changes, n)
	}
	return w.truth.agrees()
}

// startAll starts parts side by side.
func startAll(ctx context.Context, parts ...*part) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		g.Go(func() error { return p.start(ctx) })
	}
	return g.Wait()
}

// heal undoes whatever is broken, as an operator would, and waits until every
// part serves again.
func (w *world) heal(ctx context.Context) error {
	for _, p := range slices.Concat(w.nats, w.redis) {
		p.proxy.heal()
	}
	w.sim.ClearFaults()
	if err := errors.Join(w.setClock(0), w.freeDisk(ctx)); err != nil {
		return err
	}
	for _, r := range w.redis {
		w.demote(r)
	}
	return startAll(ctx, w.parts()...)
}

// parts are the processes that faults may meet.
func (w *world) parts() []*part { return slices.Concat(w.nats, w.redis, w.listeners, w.workers) }
