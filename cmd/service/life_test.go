package service_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

func TestLivesStretchWhereTheFeedIsAlive(t *testing.T) {
	usual := config.Worker{Life: time.Minute, MaxLife: cache.Ceiling}
	fixed := config.Worker{Life: time.Minute, MaxLife: time.Minute}
	for name, tc := range map[string]struct {
		config      config.Worker
		feed        events.FeedState
		wants, want time.Duration
	}{
		"nothing wanted":       {usual, events.FeedAlive, 0, time.Minute},
		"less than configured": {usual, events.FeedAlive, 20 * time.Second, time.Minute},
		"more":                 {usual, events.FeedAlive, 100 * time.Second, 100 * time.Second},
		"more than there is":   {usual, events.FeedAlive, 400 * time.Second, cache.Ceiling},
		"stretching is off":    {fixed, events.FeedAlive, 100 * time.Second, time.Minute},
		"doubtful":             {usual, events.FeedDoubtful, 100 * time.Second, cache.MinLife},
		"doubtful, nothing":    {usual, events.FeedDoubtful, 0, cache.MinLife},
		"dead":                 {usual, events.FeedDead, 100 * time.Second, cache.MinLife},
		"dead, nothing":        {usual, events.FeedDead, 0, cache.MinLife},
		"a feed of no state":   {usual, "", 100 * time.Second, cache.MinLife},
	} {
		t.Run(name, func(t *testing.T) {
			if got := service.LifeOf(tc.config, tc.feed, tc.wants); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// Twenty extensions that are read by the service user take twenty light calls a
// life. That is what there is for them in half a minute.
func TestLivesStretchUnderTheVendorsLimits(t *testing.T) {
	const subjects, least = 20, 25 * time.Second
	for name, tc := range map[string]struct {
		longest time.Duration
		want    func(time.Duration) bool
	}{
		"as far as they must": {cache.Ceiling, func(d time.Duration) bool { return d > least && d < 2*least }},
		"switched off":        {cache.MinLife, func(d time.Duration) bool { return d <= cache.MinLife }},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, options{
				sim:  sim.Options{Limits: map[string]sim.Limit{"light": {}}},
				edit: func(c *config.Config) { c.Worker.Life, c.Worker.MaxLife = cache.MinLife, tc.longest },
			})
			ids := make([]string, subjects)
			for i := range ids {
				ids[i] = strconv.Itoa(70_000 + i)
			}
			w.addExtensions(ids)
			w.expect(bea, cache.Granted, calls) // the token, and what is shared
			var left time.Duration
			for i, id := range ids {
				left = time.Until(w.expect(id, cache.Granted, calls).Until)
				if i == 0 && left > cache.MinLife {
					t.Errorf("the first, whom the limit suffices for, lives %s", left)
				}
			}
			if !tc.want(left) {
				t.Errorf("the last lives %s", left)
			}
			_, text := w.get(w.worker.it.AdminAddr(), "/metrics")
			sum := `rescind_refresh_life_seconds_count{provider="ringcentral"} ` + strconv.Itoa(subjects+1)
			if !strings.Contains(text, sum+"\n") {
				t.Errorf("the metrics do not say %s", sum)
			}
		})
	}
}
