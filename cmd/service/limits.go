package service

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

// Limits asks Redis how each provider's limits stand, by its name, as the
// workers have learnt and used them. It makes no call to a provider.
func Limits(ctx context.Context, cfg *config.Config) (map[string][]budget.Standing, error) {
	rdb, err := openRedis(cfg.Redis)
	if err != nil {
		return nil, err
	}
	defer rdb.Close()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("redis.url (user, redis.password): %w", err)
	}
	shared, err := budget.Open(ctx, rdb, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("redis.url: %w", err)
	}
	all := map[string][]budget.Standing{}
	for _, p := range cfg.Providers {
		if all[p.Name], err = shared.Standings(ctx, events.Provider(p.Name)); err != nil {
			return nil, fmt.Errorf("limits of %s: %w", p.Name, err)
		}
	}
	return all, nil
}
