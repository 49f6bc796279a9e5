package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

const (
	// quiet is how long nothing more is said of a registration's deliveries.
	quiet = 10 * time.Second
	// maxSpoken bounds of how many registrations that is remembered.
	maxSpoken = 100_000
	// mendLimit is how long whoever keeps the subscriptions has to mend a gap.
	mendLimit = 30 * time.Second
)

// words tells whoever keeps the subscriptions what this listener receives.
type words struct {
	calls *stream.Calls
	log   *slog.Logger

	mu     sync.Mutex
	spoken map[registration]time.Time
	misses map[events.Home]miss
	wake   chan struct{} // holds a token if there are misses
}

// miss is the time in which changes of a home were refused.
type miss struct{ first, last time.Time }

type registration struct {
	events.Home
	id string
}

func newWords(calls *stream.Calls, log *slog.Logger) *words {
	return &words{calls: calls, log: log, spoken: map[registration]time.Time{},
		misses: map[events.Home]miss{}, wake: make(chan struct{}, 1)}
}

// heard tells of a delivery, at most every 10 s of one registration; its end always.
func (w *words) heard(h events.Home, from subscriptions.Origin, at time.Time) {
	if !from.Over && (from.Subscription == "" || !w.due(registration{h, from.Subscription}, at)) {
		return
	}
	o := renew.Order{Do: renew.DoHear, ID: from.Subscription, At: at}
	if from.Over {
		o.Do = renew.DoMourn
		w.log.Warn("a subscription says that it is over", "provider", h.Provider, "tenant", h.Tenant,
			"subscription", from.Subscription)
	}
	b, err := json.Marshal(o)
	if err == nil {
		err = w.calls.Tell(h, b)
	}
	if err != nil {
		w.log.Debug("word to whoever keeps the subscriptions", "error", err)
	}
}

func (w *words) due(r registration, at time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.Sub(w.spoken[r]) < quiet {
		return false
	}
	if len(w.spoken) >= maxSpoken {
		clear(w.spoken)
	}
	w.spoken[r] = at
	return true
}

// missed notes that a change was refused because it could not be stored: the
// provider may not send it again.
func (w *words) missed(h events.Home, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, ok := w.misses[h]
	if !ok {
		m.first = at
	}
	m.last = at
	w.misses[h] = m
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run has misses mended until ctx ends, then returns nil.
func (w *words) run(ctx context.Context) error {
	policy := backoff.NewExponentialBackOff(backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		_ = backoff.RetryNotify(func() error { return w.mend(ctx) }, backoff.WithContext(policy, ctx),
			func(err error, d time.Duration) {
				w.log.WarnContext(ctx, "refused deliveries are not made good yet", "error", err,
					"again_in_ms", d.Milliseconds())
			}) // it fails when ctx ends alone
		policy.Reset()
	}
}

// mend orders that what was missed is made good, of each home: one that nobody can
// mend now keeps no other waiting.
func (w *words) mend(ctx context.Context) error {
	var errs []error
	for h, m := range w.open() {
		b, err := json.Marshal(renew.Order{Do: renew.DoMend, At: m.first})
		if err == nil {
			err = w.ask(ctx, h, b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", h, err))
			continue
		}
		w.forget(h, m)
	}
	return errors.Join(errs...)
}

func (w *words) ask(ctx context.Context, h events.Home, order []byte) error {
	ctx, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	b, err := w.calls.Ask(ctx, h, order)
	if err != nil {
		return err
	}
	var r renew.Report
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if !r.Mended {
		return fmt.Errorf("not mended: %s", r.Error)
	}
	return nil
}

// open is what is not made good yet.
func (w *words) open() map[events.Home]miss {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.misses)
}

// forget is for what was made good; what was missed meanwhile stays.
func (w *words) forget(h events.Home, m miss) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last := w.misses[h].last; last.After(m.last) {
		w.misses[h] = miss{m.last, last}
		return
	}
	delete(w.misses, h)
}
