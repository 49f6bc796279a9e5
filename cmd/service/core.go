package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

// The bounds of starting and stopping.
const (
	startLimit = time.Minute // services may start in any order
	tryLimit   = 5 * time.Second
	stopLimit  = 10 * time.Second
)

// core is what both services have.
type core struct {
	cfg     *config.Config
	log     *slog.Logger
	metrics *prometheus.Registry
	nc      *nats.Conn
	stream  *stream.Stream
	vault   subscriptions.Vault
	provide provide
	deps    subscriptions.Deps
	tenants []tenant // once openProviders has opened them
}

// provide is what [providers.Open] does.
type provide func(
	kind string, h events.Home, s subscriptions.Settings, d subscriptions.Deps,
) (providers.Provider, error)

// tenant is one configured tenant with its provider.
type tenant struct {
	events.Home
	providers.Provider
}

func newCore(ctx context.Context, cfg *config.Config, log *slog.Logger, name string) (*core, error) {
	c := &core{cfg: cfg, log: log, metrics: prometheus.NewRegistry(), provide: providers.Open}
	c.metrics.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	key, err := cfg.NATS.SealingKey()
	if err != nil {
		return nil, err
	}
	err = patiently(ctx, log, "nats", func(ctx context.Context) error { return c.connect(ctx, name) })
	if err != nil {
		return nil, fmt.Errorf("nats.url: %w", err)
	}
	c.vault = c.stream.Vault(key)
	return c, nil
}

func (c *core) connect(ctx context.Context, name string) error {
	n := c.cfg.NATS
	nc, err := stream.Connect(ctx, stream.ConnectOptions{
		URL: n.URL, Name: "rescind-" + name, CredentialsFile: n.Credentials, User: n.User,
		Password: n.Password.Reveal(), CAFile: n.TLSCA, Log: c.log,
	})
	if err != nil {
		return err
	}
	s, err := stream.Open(ctx, nc, stream.Options{Replicas: n.Replicas, Log: c.log})
	if err != nil {
		nc.Close()
		return err
	}
	c.nc, c.stream = nc, s
	return nil
}

// openProviders opens every tenant; its calls come out of the budget.
func (c *core) openProviders(budget subscriptions.Budget) error {
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
	}}
	c.deps = subscriptions.Deps{HTTP: client, Vault: c.vault, Budget: budget, Log: c.log}
	for _, p := range c.cfg.Providers {
		for _, t := range p.Tenants {
			h := events.Home{Provider: events.Provider(p.Name), Tenant: events.Tenant(t.ID)}
			one, err := c.provide(p.Kind, h, p.Settings(t), c.deps)
			if err != nil {
				return fmt.Errorf("providers.%s, tenant %s: %w", p.Name, t.ID, err)
			}
			c.tenants = append(c.tenants, tenant{h, one})
		}
	}
	return nil
}

// patiently tries until it works, at most for startLimit, unless only a person
// can mend it.
func patiently(ctx context.Context, log *slog.Logger, what string, open func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var last error
	policy := backoff.NewExponentialBackOff(backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	err := backoff.RetryNotify(func() error {
		try, cancel := context.WithTimeout(ctx, tryLimit)
		defer cancel()
		err := open(try)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if hopeless(err) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(policy, ctx), func(err error, d time.Duration) {
		log.WarnContext(ctx, "waiting for "+what, "error", err, "again_in_ms", d.Milliseconds())
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// hopeless says whether trying again is in vain: a login or a server is wrong.
func hopeless(err error) bool {
	var said redis.Error
	if !errors.As(err, &said) {
		return errors.Is(err, stream.ErrServer) || errors.Is(err, nats.ErrAuthorization)
	}
	for _, prefix := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "ERR DB index", "ERR AUTH", "ERR Client sent AUTH"} {
		if strings.HasPrefix(said.Error(), prefix) {
			return true
		}
	}
	return false
}

// openRedis makes the client that the configuration describes.
func openRedis(cfg config.Redis) (redis.UniversalClient, error) {
	if s, ok, err := cfg.Sentinels(); ok {
		if err != nil {
			return nil, fmt.Errorf("redis.url: %w", err)
		}
		return openSentinel(cfg, s), nil
	}
	o, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, errors.New("redis.url: not a redis:// or rediss:// address") // the error quotes it
	}
	if !cfg.Password.Empty() {
		o.Password = cfg.Password.Reveal()
	}
	o.ContextTimeoutEnabled = true
	if !cfg.Cluster {
		return redis.NewClient(o), nil
	}
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{o.Addr}, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		ContextTimeoutEnabled: true,
	}), nil
}

// openSentinel makes a client that follows the primary.
func openSentinel(cfg config.Redis, s config.Sentinel) redis.UniversalClient {
	o := &redis.FailoverOptions{
		MasterName: s.Primary, SentinelAddrs: s.Addrs, SentinelPassword: cfg.SentinelPassword.Reveal(),
		Username: s.User, Password: cfg.Password.Reveal(), DB: s.Database, ContextTimeoutEnabled: true,
	}
	if s.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return redis.NewFailoverClient(o)
}

// listenOn takes a port, and names the setting if it cannot.
func listenOn(addr, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return l, nil
}

// serve runs a server until ctx ends, then lets it finish what it has begun.
func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	err := s.Shutdown(stop)
	if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
