package service

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/rescindhq/rescind/cmd/config"
)

// NewWorkerWithBound is [NewWorker] with another bound for proofs of life.
func NewWorkerWithBound(
	ctx context.Context, cfg *config.Config, log *slog.Logger, feedBound time.Duration,
) (*Worker, error) {
	return newWorker(ctx, cfg, log, feedBound)
}

// RunCommand is run: a service's command without a process around it.
func RunCommand(
	ctx context.Context, role config.Role,
	open func(context.Context, *config.Config, *slog.Logger) (Runner, error),
	args []string, out, problems io.Writer,
) int {
	return run(ctx, role, open, args, out, problems)
}
