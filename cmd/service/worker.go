package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/providers"
	"github.com/rescindhq/rescind/subscriptions/renew"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

// changesAtOnce is how many changes a worker applies together at most: with
// many tenants a larger batch makes fewer calls.
const changesAtOnce = 1024

// Worker applies changes, refreshes entries, and answers questions.
type Worker struct {
	*core
	rdb             redis.UniversalClient
	filler          *refresh.Filler
	worker          *refresh.Worker
	feedBound       time.Duration
	feeds           *stream.Feeds
	proofs          *stream.Proofs
	journal         *stream.Journal
	tails           []*tail.Loop
	asks, admin     *http.Server
	asksOn, adminOn net.Listener
}

// NewWorker connects and takes its ports. Redis must be set up as promised,
// unless the configuration allows a stand-in.
func NewWorker(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Worker, error) {
	return newWorker(ctx, cfg, log, parts{renew.DefaultCheck, providers.Open})
}

// parts are what a test exchanges.
type parts struct {
	check   time.Duration // from one look at the subscriptions to the next
	provide provide
}

func newWorker(ctx context.Context, cfg *config.Config, log *slog.Logger, p parts) (*Worker, error) {
	c, err := newCore(ctx, cfg, log, "worker")
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	c.provide = p.provide
	w := &Worker{core: c, feedBound: renew.Bound(p.check)}
	if err := w.open(ctx); err != nil {
		w.close()
		return nil, fmt.Errorf("worker: %w", err)
	}
	return w, nil
}

func (w *Worker) open(ctx context.Context) (err error) {
	keys, err := cache.NewKeys(w.cfg.Redis.Prefix)
	if err != nil {
		return fmt.Errorf("redis.prefix: %w", err)
	}
	if w.rdb, err = openRedis(w.cfg.Redis); err != nil {
		return err
	}
	var store *fence.Store
	err = patiently(ctx, w.log, "redis", func(ctx context.Context) (err error) {
		store, err = fence.Open(ctx, w.rdb, keys)
		return err
	})
	if err != nil {
		return fmt.Errorf("redis.url (user, redis.password): %w", err)
	}
	store.Replicas, store.ReplicaWait = w.cfg.Redis.Replicas, w.cfg.Redis.ReplicaWait
	if err := w.checkRedis(ctx); err != nil {
		return err
	}
	shared, err := budget.Open(ctx, w.rdb, budget.NewMetrics(w.metrics), w.log)
	if err != nil {
		return fmt.Errorf("redis.url: %w", err)
	}
	if err := w.openProviders(shared); err != nil {
		return err
	}
	w.feeds, w.proofs = w.stream.Feeds(stream.FeedOptions{Feeds: w.followed(), Log: w.log}), w.stream.Proofs()
	w.journal = w.stream.Journal()
	w.metrics.MustRegister(w.feeds, w.journal)
	metrics := refresh.NewMetrics(w.metrics)
	w.filler, err = refresh.NewFiller(refresh.Config{
		Redis: w.rdb, Keys: keys, Store: store, Readers: w.readers(), Life: w.cfg.Worker.Life,
		Lives: w.life, Later: w.stream, Journal: w.journal, Metrics: metrics, Log: w.log,
	})
	if err != nil {
		return fmt.Errorf("worker.life: %w", err)
	}
	w.worker = &refresh.Worker{
		Store: store, Filler: w.filler, Queue: w.stream, Changes: w.stream, Metrics: metrics, Log: w.log,
	}
	w.asks = newServer(ask.New(ask.Config{
		Filler: w.filler, Token: w.cfg.Worker.Token.Reveal(), Providers: w.providerNames(),
		Feed: w.feed, Delay: w.feeds.Delay, Tokens: w.putToken, Operator: w.filler, Cost: w.cost,
		Registerer: w.metrics, Log: w.log,
	}), w.log)
	if err := w.openTails(); err != nil {
		return err
	}
	w.admin = adminServer(w.metrics, w.checks(), w.log)
	if w.asksOn, err = listenOn(w.cfg.Worker.Addr, "worker.addr"); err != nil {
		return err
	}
	w.adminOn, err = listenOn(w.cfg.Worker.AdminAddr, "worker.admin_addr")
	return err
}

func (w *Worker) readers() func(events.Home) refresh.Reader {
	m := map[events.Home]refresh.Reader{}
	for _, t := range w.tenants {
		m[t.Home] = t.Provider
	}
	return func(h events.Home) refresh.Reader { return m[h] }
}

func (w *Worker) providerNames() (names []events.Provider) {
	for _, p := range w.cfg.Providers {
		names = append(names, events.Provider(p.Name))
	}
	return names
}

func (w *Worker) feed(h events.Home) events.FeedState {
	state, _ := w.feeds.Health(h)
	return state
}

func (w *Worker) life(h events.Home, wants time.Duration) time.Duration {
	return lifeOf(w.cfg.Worker, w.feed(h), wants)
}

// lifeOf is short where changes may not reach us; else as configured, and longer
// where the provider's limits want that.
func lifeOf(c config.Worker, feed events.FeedState, wants time.Duration) time.Duration {
	if feed != events.FeedAlive {
		return cache.MinLife
	}
	return max(c.Life, min(wants, c.MaxLife))
}

// checkRedis refuses a Redis that breaks promises. A stand-in cannot be asked.
func (w *Worker) checkRedis(ctx context.Context) error {
	if w.cfg.Redis.StandIn {
		w.log.WarnContext(ctx, "redis is a stand-in: for demonstration only")
		return w.rdb.Ping(ctx).Err()
	}
	return fence.CheckServer(ctx, w.rdb)
}

func (w *Worker) checks() []check {
	return []check{
		{"stream", w.stream.Healthy},
		{"redis", func(ctx context.Context) error { return w.rdb.Ping(ctx).Err() }},
		{"redis_policy", func(ctx context.Context) error {
			if w.cfg.Redis.StandIn {
				return nil
			}
			return fence.CheckServer(ctx, w.rdb)
		}},
	}
}

// Ready returns what is missing, nil if nothing is.
func (w *Worker) Ready(ctx context.Context) error {
	_, err := readiness(ctx, w.checks())
	return err
}

// Addr and AdminAddr are where it serves.
func (w *Worker) Addr() string { return w.asksOn.Addr().String() }

// AdminAddr is where it serves health and metrics.
func (w *Worker) AdminAddr() string { return w.adminOn.Addr().String() }

// Run works until ctx ends, then stops in good order: no new work, what was
// begun is finished or given back, no lease is left.
func (w *Worker) Run(ctx context.Context) error {
	defer w.close()
	w.log.InfoContext(ctx, "worker serves", "asks", w.Addr(), "admin", w.AdminAddr())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return w.stream.ConsumeChanges(ctx, stream.ConsumeOptions{Batch: changesAtOnce}, w.worker.Apply)
	})
	g.Go(func() error { return w.worker.Watch(ctx) })
	g.Go(func() error { return w.feeds.Run(ctx) })
	g.Go(func() error { return w.proofs.Run(ctx) })
	g.Go(func() error { return w.journal.Run(ctx) })
	g.Go(func() error { return w.stream.ConsumeRefreshes(ctx, w.cfg.Worker.Fetchers, w.worker.Refresh) })
	for _, t := range w.tails {
		g.Go(func() error { return t.Run(ctx) })
	}
	g.Go(func() error { return serve(ctx, w.asks, w.asksOn) })
	g.Go(func() error { return serve(ctx, w.admin, w.adminOn) })
	err := g.Wait()
	w.worker.Wait()
	w.log.InfoContext(context.WithoutCancel(ctx), "worker stopped")
	return err
}

// close gives back whatever New had opened.
func (w *Worker) close() {
	if w.filler != nil {
		w.filler.Close()
	}
	for _, l := range []net.Listener{w.asksOn, w.adminOn} {
		if l != nil {
			_ = l.Close() // a server has closed it already, or nobody used it
		}
	}
	if w.rdb != nil {
		if err := w.rdb.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			w.log.Warn("close redis", "error", err)
		}
	}
	w.nc.Close()
}
