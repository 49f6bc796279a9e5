package events

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// FeedState says whether the feed of a home can be trusted to tell of changes.
type FeedState string

// The states of a feed. What cannot be shown to be alive is doubtful; it is dead
// if somebody knows that it delivers nothing.
const (
	FeedAlive    FeedState = "alive"
	FeedDoubtful FeedState = "doubtful"
	FeedDead     FeedState = "dead"
)

// MaxCause is how much of a cause of death is kept, in characters.
const MaxCause = 200

// FeedKind says by which way changes reach us.
type FeedKind string

// The kinds of feed. A home may have one of each.
const (
	FeedWebhook FeedKind = "webhook"
	FeedTail    FeedKind = "tail"
)

// Sign says what has shown a feed to be alive.
type Sign string

// The signs of life.
const (
	// SignDelivery is a verified delivery, a reminder included.
	SignDelivery Sign = "delivery"
	// SignPoll is the provider's word that the subscription is active, or a look
	// at what it has no notice of.
	SignPoll Sign = "poll"
)

// Feed is the last proof that changes of a home reach us by one way, or that they
// do not. It is a hint: it decides how long something is kept, never what somebody
// may do. It is written with a proof or with a death, and never with both: who
// knows of no deaths refuses what has no proof, and goes on with the one it has.
type Feed struct {
	Home
	// Kind is the way; of a feed that does not say it, FeedWebhook.
	Kind FeedKind `json:"kind"`
	// Proof is when it was shown to be alive; zero means never.
	Proof time.Time `json:"proof,omitzero"`
	// Sign is how, for people.
	Sign Sign `json:"sign,omitempty"`
	// DelayMS is how late a change may be that only a poll finds, in milliseconds;
	// zero if that is not known.
	DelayMS int64 `json:"delay_ms,omitempty"`
	// Died is since when it is known to deliver nothing; zero: it is not.
	Died time.Time `json:"died,omitzero"`
	// Doubt: since Died it is known not to deliver all, and perhaps nothing.
	Doubt bool `json:"doubt,omitempty"`
	// Cause is why, for people, of [MaxCause] characters at most.
	Cause string `json:"cause,omitempty"`
}

// State is dead, or doubtful, if that is known and no later proof is, however long ago;
// else alive for as long as bound after the proof. Both clocks must agree
// on that where the times have two: a wall clock that is set back makes no
// feed younger, and a machine that slept does not forget that it did.
func (f Feed) State(now time.Time, bound time.Duration) FeedState {
	if !f.Died.IsZero() && !f.Proof.Round(0).After(f.Died.Round(0)) {
		if f.Doubt {
			return FeedDoubtful
		}
		return FeedDead
	}
	age := max(now.Sub(f.Proof), now.Round(0).Sub(f.Proof.Round(0)))
	if f.Proof.IsZero() || age > bound {
		return FeedDoubtful
	}
	return FeedAlive
}

// EncodeFeed writes a proof, or a death, as JSON:
//
//	{"provider":"ringcentral","tenant":"37439510","kind":"webhook","proof":"2026-01-02T03:04:05.678Z","sign":"poll"}
//	{"provider":"ringcentral","tenant":"37439510","kind":"webhook","died":"2026-01-02T03:04:05.678Z","cause":"gone"}
func EncodeFeed(f Feed) ([]byte, error) {
	f = f.normal()
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("encode feed: %w", err)
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode feed: %w", err)
	}
	return b, nil
}

// DecodeFeed reads a proof or a death and checks it. Members it does not know are
// ignored.
func DecodeFeed(b []byte) (Feed, error) {
	var f Feed
	if err := json.Unmarshal(b, &f); err != nil {
		return Feed{}, fmt.Errorf("decode feed: %.200s", err) // it may quote a value, however long
	}
	f = f.normal()
	if err := f.validate(); err != nil {
		return Feed{}, fmt.Errorf("decode feed: %w", err)
	}
	return f, nil
}

// normal is in milliseconds, and has a kind and a cause that is not too long.
func (f Feed) normal() Feed {
	f.Kind = cmp.Or(f.Kind, FeedWebhook)
	f.Proof, f.Died = f.Proof.UTC().Truncate(time.Millisecond), f.Died.UTC().Truncate(time.Millisecond)
	n := 0
	for i := range f.Cause {
		if n == MaxCause {
			f.Cause = f.Cause[:i]
			break
		}
		n++
	}
	return f
}

func (f Feed) validate() error {
	if err := f.Home.Validate(); err != nil {
		return err
	}
	if f.Kind != FeedWebhook && f.Kind != FeedTail {
		return fmt.Errorf("kind %.20q", f.Kind)
	}
	if f.Died.IsZero() {
		return checkTime("proof", f.Proof)
	}
	if !f.Proof.IsZero() {
		return errors.New("a proof and a death in one")
	}
	return checkTime("death", f.Died)
}

func checkTime(of string, t time.Time) error {
	if y := t.UTC().Year(); t.IsZero() || y < 1 || y > 9999 {
		return fmt.Errorf("%s in the year %d", of, y)
	}
	return nil
}
