package service

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// NewWorkerChecking is [NewWorker] that takes the subscriptions to be looked at as
// often as that.
func NewWorkerChecking(
	ctx context.Context, cfg *config.Config, log *slog.Logger, check time.Duration,
) (*Worker, error) {
	return newWorker(ctx, cfg, log, parts{check, providers.Open})
}

// NewListenerChecking is [NewListener] that looks at the subscriptions as often as
// that.
func NewListenerChecking(
	ctx context.Context, cfg *config.Config, log *slog.Logger, check time.Duration,
) (*Listener, error) {
	return newListener(ctx, cfg, log, parts{check, providers.Open})
}

// NewWorkerPolling is [NewWorker] with tails that are polled more often than one
// may configure.
func NewWorkerPolling(
	ctx context.Context, cfg *config.Config, log *slog.Logger, every time.Duration,
) (*Worker, error) {
	open := func(
		kind string, h events.Home, s subscriptions.Settings, d subscriptions.Deps,
	) (providers.Provider, error) {
		p, err := providers.Open(kind, h, s, d)
		if err != nil {
			return nil, err
		}
		return hasty{p, p.(subscriptions.Door), p.(subscriptions.Registrar), p.(subscriptions.Tail), every}, nil
	}
	return newWorker(ctx, cfg, log, parts{renew.DefaultCheck, open})
}

// hasty is a provider with another interval.
type hasty struct {
	providers.Provider
	subscriptions.Door
	subscriptions.Registrar
	subscriptions.Tail
	every time.Duration
}

// Interval is not the configured one.
func (h hasty) Interval() time.Duration { return h.every }

// RunCommand is run: a service's command without a process around it.
func RunCommand(
	ctx context.Context, role config.Role,
	open func(context.Context, *config.Config, *slog.Logger) (Runner, error),
	args []string, out, problems io.Writer,
) int {
	return run(ctx, role, open, args, out, problems)
}

// LifeOf is lifeOf.
func LifeOf(c config.Worker, feed events.FeedState, wants time.Duration) time.Duration {
	return lifeOf(c, feed, wants)
}
