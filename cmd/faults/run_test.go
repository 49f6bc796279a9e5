package faults_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cmd/faults"
)

// The quick subset. All of it:
//
//	go run ./cmd/rescind prove faults
func TestQuickSubset(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(partVariable, "1")
	o := faults.Options{Self: []string{self}, Dir: t.TempDir(), Seed: 1, Quick: true, Progress: t.Output()}
	if only := os.Getenv("FAULTS"); only != "" { // for a look at one of them
		o.Only, o.Dir = strings.Split(only, ","), ""
	}
	report, err := faults.Run(t.Context(), o)
	if errors.Is(err, faults.ErrNoRedis) && os.Getenv("CI") == "" {
		t.Skip("SKIPPED, NOT PROVEN: redis-server is not installed")
	}
	if werr := report.Write(t.Output()); werr != nil {
		t.Error(werr)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if row.Answered == 0 || row.Granted == 0 || row.Denied == 0 {
			t.Errorf("%s: nothing was proved: %+v", row.Fault, row)
		}
	}
}
