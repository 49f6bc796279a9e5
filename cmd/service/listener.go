package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/listen"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// Listener receives deliveries and keeps the subscriptions that send them.
type Listener struct {
	*core
	handler          *listen.Handler
	keepers          []kept
	proofs           *stream.Proofs
	addresses        []string
	hooks, admin     *http.Server
	hooksOn, adminOn net.Listener
}

// kept are the subscriptions of one tenant.
type kept struct {
	events.Home
	*renew.Keeper
}

// publisher gives the door what it needs of the stream.
type publisher struct{ *stream.Stream }

// Publish returns once the change is stored.
func (p publisher) Publish(ctx context.Context, c events.Change) (duplicate bool, err error) {
	ack, err := p.Stream.Publish(ctx, c)
	return ack.Duplicate, err
}

// NewListener connects and takes its ports.
func NewListener(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Listener, error) {
	c, err := newCore(ctx, cfg, log, "listener")
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	l := &Listener{core: c, proofs: c.stream.Proofs()}
	if err := l.open(); err != nil {
		l.close()
		return nil, fmt.Errorf("listener: %w", err)
	}
	return l, nil
}

func (l *Listener) open() (err error) {
	if err := l.openProviders(budget.NewLocal()); err != nil {
		return err
	}
	lc := l.cfg.Listener
	var doors []listen.Door
	for _, t := range l.tenants {
		door, delivers := t.Provider.(subscriptions.Door)
		registrar, registers := t.Provider.(subscriptions.Registrar)
		if !delivers || !registers {
			continue // it is polled
		}
		part := subscriptions.AddressPart(lc.AddressKey, t.Home)
		doors = append(doors, listen.Door{Home: t.Home, Path: part, Door: door})
		address := listen.Address(lc.PublicURL, t.Home, part)
		k, err := renew.New(renew.Config{
			Home: t.Home, Registrar: registrar, Address: address, Log: l.log, Registerer: l.metrics,
			Alive: l.proven(events.SignPoll),
		})
		if err != nil {
			return err
		}
		l.keepers, l.addresses = append(l.keepers, kept{t.Home, k}), append(l.addresses, address)
	}
	l.handler, err = listen.New(listen.Config{
		Doors: doors, Publisher: publisher{l.stream}, Registerer: l.metrics, Log: l.log,
		Alive: l.delivered,
	})
	if err != nil {
		return err
	}
	l.hooks = listen.NewServer(lc.Addr, l.handler, l.log)
	l.hooks.ConnState = l.handler.ConnState
	l.admin = adminServer(l.metrics, l.checks(), l.log)
	if l.hooksOn, err = listenOn(lc.Addr, "listener.addr"); err != nil {
		return err
	}
	l.adminOn, err = listenOn(lc.AdminAddr, "listener.admin_addr")
	return err
}

// proven notes that a feed has shown a sign of life.
func (l *Listener) proven(s events.Sign) func(events.Home, time.Time) {
	return func(h events.Home, at time.Time) {
		l.proofs.Note(events.Feed{Home: h, Kind: events.FeedWebhook, Proof: at, Sign: s})
	}
}

// delivered notes a delivery as a sign of life, if all that is wanted was there at
// the last look: it comes by one webhook, and proves nothing of the others.
func (l *Listener) delivered(h events.Home, at time.Time) {
	for _, k := range l.keepers {
		if k.Home == h && k.State().Active {
			l.proven(events.SignDelivery)(h, at)
		}
	}
}

// Addr is where deliveries arrive.
func (l *Listener) Addr() string { return l.hooksOn.Addr().String() }

// AdminAddr is where it serves health and metrics.
func (l *Listener) AdminAddr() string { return l.adminOn.Addr().String() }

// Addresses are what is registered at the providers, one for each tenant that
// has webhooks, in the order of the configuration. They are secret: whoever knows one may knock.
func (l *Listener) Addresses() []string { return l.addresses }

func (l *Listener) checks() []check {
	return []check{
		{"stream", l.stream.Healthy},
		{"subscriptions", func(context.Context) error { return l.subscribed() }},
	}
}

// subscribed names the tenants whose subscription does not deliver.
func (l *Listener) subscribed() error {
	var missing []string
	for _, k := range l.keepers {
		if s := k.State(); !s.Active {
			why := cmp.Or(s.LastError, "first attempt under way")
			missing = append(missing, fmt.Sprintf("%s (%s)", k.Home, why))
		}
	}
	if len(missing) > 0 {
		return errors.New("not active: " + strings.Join(missing, ", "))
	}
	return nil
}

// Ready returns what is missing, nil if nothing is.
func (l *Listener) Ready(ctx context.Context) error {
	_, err := readiness(ctx, l.checks())
	return err
}

// Wait waits until every subscription is active.
func (l *Listener) Wait(ctx context.Context) error {
	for _, k := range l.keepers {
		if err := k.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Run serves until ctx ends. It stops looking after subscriptions, then
// finishes the deliveries that it has begun.
func (l *Listener) Run(ctx context.Context) error {
	defer l.close()
	l.log.InfoContext(ctx, "listener serves", "deliveries", l.Addr(), "admin", l.AdminAddr())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(ctx, l.hooks, listen.Limit(l.hooksOn, l.cfg.Listener.MaxConnections)) })
	g.Go(func() error { return serve(ctx, l.admin, l.adminOn) })
	g.Go(func() error { return l.proofs.Run(ctx) })
	for _, k := range l.keepers {
		g.Go(func() error { return k.Run(ctx) })
	}
	err := g.Wait()
	l.log.InfoContext(context.WithoutCancel(ctx), "listener stopped")
	return err
}

func (l *Listener) close() {
	for _, on := range []net.Listener{l.hooksOn, l.adminOn} {
		if on != nil {
			_ = on.Close() // a server has closed it already, or nobody used it
		}
	}
	if err := l.nc.FlushTimeout(time.Second); err != nil {
		l.log.Warn("flush nats", "error", err)
	}
	l.nc.Close()
}
