package faults

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
)

// The parts that run as processes of their own.
const (
	partNATS     = "nats"
	partListener = "listener"
	partWorker   = "worker"
)

// Part runs one part of the system in this process until ctx ends: its name
// (nats, listener or worker) and the path of its configuration. It is what
// [Options.Self] leads to.
func Part(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("part: want the name of a part and the path of its configuration")
	}
	var err error
	switch name, path := args[0], args[1]; name {
	case partNATS:
		err = runNATS(ctx, path)
	case partListener:
		err = runService(ctx, path, config.RoleListener)
	case partWorker:
		err = runService(ctx, path, config.RoleWorker)
	default:
		err = errors.New("there is no such part")
	}
	if err != nil {
		return fmt.Errorf("part %s: %w", args[0], err)
	}
	return nil
}

// runNATS is what nats-server does.
func runNATS(ctx context.Context, path string) error {
	opts, err := server.ProcessConfigFile(path)
	if err != nil {
		return err
	}
	opts.NoSigs = true // ctx ends it
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// runService is what a service's command does.
func runService(ctx context.Context, path string, role config.Role) error {
	cfg, err := config.Load(path, os.Environ())
	if err == nil {
		err = cfg.Validate(role)
	}
	if err != nil {
		return err
	}
	log := cfg.Log.Logger(os.Stderr).With("service", string(role))
	service.RouteRedisLog(log)
	var one service.Runner
	if role == config.RoleWorker {
		one, err = service.NewWorker(ctx, cfg, log)
	} else {
		one, err = service.NewListener(ctx, cfg, log)
	}
	if err == nil {
		err = one.Run(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
