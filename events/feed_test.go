package events_test

import (
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

func TestUnusableFeedsAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"not JSON":       {`proof`, "decode feed"},
		"no tenant":      {`{"provider":"p","proof":"2026-01-02T03:04:05Z"}`, "tenant"},
		"no proof":       {`{"provider":"p","tenant":"t"}`, "proof"},
		"a proof of old": {`{"provider":"p","tenant":"t","proof":"0001-01-01T00:00:00Z"}`, "proof"},
		"no such kind":   {`{"provider":"p","tenant":"t","kind":"x","proof":"2026-01-02T03:04:05Z"}`, "kind"},
		"another type":   {`{"provider":"p","tenant":"t","proof":7}`, "decode feed"},
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
		if err != nil || back.Home != feed.Home || !back.Proof.Equal(feed.Proof.Truncate(time.Millisecond)) {
			t.Fatalf("%+v became %+v, %v", feed, back, err)
		}
	})
}
