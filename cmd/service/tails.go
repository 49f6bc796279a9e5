package service

import (
	"context"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

// openTails makes a loop for each tenant whose provider has something that it
// sends no notice of. The workers compete for one lease a tenant.
func (w *Worker) openTails() error {
	publish := func(ctx context.Context, c events.Change) error {
		_, err := w.stream.Publish(ctx, c)
		return err
	}
	for _, t := range w.tenants {
		one, ok := t.Provider.(subscriptions.Tail)
		if !ok {
			continue
		}
		alive := func(h events.Home, at time.Time) {
			w.proofs.Note(events.Feed{Home: h, Kind: events.FeedTail, Proof: at, Sign: events.SignPoll,
				DelayMS: one.Delay().Milliseconds()})
		}
		l, err := tail.New(tail.Config{
			Home: t.Home, Tail: one, Lease: w.stream.Lease(leaseName(t.Home), tail.LeaseLife),
			Publish: publish, Interval: one.Interval(), Alive: alive, Log: w.log, Registerer: w.metrics,
		})
		if err != nil {
			return err
		}
		w.tails = append(w.tails, l)
	}
	return nil
}

// pollGrace is how long a poll may take, and its proof be on its way.
const pollGrace = time.Minute

// followed are the feeds that there must be: of a provider with webhooks those,
// of one that is polled the polls.
func (w *Worker) followed() (feeds []stream.Followed) {
	for _, t := range w.tenants {
		_, delivers := t.Provider.(subscriptions.Door)
		if _, registers := t.Provider.(subscriptions.Registrar); delivers && registers {
			feeds = append(feeds, stream.Followed{Home: t.Home, Kind: events.FeedWebhook, Bound: w.feedBound})
		}
	}
	return append(feeds, followedTails(w.tenants)...)
}

// followedTails are the polls that there must be. Two in a row may go wrong, and
// another worker take over.
func followedTails(tenants []tenant) (feeds []stream.Followed) {
	for _, t := range tenants {
		if polled, ok := t.Provider.(subscriptions.Tail); ok {
			bound := 5*polled.Interval()/2 + 2*tail.LeaseLife + pollGrace
			feeds = append(feeds, stream.Followed{Home: t.Home, Kind: events.FeedTail, Bound: bound})
		}
	}
	return feeds
}

// leaseName is unique to a tenant: no escaped id holds a slash.
func leaseName(h events.Home) string {
	return "tail/" + events.Escape(string(h.Provider)) + "/" + events.Escape(string(h.Tenant))
}
