package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cmd/service"
)

type devCmd struct {
	Redis     string `placeholder:"URL" help:"Use this Redis instead of starting one (redis://...)."`
	RedisAddr string `default:"127.0.0.1:6380" placeholder:"ADDR" help:"Where the Redis that is started listens (${default})."`
	Nats      string `default:"127.0.0.1:4223" placeholder:"ADDR" help:"Where NATS listens (${default})."`
	Listener  string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where deliveries arrive (${default})."`
	Ask       string `default:"127.0.0.1:8081" placeholder:"ADDR" help:"Where questions are answered (${default})."`
	Simulator string `default:"127.0.0.1:8090" placeholder:"ADDR" help:"Where the simulated RingCentral listens (${default})."`
	Box       string `default:"127.0.0.1:8091" placeholder:"ADDR" help:"Where the simulated Box listens (${default})."`
	Mural     string `default:"127.0.0.1:8092" placeholder:"ADDR" help:"Where the simulated Mural listens (${default})."`
	StandIn   bool   `help:"Use the embedded stand-in for Redis even if redis-server is installed."`
	Tour      bool   `default:"true" negatable:"" help:"Play the tour (default); --tour=false skips it."`
	Exit      bool   `help:"End after the tour; exit status 0 only if every step went well."`
	JSON      bool   `name:"json" help:"Print one JSON object per step, and per fact at the end."`
	Verbose   bool   `short:"v" help:"Show the services' logs on standard error."`
}

// Help is what --help adds.
func (devCmd) Help() string {
	return `Nothing outlives the command: NATS keeps its files in a temporary folder. A Redis that
you give keeps keys of the simulated tenants, which end by themselves within a day.

Examples:
  rescind dev                       the tour, then serve until Ctrl-C
  rescind dev --exit --json         the tour for a program
  rescind dev --listener 127.0.0.1:9000 --tour=false`
}

// tourLimit bounds the tour as a whole.
const tourLimit = time.Minute

// Run starts the world, plays the tour, and serves.
func (d devCmd) Run(ctx context.Context, t terminal) (err error) {
	if err := d.checkPorts(); err != nil {
		return err
	}
	level := slog.LevelError
	if d.Verbose {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: level}))
	service.RouteRedisLog(log)
	p := newPrinter(t.out, d.JSON)
	w, err := openWorld(ctx, d, log, p)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	g, running := errgroup.WithContext(running)
	g.Go(func() error { return w.run(running) })
	g.Go(func() error {
		defer func() {
			if d.Exit {
				cancel()
			}
		}()
		return d.play(running, w, p)
	})
	return g.Wait()
}

// play waits until all is ready, plays the tour and prints the facts.
func (d devCmd) play(ctx context.Context, w *world, p *printer) error {
	limited, cancel := context.WithTimeout(ctx, tourLimit)
	defer cancel()
	tour, err := newTour(w, p)
	if err != nil {
		return err
	}
	if err := tour.begin(limited); err != nil {
		return err
	}
	if d.Tour {
		if err := tour.play(limited); err != nil {
			return err
		}
	}
	if !d.Exit {
		p.facts(w)
	}
	return nil
}

// checkPorts finds a port that is taken before anything has started, and
// names the flag that chooses another.
func (d devCmd) checkPorts() error {
	ports := []struct{ flag, addr string }{
		{"--nats", d.Nats}, {"--listener", d.Listener}, {"--ask", d.Ask}, {"--simulator", d.Simulator},
		{"--box", d.Box}, {"--mural", d.Mural},
	}
	if d.Redis == "" {
		ports = append(ports, struct{ flag, addr string }{"--redis-addr", d.RedisAddr})
	}
	for _, p := range ports {
		host, _, err := net.SplitHostPort(p.addr)
		if ip := net.ParseIP(host); err == nil && (ip == nil || !ip.IsLoopback()) {
			err = fmt.Errorf("must be a loopback address")
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", p.flag, p.addr, err)
		}
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			return fmt.Errorf("%s is taken or cannot be used; choose another with %s: %w", p.addr, p.flag, err)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("%s %s: %w", p.flag, p.addr, err)
		}
	}
	return nil
}
