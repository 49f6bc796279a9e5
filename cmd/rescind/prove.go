package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/rescindhq/rescind/cache/races"
	"github.com/rescindhq/rescind/cache/redislocal"
	"github.com/rescindhq/rescind/cmd/faults"
)

type proveCmd struct {
	Races  proveRacesCmd  `cmd:"" help:"Race four ways to keep a cache against a provider whose rights change."`
	Faults proveFaultsCmd `cmd:"" help:"Break a whole system in every way, and see whether the promises hold."`
}

// partCmd is one process of the system that prove faults breaks.
type partCmd struct {
	Args []string `arg:""`
}

// Run runs the part until it is told to end.
func (c partCmd) Run(ctx context.Context) error { return faults.Part(ctx, c.Args) }

type proveRacesCmd struct {
	Seed       uint64        `default:"1" help:"Seed of the first case; the next ones have the numbers that follow (${default})."`
	Cases      int           `default:"1000000" help:"Interleavings on the model; 0 for none (${default})."`
	RedisCases int           `default:"100000" help:"Interleavings on a real Redis; 0 for none (${default})."`
	For        time.Duration `help:"End each of the two after this time."`
	Redis      string        `placeholder:"URL" help:"Use this Redis instead of starting one (redis://...)."`
	Ways       []string      `placeholder:"a,b,c,d" help:"Race these alone."`
	Steps      bool          `help:"Print the steps of the first failure of each way."`
	JSON       bool          `name:"json" help:"Print one JSON object per race."`
}

// Help is what --help adds.
func (proveRacesCmd) Help() string {
	return `Each case is a schedule made of its seed: fetches, changes and notices that are late, doubled
and out of order, fetchers that die, entries that end, a Redis that is flushed or fails over. All
four ways run the same ones; where --for ends them, some have run a few more. Exit status 1 if Rescind's fence lets anything stale through.

Examples:
  rescind prove races                              a million on the model, 100,000 on Redis
  rescind prove races --for 20s                    as many as there is time for
  rescind prove races --seed 4711 --cases 1 --redis-cases 0 --steps`
}

// Run races, first on the model.
func (c proveRacesCmd) Run(ctx context.Context, t terminal) error {
	defer debug.SetGCPercent(debug.SetGCPercent(1600)) // the model lives in garbage: twice as fast
	logging.Disable()                                  // of go-redis: what fails is told at the end
	o := races.Options{Seed: c.Seed, For: c.For, Strategies: c.Ways}
	if c.Cases > 0 {
		o.Cases = c.Cases
		if err := c.race(ctx, t, "on the model", o); err != nil {
			return err
		}
	}
	if c.Cases == 0 && c.RedisCases == 0 {
		return errors.New("nothing to race: give --cases or --redis-cases")
	}
	if c.RedisCases == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	rdb, stop, err := c.openRedis(ctx)
	if errors.Is(err, redislocal.ErrNotInstalled) {
		fmt.Fprintln(t.err, "SKIPPED, NOT PROVEN: redis-server is not installed; --redis gives one")
		return nil
	}
	if err != nil {
		return err
	}
	o.Cases, o.Redis = c.RedisCases, rdb
	return errors.Join(c.race(ctx, t, "on Redis", o), stop())
}

func (c proveRacesCmd) openRedis(ctx context.Context) (redis.UniversalClient, func() error, error) {
	addr, stop := "", func() error { return nil }
	if c.Redis == "" {
		s, err := redislocal.Start(ctx, redislocal.Options{})
		if err != nil {
			return nil, nil, err
		}
		addr, stop = "redis://"+s.Addr, s.Stop
	}
	o, err := redis.ParseURL(c.Redis + addr)
	if err != nil {
		return nil, nil, errors.Join(errors.New("--redis: must be redis:// or rediss://host:port"), stop())
	}
	o.ContextTimeoutEnabled = true
	rdb := redis.NewClient(o)
	return rdb, func() error { return errors.Join(rdb.Close(), stop()) }, nil
}

// race runs one race and prints it.
func (c proveRacesCmd) race(ctx context.Context, t terminal, where string, o races.Options) error {
	started := time.Now()
	o.Progress = func(done, total int) {
		if o.For == 0 {
			left := time.Since(started) / time.Duration(max(done, 1)) * time.Duration(total-done)
			progress(t.err, "%s: %d of %d, %s left", where, done, total, left.Round(time.Second))
		} else {
			progress(t.err, "%s: %d", where, done)
		}
	}
	report, err := races.Run(ctx, o)
	progress(t.err, "")
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(t.out).Encode(report)
	} else {
		_, err = fmt.Fprintln(t.out, report)
	}
	for _, row := range report.Rows {
		if row.First != nil && (c.Steps || row.Strategy == "d") && !c.JSON {
			fmt.Fprintf(t.out, "%s, seed %d:\n  %s\n\n", row.Name, row.First.Seed, strings.Join(row.First.Steps, "\n  "))
		}
	}
	if report.Stale("d") {
		return errors.Join(err, errors.New("the fence let something stale through: replay the seed with --seed and --steps"))
	}
	return err
}

// progress rewrites one line of a terminal; elsewhere it says nothing.
func progress(w io.Writer, format string, args ...any) {
	f, ok := w.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(w, "\r\x1b[K"+format, args...)
	}
}

type proveFaultsCmd struct {
	Only  []string `placeholder:"NAME,..." help:"These faults alone; --list names them."`
	Pairs int      `default:"6" help:"Random pairs of faults at the end (${default})."`
	Quick bool     `help:"A few faults and no pair: about a minute."`
	Seed  uint64   `default:"1" help:"Of the load and of the pairs (${default})."`
	Dir   string   `placeholder:"DIR" help:"Keep the logs and data of all parts here; a temporary folder otherwise."`
	List  bool     `help:"List the faults."`
	JSON  bool     `name:"json" help:"Print the report as JSON."`
}

// Help is what --help adds.
func (proveFaultsCmd) Help() string {
	return `Starts three NATS servers, a Redis with a replica under Sentinel, two listeners, two workers and
a simulated RingCentral, all on loopback, and breaks one thing after the other while rights change
and readers read. Needs redis-server; faults that need more are skipped, visibly. About ten minutes.
Exit status 1 if a promise was broken.

  undelivered  deliveries that were refused, and how long an old right was readable after one
  stale        reads that showed what an applied change had ended; none may be
  aside, late  such reads of a primary that was deposed, and while the provider itself still said so
  oldest right the longest that an old right was readable after the provider had ended it
  recovery     until a new change came all the way; all known: until every subject was (0s: not awaited)

Examples:
  rescind prove faults --quick
  rescind prove faults --only flush --pairs 0
  rescind prove faults --list`
}

// Run breaks the system.
func (c proveFaultsCmd) Run(ctx context.Context, t terminal) error {
	if c.List {
		w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		for _, name := range faults.Names() {
			fmt.Fprintf(w, "%s\t%s\n", name, faults.What(name))
		}
		return w.Flush()
	}
	logging.Disable() // of go-redis, which tells of every line that is cut
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("prove faults: %w", err)
	}
	report, err := faults.Run(ctx, faults.Options{
		Self: []string{self, "part"}, Dir: c.Dir, Seed: c.Seed, Only: c.Only, Pairs: c.Pairs, Quick: c.Quick, Progress: t.err,
	})
	if c.JSON {
		return errors.Join(json.NewEncoder(t.out).Encode(report), err)
	}
	if len(report.Rows) == 0 {
		return err
	}
	return errors.Join(report.Write(t.out), err)
}
