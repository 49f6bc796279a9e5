package races

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Count is what was counted in cases of one strategy.
type Count struct {
	// StaleStored are answers stored after a change was applied that they lack.
	StaleStored int `json:"stale_stored"`
	// StaleRead are answers that lack a change which was applied before the
	// reader asked.
	StaleRead int `json:"stale_read"`
	// Longest is the longest time after the applying of a change at which an
	// answer without it was given, in the case's own time.
	Longest time.Duration `json:"longest_ns"`
	// Calls to the provider: one a fact.
	Calls int `json:"provider_calls"`
	// Fills are answers stored, Hits readers answered from the cache at once,
	// Answers all that readers were told.
	Fills   int `json:"fills"`
	Hits    int `json:"hits"`
	Answers int `json:"answers"`
}

func (c *Count) add(o Count) {
	c.StaleStored += o.StaleStored
	c.StaleRead += o.StaleRead
	c.Longest = max(c.Longest, o.Longest)
	c.Calls += o.Calls
	c.Fills += o.Fills
	c.Hits += o.Hits
	c.Answers += o.Answers
}

// Row is what a strategy did. All but Busy is the same on every machine, if
// the cases ran on the model.
type Row struct {
	// Strategy is its letter, Name says what it is.
	Strategy string `json:"strategy"`
	Name     string `json:"name"`
	// Cases is how many were run, Failed how many of them let something stale
	// through.
	Cases  int `json:"cases"`
	Failed int `json:"failed"`
	Count
	// First is the case with the lowest seed that failed; nil if none did.
	First *Failure `json:"first,omitempty"`
	// Busy is the time spent, over all lanes.
	Busy time.Duration `json:"busy_ns"`
}

// Failure is a case that failed.
type Failure struct {
	Seed  uint64   `json:"seed"`
	Steps []string `json:"steps"`
}

// Report is what a run found.
type Report struct {
	// On is "model" or "redis".
	On   string        `json:"on"`
	Seed uint64        `json:"seed"`
	Took time.Duration `json:"took_ns"`
	Rows []Row         `json:"rows"`
}

// Stale says whether a strategy let anything stale through.
func (r Report) Stale(strategy string) bool {
	for _, row := range r.Rows {
		if row.Strategy == strategy && row.Failed > 0 {
			return true
		}
	}
	return false
}

func nameOf(letter string) string {
	return map[string]string{
		"a": "time to live, deleted on notice",
		"b": "the same, under a lock",
		"c": "timestamps compared",
		"d": "Rescind's fence",
	}[letter]
}

// String is the report as a table.
func (r Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "strategy\tinterleavings\tstored stale\tread stale\tlongest\tprovider calls"+
		"\tfills\thits\tfirst seed")
	for _, row := range r.Rows {
		first := "-"
		if row.First != nil {
			first = fmt.Sprint(row.First.Seed)
		}
		fmt.Fprintf(w, "%s  %s\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t%s\n", row.Strategy, row.Name, row.Cases,
			row.StaleStored, row.StaleRead, row.Longest.Round(time.Millisecond), row.Calls, row.Fills, row.Hits, first)
	}
	w.Flush() // into memory
	fmt.Fprintf(&b, "on: %s, seed %d, took %s\n", r.On, r.Seed, r.Took.Round(time.Millisecond))
	return b.String()
}
