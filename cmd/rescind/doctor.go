package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

type doctorCmd struct {
	Config string `placeholder:"FILE" env:"RESCIND_CONFIG" help:"The services' file: look at what is in force too."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (doctorCmd) Help() string {
	return `Without a configuration it works out how many subjects in use the vendors' usual limits carry.
With one it also asks Redis what limits the workers have learnt, and what they use of them; run it
where a worker runs, since it reads the same file and secrets. No provider is called, and nothing is
changed. Exit status 0 all is well, 1 there is something to mend, 2 it cannot be told.

Examples:
  rescind doctor
  rescind doctor --config rescind.yml
  rescind doctor --config rescind.yml --json`
}

// doctorLimit bounds how long Redis is waited for.
const doctorLimit = 10 * time.Second

// diagnosis is all that was found. The exit status is made of the findings.
type diagnosis struct {
	Reading []reading `json:"reading"`
	// Lives is nil without a configuration, Lanes if they are not known.
	Lives    *lives    `json:"lives,omitempty"`
	Lanes    []lane    `json:"lanes"`
	Findings []finding `json:"findings"`
}

// finding is something that is not well.
type finding struct {
	About string `json:"about"`
	Text  string `json:"text"`
	// Unsure: it cannot be told whether there is something to mend.
	Unsure bool `json:"unsure"`
}

// unwell is the exit status of a diagnosis with findings.
type unwell struct{ code int }

func (u unwell) Error() string { return fmt.Sprintf("exit status %d", u.code) }

// ExitCode tells what is to be mended from what cannot be told.
func (u unwell) ExitCode() int { return u.code }

// Run looks, and prints what it found.
func (c doctorCmd) Run(ctx context.Context, t terminal) error {
	d := diagnosis{Reading: readings(), Findings: []finding{}}
	if c.Config != "" {
		cfg, err := config.Load(c.Config, environment())
		if err == nil {
			err = cfg.Validate(config.RoleWorker)
		}
		if err != nil {
			return err
		}
		d.look(ctx, cfg)
	}
	if err := c.print(t, d); err != nil {
		return err
	}
	return d.verdict()
}

// environment is the process's, but for what only other commands of this tool
// read.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(line string) bool {
		return strings.HasPrefix(line, "RESCIND_ASK_URL=")
	})
}

// look asks what is in force.
func (d *diagnosis) look(ctx context.Context, cfg *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	service.RouteRedisLog(slog.New(slog.DiscardHandler)) // what it says is in the error too
	d.Lives = &lives{Usual: seconds(cfg.Worker.Life), Longest: seconds(cfg.Worker.MaxLife)}
	standings, err := service.Limits(ctx, cfg)
	if err != nil {
		d.Findings = append(d.Findings, finding{"limits in force", err.Error(), true})
		return
	}
	now := time.Now()
	d.Lanes = []lane{}
	for _, p := range cfg.Providers {
		if len(standings[p.Name]) >= budget.MaxStandings {
			d.Findings = append(d.Findings, finding{"limits of " + p.Name,
				fmt.Sprintf("there are more than the %d that are looked at", budget.MaxStandings), true})
		}
		for _, s := range standings[p.Name] {
			l := laneOf(s, p, now)
			d.Lanes = append(d.Lanes, l)
			if advice := l.advice(cfg.Worker); advice != "" {
				d.Findings = append(d.Findings, finding{About: l.String(), Text: advice})
			}
		}
	}
	d.order()
}

// order puts first what needs the longest life.
func (d *diagnosis) order() { slices.SortFunc(d.Lanes, busiest) }

// verdict is nil if all is well.
func (d *diagnosis) verdict() error {
	if len(d.Findings) == 0 {
		return nil
	}
	if slices.ContainsFunc(d.Findings, func(f finding) bool { return !f.Unsure }) {
		return unwell{1}
	}
	return unwell{2}
}

func (c doctorCmd) print(t terminal, d diagnosis) error {
	if c.JSON {
		e := json.NewEncoder(t.out)
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	var b strings.Builder
	printReadings(&b, d.Reading)
	if d.Lanes != nil {
		printLanes(&b, d)
	}
	printFindings(&b, d)
	_, err := t.out.Write([]byte(b.String()))
	return err
}

func printFindings(b *strings.Builder, d diagnosis) {
	for _, f := range d.Findings {
		verb := "mend"
		if f.Unsure {
			verb = "cannot tell"
		}
		fmt.Fprintf(b, "\n%s: %s: %s\n", verb, f.About, f.Text)
	}
	if d.Lives != nil && len(d.Findings) == 0 {
		fmt.Fprintln(b, "\nall is well")
	}
}
