// Command rescind is the operator's tool, and everything in one process for a
// first look.
//
//	rescind dev                   NATS, Redis, simulated providers, listener and worker, with a tour
//	rescind check                 ask a worker what a subject may do
//	rescind events list           what is in the stream of changes
//	rescind scopes ringcentral    what an app may hold at a provider
//	rescind grants put|list       the users who have consented, where that is needed
//	rescind doctor                how many subjects limits carry, and whether they suffice
//	rescind prove races|faults    whether the promises hold
//
// Exit codes: 0 done, or granted; 1 something went wrong; 80 the command line is
// wrong. A check that found no right ends with 2 (denied) or 3 (unknown); a doctor
// that cannot tell with 2.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/rescindhq/rescind/cmd/service"
)

type commands struct {
	Dev    devCmd    `cmd:"" help:"Run everything in one process, with a short tour."`
	Check  checkCmd  `cmd:"" help:"Ask a worker what a subject may do. Exit status 0 granted, 2 denied, 3 unknown."`
	Events eventsCmd `cmd:"" help:"Look at the stream of changes."`
	Scopes scopesCmd `cmd:"" help:"List what an app may hold at a provider."`
	Grants grantsCmd `cmd:"" help:"Keep the grants of users where a provider is read with these alone."`
	Doctor doctorCmd `cmd:"" help:"Say how many subjects limits carry, and whether they suffice now."`
	Prove  proveCmd  `cmd:"" help:"Show that the promises hold, under races and under faults."`
	Part   partCmd   `cmd:"" hidden:""`

	Version kong.VersionFlag `help:"Print the version."`
}

// terminal is where a command writes.
type terminal struct{ out, err io.Writer }

func main() { os.Exit(run(os.Args[1:], terminal{os.Stdout, os.Stderr})) }

func run(args []string, t terminal) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer func() {
		switch exit := recover().(type) {
		case nil:
		case exited:
			code = int(exit)
		default:
			panic(exit)
		}
	}()
	var c commands
	parser, err := kong.New(&c, kong.Name("rescind"),
		kong.Description("Keeps an application's cached permissions from outliving the provider's last word."),
		kong.Writers(t.out, t.err), kong.Vars{"version": service.Version(), "kinds": kinds()},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(t),
		kong.Exit(func(code int) { panic(exited(code)) }))
	if err != nil {
		panic(err) // the declarations above are wrong
	}
	k, err := parser.Parse(args)
	if err != nil {
		parser.Errorf("%s (rescind --help, or --help behind a command)", err)
		return exitUsage
	}
	err = k.Run()
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		return coded.ExitCode()
	case err != nil:
		parser.Errorf("%s", err)
		return 1
	}
	return 0
}

// exitUsage says that the command line is wrong.
const exitUsage = 80

// exited carries the code of help and usage errors out of the parser.
type exited int
