// Command worker drops what changes have made doubtful, fetches it again from
// the providers, and answers questions.
//
//	worker -config rescind.yml          serve until SIGINT or SIGTERM
//	worker -config rescind.yml -check   validate and print the configuration
//
// Any number may run: they share the changes, the refreshes and the tokens.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
)

func main() {
	os.Exit(service.Main(config.RoleWorker,
		func(ctx context.Context, cfg *config.Config, log *slog.Logger) (service.Runner, error) {
			return service.NewWorker(ctx, cfg, log)
		}))
}
