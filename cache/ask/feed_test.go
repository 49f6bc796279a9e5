package ask_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/events"
)

// The state of the feed is told with every decision, known or not, and decides
// nothing.
func TestTheFeedIsTold(t *testing.T) {
	for _, state := range []events.FeedState{events.FeedAlive, events.FeedDoubtful, events.FeedDead, ""} {
		for _, trouble := range []error{nil, errors.New("away")} {
			var asked []events.Home
			b := open(t, func(c *ask.Config) {
				c.Feed = func(h events.Home) events.FeedState {
					asked = append(asked, h)
					return state
				}
			})
			b.filler.err = trouble
			w := b.post(usual, nil)
			var got struct {
				Decision bool
				Context  struct{ Feed events.FeedState }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
			}
			if got.Context.Feed != state || got.Decision != (trouble == nil) {
				t.Errorf("feed %q, decision %t; want %q, %t", got.Context.Feed, got.Decision, state, trouble == nil)
			}
			want := events.Home{Provider: "ringcentral", Tenant: "37439510"}
			if len(asked) != 1 || asked[0] != want {
				t.Errorf("asked for %v", asked)
			}
		}
	}
}
