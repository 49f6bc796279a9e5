package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/events"
)

// Task asks that an entry be fetched again.
type Task struct {
	events.Ref
	// Until is the deadline that the refreshed entry keeps; after it the task
	// is void.
	Until time.Time `json:"until"`
	// Look asks that the entry be looked at, and confirmed or renewed if that is
	// due, instead of fetched whatever it is.
	Look bool `json:"look,omitempty"`
	// Low: nobody says that it has changed; it goes after what has.
	Low bool `json:"low,omitempty"`
	// Since is the last change that the entry is to be confirmed after; zero if
	// none.
	Since time.Time `json:"since,omitzero"`
	// Attempt counts the tasks in a row for the same cause, from 0.
	Attempt int `json:"attempt,omitempty"`
	// Reason is for people; 512 bytes of it are kept.
	Reason string `json:"reason,omitempty"`
	// Asked is when the first of the row was asked for.
	Asked time.Time `json:"asked"`
}

// maxAttempt bounds what a task may count to.
const maxAttempt = 1_000_000

// The years that a task's times may have: what its JSON can write in any zone.
const firstYear, lastYear = 1, 9998

func (t Task) validate() error {
	if err := t.Ref.Validate(); err != nil {
		return err
	}
	if t.Attempt < 0 || t.Attempt > maxAttempt {
		return fmt.Errorf("attempt %d: must be 0 to %d", t.Attempt, maxAttempt)
	}
	if t.Until.IsZero() {
		return errors.New("until: is missing")
	}
	for name, at := range map[string]time.Time{"until": t.Until, "asked": t.Asked, "since": t.Since} {
		if y := at.Year(); y < firstYear || y > lastYear {
			return fmt.Errorf("%s: year %d", name, y)
		}
	}
	return nil
}

// EncodeTask writes a task as JSON, its times in UTC.
func EncodeTask(t Task) ([]byte, error) {
	if err := t.validate(); err != nil {
		return nil, fmt.Errorf("encode task: %w", err)
	}
	t.Until, t.Asked, t.Since = t.Until.UTC(), t.Asked.UTC(), t.Since.UTC()
	t.Reason = cleanReason(errors.New(t.Reason))
	return json.Marshal(t)
}

// DecodeTask reads a task and checks it. Members it does not know are ignored.
func DecodeTask(b []byte) (Task, error) {
	var t Task
	if err := json.Unmarshal(b, &t); err != nil {
		return Task{}, fmt.Errorf("decode task: %.200s", err) // it may quote a value, however long
	}
	t.Until, t.Asked, t.Since = t.Until.UTC(), t.Asked.UTC(), t.Since.UTC()
	t.Reason = cleanReason(errors.New(t.Reason))
	if err := t.validate(); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	return t, nil
}

// taskOn decodes a task and refuses one that stands under another entry's
// subject, which would leave that entry's place in the queue to nobody.
func taskOn(subject string, data []byte) (Task, error) {
	t, err := DecodeTask(data)
	if err != nil {
		return Task{}, err
	}
	if subject != events.RefreshSubject(t.Ref) {
		return Task{}, fmt.Errorf("task for %s came on subject %.200q", t.Ref, subject)
	}
	return t, nil
}
