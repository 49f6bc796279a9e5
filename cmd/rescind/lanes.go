package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

// shownLanes is how many lanes people are shown: where subjects read with their
// own tokens each has some.
const shownLanes = 20

// lives are what entries are configured to live.
type lives struct {
	Usual   float64 `json:"usual_seconds"`
	Longest float64 `json:"longest_seconds"`
}

// lane is one limit as it stands.
type lane struct {
	Provider string `json:"provider"`
	Tenant   string `json:"tenant"` // empty: of none that is configured
	Identity string `json:"identity"`
	Group    string `json:"group"`
	// Limit is zero where there is none.
	Limit   int            `json:"limit"`
	Window  float64        `json:"window_seconds"`
	Used    int            `json:"used"`
	Waiting map[string]int `json:"waiting"`
	// Closed is how long no call may be made.
	Closed float64 `json:"closed_seconds"`
	// Busy is how many calls that begin a life of an entry were asked for in the
	// last five minutes, each counted once; Needs is the shortest life for which
	// the limit suffices.
	Busy  int     `json:"busy"`
	Needs float64 `json:"needs_life_seconds"`
}

// purposes are their names, first come first.
var purposes = []string{"readers", "changes", "upkeep", "sweeps"}

// laneOf tells a lane's tenant by its identity, which begins with it.
func laneOf(s budget.Standing, p config.Provider, now time.Time) lane {
	l := lane{
		Provider: p.Name, Identity: s.Lane.Identity, Group: s.Lane.Group,
		Limit: s.Window.Calls, Window: seconds(s.Window.Length), Used: s.Used, Waiting: map[string]int{},
		Closed: seconds(max(0, s.Closed.Sub(now))), Busy: s.Busy, Needs: seconds(s.Life),
	}
	for i, n := range s.Waiting {
		if n > 0 {
			l.Waiting[purposes[i]] = n
		}
	}
	for _, t := range p.Tenants {
		if rest, ok := strings.CutPrefix(s.Lane.Identity, t.ID+":"); ok {
			l.Tenant, l.Identity = t.ID, rest
		}
	}
	return l
}

func (l lane) String() string {
	return fmt.Sprintf("%s %s, %s, %s", l.Provider, l.Tenant, l.Identity, l.Group)
}

// busiest orders lanes by what needs the longest life.
func busiest(a, b lane) int {
	return cmp.Or(cmp.Compare(b.Closed, a.Closed), cmp.Compare(b.Needs, a.Needs), cmp.Compare(b.Busy, a.Busy),
		cmp.Compare(b.Used, a.Used), strings.Compare(a.String(), b.String()))
}

// advice is what is not well, and what to do; empty if all is.
func (l lane) advice(w config.Worker) (what, remedy string) {
	longest := seconds(max(w.Life, w.MaxLife))
	switch {
	case l.Closed > 0:
		return fmt.Sprintf("closed for %s because the vendor refused calls", span(l.Closed)),
			"if that comes again something else calls as this identity, which needs one of its own"
	case l.Needs >= seconds(cache.Ceiling) && l.Busy > l.carries(cache.Ceiling):
		return fmt.Sprintf("%d calls were asked for to keep entries alive, and %s carries %d even in the longest life",
				l.Busy, l.limit(), l.carries(cache.Ceiling)),
			"read subjects with their own tokens, or ask the vendor for a higher limit"
	case l.Needs > longest:
		return fmt.Sprintf("entries need to live %s for the limit to suffice, and may %s", span(l.Needs), span(longest)),
			"raise worker.max_life"
	}
	return "", ""
}

// carries is how many calls there are for renewals in a life.
func (l lane) carries(life time.Duration) int {
	limit := subscriptions.Window{Calls: l.Limit, Length: time.Duration(l.Window * float64(time.Second))}
	return subscriptions.Cost{Calls: []subscriptions.GroupCalls{{Window: limit, Calls: 1}}}.Carries(life)
}

func printLanes(b *strings.Builder, d diagnosis) {
	fmt.Fprintf(b, "\nEntries live %s, and up to %s where limits want that. In force now:\n\n",
		span(d.Lives.Usual), span(d.Lives.Longest))
	if len(d.Lanes) == 0 {
		fmt.Fprintln(b, "nothing: no provider was asked lately")
		return
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROVIDER\tTENANT\tIDENTITY\tGROUP\tLIMIT\tUSED\tWAITING\tCLOSED\tBUSY\tNEEDS")
	for _, l := range d.Lanes[:min(len(d.Lanes), shownLanes)] {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%s\n", l.Provider, l.Tenant, l.Identity, l.Group,
			l.limit(), l.Used, l.waiting(), dash(l.Closed), l.Busy, l.needs())
	}
	_ = w.Flush() // a Builder takes all
	if more := len(d.Lanes) - shownLanes; more > 0 {
		fmt.Fprintf(b, "and %d that need less\n", more)
	}
	fmt.Fprintln(b, "\nBUSY: calls to begin a life of an entry, of the last 5m. NEEDS: the life at which the\n"+
		"limit suffices for them; entries are stretched to it where they may.")
}

func (l lane) limit() string {
	if l.Limit == 0 {
		return "none"
	}
	return rate(l.Limit, l.Window)
}

func (l lane) needs() string {
	if l.Busy == 0 {
		return dash(0)
	}
	return dash(l.Needs)
}

func (l lane) waiting() string {
	var words []string
	for _, p := range purposes {
		if n := l.Waiting[p]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, p))
		}
	}
	if words == nil {
		return "-"
	}
	return strings.Join(words, ", ")
}

// dash is a time, or - for none.
func dash(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return span(seconds)
}
