// Command rescind is the operator's tool, and everything in one process for a
// first look.
//
//	rescind dev                   NATS, Redis, simulated providers, listener and worker, with a tour
//	rescind check                 ask a worker what a subject may do
//	rescind events list           what is in the stream of changes
//	rescind dead list             what could not be handled; show, redrive, discard
//	rescind replay repair|verify  say changes again, or compare what they name with the providers
//	rescind scopes ringcentral    what an app may hold at a provider
//	rescind grants put|list       the users who have consented, where that is needed
//	rescind subscriptions list    what keeps providers telling of changes; plan, apply, renew, rotate, remove, watch
//	rescind tokens put            the scopes of an access token that an app has narrowed
//	rescind doctor                look at everything, and say what to mend; how many subjects limits carry
//	rescind completion bash       what makes a shell complete all this; or zsh, fish
//	rescind prove races|faults    whether the promises hold
//
// How each ends, the constants below say, and --help.
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
	Dev           devCmd           `cmd:"" help:"Run everything in one process, with a short tour."`
	Check         checkCmd         `cmd:"" help:"Ask a worker what a subject may do. Exit status 0 granted, 2 denied, 3 unknown."`
	Events        eventsCmd        `cmd:"" help:"Look at the stream of changes."`
	Dead          deadCmd          `cmd:"" help:"Look at what could not be handled; try it again, or discard it."`
	Replay        replayCmd        `cmd:"" help:"Say changes again, or compare what they name with the providers."`
	Scopes        scopesCmd        `cmd:"" help:"List what an app may hold at a provider."`
	Grants        grantsCmd        `cmd:"" help:"Keep the grants of users where a provider is read with these alone."`
	Tokens        tokensCmd        `cmd:"" help:"Tell of access tokens that an app has narrowed for itself."`
	Subscriptions subscriptionsCmd `cmd:"" help:"Look after the subscriptions by which providers tell of changes."`
	Doctor        doctorCmd        `cmd:"" help:"Look at everything, and say what to mend and how."`
	Completion    completionCmd    `cmd:"" help:"Print what makes a shell complete the commands of this tool."`
	Prove         proveCmd         `cmd:"" help:"Show that the promises hold, under races and under faults."`
	Part          partCmd          `cmd:"" hidden:""`
	Complete      completeCmd      `cmd:"" name:"__complete" hidden:""`

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
	parser := newParser(ctx, t)
	k, err := parser.Parse(args)
	if err != nil {
		parser.Errorf("%s (rescind --help, or --help behind a command)", err)
		return exitUsage
	}
	code, err = exitStatus(ctx, k.Run())
	if err != nil {
		parser.Errorf("%s", err)
	}
	return code
}

func newParser(ctx context.Context, t terminal) *kong.Kong {
	parser, err := kong.New(&commands{}, kong.Name("rescind"),
		kong.Description("Keeps an application's cached permissions from outliving the provider's last word.\n\n"+statuses),
		kong.Writers(t.out, t.err), kong.Vars{"version": service.Version(), "kinds": kinds()},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(t),
		kong.Exit(func(code int) { panic(exited(code)) }))
	if err != nil {
		panic(err) // the declarations above are wrong
	}
	return parser
}

// How a command ends. Scripts rely on it.
const (
	exitFound   = 1  // an error, or something found that is not well
	exitDenied  = 2  // check alone
	exitUnsure  = 2  // doctor alone: it cannot be told
	exitUnknown = 3  // check alone
	exitUsage   = 80 // of kong, as of https://github.com/square/exit

	exitInterrupted = 130 // somebody ended it before it was done
)

const statuses = `Exit status, of all commands:

    0    done, and nothing is wrong
    1    an error, or something found that is not well
    2    check: denied; doctor: it cannot be told
    3    check: unknown
    80   the command line is wrong
    130  interrupted before it was done`

// exitStatus is how a command ends that returned err, and what is to be said of it:
// nothing if it has said all itself.
func exitStatus(ctx context.Context, err error) (int, error) {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &coded):
		return coded.ExitCode(), nil
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted, errors.New("interrupted")
	}
	return exitFound, err
}

// exited carries the code of help and usage errors out of the parser.
type exited int
