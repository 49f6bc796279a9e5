package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/listen"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// rememberedFor is how long it is known, sealed, how a tenant was opened: that of one
// which is taken out of the configuration is needed to take its registrations down.
const rememberedFor = 30 * 24 * time.Hour

// remembered is how a tenant was opened.
type remembered struct {
	Kind   string            `json:"kind"`
	Plain  map[string]string `json:"plain"`
	Secret map[string]string `json:"secret"`
}

func settingsKey(h events.Home) string {
	return "settings/" + events.Escape(string(h.Provider)) + "/" + events.Escape(string(h.Tenant))
}

// rememberOn remembers anew every day until ctx ends, then returns nil: a listener may
// run for longer than that is known.
func (l *Listener) rememberOn(ctx context.Context) error {
	tick := time.NewTicker(rememberedFor / 30)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			l.remember(ctx)
		}
	}
}

// remember seals how each tenant with registrations is opened, for 30 days from now.
// What cannot be stored is no reason not to serve.
func (l *Listener) remember(ctx context.Context) {
	keeper, ok := l.vault.(subscriptions.Forgetter)
	for _, p := range l.cfg.Providers {
		for _, t := range p.Tenants {
			h := events.Home{Provider: events.Provider(p.Name), Tenant: events.Tenant(t.ID)}
			if !ok || !l.keeps(h) {
				continue
			}
			s := p.Settings(t)
			r := remembered{Kind: p.Kind, Plain: s.Plain, Secret: map[string]string{}}
			for name, secret := range s.Secret {
				r.Secret[name] = secret.Reveal()
			}
			if err := l.seal(ctx, keeper, h, r); err != nil && !errors.Is(err, subscriptions.ErrConflict) {
				l.log.WarnContext(ctx, "settings cannot be sealed: should the tenant be taken out of the configuration, "+
					"remove its subscriptions first", "provider", h.Provider, "tenant", h.Tenant, "error", err)
			}
		}
	}
}

func (l *Listener) seal(ctx context.Context, keeper subscriptions.Forgetter, h events.Home, r remembered) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, revision, err := l.vault.Get(ctx, settingsKey(h))
	if err != nil && !errors.Is(err, subscriptions.ErrNoSecret) {
		return err
	}
	return keeper.Keep(ctx, settingsKey(h), b, revision, rememberedFor)
}

// keeps says whether the tenant has registrations here.
func (l *Listener) keeps(h events.Home) bool {
	for _, one := range l.homes {
		if one == h {
			return true
		}
	}
	return false
}

// openRetired makes a keeper for each tenant that is out of the configuration and has
// registrations left: it takes them down, and is done.
func (l *Listener) openRetired(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	all, err := l.ledgers.All(ctx)
	if err != nil {
		l.log.WarnContext(ctx, "ledgers cannot be read: tenants out of the configuration keep their subscriptions",
			"error", err)
		return
	}
	for h, kept := range all {
		ledger, err := subscriptions.DecodeLedger(kept.Value)
		if l.keeps(h) || err != nil {
			continue
		}
		if err == nil && len(ledger.Entries) > 0 {
			err = l.openOneRetired(ctx, h)
		} else {
			err = l.ledgers.Delete(ctx, h, kept.Revision)
		}
		if err != nil {
			l.log.ErrorContext(ctx, "subscriptions of a tenant that is out of the configuration cannot be taken down: "+
				"put it back, order rescind subscriptions remove, and take it out again", "provider", h.Provider,
				"tenant", h.Tenant, "subscriptions", len(ledger.Entries), "error", err)
		}
	}
}

// unwanted is a registrar of which nothing is wanted any more.
type unwanted struct{ subscriptions.Registrar }

// Wanted is nothing.
func (unwanted) Wanted() []string { return nil }

func (l *Listener) openOneRetired(ctx context.Context, h events.Home) error {
	b, _, err := l.vault.Get(ctx, settingsKey(h))
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	var r remembered
	if err := json.Unmarshal(b, &r); err != nil {
		return errors.New("settings: not JSON")
	}
	s := subscriptions.Settings{Plain: r.Plain, Secret: map[string]subscriptions.Secret{}}
	for name, text := range r.Secret {
		s.Secret[name] = subscriptions.NewSecret(text)
	}
	p, err := l.provide(r.Kind, h, s, l.deps)
	if err != nil {
		return err
	}
	registrar, ok := p.(subscriptions.Registrar)
	if !ok {
		return errors.New("its provider has no subscriptions")
	}
	part := subscriptions.AddressPart(l.cfg.Listener.AddressKey, h)
	k, err := renew.New(renew.Config{
		Home: h, Registrar: unwanted{registrar}, Address: listen.Address(l.cfg.Listener.PublicURL, h, part),
		Ledgers: l.ledgers, Secret: func(n int64) subscriptions.Secret { return l.secret(h, n) },
		Sweep: l.sweep, Check: l.check, After: renew.Bound(l.check), Ends: l.forget, Log: l.log, Registerer: l.metrics,
	})
	if err != nil {
		return err
	}
	l.log.WarnContext(ctx, "tenant is out of the configuration, its subscriptions are taken down",
		"provider", h.Provider, "tenant", h.Tenant)
	l.fleet.Keepers = append(l.fleet.Keepers, k)
	return nil
}

// forget erases what is known of a tenant once it has no registrations left.
func (l *Listener) forget(ctx context.Context, ledger subscriptions.Ledger, revision uint64) bool {
	if len(ledger.Entries) > 0 {
		return false
	}
	err := l.ledgers.Delete(ctx, ledger.Home, revision)
	_, sealed, gerr := l.vault.Get(ctx, settingsKey(ledger.Home))
	if keeper, ok := l.vault.(subscriptions.Forgetter); ok && gerr == nil && err == nil {
		err = keeper.Keep(ctx, settingsKey(ledger.Home), nil, sealed, time.Second)
	}
	if err != nil {
		l.log.WarnContext(ctx, "ledger of a tenant that is no more", "error", err)
		return false
	}
	l.log.InfoContext(ctx, "subscriptions of a tenant that is out of the configuration are taken down",
		"provider", ledger.Home.Provider, "tenant", ledger.Home.Tenant)
	return true
}
