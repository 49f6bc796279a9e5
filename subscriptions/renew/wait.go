package renew

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// report tells the state, the log and the metrics how a look went.
func (k *Keeper) report(err error) {
	text := k.textOf(err)
	k.set(func() { k.failed = text })
	if active := k.State().Active; active != k.counted {
		k.counted = active
		k.metrics.activate(active)
	}
	switch {
	case err == nil:
		k.told = ""
	case isLater(err):
		k.metrics.count("later")
		k.log.Warn("subscription must wait", slog.String("error", text))
	case errors.Is(err, subscriptions.ErrMisconfigured):
		k.metrics.count("misconfigured")
		if text != k.told {
			k.log.Error("subscription cannot be kept: mend what the error names, nothing else will",
				slog.String("error", text))
		}
		k.told = text
	default:
		k.metrics.count("failed")
		k.log.Warn("subscription could not be checked, tried again", slog.String("error", text))
	}
}

// textOf is an error without the address, which a provider may have repeated.
func (k *Keeper) textOf(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), k.cfg.Address, "[address]")
}

// wait is how long the next look has time.
func (k *Keeper) wait(err error) time.Duration {
	var later *subscriptions.Later
	if err == nil || errors.As(err, &later) || errors.Is(err, subscriptions.ErrMisconfigured) {
		k.retry.Reset()
	}
	switch {
	case later != nil:
		return max(time.Until(later.Until), 0) + jitter(leastWait, 2*leastWait)
	case errors.Is(err, subscriptions.ErrMisconfigured):
		return about(mendWait)
	case err != nil:
		return k.retry.NextBackOff()
	}
	d := about(k.cfg.Check)
	for want, h := range k.held {
		if s := k.now[want]; s.Active && !s.Expires.IsZero() {
			d = min(d, time.Until(due(s.Expires, h.life)))
		}
	}
	return max(d, leastWait)
}

// about is d, give or take a tenth.
func about(d time.Duration) time.Duration { return jitter(d-d/10, d+d/10) }

func jitter(from, to time.Duration) time.Duration { return from + rand.N(to-from+1) }

func isLater(err error) bool {
	var later *subscriptions.Later
	return errors.As(err, &later)
}

// pause waits and says whether ctx is still going.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
