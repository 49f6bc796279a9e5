package service

import (
	"context"
	"io"
	"log/slog"

	"github.com/rescindhq/rescind/cmd/config"
)

// RunCommand is run: a service's command without a process around it.
func RunCommand(
	ctx context.Context, role config.Role,
	open func(context.Context, *config.Config, *slog.Logger) (Runner, error),
	args []string, out, problems io.Writer,
) int {
	return run(ctx, role, open, args, out, problems)
}
