package events_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rescindhq/rescind/events"
)

// outcomes are one of each kind, as services write them.
func outcomes() map[string]events.Outcome {
	h := events.Home{Provider: "ringcentral", Tenant: "400130394008"}
	at := time.Date(2026, 11, 21, 10, 0, 0, 130456789, time.UTC)
	c := full()
	one := []events.Entry{{Subject: "400131426008"}}
	of := func(k events.Kind, o events.Outcome) events.Outcome {
		o.ID, o.Kind, o.Home, o.At = "QWERTZ-"+string(k), k, h, at
		return o
	}
	return map[string]events.Outcome{
		"invalidated": of(events.Invalidated, events.Outcome{
			Change: c.ID, Sequence: 7, Tags: c.Tags, Version: 1795255200130000, Together: 2,
			Entries:       []events.Entry{{Subject: "400131426008"}, {Subject: "42", Resource: "Größe / <11>"}},
			SinceReceived: 7123 * time.Microsecond,
		}),
		"invalidated_nothing": of(events.Invalidated, events.Outcome{
			Sequences: []uint64{8, 9, 12}, Version: 1795255200130001,
		}),
		"refetched": of(events.Refetched, events.Outcome{
			Change: c.ID, Entries: one, Version: 1795255200130000, SinceAsked: 103 * time.Millisecond,
		}),
		"confirmed": of(events.Confirmed, events.Outcome{
			Entries: one, Version: 1795255200130000, SinceApplied: 30051 * time.Millisecond,
		}),
		"fenced": of(events.Fenced, events.Outcome{Entries: one, Reason: "refused by: tag role:7"}),
		"late":   of(events.Late, events.Outcome{Entries: one, SinceApplied: 3 * time.Second}),
		"dead":   of(events.Dead, events.Outcome{Change: c.ID, Sequence: 7, Reason: "after 5 deliveries: NOPERM"}),
		"gap":    of(events.Gap, events.Outcome{Reason: "no subscription from 09:00 to 09:10"}),
		"discarded": of(events.Discarded, events.Outcome{
			Change: c.ID, Sequence: 7, Reason: "a test", By: "ada@ops",
		}),
		"redriven": of(events.Redriven, events.Outcome{Change: c.ID, Sequence: 7, By: "ada@ops"}),
		"minimal":  {ID: "1", Kind: "to-come", Home: events.Home{Provider: "box", Tenant: "a.b > *"}, At: at},
	}
}

// bounded is what comes back of what was written.
func bounded(o events.Outcome) events.Outcome { return o.Bounded() }

func TestTheJournalsFormatStays(t *testing.T) {
	for name, o := range outcomes() {
		t.Run(name, func(t *testing.T) {
			b, err := events.EncodeOutcome(o)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "outcome_"+name+".golden", b)
			back, err := events.DecodeOutcome(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(bounded(o), back); diff != "" {
				t.Errorf("it does not come back (-want +got):\n%s", diff)
			}
			checkOutcomeEvent(t, b, o)
		})
	}
}

// checkOutcomeEvent reads the bytes with another implementation.
func checkOutcomeEvent(t *testing.T, b []byte, o events.Outcome) {
	t.Helper()
	var e cloudevents.Event
	if err := e.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	got := []string{e.ID(), e.Type(), e.Subject(), e.DataContentType(), e.Time().UTC().String()}
	want := []string{o.ID, "com.rescindhq.journal." + string(o.Kind) + ".v1", string(o.Tenant), "application/json",
		o.At.String()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	var data struct {
		Change   string
		Sequence uint64
	}
	if err := e.DataAs(&data); err != nil || data.Change != o.Change || data.Sequence != o.Sequence {
		t.Errorf("data = %+v, %v", data, err)
	}
}

func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.Join("schema", name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(s *jsonschema.Schema, text []byte) error {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

func TestGoldenFilesFitTheSchemas(t *testing.T) {
	for pattern, s := range map[string]*jsonschema.Schema{
		"change_*.golden": schema(t, "change.v1.json"), "outcome_*.golden": schema(t, "outcome.v1.json"),
	} {
		files, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(files) < 2 {
			t.Fatalf("%d files %s, %v", len(files), pattern, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := valid(s, b); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
}

// What a schema does not name is not checked: every member that is written is named.
func TestSchemasNameEveryMember(t *testing.T) {
	for pattern, name := range map[string]string{"change_*": "change.v1.json", "outcome_*": "outcome.v1.json"} {
		var s struct {
			Properties map[string]struct{ Properties map[string]any }
		}
		unmarshalFile(t, filepath.Join("schema", name), &s)
		unseen := maps.Clone(s.Properties["data"].Properties)
		files, _ := filepath.Glob(filepath.Join("testdata", pattern)) // the pattern is sound
		for _, f := range files {
			var e map[string]any
			unmarshalFile(t, f, &e)
			for k := range e {
				if _, ok := s.Properties[k]; !ok {
					t.Errorf("%s: %s does not name %s", f, name, k)
				}
			}
			for k := range e["data"].(map[string]any) {
				if _, ok := s.Properties["data"].Properties[k]; !ok {
					t.Errorf("%s: %s does not name data.%s", f, name, k)
				}
				delete(unseen, k)
			}
		}
		if len(unseen) > 0 {
			t.Errorf("no golden file has %v of %s", slices.Sorted(maps.Keys(unseen)), name)
		}
	}
}

func unmarshalFile(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func TestSchemasRefuse(t *testing.T) {
	change, err := events.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := events.EncodeOutcome(outcomes()["invalidated"])
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		schema, text, old, new string
	}{
		"a change of another type":    {"change.v1.json", string(change), "change.v1", "change.v2"},
		"a change without tags":       {"change.v1.json", string(change), `"tags":[`, `"labels":[`},
		"a tag of no kind":            {"change.v1.json", string(change), `"role:7"`, `":7"`},
		"a time that is none":         {"change.v1.json", string(change), `"2026-11-21T10:00:00.123456789Z"`, `"today"`},
		"an outcome of another type":  {"outcome.v1.json", string(outcome), "invalidated.v1", "invalidated.v2"},
		"an outcome without a tenant": {"outcome.v1.json", string(outcome), `"tenant":`, `"renter":`},
		"a number for a version":      {"outcome.v1.json", string(outcome), `"1795255200130000"`, `1795255200130000`},
		"an entry of nobody":          {"outcome.v1.json", string(outcome), `{"subject":"42",`, `{`},
	} {
		t.Run(name, func(t *testing.T) {
			s, spoilt := schema(t, c.schema), strings.Replace(c.text, c.old, c.new, 1)
			if spoilt == c.text {
				t.Fatalf("%q is not in %s", c.old, c.text)
			}
			if err := valid(s, []byte(c.text)); err != nil {
				t.Fatal(err)
			}
			if valid(s, []byte(spoilt)) == nil {
				t.Errorf("taken: %s", spoilt)
			}
		})
	}
}

func TestOutcomesAreBounded(t *testing.T) {
	o := outcomes()["minimal"]
	for i := range 250 {
		id := events.Subject(fmt.Sprint(i, strings.Repeat("\x01", 200)))
		o.Tags, o.Entries = append(o.Tags, events.SubjectTag(id)), append(o.Entries, events.Entry{Subject: id})
	}
	o.EntryCount = 10_000
	o.Reason, o.By = "line\nbreak\x1b "+strings.Repeat("ü", 400), "\xff"
	b, err := events.EncodeOutcome(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 512<<10 {
		t.Errorf("%d bytes", len(b))
	}
	back, err := events.DecodeOutcome(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(back.Tags) != 100 || back.TagCount != 250 || len(back.Entries) != 100 || back.EntryCount != 10_000 {
		t.Errorf("%d of %d tags, %d of %d entries", len(back.Tags), back.TagCount, len(back.Entries), back.EntryCount)
	}
	if len(back.Reason) > events.MaxReason || strings.ContainsAny(back.Reason, "\n\x1b\uFFFD") || back.By != "" {
		t.Errorf("reason %q, by %q", back.Reason, back.By)
	}
	if len(o.Tags) != 250 {
		t.Error("the caller's list was cut")
	}
}

func TestDecodeOutcomeRefuses(t *testing.T) {
	const good = `{"specversion":"1.0","id":"1","source":"/x","type":"com.rescindhq.journal.gap.v1",` +
		`"time":"2026-11-21T10:00:00Z","data":{"provider":"p","tenant":"t"}}`
	if _, err := events.DecodeOutcome([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no JSON":              {good, `perm`, "envelope"},
		"a change":             {"journal.gap.v1", "change.v1", "type"},
		"another version":      {"gap.v1", "gap.v2", "type"},
		"no kind":              {"journal.gap.v1", "journal..v1", "kind"},
		"a kind with dots":     {"gap.v1", "gap.x.v1", "kind"},
		"no id":                {`"id":"1"`, `"id":""`, "id"},
		"no time":              {`"time":"2026-11-21T10:00:00Z",`, ``, "time"},
		"no tenant":            {`"tenant":"t"`, `"tenant":""`, "tenant"},
		"an entry of nobody":   {`"tenant":"t"`, `"tenant":"t","entries":[{"resource":"r"}]`, "subject"},
		"a version in letters": {`"tenant":"t"`, `"tenant":"t","version":"x"`, "uint64"},
		"a time of ages":       {`"tenant":"t"`, `"tenant":"t","since_asked_ms":1e300`, "century"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := events.DecodeOutcome([]byte(strings.Replace(good, c.old, c.new, 1)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q (%+v)", err, c.want, got)
			}
		})
	}
}

// What was read can be written, and reads as the same again.
func FuzzDecodeOutcome(f *testing.F) {
	for _, o := range outcomes() {
		b, err := events.EncodeOutcome(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := events.DecodeOutcome(b)
		if err != nil {
			refused(t, err)
			if !cmp.Equal(o, events.Outcome{}) {
				t.Fatalf("%+v beside %v", o, err)
			}
			return
		}
		again, err := events.EncodeOutcome(o)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		back, err := events.DecodeOutcome(again)
		if err != nil {
			t.Fatalf("written but not read: %v", err)
		}
		if diff := cmp.Diff(o, back); diff != "" {
			t.Fatalf("differs:\n%s", diff)
		}
	})
}

func TestReplaysTellWhatTheyReplay(t *testing.T) {
	for _, id := range nasty {
		h := events.Home{Provider: events.Provider(id), Tenant: events.Tenant(id)}
		c := events.Change{ID: events.ReplayID(h, 42, "run-1"), Home: h, Source: events.Replay}
		if seq, ok := events.ReplayOf(c); !ok || seq != 42 {
			t.Errorf("%q: replay of %d, %v", c.ID, seq, ok)
		}
		c.Source = events.Webhook
		if _, ok := events.ReplayOf(c); ok {
			t.Errorf("%q from a webhook is no replay", c.ID)
		}
	}
	for _, id := range []string{"p:t:replay:x:1", "p:t:replay:1", "p:u:replay:1:r", "p:t:1"} {
		c := events.Change{ID: id, Home: events.Home{Provider: "p", Tenant: "t"}, Source: events.Replay}
		if _, ok := events.ReplayOf(c); ok {
			t.Errorf("%q is no replay of ours", id)
		}
	}
}
