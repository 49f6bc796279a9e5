package service_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/redislocal"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis would write to standard error of its own accord
	goleak.VerifyTestMain(m)
}

// limit bounds every wait of a test.
const limit = 15 * time.Second

// The simulated account.
const (
	account = "37439510"
	bea     = "8475874957"
	cem     = "8798797945"

	usualRole  = "3"
	lesserRole = "4" // usualRole without international calls

	abroad = cache.Grant("permission/InternationalCalls")
	calls  = cache.Grant("permission/DomesticCalls")
)

// The secrets, each of which may be looked for in what is written.
const (
	clientSecret      = "client-secret-hunter2"
	verificationToken = "verification-token-hunter2"
	addressKey        = "address-key-hunter2"
	askToken          = "ask-token-hunter2-hunter2"
	jwt               = "sim-service-jwt"
	vaultKey          = "vault-key-hunter2-hunter2-hunter" // 32 bytes
)

var home = events.Home{Provider: "ringcentral", Tenant: account}

func ref(subject string) events.Ref { return events.Ref{Home: home, Subject: events.Subject(subject)} }

// options say how a world differs from the usual one.
type options struct {
	exchange   bool // subjects' own tokens can be had
	sim        sim.Options
	syncAlways bool
	quiet      bool // log warnings only
	idle       bool // start neither listener nor worker
	edit       func(*config.Config)
}

// world is everything in one process, but Redis.
type world struct {
	t        testing.TB
	cfg      *config.Config
	log      *journal
	nats     *natslocal.Server
	natsOpts natslocal.Options
	redis    *redislocal.Server
	rdb      *redis.Client // of the test
	sim      *sim.RingCentral
	client   *http.Client
	stream   *stream.Stream // of the test
	listener *running[*service.Listener]
	worker   *running[*service.Worker]
}

// startWorld starts all there is, and stops it at the test's end.
func startWorld(t testing.TB, o options) *world {
	t.Helper()
	w := &world{t: t, log: &journal{}}
	w.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	t.Cleanup(w.client.CloseIdleConnections)
	w.natsOpts = natslocal.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0", SyncAlways: o.syncAlways}
	w.startRedis("")
	w.startNATS()
	w.startSim(o)
	w.configure(o)
	w.attach()
	if !o.idle {
		w.worker = w.startWorker()
		w.listener = w.startListener()
		w.subscribed()
		w.fed(w.worker)
	}
	return w
}

func (w *world) startNATS() {
	w.t.Helper()
	s, err := natslocal.Start(context.Background(), w.natsOpts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.nats = s
	w.natsOpts.Addr = strings.TrimPrefix(s.URL(), "nats://") // if it is started again
	w.t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			w.t.Error(err)
		}
	})
}

// startRedis starts a redis-server; where there is none the test is skipped,
// but fails in CI.
func (w *world) startRedis(addr string, args ...string) {
	w.t.Helper()
	s, err := redislocal.Start(context.Background(), redislocal.Options{Addr: addr, Args: args})
	switch {
	case errors.Is(err, redislocal.ErrNotInstalled) && os.Getenv("CI") == "":
		w.t.Skip("SKIPPED, NOT PROVEN: redis-server is not installed; this test needs the real one")
	case err != nil:
		w.t.Fatal(err)
	}
	w.redis = s
	w.t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			w.t.Error(err)
		}
	})
	if w.rdb == nil {
		w.rdb = redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true, PoolSize: 64})
		w.t.Cleanup(func() { _ = w.rdb.Close() })
	}
}

// startSim serves the simulator. Limits are off unless they are given.
func (w *world) startSim(o options) {
	w.t.Helper()
	if o.sim.Limits == nil {
		o.sim.Limits = map[string]sim.Limit{
			"light": {Calls: -1}, "medium": {Calls: -1}, "heavy": {Calls: -1}, "auth": {Calls: -1},
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	o.sim.BaseURL, o.sim.ClientSecret = "http://"+l.Addr().String(), clientSecret
	w.sim = sim.NewRingCentral(o.sim)
	server := &http.Server{Handler: w.sim, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := errors.Join(w.sim.Close(ctx), server.Close()); err != nil {
			w.t.Error(err)
		}
		<-done
	})
	w.cfg = config.Default()
	secret := subscriptions.NewSecret
	one := config.Tenant{ID: account, Plain: map[string]string{}, Secret: map[string]subscriptions.Secret{
		"jwt": secret(jwt), "verification_tokens.0": secret(verificationToken),
	}}
	if o.exchange {
		one.Plain["token_exchange.url"] = o.sim.BaseURL + "/token-exchange"
		one.Plain["token_exchange.client_id"] = sim.ExchangeID
		one.Secret["token_exchange.client_secret"] = secret(sim.ExchangeSecret)
	}
	w.cfg.Providers = []config.Provider{{
		Name: string(home.Provider), Kind: "ringcentral",
		Plain:   map[string]string{"base_url": o.sim.BaseURL, "client_id": "rescind-dev"},
		Secret:  map[string]subscriptions.Secret{"client_secret": secret(clientSecret)},
		Tenants: []config.Tenant{one},
	}}
}

// configure fills in what the file would say.
func (w *world) configure(o options) {
	w.t.Helper()
	c := w.cfg
	c.NATS.URL, c.Redis.URL = w.nats.URL(), "redis://"+w.redis.Addr+"/0"
	c.Listener.Addr, c.Listener.AdminAddr = freeAddr(w.t), "127.0.0.1:0"
	c.Listener.PublicURL = "http://" + c.Listener.Addr
	c.Worker.Addr, c.Worker.AdminAddr = "127.0.0.1:0", "127.0.0.1:0"
	c.Worker.Token = subscriptions.NewSecret(askToken)
	c.Listener.AddressKey = subscriptions.NewSecret(addressKey)
	c.NATS.VaultKey = subscriptions.NewSecret(base64.StdEncoding.EncodeToString([]byte(vaultKey)))
	c.Log.Level = "debug"
	if o.quiet {
		c.Log.Level = "warn"
	}
	if o.edit != nil {
		o.edit(c)
	}
	if err := c.Validate(config.RoleListener, config.RoleWorker); err != nil {
		w.t.Fatal(err)
	}
}

// freeAddr is a port that the system has chosen: the address that is
// registered must be known before the listener opens it.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// attach opens the streams for the test itself.
func (w *world) attach() {
	w.t.Helper()
	nc, err := stream.Connect(context.Background(), stream.ConnectOptions{URL: w.nats.URL(), Name: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	if w.stream, err = stream.Open(context.Background(), nc, stream.Options{}); err != nil {
		w.t.Fatal(err)
	}
}

// logger is what a service gets.
func (w *world) logger(name string) *slog.Logger {
	return w.cfg.Log.Logger(w.log).With("service", name)
}

// running is a service whose Run is under way.
type running[S service.Runner] struct {
	it     S
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func run[S service.Runner](t testing.TB, it S) *running[S] {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running[S]{it: it, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = it.Run(ctx)
	}()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop ends a service and waits for it. It may be called again.
func (r *running[S]) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	select {
	case <-r.done:
		if r.err != nil {
			t.Errorf("%T ended: %v", r.it, r.err)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("%T has not ended", r.it)
	}
}

func (w *world) startWorker() *running[*service.Worker] {
	w.t.Helper()
	it, err := service.NewWorker(context.Background(), w.cfg, w.logger("worker"))
	if err != nil {
		w.t.Fatal(err)
	}
	return run(w.t, it)
}

func (w *world) startListener() *running[*service.Listener] {
	w.t.Helper()
	it, err := service.NewListener(context.Background(), w.cfg, w.logger("listener"))
	if err != nil {
		w.t.Fatal(err)
	}
	return run(w.t, it)
}

// subscribed waits until the provider delivers.
func (w *world) subscribed() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := w.listener.it.Wait(ctx); err != nil {
		w.t.Fatal(err)
	}
}
