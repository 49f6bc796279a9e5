package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cmd/config"
)

// Exit codes of the services.
const (
	ExitOK     = 0
	ExitFailed = 1 // it ran, or began to, and something went wrong
	ExitUsage  = 2 // flags or configuration are wrong
)

// Runner is a service that has taken its ports.
type Runner interface{ Run(context.Context) error }

// Main is the whole of a service's command: it reads flags and configuration,
// opens the service and runs it until SIGINT or SIGTERM.
func Main(
	role config.Role, open func(context.Context, *config.Config, *slog.Logger) (Runner, error),
) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, role, open, os.Args[1:], os.Stdout, os.Stderr)
}

func run(
	ctx context.Context, role config.Role, open func(context.Context, *config.Config, *slog.Logger) (Runner, error),
	args []string, stdout, stderr io.Writer,
) int {
	flags := flag.NewFlagSet(string(role), flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", os.Getenv(config.PathVariable), "path of the configuration `file`")
	check := flags.Bool("check", false, "validate and print the effective configuration, secrets redacted")
	version := flags.Bool("version", false, "print the version")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: %s -config rescind.yml [-check]\n\n", role)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return ExitOK
	case err != nil:
		return ExitUsage
	case *version:
		fmt.Fprintln(stdout, Version())
		return ExitOK
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q\n", role, flags.Arg(0))
		return ExitUsage
	case *path == "":
		fmt.Fprintf(stderr, "%s: which configuration? give -config or set %s\n", role, config.PathVariable)
		return ExitUsage
	}
	cfg, err := config.Load(*path, os.Environ())
	if err == nil {
		err = cfg.Validate(role)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", role, err)
		return ExitUsage
	}
	if *check {
		_, _ = stdout.Write(cfg.Effective())
		fmt.Fprintf(stderr, "%s: %s is valid; NATS, Redis and the providers were not asked\n", role, *path)
		return ExitOK
	}
	log := cfg.Log.Logger(stderr).With("service", string(role))
	RouteRedisLog(log)
	service, err := open(ctx, cfg, log)
	if err == nil {
		err = service.Run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		log.ErrorContext(ctx, "ended", "error", err)
		return ExitFailed
	}
	return ExitOK
}

// Version is the module's version and commit, as far as the build knows them.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v
}

// RouteRedisLog sends what the Redis client would print by itself to log, for
// the whole process.
func RouteRedisLog(log *slog.Logger) { redis.SetLogger(redisLog{log}) }

type redisLog struct{ log *slog.Logger }

// Printf is what the client calls.
func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.WarnContext(ctx, "redis client", "said", fmt.Sprintf(format, v...))
}
