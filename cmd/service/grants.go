package service

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

// Granter is a tenant whose users' grants are kept.
type Granter struct {
	events.Home
	subscriptions.Granter
}

// Granters opens the tenants whose users' grants are kept, over the vault of the
// workers. It makes no call to a provider; those that are made with what it
// returns are not counted with the workers' calls. shut ends the connection.
func Granters(
	ctx context.Context, cfg *config.Config, log *slog.Logger,
) (all []Granter, shut func(), err error) {
	// What there is to say of the streams the services have said.
	c := &core{cfg: cfg, log: slog.New(slog.DiscardHandler), provide: providers.Open}
	key, err := cfg.NATS.SealingKey()
	if err != nil {
		return nil, nil, err
	}
	try, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	if err := c.connect(try, "grants"); err != nil {
		return nil, nil, fmt.Errorf("nats.url: %w", err)
	}
	c.vault, c.log = c.stream.Vault(key), log
	if err := c.openProviders(budget.NewLocal()); err != nil {
		c.nc.Close()
		return nil, nil, err
	}
	for _, t := range c.tenants {
		if g, ok := t.Provider.(subscriptions.Granter); ok {
			all = append(all, Granter{t.Home, g})
		}
	}
	return all, c.nc.Close, nil
}
