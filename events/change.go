package events

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// MaxTags is how many tags one change may carry. A listener that learns of
// more in one delivery says "tenant" instead, which covers them all.
const MaxTags = 20_000

// Source says where a change was learnt from.
type Source string

// The sources of changes.
const (
	Webhook     Source = "webhook"
	Tail        Source = "tail"
	Sweep       Source = "sweep"
	Replay      Source = "replay"
	Application Source = "application"
)

// Change says that what was computed from its tags may be different now.
// It carries no state: nobody may conclude from it what the new rights are.
type Change struct {
	// ID is made of the provider's own stable id where there is one. A second
	// change with the same ID within the stream's window is the same change.
	ID string
	Home
	Tags   []Tag
	Source Source
	// Reasons are the vendor's own words for what happened, for people.
	Reasons []string
	// Received is when we learnt of it, by our clock.
	Received time.Time
	// Occurred is when it happened by the provider's clock; zero if not told.
	Occurred time.Time
}

// ChangeID builds a change's ID from the provider's own id of the delivery.
// Provider and tenant are in it because the stream's dedupe is one for all.
func ChangeID(h Home, id string) string {
	return Escape(string(h.Provider)) + ":" + Escape(string(h.Tenant)) + ":" + id
}

// Validate says which field is unusable.
func (c Change) Validate() error {
	if c.ID == "" || len(c.ID) > 4*MaxID*3 {
		return fmt.Errorf("change id: %d bytes", len(c.ID))
	}
	if !utf8.ValidString(c.ID) { // JSON would make two such ids one, and the later change a duplicate
		return fmt.Errorf("change id %.80q: not UTF-8", c.ID)
	}
	for _, at := range []time.Time{c.Received, c.Occurred} {
		if y := at.UTC().Year(); y < 1 || y > 9999 {
			return fmt.Errorf("change %q: the year %d cannot be written", c.ID, y)
		}
	}
	if err := c.Home.Validate(); err != nil {
		return fmt.Errorf("change %q: %w", c.ID, err)
	}
	if len(c.Tags) == 0 || len(c.Tags) > MaxTags {
		return fmt.Errorf("change %q: %d tags, 1 to %d are allowed", c.ID, len(c.Tags), MaxTags)
	}
	for _, t := range c.Tags {
		if _, err := ParseTag(t.String()); err != nil {
			return fmt.Errorf("change %q: %w", c.ID, err)
		}
	}
	return nil
}
