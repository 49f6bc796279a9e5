package service

import (
	"context"
	"time"

	"github.com/rescindhq/rescind/events"
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
	every := map[events.Provider]time.Duration{}
	for _, p := range w.cfg.Providers {
		every[events.Provider(p.Name)] = p.RolePoll
	}
	for _, t := range w.tenants {
		polled, ok := t.Provider.(subscriptions.Tail)
		if !ok {
			continue
		}
		l, err := tail.New(tail.Config{
			Home: t.Home, Tail: polled, Lease: w.stream.Lease(leaseName(t.Home), tail.LeaseLife),
			Publish: publish, Interval: every[t.Home.Provider], Log: w.log, Registerer: w.metrics,
		})
		if err != nil {
			return err
		}
		w.tails = append(w.tails, l)
	}
	return nil
}

// leaseName is unique to a tenant: no escaped id holds a slash.
func leaseName(h events.Home) string {
	return "tail/" + events.Escape(string(h.Provider)) + "/" + events.Escape(string(h.Tenant))
}
