package faults

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report is what a run has found.
type Report struct {
	Seed uint64 `json:"seed"`
	// Dir keeps the logs of all parts.
	Dir  string        `json:"dir"`
	Took time.Duration `json:"took_ns"`
	Rows []Row         `json:"rows"`
}

// Row is what was seen of one fault, or of a pair.
type Row struct {
	Fault string `json:"fault"`
	What  string `json:"what"`
	// Answered is how many deliveries a listener answered with success, Stored
	// how many of these are in CHANGES; Lost how many of the whole run are not.
	Answered int `json:"answered"`
	Stored   int `json:"stored"`
	Lost     int `json:"lost"`
	// Applied is how many changes were applied, those included whose delivery
	// was not answered with success.
	Applied int `json:"applied"`
	// Undelivered is how many deliveries were not answered with success, and
	// HealedAfter for how long after such a change the old right was readable.
	Undelivered int           `json:"undelivered"`
	HealedAfter time.Duration `json:"healed_after_ns"`
	// Granted, Denied and Unknown are what readers saw.
	Granted int `json:"granted"`
	Denied  int `json:"denied"`
	Unknown int `json:"unknown"`
	// Stale is how many reads showed what an applied change had ended; Aside
	// those of them that a deposed primary answered.
	Stale int `json:"stale"`
	Aside int `json:"aside"`
	// Late is how many reads showed what an applied change had ended, because the
	// provider itself still said so.
	Late int `json:"late"`
	// OldRight is the longest after a change at the provider that a reader still
	// saw what was before it, lost notices included.
	OldRight time.Duration `json:"old_right_ns"`
	// Recovery is from the healing until a new change had come all the way.
	Recovery time.Duration `json:"recovery_ns"`
	// Known is from the healing until, the load over, every change was applied
	// and the workers had an answer for every subject; zero if that was not
	// waited for.
	Known time.Duration `json:"known_ns"`
	// Broken are the promises that were, with what one needs to look into it.
	Broken []string `json:"broken,omitempty"`
	// Skipped says why there is no verdict.
	Skipped string `json:"skipped,omitempty"`
}

func (r *Row) broke(format string, args ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
}

// Verdict is kept, BROKEN or skipped.
func (r Row) Verdict() string {
	switch {
	case r.Skipped != "":
		return "skipped: " + r.Skipped
	case len(r.Broken) > 0:
		return "BROKEN"
	}
	return "kept"
}

// Broken lists the rows with broken promises.
func (r Report) Broken() (rows []Row) {
	for _, row := range r.Rows {
		if len(row.Broken) > 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

// Write prints one aligned line for each fault, then what was broken.
func (r Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "fault\tanswered ok\tin stream\tapplied\tundelivered\tgranted\tdenied\tunknown\tstale\t"+
		"aside\tlate\toldest right\trecovery\tall known\tverdict")
	for _, row := range r.Rows {
		if row.Skipped != "" {
			fmt.Fprintf(t, "%s\t\t\t\t\t\t\t\t\t\t\t\t\t\t%s\n", row.Fault, row.Verdict())
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", row.Fault, row.Answered,
			row.Stored, row.Applied, row.lostNotices(), row.Granted, row.Denied, row.Unknown, row.Stale,
			row.Aside, row.Late, short(row.OldRight), short(row.Recovery), short(row.Known), row.Verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, row := range r.Broken() {
		for _, text := range row.Broken {
			if _, err := fmt.Fprintf(w, "BROKEN %s: %s\n", row.Fault, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// lostNotices tells how many notices got lost and when that was healed.
func (r Row) lostNotices() string {
	if r.Undelivered == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", r.Undelivered, short(r.HealedAfter))
}

// short is a duration to the millisecond, or to the tenth of a second.
func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
