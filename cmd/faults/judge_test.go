package faults

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
)

// history is a trial with one subject that reached generation 3: a notice of
// each, the second of which was not accepted, applied 10 s after it came.
func history(t *testing.T) (tr *trial, mine []delivery, sequences map[string]uint64, at func(s int) time.Time) {
	t.Helper()
	w := &world{truth: newTestTruth(t), follow: &follower{}, promised: map[string]delivery{}, reached: map[string]int{}}
	subject, start := w.truth.subjects[loaded], time.Now()
	at = func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	w.truth.since[subject] = []time.Time{at(0), at(10), at(20), at(30)}
	tr = &trial{w: w, read: readers{w: w}}
	mine = []delivery{
		{id: "a", subject: subject, gen: 1, status: 200}, {id: "b", subject: subject, gen: 2, status: 503},
		{id: "c", subject: subject, gen: 3, status: 200},
	}
	sequences = map[string]uint64{"a": 7, "c": 8}
	tr.floor.known = []applied{{7, at(20)}, {8, at(40)}}
	return tr, mine, sequences, at
}

func (t *trial) looks(at time.Time, gen int, server string) {
	t.read.seen = append(t.read.seen, reading{
		began: at, subject: t.w.truth.subjects[loaded], state: cache.Granted, gen: gen, server: server,
	})
}

func TestAReadIsStaleOnceTheChangeWasApplied(t *testing.T) {
	for _, c := range []struct {
		name         string
		second, gen  int
		stale, aside int
		server       string
	}{
		{"before the first was applied", 19, 0, 0, 0, "new"},
		{"after it", 21, 0, 1, 0, "new"},
		{"after it, newer", 21, 1, 0, 0, "new"},
		{"a lost notice binds nobody", 35, 1, 0, 0, "new"},
		{"after the last", 41, 1, 1, 0, "new"},
		{"by a worker", 41, 2, 1, 0, ""},
		{"after the last, new", 41, 3, 0, 0, "new"},
		{"on a deposed primary", 41, 1, 0, 1, "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, mine, sequences, at := history(t)
			tr.w.follow.polls = []poll{{at(0), "old"}, {at(100), "new"}}
			tr.looks(at(c.second), c.gen, c.server)
			tr.stale(mine, sequences)
			if tr.row.Stale != c.stale || tr.row.Aside != c.aside || len(tr.row.Broken) != c.stale {
				t.Errorf("%+v, want %d stale, %d aside", tr.row, c.stale, c.aside)
			}
		})
	}
}

func TestTheOldestRightIsMeasuredFromTheProvidersChange(t *testing.T) {
	tr, mine, sequences, at := history(t)
	tr.w.follow.polls = []poll{{at(100), "new"}}
	tr.looks(at(19), 0, "new")
	tr.looks(at(35), 1, "new")
	tr.looks(at(36), -1, "new")
	tr.stale(mine, sequences)
	tr.undelivered(mine)
	want := Row{Granted: 3, OldRight: 15 * time.Second, Undelivered: 1, HealedAfter: 15 * time.Second}
	if diff := cmp.Diff(want, tr.row); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNotInTheStreamIsLost(t *testing.T) {
	tr, mine, sequences, _ := history(t)
	for _, d := range mine[:1] {
		tr.w.promised[d.id] = d
	}
	tr.w.promised["earlier"] = delivery{id: "earlier"}
	sequences["c"] = 9 // not acknowledged yet
	tr.lost(mine, sequences)
	if tr.row.Lost != 1 || tr.row.Stored != 2 || tr.row.Applied != 1 || len(tr.row.Broken) != 2 {
		t.Errorf("%+v", tr.row)
	}
	for i, want := range []string{
		"delivery earlier was answered with success", "change c, sequence 9, was not applied",
	} {
		if !strings.Contains(tr.row.Broken[i], want) {
			t.Errorf("%q, want %q", tr.row.Broken[i], want)
		}
	}
}

func TestAnAnswerShowsItsGeneration(t *testing.T) {
	tr := newTestTruth(t)
	subject := tr.subjects[loaded]
	for range codes + 5 {
		if _, err := tr.turn(subject); err != nil {
			t.Fatal(err)
		}
	}
	for _, gen := range []int{codes + 5, codes + 4, codes, codes - 1, 6} {
		d := lookup.Decision{State: cache.Denied, Widths: map[cache.Grant]string{}}
		for i, g := range digits {
			if gen>>i&1 == 1 {
				d.Widths[g] = "Self"
			}
		}
		if _, got := tr.read(subject, d); got != gen {
			t.Errorf("shown generation %d, want %d", got, gen)
		}
	}
	if state, gen := tr.read(subject, lookup.Decision{}); state != cache.Unknown || gen != -1 {
		t.Errorf("%s, %d", state, gen)
	}
	if err := tr.agrees(); err != nil {
		t.Error(err)
	}
}
