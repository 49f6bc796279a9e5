package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is what became of something. Readers meet kinds that they do not know.
type Kind string

// The kinds of outcome.
const (
	// Invalidated: a change was applied; the entries are those that were alive.
	Invalidated Kind = "invalidated"
	// Refetched: an entry was fetched again because of a change.
	Refetched Kind = "refetched"
	// Confirmed: it was fetched once more, long enough after its last change.
	Confirmed Kind = "confirmed"
	// Fenced: what was fetched was refused, as it may be older than a change.
	Fenced Kind = "fenced"
	// Late: the provider gave its old answer for a while after the change.
	Late Kind = "late"
	// Dead: a change or a refresh could not be handled.
	Dead Kind = "dead"
	// Gap: for a while changes may not have reached us.
	Gap Kind = "gap"
	// Discarded and Redriven: what somebody did about what was dead.
	Discarded Kind = "discarded"
	// Redriven: see [Discarded].
	Redriven Kind = "redriven"
)

// Bounds of an outcome.
const (
	// MaxListed is how many tags and entries are named; the counts say of how many.
	MaxListed = 100
	// MaxSequences is how many sequences one outcome may list.
	MaxSequences = 1024
	// MaxReason is how much is kept of a text for people, in bytes.
	MaxReason = 512
)

// Outcome says what became of a change, an entry, or a feed. It is for people and
// for programs that follow; nothing depends on it, and some are lost.
type Outcome struct {
	// ID tells outcomes apart.
	ID   string
	Kind Kind
	Home
	At time.Time
	// Change and Sequence are those of the change that it is about; empty and 0
	// where that is not known.
	Change   string
	Sequence uint64
	// Sequences are the changes that an [Invalidated] without a Change is about: those
	// of a tenant, of a second at most, that hit nothing alive. At is the first's.
	Sequences []uint64
	// Together is how many changes of the tenant were applied in one step, if more
	// than this. Then an entry stands at each change that names its subject, else at
	// each that has another tag than a subject's.
	Together int
	// Tags and Entries are the first [MaxListed] of as many as the counts say.
	Tags       []Tag
	TagCount   int
	Entries    []Entry
	EntryCount int
	// Version is the fence's number; 0 if there is none.
	Version uint64
	// SinceReceived is from when the change was received, SinceAsked from when the
	// refresh was asked for, SinceApplied from when the change was applied, each to
	// At and to the microsecond; 0 where it is not known.
	SinceReceived, SinceAsked, SinceApplied time.Duration
	// Reason is why, By who did it, for people.
	Reason string
	By     string
}

// Entry names an entry of the outcome's tenant.
type Entry struct {
	Subject  Subject  `json:"subject"`
	Resource Resource `json:"resource,omitempty"`
}

// ref is the entry's full name.
func (e Entry) ref(h Home) Ref { return Ref{h, e.Subject, e.Resource} }

const (
	outcomeTypePrefix = "com.rescindhq.journal."
	outcomeTypeSuffix = ".v1"
)

// OutcomeType is the CloudEvents type of an outcome, with its version:
// "com.rescindhq.journal.<kind>.v1".
func OutcomeType(k Kind) string { return outcomeTypePrefix + string(k) + outcomeTypeSuffix }

type outcomeData struct {
	Home
	Change          string   `json:"change,omitempty"`
	Sequence        uint64   `json:"sequence,omitempty"`
	Sequences       []uint64 `json:"sequences,omitempty"`
	Together        int      `json:"together,omitempty"`
	Tags            []Tag    `json:"tags,omitempty"`
	TagCount        int      `json:"tag_count,omitempty"`
	Entries         []Entry  `json:"entries,omitempty"`
	EntryCount      int      `json:"entry_count,omitempty"`
	Version         uint64   `json:"version,string,omitempty"`
	SinceReceivedMS float64  `json:"since_received_ms,omitempty"`
	SinceAskedMS    float64  `json:"since_asked_ms,omitempty"`
	SinceAppliedMS  float64  `json:"since_applied_ms,omitempty"`
	Reason          string   `json:"reason,omitempty"`
	By              string   `json:"by,omitempty"`
}

// Bounded is the outcome with its lists and texts cut to what may be written, and
// the counts set. It shares no list that it cut.
func (o Outcome) Bounded() Outcome {
	o.TagCount, o.EntryCount = max(o.TagCount, len(o.Tags)), max(o.EntryCount, len(o.Entries))
	if len(o.Tags) > MaxListed {
		o.Tags = append([]Tag(nil), o.Tags[:MaxListed]...)
	}
	if len(o.Entries) > MaxListed {
		o.Entries = append([]Entry(nil), o.Entries[:MaxListed]...)
	}
	if len(o.Tags) == 0 {
		o.Tags = nil
	}
	if len(o.Entries) == 0 {
		o.Entries = nil
	}
	if len(o.Sequences) == 0 {
		o.Sequences = nil
	}
	o.Reason, o.By = Clip(o.Reason), Clip(o.By)
	return o
}

// Clip bounds a text for people to [MaxReason] bytes and takes out what does not
// print.
func Clip(text string) string {
	text = strings.ToValidUTF8(text, "")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
	if len(text) > MaxReason {
		text = strings.ToValidUTF8(text[:MaxReason], "")
	}
	return text
}

// EncodeOutcome writes an outcome, bounded, as a CloudEvent. Its source and subject
// are those of a change.
func EncodeOutcome(o Outcome) ([]byte, error) {
	o = o.Bounded()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("encode outcome: %w", err)
	}
	b, err := json.Marshal(envelope[outcomeData]{
		SpecVersion: specVersion, ID: o.ID, Type: OutcomeType(o.Kind), Source: sourceOf(o.Home),
		Subject: string(o.Tenant), Time: optional(o.At), DataContentType: jsonType,
		Data: outcomeData{
			Home: o.Home, Change: o.Change, Sequence: o.Sequence, Sequences: o.Sequences, Together: o.Together,
			Tags: o.Tags, TagCount: o.TagCount, Entries: o.Entries, EntryCount: o.EntryCount, Version: o.Version,
			SinceReceivedMS: milliseconds(o.SinceReceived), SinceAskedMS: milliseconds(o.SinceAsked),
			SinceAppliedMS: milliseconds(o.SinceApplied), Reason: o.Reason, By: o.By,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode outcome: %w", err)
	}
	return b, nil
}

// DecodeOutcome reads an outcome and checks it. It ignores attributes and members
// that it does not know, and takes kinds that it does not know.
func DecodeOutcome(b []byte) (Outcome, error) {
	e, err := openEnvelope(b)
	if err != nil {
		return Outcome{}, err
	}
	kind, ok := strings.CutPrefix(e.Type, outcomeTypePrefix)
	kind, versioned := strings.CutSuffix(kind, outcomeTypeSuffix)
	if !ok || !versioned {
		return Outcome{}, fmt.Errorf("decode envelope: type %.60q is not %s", e.Type, OutcomeType("…"))
	}
	var d outcomeData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return Outcome{}, fmt.Errorf("decode outcome %.60q: %.200s", e.ID, err)
	}
	o := Outcome{
		ID: e.ID, Kind: Kind(kind), Home: d.Home, At: value(e.Time), Change: d.Change, Sequence: d.Sequence,
		Sequences: d.Sequences, Together: d.Together, Tags: d.Tags, TagCount: d.TagCount, Entries: d.Entries,
		EntryCount: d.EntryCount, Version: d.Version, Reason: d.Reason, By: d.By,
	}
	if err := errors.Join(duration(&o.SinceReceived, d.SinceReceivedMS),
		duration(&o.SinceAsked, d.SinceAskedMS), duration(&o.SinceApplied, d.SinceAppliedMS)); err != nil {
		return Outcome{}, fmt.Errorf("decode outcome %.60q: %w", e.ID, err)
	}
	o = o.Bounded()
	if err := o.validate(); err != nil {
		return Outcome{}, fmt.Errorf("decode outcome: %w", err)
	}
	return o, nil
}

func (o Outcome) validate() error {
	if err := checkOutcomeID(o.ID, "id"); err != nil {
		return err
	}
	if o.Kind == "" || len(o.Kind) > 32 || strings.Trim(string(o.Kind), "abcdefghijklmnopqrstuvwxyz-") != "" {
		return fmt.Errorf("outcome %.60q: the kind %.40q must be 1 to 32 of a-z and -", o.ID, o.Kind)
	}
	if y := o.At.UTC().Year(); o.At.IsZero() || y < 1 || y > 9999 {
		return fmt.Errorf("outcome %.60q: the time is missing or cannot be written", o.ID)
	}
	if o.Change != "" {
		if err := checkOutcomeID(o.Change, "change"); err != nil {
			return err
		}
	}
	if len(o.Sequences) > MaxSequences || o.Together < 0 || o.TagCount < 0 || o.EntryCount < 0 {
		return fmt.Errorf("outcome %.60q: a count is out of bounds", o.ID)
	}
	if err := o.Home.Validate(); err != nil {
		return fmt.Errorf("outcome %.60q: %w", o.ID, err)
	}
	for _, t := range o.Tags {
		if _, err := ParseTag(t.String()); err != nil {
			return fmt.Errorf("outcome %.60q: %w", o.ID, err)
		}
	}
	for _, e := range o.Entries {
		if err := e.ref(o.Home).Validate(); err != nil {
			return fmt.Errorf("outcome %.60q: %w", o.ID, err)
		}
	}
	return nil
}

func checkOutcomeID(id, name string) error {
	if id == "" || len(id) > 4*MaxID*3 || !utf8.ValidString(id) {
		return fmt.Errorf("outcome: the %s of %d bytes is empty, too long or not UTF-8", name, len(id))
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// duration reads milliseconds, up to a century of them.
func duration(d *time.Duration, ms float64) error {
	const most = 100 * 366 * 24 * 3600 * 1000
	if ms < -most || ms > most {
		return errors.New("a time of more than a century")
	}
	*d = time.Duration(math.Round(ms*1000)) * time.Microsecond
	return nil
}
