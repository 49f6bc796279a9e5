package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// A vendor chooses ids and reasons: none may play with the terminal or break
// the table.
func TestRowIsOnePlainLine(t *testing.T) {
	const evil = "a\x1b[2J\r\nb"
	many := make([]events.Tag, 7)
	for i := range many {
		many[i] = events.SubjectTag(evil)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for name, c := range map[string]struct {
		stored stream.Stored
		has    string
	}{
		"ids and reasons": {
			stream.Stored{Sequence: 7, Time: at, Change: events.Change{
				ID: evil, Home: events.Home{Provider: "p", Tenant: evil}, Tags: many, Source: evil,
				Reasons: []string{evil},
			}},
			"and 2 more",
		},
		"what cannot be read": {
			stream.Stored{Sequence: 7, Time: at, DecodeErr: errors.New("no JSON " + evil)},
			"unreadable: no JSON",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := (eventsFilter{}).row(&out, c.stored); err != nil {
				t.Fatal(err)
			}
			got := out.String()
			if !strings.HasPrefix(got, "7        2026-01-02T03:04:05.006Z ") || !strings.Contains(got, c.has) {
				t.Errorf("got %q, want %q in it", got, c.has)
			}
			if strings.ContainsAny(got, "\x1b\r") || strings.Count(got, "\n") != 1 {
				t.Errorf("got %q, want one plain line", got)
			}
		})
	}
}
