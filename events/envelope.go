package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The constant attributes of the envelope.
const (
	// ContentType is the media type of an encoded change.
	ContentType = "application/cloudevents+json"
	// ChangeType is the CloudEvents type of a change, with its version.
	ChangeType  = "com.rescindhq.change.v1"
	specVersion = "1.0"
	jsonType    = "application/json"
)

// envelope is CloudEvents 1.0 in structured JSON, as far as we use it. It is
// written with its data and read with the data still raw.
type envelope[D changeData | outcomeData | json.RawMessage] struct {
	SpecVersion     string     `json:"specversion"`
	ID              string     `json:"id"`
	Source          string     `json:"source"`
	Type            string     `json:"type"`
	Subject         string     `json:"subject,omitempty"`
	Time            *time.Time `json:"time,omitempty"`
	DataContentType string     `json:"datacontenttype,omitempty"`
	Data            D          `json:"data"`
}

type changeData struct {
	Home
	Tags     []Tag      `json:"tags"`
	Source   Source     `json:"source"`
	Reasons  []string   `json:"reasons,omitempty"`
	Occurred *time.Time `json:"occurred,omitempty"`
}

// Encode writes a change as a CloudEvent. Its source is
// "/rescind/<provider>/<tenant>" and its subject the tenant.
func Encode(c Change) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	b, err := json.Marshal(envelope[changeData]{
		SpecVersion: specVersion, ID: c.ID, Type: ChangeType, Source: sourceOf(c.Home),
		Subject: string(c.Tenant), Time: optional(c.Received), DataContentType: jsonType,
		Data: changeData{
			Home: c.Home, Tags: c.Tags, Source: c.Source, Reasons: c.Reasons, Occurred: optional(c.Occurred),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode change %q: %w", c.ID, err)
	}
	return b, nil
}

// Decode reads a change and checks it. It ignores attributes and members it
// does not know, so that a newer writer can add some, and refuses another
// type or specification version by name.
func Decode(b []byte) (Change, error) {
	e, err := openEnvelope(b)
	if err != nil {
		return Change{}, err
	}
	if e.Type != ChangeType {
		return Change{}, fmt.Errorf("decode envelope: type %.60q is not %s", e.Type, ChangeType)
	}
	var d changeData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return Change{}, fmt.Errorf("decode change %.60q: %.200s", e.ID, err)
	}
	c := Change{
		ID: e.ID, Home: d.Home, Tags: d.Tags, Source: d.Source, Reasons: d.Reasons,
		Received: value(e.Time), Occurred: value(d.Occurred),
	}
	if err := c.Validate(); err != nil {
		return Change{}, fmt.Errorf("decode: %w", err)
	}
	return c, nil
}

// openEnvelope reads what is around the data, of whatever type that is.
func openEnvelope(b []byte) (e envelope[json.RawMessage], err error) {
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("decode envelope: %.200s", err) // it may quote a value, however long
	}
	if e.SpecVersion != specVersion {
		return e, fmt.Errorf("decode envelope: specversion %.20q is not 1.0", e.SpecVersion)
	}
	if e.DataContentType != "" && !strings.HasPrefix(e.DataContentType, jsonType) {
		return e, fmt.Errorf("decode envelope: data is %.60q, not JSON", e.DataContentType)
	}
	return e, nil
}

func sourceOf(h Home) string {
	return "/rescind/" + Escape(string(h.Provider)) + "/" + Escape(string(h.Tenant))
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func value(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
