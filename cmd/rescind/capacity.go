package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

// lifetimes are those for which it is told how many subjects are carried.
var lifetimes = []time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
}

// reading is one way of reading a subject, and what it takes.
type reading struct {
	Kind  string  `json:"kind"`
	Basis string  `json:"basis"`
	As    string  `json:"as"`
	Calls []calls `json:"calls"`
	// Carries is how many subjects one identity carries, by the life of entries.
	Carries []carried `json:"carries"`
	// OwnLimits: each subject is an identity of its own.
	OwnLimits bool    `json:"own_limits"`
	Shared    string  `json:"shared,omitempty"`
	Longest   float64 `json:"longest_life_seconds,omitempty"`
}

// calls are those of one reading that share a limit.
type calls struct {
	Group  string  `json:"group"`
	Calls  int     `json:"calls"`
	Limit  int     `json:"limit"`
	Window float64 `json:"window_seconds"`
}

type carried struct {
	Life     float64 `json:"life_seconds"`
	Subjects int     `json:"subjects"`
}

// readings lists what each kind of provider costs.
func readings() (all []reading) {
	for _, p := range providers.All() {
		for _, c := range p.Costs() {
			all = append(all, readingOf(p.Kind, c))
		}
	}
	return all
}

func readingOf(kind string, c subscriptions.Cost) reading {
	r := reading{Kind: kind, Basis: c.Basis, As: c.As, OwnLimits: c.As == subscriptions.OwnToken,
		Shared: c.Shared, Longest: seconds(c.Longest)}
	for _, g := range c.Calls {
		r.Calls = append(r.Calls, calls{g.Group, g.Calls, g.Window.Calls, seconds(g.Window.Length)})
	}
	for _, life := range lifetimes {
		r.Carries = append(r.Carries, carried{seconds(life), c.Carries(life)})
	}
	return r
}

// seconds is how JSON tells a time.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// span is how people are told one.
func span(seconds float64) string {
	text := time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		return short + "m"
	}
	return text
}

// rate is a limit, such as 50/1m.
func rate(limit int, window float64) string { return fmt.Sprintf("%d/%s", limit, span(window)) }

func printReadings(b *strings.Builder, all []reading) {
	fmt.Fprintf(b, "How many subjects in use the usual limits carry, by the life of their entries. %d %% of a limit\n"+
		"is counted on; the rest is for changes, polls, sweeps and what is shared.\n\n", subscriptions.Share)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "KIND\tREADS\tWITH\tCALLS\tOF")
	for _, life := range lifetimes {
		fmt.Fprintf(w, "\t%s", span(seconds(life)))
	}
	fmt.Fprintln(w)
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s", r.Kind, r.Basis, r.As, r.calls())
		for _, c := range r.Carries {
			fmt.Fprintf(w, "\t%d", c.Subjects)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a Builder takes all
	for _, r := range all {
		printRemarks(b, r)
	}
}

// calls are two cells: what one reading takes, and of what.
func (r reading) calls() string {
	var count, limits []string
	for _, c := range r.Calls {
		count = append(count, fmt.Sprintf("%d %s", c.Calls, c.Group))
		limits = append(limits, rate(c.Limit, c.Window))
	}
	of := strings.Join(limits, ", ")
	if r.OwnLimits {
		of = "its own " + of
	}
	return strings.Join(count, ", ") + "\t" + of
}

// printRemarks says what the numbers of a row cannot.
func printRemarks(b *strings.Builder, r reading) {
	if r.OwnLimits {
		fmt.Fprintf(b, "\n%s, %s: read with its own token a subject uses limits of its own, which\n"+
			"need to carry one, however many subjects there are.\n", r.Kind, r.Basis)
	}
	if r.Shared != "" {
		fmt.Fprintf(b, "\n%s, %s: besides, for all subjects together, %s.\n", r.Kind, r.Basis, r.Shared)
	}
	if r.Longest > 0 {
		fmt.Fprintf(b, "An entry ends with what it shares, after %s at the earliest: a longer life is not counted on.\n",
			span(r.Longest))
	}
}
