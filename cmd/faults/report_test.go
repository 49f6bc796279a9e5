package faults_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cmd/faults"
)

func testReport() faults.Report {
	return faults.Report{Seed: 7, Dir: "/somewhere", Rows: []faults.Row{
		{Fault: "nats-1", Answered: 10, Stored: 10, Applied: 11, Undelivered: 2, HealedAfter: 9 * time.Second,
			Granted: 100, Denied: 50, Unknown: 3, OldRight: 9500 * time.Millisecond,
			Recovery: 120 * time.Millisecond, Known: 2 * time.Second},
		{Fault: "flush", Stale: 1, Broken: []string{"stale: a reader"}},
		{Fault: "clock", Skipped: "libfaketime is not installed"},
	}}
}

func TestAReportIsATable(t *testing.T) {
	var b strings.Builder
	if err := testReport().Write(&b); err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		strings.Fields("fault answered ok in stream applied undelivered granted denied unknown stale aside late " +
			"oldest right recovery all known verdict"),
		strings.Fields("nats-1 10 10 11 2 (9s) 100 50 3 0 0 0 9.5s 120ms 2s kept"),
		strings.Fields("flush 0 0 0 0 0 0 0 1 0 0 0s 0s 0s BROKEN"),
		strings.Fields("clock skipped: libfaketime is not installed"),
		strings.Fields("BROKEN flush: stale: a reader"),
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	var got [][]string
	for _, line := range lines {
		got = append(got, strings.Fields(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, line := range lines[1:4] {
		if at := strings.Index(lines[0], "verdict"); len(line) <= at || line[at-1] != ' ' || line[at] == ' ' {
			t.Errorf("the verdict is not below its heading: %q", line)
		}
	}
}

func TestAReportAsJSON(t *testing.T) {
	b, err := json.Marshal(testReport())
	if err != nil {
		t.Fatal(err)
	}
	var got faults.Report
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testReport(), got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(b), `"old_right_ns":9500000000`) {
		t.Errorf("%s", b)
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		o    faults.Options
		want string
	}{
		"no command": {faults.Options{}, "is not given"},
		"no such":    {faults.Options{Self: []string{"x"}, Only: []string{"flood"}}, `no fault is called "flood"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := faults.Run(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
