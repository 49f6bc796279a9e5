package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// ErrBroken says that a promise was broken; the report says which.
var ErrBroken = errors.New("a promise was broken")

// Options say what is to be proved. Self is a must.
type Options struct {
	// Self is the command that leads to [Part], without its arguments, such as
	// {os.Executable(), "part"}.
	Self []string
	// Dir takes the logs and data of all parts; empty means a new folder among
	// the temporary ones. It is left there.
	Dir string
	// Seed of the load and of the pairs.
	Seed uint64
	// Only names the faults that are to happen; empty means all, see [Names].
	Only []string
	// Pairs is how many random pairs of faults follow.
	Pairs int
	// Quick leaves out what takes long, and all pairs.
	Quick bool
	// Progress takes lines about what is going on; nil means nobody.
	Progress io.Writer

	began time.Time
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		args = append([]any{time.Since(o.began).Seconds()}, args...)
		fmt.Fprintf(o.Progress, "%6.1f s  "+format+"\n", args...) // for people: nothing hangs on it
	}
}

// rate is that of the load, in changes a second; subjects how many bear it.
func (o Options) rate() int     { return 12 }
func (o Options) subjects() int { return 6 }

// Run lets the faults happen one after the other. The report is of those that
// were judged, whatever the error: one that wraps [ErrBroken] if a promise was
// broken, [ErrNoRedis] without a redis-server, any other if the proof itself
// went wrong. When Run returns, nothing that it started is left but Dir.
func Run(ctx context.Context, o Options) (report Report, err error) {
	o.began = time.Now()
	defer func() { report.Took = time.Since(o.began) }()
	report.Seed = o.Seed
	random := rand.New(rand.NewPCG(o.Seed, 0))
	chosen, err := o.choose(random)
	if err != nil {
		return report, fmt.Errorf("faults: %w", err)
	}
	if o.Dir == "" {
		o.Dir, err = os.MkdirTemp("", "rescind-faults-")
	}
	report.Dir = o.Dir
	for _, on := range []stage{plainStage, diskStage, clockStage} {
		if err == nil {
			err = o.play(ctx, on, chosen, &report)
		}
	}
	if err != nil {
		return report, fmt.Errorf("faults (logs in %s): %w", o.Dir, err)
	}
	if broken := report.Broken(); len(broken) > 0 {
		return report, fmt.Errorf("%w by %d of %d faults (logs in %s)", ErrBroken, len(broken), len(report.Rows),
			o.Dir)
	}
	return report, nil
}

// choose lists what is to happen.
func (o Options) choose(random *rand.Rand) (chosen []fault, err error) {
	if len(o.Self) == 0 {
		return nil, errors.New("the command that leads to a part is not given")
	}
	var paired []fault
	for _, f := range faults() {
		if f.on == "" {
			f.on = plainStage
		}
		if f.paired {
			paired = append(paired, f)
		}
		if len(o.Only) > 0 && !slices.Contains(o.Only, f.name) || len(o.Only) == 0 && o.Quick && !f.quick {
			continue
		}
		chosen = append(chosen, f)
	}
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("no fault is called %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	for range o.pairs() {
		i := random.Perm(len(paired))
		chosen = append(chosen, both(paired[i[0]], paired[i[1]]))
	}
	return chosen, nil
}

func (o Options) pairs() int {
	if o.Quick {
		return 0
	}
	return o.Pairs
}

// play lets those of the faults happen that belong on a stage.
func (o Options) play(ctx context.Context, on stage, chosen []fault, report *Report) (err error) {
	var able []fault
	for _, f := range chosen {
		why := f.unable()
		switch {
		case f.on != on:
		case why != "":
			o.say("%s: skipped: %s", f.name, why)
			report.Rows = append(report.Rows, Row{Fault: f.name, What: f.what, Skipped: why})
		default:
			able = append(able, f)
		}
	}
	if len(able) == 0 {
		return nil
	}
	o.say("starting a system (%s)", on)
	w, err := newWorld(ctx, o, on)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for i, f := range able {
		o.say("%s: %s", f.name, f.what)
		row, err := w.try(ctx, f, rand.New(rand.NewPCG(o.Seed, uint64(i))))
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		report.Rows = append(report.Rows, row)
		o.say("    %s, recovered in %s", row.Verdict(), short(row.Recovery))
		for _, text := range row.Broken {
			o.say("    BROKEN: %s", text)
		}
	}
	return nil
}
