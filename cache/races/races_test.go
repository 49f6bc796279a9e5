package races_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/races"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func run(t *testing.T, o races.Options) races.Report {
	t.Helper()
	r, err := races.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mustTell fails unless a, b and c let something through, and d nothing.
func mustTell(t *testing.T, r races.Report, cases int) {
	t.Helper()
	t.Log("\n" + r.String())
	for _, row := range r.Rows {
		if row.Cases != cases {
			t.Errorf("%s: %d cases, want %d", row.Strategy, row.Cases, cases)
		}
		if stale := row.StaleStored+row.StaleRead > 0; stale != (row.Strategy != "d") {
			t.Errorf("%s: %d stale answers stored, %d read", row.Strategy, row.StaleStored, row.StaleRead)
			if row.First != nil {
				t.Logf("seed %d\n%s", row.First.Seed, strings.Join(row.First.Steps, "\n"))
			}
		}
		if row.Fills < cases || row.Hits < cases {
			t.Errorf("%s: %d fills and %d hits prove little", row.Strategy, row.Fills, row.Hits)
		}
	}
}

func TestOnTheModel(t *testing.T) {
	t.Parallel()
	mustTell(t, run(t, races.Options{Seed: 1, Cases: 1000}), 1000)
}

func TestOnRedis(t *testing.T) {
	t.Parallel()
	db := cachetest.Redis(t)
	mustTell(t, run(t, races.Options{Seed: 1, Cases: 200, Redis: db.UniversalClient}), 200)
	if n, err := db.DBSize(t.Context()).Result(); n != 0 || err != nil {
		t.Errorf("%d keys are left (%v)", n, err)
	}
}

// What a run finds first is found again by its seed alone, step by step.
func TestReplay(t *testing.T) {
	t.Parallel()
	timeless := cmpopts.IgnoreFields(races.Row{}, "Busy")
	o := races.Options{Seed: 1, Cases: 60, Strategies: []string{"a", "b", "d"}}
	first, again := run(t, o), run(t, o)
	if diff := cmp.Diff(first.Rows, again.Rows, timeless); diff != "" {
		t.Errorf("the same seeds give another result: %s", diff)
	}
	for _, row := range first.Rows[:2] {
		if row.First == nil {
			t.Fatalf("%s: nothing stale in %d cases", row.Strategy, row.Cases)
		}
		r := run(t, races.Options{Seed: row.First.Seed, Cases: 1, Strategies: []string{row.Strategy}})
		if diff := cmp.Diff(row.First, r.Rows[0].First); diff != "" {
			t.Errorf("%s: seed %d gives another case: %s", row.Strategy, row.First.Seed, diff)
		}
		if !slices.ContainsFunc(row.First.Steps, func(s string) bool { return strings.Contains(s, "STALE") }) {
			t.Errorf("%s: no step says what was stale:\n%s", row.Strategy, strings.Join(row.First.Steps, "\n"))
		}
	}
}

func TestTimeEndsARun(t *testing.T) {
	t.Parallel()
	told := 0
	r := run(t, races.Options{For: 300 * time.Millisecond, Progress: func(done, total int) {
		if told++; total != 0 || done == 0 {
			t.Errorf("told of %d of %d", done, total)
		}
	}})
	if r.Rows[0].Cases == 0 || told == 0 {
		t.Errorf("%d cases, told %d times", r.Rows[0].Cases, told)
	}
}

func TestContextEndsARun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := races.Run(ctx, races.Options{Cases: 1_000_000, Progress: func(int, int) { cancel() }})
	if err != nil || r.Rows[0].Cases == 0 || r.Rows[0].Cases == 1_000_000 {
		t.Errorf("%d cases, %v", r.Rows[0].Cases, err)
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]races.Options{
		"nothing bounds it":   {},
		"an unknown strategy": {Cases: 1, Strategies: []string{"e"}},
	} {
		if _, err := races.Run(t.Context(), o); !errors.Is(err, races.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	t.Parallel()
	r := run(t, races.Options{Seed: 1, Cases: 30, Strategies: []string{"a"}})
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back races.Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
}
