package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"
)

// FeedState says whether the feed of a home can be trusted to tell of changes.
type FeedState string

// The two states of a feed. There is no third: what cannot be shown to be
// alive is doubtful.
const (
	FeedAlive    FeedState = "alive"
	FeedDoubtful FeedState = "doubtful"
)

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

// Feed is the last proof that changes of a home reach us by one way. It is a hint: it
// decides how long something is kept, never what somebody may do.
type Feed struct {
	Home
	// Kind is the way; of a proof that does not say it, FeedWebhook.
	Kind FeedKind `json:"kind"`
	// Proof is when it was shown to be alive; zero means never.
	Proof time.Time `json:"proof"`
	// Sign is how, for people.
	Sign Sign `json:"sign"`
	// DelayMS is how late a change may be that only a poll finds, in milliseconds;
	// zero if that is not known.
	DelayMS int64 `json:"delay_ms,omitempty"`
}

// State is alive for as long as bound after the proof. Both clocks must agree
// on that where the times have two: a wall clock that is set back makes no
// feed younger, and a machine that slept does not forget that it did.
func (f Feed) State(now time.Time, bound time.Duration) FeedState {
	age := max(now.Sub(f.Proof), now.Round(0).Sub(f.Proof.Round(0)))
	if f.Proof.IsZero() || age > bound {
		return FeedDoubtful
	}
	return FeedAlive
}

// EncodeFeed writes a proof as JSON:
//
//	{"provider":"ringcentral","tenant":"37439510","kind":"webhook","proof":"2026-01-02T03:04:05.678Z","sign":"poll"}
func EncodeFeed(f Feed) ([]byte, error) {
	f.Kind = cmp.Or(f.Kind, FeedWebhook)
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("encode feed: %w", err)
	}
	f.Proof = f.Proof.UTC().Truncate(time.Millisecond)
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode feed: %w", err)
	}
	return b, nil
}

// DecodeFeed reads a proof and checks it. Members it does not know are ignored.
func DecodeFeed(b []byte) (Feed, error) {
	var f Feed
	if err := json.Unmarshal(b, &f); err != nil {
		return Feed{}, fmt.Errorf("decode feed: %.200s", err) // it may quote a value, however long
	}
	f.Kind = cmp.Or(f.Kind, FeedWebhook)
	if err := f.validate(); err != nil {
		return Feed{}, fmt.Errorf("decode feed: %w", err)
	}
	return f, nil
}

func (f Feed) validate() error {
	if err := f.Home.Validate(); err != nil {
		return err
	}
	if f.Kind != FeedWebhook && f.Kind != FeedTail {
		return fmt.Errorf("kind %.20q", f.Kind)
	}
	if y := f.Proof.UTC().Year(); f.Proof.IsZero() || y < 1 || y > 9999 {
		return fmt.Errorf("proof in the year %d", y)
	}
	return nil
}
