package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/redislocal"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// clientID and clientSecret are those of the app at every simulator.
const (
	clientID     = "rescind-dev"
	clientSecret = "rescind-dev-secret"
)

// The simulated RingCentral: one account, in which one user's role is changed.
const (
	account   = "37439510"
	admin     = "256440016"
	user      = "8475874957"
	oldRole   = "3" // an ordinary user
	newRole   = "4" // the same without international calls
	serviceIn = "sim-service-jwt"
	grant     = cache.Grant("permission/InternationalCalls")
)

var home = events.Home{Provider: "ringcentral", Tenant: account}

// world is everything in one process.
type world struct {
	cfg       *config.Config
	log       *slog.Logger
	redisURL  string
	redisKind string
	rdb       *redis.Client
	nats      *natslocal.Server
	nc        *nats.Conn
	sim       *sim.RingCentral
	simURL    string
	adminAuth string // bearer token of the simulated administrator
	deskToken string // of who looks after subscriptions
	box       boxWorld
	mural     muralWorld
	listener  *service.Listener
	worker    *service.Worker
	undo      []func() error
}

// openWorld starts everything but the services' loops. After an error nothing
// is left running.
func openWorld(ctx context.Context, d devCmd, log *slog.Logger, p *printer) (*world, error) {
	w := &world{log: log, cfg: config.Default()}
	for _, open := range []func(context.Context, devCmd) error{
		w.openNATS, w.openRedis, w.openRingCentral, w.openBox, w.openMural,
		w.configure, w.putGrants, w.openServices,
	} {
		if err := open(ctx, d); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	if w.cfg.Redis.StandIn {
		p.notice("NOTICE: redis-server is not installed (or --stand-in was given): an embedded stand-in plays Redis.\n" +
			"        It bounds no memory and evicts nothing. For demonstration only, never for production.")
	}
	return w, nil
}

func (w *world) openNATS(ctx context.Context, d devCmd) (err error) {
	if w.nats, err = natslocal.Start(ctx, natslocal.Options{Addr: d.Nats, SyncAlways: true, Log: w.log}); err != nil {
		return err
	}
	w.undo = append(w.undo, w.nats.Stop)
	if w.nc, err = w.nats.Connect(); err != nil {
		return err
	}
	w.undo = append(w.undo, func() error { w.nc.Close(); return nil })
	return nil
}

// openRedis uses the Redis that was given, else a redis-server, else the
// stand-in.
func (w *world) openRedis(ctx context.Context, d devCmd) error {
	switch {
	case d.Redis != "":
		w.redisURL, w.redisKind = d.Redis, "given"
		if err := w.connectRedis(); err != nil {
			return err
		}
		return w.forget(ctx)
	case d.StandIn:
		return w.openStandIn(d)
	default:
		s, err := redislocal.Start(ctx, redislocal.Options{Addr: named(d.RedisAddr)})
		if errors.Is(err, redislocal.ErrNotInstalled) {
			return w.openStandIn(d)
		}
		if err != nil {
			return err
		}
		w.undo = append(w.undo, s.Stop)
		w.redisURL, w.redisKind = "redis://"+s.Addr+"/0", "redis-server"
	}
	return w.connectRedis()
}

// forget drops the last answers of an earlier world, good for a minute.
func (w *world) forget(ctx context.Context) error {
	for _, r := range []events.Ref{bea, edgar, mia, eve} { // each in a slot of its own
		if err := w.rdb.Unlink(ctx, cache.Keys{}.Entry(r)).Err(); err != nil {
			return fmt.Errorf("--redis: %w", err)
		}
	}
	return nil
}

// named is addr, or empty if its port is left to the system.
func named(addr string) string {
	if strings.HasSuffix(addr, ":0") {
		return ""
	}
	return addr
}

// chosen is addr with a free port if none is named: the address that is
// registered at the provider must be known before anything listens.
func chosen(addr string) (string, error) {
	if named(addr) != "" {
		return addr, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (w *world) openStandIn(d devCmd) error {
	s, err := redislocal.StartStandIn(d.RedisAddr)
	if err != nil {
		return err
	}
	w.undo = append(w.undo, s.Stop)
	w.redisURL, w.redisKind, w.cfg.Redis.StandIn = "redis://"+s.Addr+"/0", "stand-in", true
	return w.connectRedis()
}

func (w *world) connectRedis() error {
	o, err := redis.ParseURL(w.redisURL)
	if err != nil {
		return errors.New("--redis: not a redis:// or rediss:// address")
	}
	o.ContextTimeoutEnabled = true // which lookup asks for
	w.rdb = redis.NewClient(o)
	w.undo = append(w.undo, w.rdb.Close)
	return nil
}

// listen takes the port of a simulator.
func listen(flag, addr string) (on net.Listener, url string, err error) {
	if on, err = net.Listen("tcp", addr); err != nil {
		return nil, "", fmt.Errorf("%s: %w", flag, err)
	}
	return on, "http://" + on.Addr().String(), nil
}

// serve answers there until the world is closed.
func (w *world) serve(on net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(on) }()
	w.undo = append(w.undo, func() error {
		err := server.Close()
		if why := <-ended; !errors.Is(why, http.ErrServerClosed) {
			err = errors.Join(err, why)
		}
		return err
	})
}

// closing bounds the end of a simulator.
func closing(end func(context.Context) error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return end(ctx)
	}
}

func (w *world) openRingCentral(_ context.Context, d devCmd) error {
	on, url, err := listen("--simulator", d.Simulator)
	if err != nil {
		return err
	}
	w.simURL = url
	w.sim = sim.NewRingCentral(sim.Options{BaseURL: url, AccountID: account, Log: w.log})
	w.undo = append(w.undo, closing(w.sim.Close))
	w.serve(on, w.sim)
	w.adminAuth = w.sim.IssueToken(admin, []string{"ReadAccounts", "EditAccounts", "RoleManagement"})
	return nil
}

// configure fills in what the YAML file would say.
func (w *world) configure(_ context.Context, d devCmd) error {
	c := w.cfg
	c.NATS.URL, c.Redis.URL = w.nats.URL(), w.redisURL
	hooks, err := chosen(d.Listener)
	if err != nil {
		return fmt.Errorf("--listener: %w", err)
	}
	c.Listener.Addr, c.Listener.AdminAddr, c.Listener.PublicURL = hooks, "127.0.0.1:0", "http://"+hooks
	c.Worker.Addr, c.Worker.AdminAddr = d.Ask, "127.0.0.1:0"
	c.Listener.AddressKey = subscriptions.NewSecret(rand.Text())
	c.Listener.AdminToken = subscriptions.NewSecret(rand.Text())
	w.deskToken = c.Listener.AdminToken.Reveal()
	var key [32]byte
	rand.Read(key[:])
	c.NATS.VaultKey = subscriptions.NewSecret(base64.StdEncoding.EncodeToString(key[:]))
	c.Providers = []config.Provider{w.box.provider(), w.mural.provider(), w.ringcentral()}
	for _, r := range []config.Role{config.RoleListener, config.RoleWorker} {
		if err := c.Validate(r); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) ringcentral() config.Provider {
	return config.Provider{
		Name: string(home.Provider), Kind: "ringcentral",
		Plain:  map[string]string{"base_url": w.simURL, "client_id": clientID},
		Secret: map[string]subscriptions.Secret{"client_secret": subscriptions.NewSecret(clientSecret)},
		Tenants: []config.Tenant{{
			ID: account,
			Plain: map[string]string{
				"token_exchange.url": w.simURL + "/token-exchange", "token_exchange.client_id": sim.ExchangeID,
			},
			Secret: map[string]subscriptions.Secret{
				"jwt":                          subscriptions.NewSecret(serviceIn),
				"verification_tokens.0":        subscriptions.NewSecret(rand.Text()),
				"token_exchange.client_secret": subscriptions.NewSecret(sim.ExchangeSecret),
			},
		}},
	}
}

func (w *world) openServices(ctx context.Context, _ devCmd) (err error) {
	if w.worker, err = service.NewWorker(ctx, w.cfg, w.log.With("service", "worker")); err != nil {
		return err
	}
	w.listener, err = service.NewListener(ctx, w.cfg, w.log.With("service", "listener"))
	return err
}

// run serves until ctx ends, then stops what was started, last first.
func (w *world) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.worker.Run(ctx) })
	g.Go(func() error { return w.listener.Run(ctx) })
	return errors.Join(g.Wait(), w.close())
}

// close undoes what was opened, in reverse, all of it.
func (w *world) close() error {
	var errs []error
	for _, undo := range slices.Backward(w.undo) {
		if err := undo(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	w.undo = nil
	return errors.Join(errs...)
}
