package service

import (
	"context"
	"crypto/rand"
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
	"github.com/rescindhq/rescind/subscriptions/client"
	"github.com/rescindhq/rescind/subscriptions/listen"
	"github.com/rescindhq/rescind/subscriptions/providers"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// Listener receives deliveries and keeps the subscriptions that send them.
type Listener struct {
	*core
	handler          *listen.Handler
	book             *renew.Book
	fleet            *renew.Fleet
	ledgers          *stream.Ledgers
	calls            *stream.Calls
	words            *words
	proofs           *stream.Proofs
	journal          *stream.Journal
	tails            *stream.Feeds // whether changes come by a poll too
	homes            []events.Home // that have webhooks
	check            time.Duration // from one look to the next
	addresses        []string
	hooks, admin     *http.Server
	hooksOn, adminOn net.Listener
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
	return newListener(ctx, cfg, log, parts{renew.DefaultCheck, providers.Open})
}

func newListener(ctx context.Context, cfg *config.Config, log *slog.Logger, p parts) (*Listener, error) {
	c, err := newCore(ctx, cfg, log, "listener")
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	c.provide = p.provide
	l := &Listener{core: c, proofs: c.stream.Proofs(), journal: c.stream.Journal(),
		ledgers: c.stream.Ledgers(), calls: c.stream.Calls()}
	l.metrics.MustRegister(l.journal)
	if err := l.open(ctx, p.check); err != nil {
		l.close()
		return nil, fmt.Errorf("listener: %w", err)
	}
	return l, nil
}

func (l *Listener) open(ctx context.Context, check time.Duration) (err error) {
	l.check = check
	if err := l.openProviders(budget.NewLocal()); err != nil {
		return err
	}
	l.tails = l.stream.Feeds(stream.FeedOptions{Feeds: followedTails(l.tenants), Log: l.log})
	l.fleet = &renew.Fleet{Lease: l.stream.Lease("subscriptions", renew.LeaseLife), Serve: l.serveOrders, Log: l.log}
	lc := l.cfg.Listener
	var doors []listen.Door
	wanted := map[events.Home][]string{}
	for _, t := range l.tenants {
		door, delivers := t.Provider.(subscriptions.Door)
		registrar, registers := t.Provider.(subscriptions.Registrar)
		if !delivers || !registers {
			continue // it is polled
		}
		part := subscriptions.AddressPart(lc.AddressKey, t.Home)
		doors = append(doors, listen.Door{Home: t.Home, Path: part, Door: door})
		l.homes, l.addresses = append(l.homes, t.Home), append(l.addresses, listen.Address(lc.PublicURL, t.Home, part))
		wanted[t.Home] = registrar.Wanted()
	}
	l.book = renew.NewBook(wanted, l.secret, l.log)
	l.words = newWords(l.calls, l.log)
	if err := l.openKeepers(check); err != nil {
		return err
	}
	l.remember(ctx)
	l.openRetired(ctx)
	l.handler, err = listen.New(listen.Config{
		Doors: doors, Publisher: publisher{l.stream}, Registerer: l.metrics, Log: l.log,
		Secrets: l.book.Secrets, Heard: l.heard, Missed: l.words.missed,
	})
	if err != nil {
		return err
	}
	l.hooks = listen.NewServer(lc.Addr, l.handler, l.log)
	l.hooks.ConnState = l.handler.ConnState
	l.admin = adminServer(l.metrics, l.checks(), l.log, l.subscriptionRoutes)
	if l.hooksOn, err = listenOn(lc.Addr, "listener.addr"); err != nil {
		return err
	}
	l.adminOn, err = listenOn(lc.AdminAddr, "listener.admin_addr")
	return err
}

// openKeepers makes one for each tenant that has webhooks.
func (l *Listener) openKeepers(check time.Duration) error {
	addresses := map[events.Home]string{}
	for i, h := range l.homes {
		addresses[h] = l.addresses[i]
	}
	for _, t := range l.tenants {
		registrar, registers := t.Provider.(subscriptions.Registrar)
		if addresses[t.Home] == "" || !registers {
			continue
		}
		k, err := renew.New(renew.Config{
			Home: t.Home, Registrar: registrar, Address: addresses[t.Home], Check: check,
			Rotate: l.cfg.Listener.RotateEvery, Ledgers: l.ledgers,
			Secret: func(serial int64) subscriptions.Secret { return l.secret(t.Home, serial) },
			Sweep:  l.sweep, Tailed: l.tailed, Alive: l.proven(events.SignPoll), Doubt: l.doubted, Dead: l.died,
			Noted: l.book.Note, Log: l.log, Registerer: l.metrics,
		})
		if err != nil {
			return err
		}
		l.fleet.Keepers = append(l.fleet.Keepers, k)
	}
	return nil
}

// secret is that of one registration.
func (l *Listener) secret(h events.Home, serial int64) subscriptions.Secret {
	return subscriptions.RegistrationSecret(l.cfg.Listener.AddressKey, h, serial)
}

// serveOrders answers what is ordered of a keeper while it keeps.
func (l *Listener) serveOrders(ctx context.Context, k *renew.Keeper) error {
	if !l.keeps(k.Home()) {
		return nil // it takes down what is there, and no orders
	}
	return l.calls.Serve(ctx, k.Home(), k.Answer)
}

// sweep invalidates all that is kept of a tenant, for the sake of a gap.
func (l *Listener) sweep(ctx context.Context, h events.Home, g subscriptions.Gap) error {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	c := events.Change{
		ID: events.ChangeID(h, "gap-"+rand.Text()), Home: h, Tags: []events.Tag{events.TenantTag},
		Source: events.Sweep, Reasons: []string{"gap: " + client.Clip(g.Cause)}, Received: time.Now(),
	}
	ack, err := l.stream.Publish(ctx, c)
	if err != nil {
		return fmt.Errorf("sweep a gap: %w", err)
	}
	l.journal.Note(events.Outcome{Kind: events.Gap, Home: h, Change: c.ID, Sequence: ack.Sequence, Tags: c.Tags,
		Reason: fmt.Sprintf("from %s to %s: %s", g.From.UTC().Format(time.RFC3339), g.To.UTC().Format(time.RFC3339),
			client.Clip(g.Cause))})
	return nil
}

// tailed says whether changes of a home are found by a poll too, and that is alive.
func (l *Listener) tailed(h events.Home) bool {
	state, _ := l.tails.Health(h)
	return state == events.FeedAlive
}

// proven notes that a feed has shown a sign of life.
func (l *Listener) proven(s events.Sign) func(events.Home, time.Time) {
	return func(h events.Home, at time.Time) {
		l.proofs.Note(events.Feed{Home: h, Kind: events.FeedWebhook, Proof: at, Sign: s})
	}
}

// died notes that a feed is known to deliver nothing.
func (l *Listener) died(h events.Home, at time.Time, cause string) {
	l.proofs.Note(events.Feed{Home: h, Kind: events.FeedWebhook, Died: at, Cause: cause})
}

// doubted notes that a feed is known not to deliver all.
func (l *Listener) doubted(h events.Home, at time.Time, cause string) {
	l.proofs.Note(events.Feed{Home: h, Kind: events.FeedWebhook, Died: at, Doubt: true, Cause: cause})
}

// heard notes a delivery as a sign of life, if all that is wanted was there at the
// last look: it comes by one webhook, and proves nothing of the others. One that says
// that it is the last proves nothing.
func (l *Listener) heard(h events.Home, from subscriptions.Origin, at time.Time) {
	if !from.Over && len(l.book.Missing(h)) == 0 {
		l.proven(events.SignDelivery)(h, at)
	}
	l.words.heard(h, from, at)
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

// subscribed names the tenants whose subscriptions do not deliver, and why.
func (l *Listener) subscribed() error {
	var missing []string
	for _, h := range l.homes {
		if why := l.book.Missing(h); len(why) > 0 {
			missing = append(missing, fmt.Sprintf("%s (%s)", h, strings.Join(why, "; ")))
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
	for _, h := range l.homes {
		if err := l.book.Wait(ctx, h); err != nil {
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
	g.Go(func() error { return l.journal.Run(ctx) })
	g.Go(func() error { return l.tails.Run(ctx) })
	g.Go(func() error { return l.words.run(ctx) })
	g.Go(func() error { return l.rememberOn(ctx) })
	g.Go(func() error { return l.ledgers.Watch(ctx, l.book.Read) })
	g.Go(func() error { return l.fleet.Run(ctx) })
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
