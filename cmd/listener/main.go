// Command listener receives subscription webhooks from providers, publishes
// what they tell of to NATS JetStream, and keeps the subscriptions alive.
//
//	listener -config rescind.yml          serve until SIGINT or SIGTERM
//	listener -config rescind.yml -check   validate and print the configuration
//
// It answers a delivery with success only after the stream has acknowledged.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
)

func main() {
	os.Exit(service.Main(config.RoleListener,
		func(ctx context.Context, cfg *config.Config, log *slog.Logger) (service.Runner, error) {
			return service.NewListener(ctx, cfg, log)
		}))
}
