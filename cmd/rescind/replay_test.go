package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMeter(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	var out strings.Builder
	m := &meter{out: &out, unit: "changes", from: 101, to: 300, began: start, told: start}
	m.tell(121, 10, at(4*time.Second)) // too soon
	m.tell(151, 50, at(10*time.Second))
	m.tell(152, 51, at(11*time.Second)) // too soon again
	m.tell(301, 200, at(40*time.Second))
	m.clear()
	want := " 25%  50 changes, 5/s, 30s left\n100%  200 changes, 5/s, 0s left\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestMeterOnATerminal(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out strings.Builder
	m := &meter{out: &out, terminal: true, unit: "changes", from: 1, to: 1000, began: start, told: start}
	m.tell(1, 0, start.Add(time.Second))
	m.tell(501, 500, start.Add(2*time.Second))
	m.tell(502, 501, start.Add(2*time.Second+time.Millisecond)) // too soon
	m.clear()
	want := "\r\x1b[K[------------------------]   0%  0 changes, 0/s, time left unknown" +
		"\r\x1b[K[############------------]  50%  500 changes, 250/s, 2s left\r\x1b[K"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// The command that goes on selects the same, is safe to paste, and tells no secret.
func TestCommandThatGoesOn(t *testing.T) {
	c := replayRepairCmd{Rate: 50}
	c.Provider, c.Tenant, c.Tag, c.Source = "ringcentral", "it's $HOME", []string{"role:7", "group:a b"}, "webhook"
	c.Since = instant{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	c.Until = instant{time.Date(2026, 1, 2, 5, 4, 5, 6, time.UTC)}
	c.Nats, c.Password, c.Token, c.Config = "nats://ada:hunter2@127.0.0.1:4222", "hunter2", "hunter2", "my file.yml"
	want := `rescind replay repair --from-seq 17 --to-seq 99 --until 2026-01-02T05:04:05.000000006Z --provider ringcentral ` +
		`--tenant 'it'\''s $HOME' --tag role:7 --tag 'group:a b' --source webhook --rate 50 --run abc --yes --config 'my file.yml'`
	if diff := cmp.Diff(want, c.goOn("abc", 17, 99)); diff != "" {
		t.Error(diff)
	}
	v := replayVerifyCmd{Rate: 2.5, replaySelection: c.replaySelection}
	v.Tag, v.Tenant, v.Worker, v.Token, v.Nats = nil, "", "http://ada:hunter2@127.0.0.1", "hunter2", "nats://127.0.0.1:1"
	want = `rescind replay verify --from-seq 3 --to-seq 4 --until 2026-01-02T05:04:05.000000006Z --provider ringcentral ` +
		`--source webhook --rate 2.5 --nats nats://127.0.0.1:1`
	if diff := cmp.Diff(want, v.goOn(3, 4)); diff != "" {
		t.Error(diff)
	}
}

func TestSeenBeforeIsBounded(t *testing.T) {
	var s seenBefore[int]
	for i := range remembered {
		if !s.first(i) {
			t.Fatalf("%d was seen before", i)
		}
	}
	if s.first(7) || s.over {
		t.Error("7 was forgotten")
	}
	if !s.first(remembered) || !s.over || len(s.all) != 1 {
		t.Errorf("%d are remembered, more than that forgotten: %t", len(s.all), s.over)
	}
}
