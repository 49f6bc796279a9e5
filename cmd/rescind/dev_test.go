package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// A tour that fails must say where: what was seen before, which step, of whose.
func TestAStepThatFailsIsNamed(t *testing.T) {
	gone := errors.New("nobody told it")
	start := time.Now()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"with a reason":    {gone, "step 2, mural vanish: nobody told it"},
		"without a reason": {nil, "step 2, mural vanish: not seen"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			tour := tour{print: newPrinter(&out, false)}
			err := tour.report(loss{ref: eve}, seen{sent: start}, c.err,
				sighting{"revoke", "asked for", start.Add(time.Millisecond)},
				sighting{"vanish", "told", time.Time{}},
				sighting{"refresh", "read", start.Add(2 * time.Millisecond)})
			if err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if len(lines) != 2 || !strings.Contains(lines[0], "1.0 ms  asked for") ||
				!strings.HasSuffix(lines[1], "FAILED: told") {
				t.Errorf("printed %q", lines)
			}
		})
	}
}

// All that was seen does not excuse what went wrong after.
func TestAnErrorIsNotLostWhenAllWasSeen(t *testing.T) {
	after := errors.New("after all")
	start := time.Now()
	tour := tour{print: newPrinter(new(bytes.Buffer), true)}
	err := tour.report(loss{ref: eve}, seen{sent: start}, after, sighting{"revoke", "asked for", start})
	if want := "step 1, mural revoke: after all"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
