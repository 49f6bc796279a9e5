package events_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
)

func TestAFeedIsDoubtfulUnlessItIsShownToBeAlive(t *testing.T) {
	const bound = 10 * time.Minute
	now := time.Now()
	wall := now.Round(0) // without the monotonic clock
	for name, c := range map[string]struct {
		proof, now time.Time
		want       events.FeedState
	}{
		"never":                            {time.Time{}, now, events.FeedDoubtful},
		"just now":                         {now, now, events.FeedAlive},
		"as long ago as the bound":         {now, now.Add(bound), events.FeedAlive},
		"longer ago than the bound":        {now, now.Add(bound + 1), events.FeedDoubtful},
		"so by wall clocks alone":          {wall, wall.Add(bound + 1), events.FeedDoubtful},
		"by a clock that is ahead of ours": {wall.Add(time.Second), wall, events.FeedAlive},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (events.Feed{Proof: c.proof}).State(c.now, bound); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestAFeedIsReadAsItWasWritten(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.FixedZone("x", 3600))
	home := events.Home{Provider: "ringcentral", Tenant: "a.b/c"}
	f := events.Feed{Home: home, Kind: events.FeedTail, Proof: at, Sign: events.SignPoll}
	b, err := events.EncodeFeed(f)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"provider":"ringcentral","tenant":"a.b/c","kind":"tail","proof":"2026-01-02T02:04:05.678Z","sign":"poll"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	got, err := events.DecodeFeed(b)
	f.Proof = at.UTC().Truncate(time.Millisecond)
	if diff := cmp.Diff(f, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestAFeedIsDeadUntilALaterProof(t *testing.T) {
	const bound = 10 * time.Minute
	now := time.Now()
	for name, c := range map[string]struct {
		proof, died time.Time
		want        events.FeedState
	}{
		"never alive":                {time.Time{}, now, events.FeedDead},
		"after the proof":            {now.Add(-time.Second), now, events.FeedDead},
		"at the moment of the proof": {now, now, events.FeedDead},
		"before the proof":           {now, now.Add(-time.Millisecond), events.FeedAlive},
		"before a proof of old":      {now.Add(-2 * bound), now.Add(-3 * bound), events.FeedDoubtful},
		"longer ago than the bound":  {now.Add(-3 * bound), now.Add(-2 * bound), events.FeedDead},
		"by a clock ahead of ours":   {now, now.Add(time.Second), events.FeedDead},
		"by wall clocks alone":       {now.Add(-1).Round(0), now, events.FeedDead},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (events.Feed{Proof: c.proof, Died: c.died}).State(now, bound); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestADeathIsReadAsItWasWritten(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.FixedZone("x", 3600))
	f := events.Feed{Home: events.Home{Provider: "ringcentral", Tenant: "1"}, Died: at, Cause: "blacklisted"}
	b, err := events.EncodeFeed(f)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"provider":"ringcentral","tenant":"1","kind":"webhook","died":"2026-01-02T02:04:05.678Z",` +
		`"cause":"blacklisted"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	got, err := events.DecodeFeed(b)
	f.Died, f.Kind = at.UTC().Truncate(time.Millisecond), events.FeedWebhook
	if diff := cmp.Diff(f, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// However long a cause is, it is cut, by who writes and by who reads.
func TestACauseIsClipped(t *testing.T) {
	home := events.Home{Provider: "ringcentral", Tenant: "1"}
	for name, c := range map[string]struct{ cause, want string }{
		"as long as may be": {strings.Repeat("é", events.MaxCause), strings.Repeat("é", events.MaxCause)},
		"one more":          {strings.Repeat("é", events.MaxCause) + "x", strings.Repeat("é", events.MaxCause)},
		"far too long":      {strings.Repeat("x", 1<<20), strings.Repeat("x", events.MaxCause)},
		"not UTF-8":         {strings.Repeat("\xff", 1<<10), strings.Repeat("\ufffd", events.MaxCause)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := events.EncodeFeed(events.Feed{Home: home, Died: time.Now(), Cause: c.cause})
			if err != nil {
				t.Fatal(err)
			}
			var raw struct{ Cause string }
			if err := json.Unmarshal(b, &raw); err != nil || raw.Cause != c.want {
				t.Errorf("written as %d bytes, %v; want %d", len(raw.Cause), err, len(c.want))
			}
			text, err := json.Marshal(c.cause)
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.DecodeFeed(fmt.Appendf(nil,
				`{"provider":"p","tenant":"t","died":"2026-01-02T03:04:05Z","cause":%s}`, text))
			if err != nil || got.Cause != c.want {
				t.Errorf("read as %d bytes, %v; want %d", len(got.Cause), err, len(c.want))
			}
		})
	}
}

// oldFeed is what was read before there were deaths, and decodeOld the rule by which
// it was refused.
type oldFeed struct {
	events.Home
	Kind    events.FeedKind `json:"kind"`
	Proof   time.Time       `json:"proof"`
	Sign    events.Sign     `json:"sign"`
	DelayMS int64           `json:"delay_ms,omitempty"`
}

func decodeOld(b []byte) (f oldFeed, err error) {
	if err := json.Unmarshal(b, &f); err != nil {
		return oldFeed{}, err
	}
	if y := f.Proof.UTC().Year(); f.Proof.IsZero() || y < 1 || y > 9999 {
		return oldFeed{}, fmt.Errorf("proof in the year %d", y)
	}
	return f, f.Home.Validate()
}

// Who knows of no deaths takes none for a proof, and reads proofs as ever.
func TestWhoKnowsOfNoDeathsIgnoresThem(t *testing.T) {
	home, at := events.Home{Provider: "p", Tenant: "t"}, time.Now().UTC().Truncate(time.Millisecond)
	dead, err := events.EncodeFeed(events.Feed{Home: home, Died: at, Cause: "gone"})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := decodeOld(dead); err == nil {
		t.Errorf("%s is read as %+v", dead, f)
	}
	alive, err := events.EncodeFeed(events.Feed{Home: home, Proof: at})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := decodeOld(alive); err != nil || !f.Proof.Equal(at) || f.Kind != events.FeedWebhook {
		t.Errorf("%s is read as %+v, %v", alive, f, err)
	}
}

func TestUnusableFeedsAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"not JSON":       {`proof`, "decode feed"},
		"no tenant":      {`{"provider":"p","proof":"2026-01-02T03:04:05Z"}`, "tenant"},
		"no proof":       {`{"provider":"p","tenant":"t"}`, "proof"},
		"a proof of old": {`{"provider":"p","tenant":"t","proof":"0001-01-01T00:00:00Z"}`, "proof"},
		"no such kind":   {`{"provider":"p","tenant":"t","kind":"x","proof":"2026-01-02T03:04:05Z"}`, "kind"},
		"another type":   {`{"provider":"p","tenant":"t","proof":7}`, "decode feed"},
		"a cause alone":  {`{"provider":"p","tenant":"t","cause":"gone"}`, "proof"},
		"a death of old": {`{"provider":"p","tenant":"t","died":"0000-01-01T00:00:00Z"}`, "death"},
		"both": {`{"provider":"p","tenant":"t","proof":"2026-01-02T03:04:05Z","died":"2026-01-02T03:04:05Z"}`,
			"a proof and a death"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := events.DecodeFeed([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.says) || got != (events.Feed{}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if _, err := events.EncodeFeed(events.Feed{Home: events.Home{Provider: "p", Tenant: "t"}}); err == nil {
		t.Error("a feed without a proof was written")
	}
}

func FuzzDecodeFeed(f *testing.F) {
	f.Add([]byte(`{"provider":"p","tenant":"t","proof":"2026-01-02T03:04:05.678Z","sign":"poll"}`))
	f.Add([]byte(`{"provider":"p","tenant":"t","proof":"9999-12-31T23:59:59-23:59"}`))
	f.Add([]byte(`{"provider":"p","tenant":"t","proof":"0001-01-01T00:00:00.0001Z"}`))
	f.Add([]byte(`{"provider":"p","tenant":"t","died":"2026-01-02T03:04:05.6789+01:00","cause":"gone"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		feed, err := events.DecodeFeed(b)
		if err != nil {
			return
		}
		again, err := events.EncodeFeed(feed)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		back, err := events.DecodeFeed(again)
		if err != nil || back != feed {
			t.Fatalf("%+v became %+v, %v", feed, back, err)
		}
	})
}
