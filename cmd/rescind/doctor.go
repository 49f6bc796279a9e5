package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

type doctorCmd struct {
	Config         string   `placeholder:"FILE" env:"RESCIND_CONFIG" help:"The services' file: look at all that it names."`
	Capacity       bool     `help:"Print how many subjects the usual limits carry too."`
	NATSMonitoring []string `name:"nats-monitoring" placeholder:"URL" help:"Where a NATS server's http_port is: see there whether it syncs every write. May be repeated."`
	Reader         string   `placeholder:"URL" env:"RESCIND_READER_URL" help:"Redis as an application reads it: try what that may; the password comes from RESCIND_READER_PASSWORD."`
	ReaderPassword string   `env:"RESCIND_READER_PASSWORD" hidden:""`
	Providers      bool     `help:"Ask each provider the time too, by one request without a token."`
	JSON           bool     `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (doctorCmd) Help() string {
	return `Without a configuration it works out how many subjects in use the vendors' usual limits carry.
With one it connects to all that is named there, and says how it stands, and what to mend and how: NATS
with its streams, what waits and what is dead; Redis with its settings, its users' rights and replicas;
clocks, subscriptions, feeds, and the limits of providers. Run it where a worker runs, since it reads the
same file and secrets. Nothing is changed, and no provider is called but for --providers.

A line is ok; warn, a risk that may be taken; fail, something to mend; or unknown, what cannot be told.
Exit status 0 nothing to mend, 1 something is, 2 it cannot be told.

Examples:
  rescind doctor
  rescind doctor --config rescind.yml
  rescind doctor --config rescind.yml --nats-monitoring http://nats:8222 --reader redis://app@redis:6379/0
  rescind doctor --config rescind.yml --providers --json`
}

// doctorLimit bounds how long Redis is waited for.
const doctorLimit = 10 * time.Second

// diagnosis is all that was found. The exit status is made of the findings.
type diagnosis struct {
	Reading []reading `json:"reading"`
	// Lives is nil without a configuration, Lanes if they are not known.
	Lives    *lives            `json:"lives,omitempty"`
	Lanes    []lane            `json:"lanes"`
	Findings []service.Finding `json:"findings"`
}

// unwell is the exit status of a diagnosis with findings.
type unwell struct{ code int }

func (u unwell) Error() string { return fmt.Sprintf("exit status %d", u.code) }

// ExitCode tells what is to be mended from what cannot be told.
func (u unwell) ExitCode() int { return u.code }

// Run looks, and prints what it found.
func (c doctorCmd) Run(ctx context.Context, t terminal) error {
	d := diagnosis{Reading: readings(), Findings: []service.Finding{}}
	if c.Config == "" && (c.Providers || len(c.NATSMonitoring) > 0) {
		return errors.New("--config must be given: without it nothing is looked at")
	}
	if c.Config != "" {
		cfg, err := config.Load(c.Config, os.Environ())
		if err == nil {
			err = cfg.Validate(config.RoleWorker)
		}
		if err != nil {
			return err
		}
		service.RouteRedisLog(slog.New(slog.DiscardHandler)) // what it says is in the errors too
		d.Findings = service.Examine(ctx, cfg, c.examination())
		d.look(ctx, cfg)
	}
	if err := c.print(t, d); err != nil {
		return err
	}
	return d.verdict()
}

func (c doctorCmd) examination() service.Examination {
	return service.Examination{Monitors: c.NATSMonitoring, Reader: c.Reader,
		ReaderPassword: subscriptions.NewSecret(c.ReaderPassword), Providers: c.Providers}
}

// look asks what limits are in force.
func (d *diagnosis) look(ctx context.Context, cfg *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	d.Lives = &lives{Usual: seconds(cfg.Worker.Life), Longest: seconds(cfg.Worker.MaxLife)}
	if d.said("redis") {
		return // they lie there
	}
	standings, err := service.Limits(ctx, cfg)
	if err != nil {
		d.find("limits in force", service.Unknown, err.Error(), "redis.url and redis.password say where they are")
		return
	}
	now := time.Now()
	d.Lanes = []lane{}
	for _, p := range cfg.Providers {
		if len(standings[p.Name]) >= budget.MaxStandings {
			d.find("limits of "+p.Name, service.Unknown,
				fmt.Sprintf("there are more than the %d that are looked at", budget.MaxStandings), "")
		}
		for _, s := range standings[p.Name] {
			l := laneOf(s, p, now)
			d.Lanes = append(d.Lanes, l)
			if what, remedy := l.advice(cfg.Worker); what != "" {
				d.find(l.String(), service.Failure, what, remedy)
			}
		}
	}
	d.order()
}

// said is whether something is known not to be well with it already.
func (d *diagnosis) said(about string) bool {
	return slices.ContainsFunc(d.Findings, func(f service.Finding) bool {
		return f.About == about && (f.Severity == service.Failure || f.Severity == service.Unknown)
	})
}

func (d *diagnosis) find(about string, s service.Severity, text, remedy string) {
	d.Findings = append(d.Findings, service.Finding{About: about, Severity: s, Text: text, Remedy: remedy})
}

// order puts first what needs the longest life.
func (d *diagnosis) order() { slices.SortFunc(d.Lanes, busiest) }

// verdict is nil if there is nothing to mend.
func (d *diagnosis) verdict() error {
	switch service.Worst(d.Findings) {
	case service.Failure:
		return unwell{exitFound}
	case service.Unknown:
		return unwell{exitUnsure}
	}
	return nil
}

func (c doctorCmd) print(t terminal, d diagnosis) error {
	if c.JSON {
		e := json.NewEncoder(t.out)
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	var b strings.Builder
	printFindings(&b, d.Findings)
	if d.Lanes != nil {
		printLanes(&b, d)
	}
	if d.Lives == nil || c.Capacity {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		printReadings(&b, d.Reading)
	}
	if d.Lives != nil {
		fmt.Fprintf(&b, "\n%s\n", lastWord(d.Findings))
	}
	_, err := t.out.Write([]byte(b.String()))
	return err
}

// shownFindings is up to how many findings people are shown what is well.
const shownFindings = 60

// printFindings prints one line each, and what to do under it.
func printFindings(b *strings.Builder, all []service.Finding) {
	wide, total := 0, len(all)
	if total > shownFindings {
		fine := func(f service.Finding) bool { return f.Severity == service.Fine }
		all = slices.DeleteFunc(slices.Clone(all), fine)
		fmt.Fprintf(b, "%-7s  %d of %d, which are not shown\n", service.Fine, total-len(all), total)
	}
	for _, f := range all {
		wide = max(wide, utf8.RuneCountInString(f.About))
	}
	for _, f := range all {
		fmt.Fprintf(b, "%-7s  %-*s  %s\n", f.Severity, wide, shown(f.About), shown(f.Text))
		if f.Remedy != "" {
			fmt.Fprintf(b, "%-7s  %-*s  -> %s\n", "", wide, "", shown(f.Remedy))
		}
	}
}

// shown keeps a line one line, and the terminal as it is, whatever others have said.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// lastWord is the last line.
func lastWord(all []service.Finding) string {
	n := map[service.Severity]int{}
	for _, f := range all {
		n[f.Severity]++
	}
	var words []string
	for _, one := range []struct {
		service.Severity
		text string
	}{
		{service.Failure, "to mend"}, {service.Unknown, "that cannot be told"}, {service.Warning, "to know of"},
	} {
		if n[one.Severity] > 0 {
			words = append(words, fmt.Sprintf("%d %s", n[one.Severity], one.text))
		}
	}
	switch {
	case words == nil:
		return "all is well"
	case n[service.Failure]+n[service.Unknown] == 0:
		return "nothing to mend; " + words[0]
	}
	return strings.Join(words, ", ")
}
