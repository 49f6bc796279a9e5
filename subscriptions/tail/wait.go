package tail

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// report tells the log and the metrics how a poll went.
func (l *Loop) report(published int, err error) {
	var later *subscriptions.Later
	switch {
	case err == nil:
		l.told = ""
		l.metrics.good(published)
	case errors.As(err, &later):
		l.metrics.count("later")
		l.log.Info("tail must wait", slog.Any("error", err))
	case errors.Is(err, subscriptions.ErrMisconfigured):
		l.metrics.count("misconfigured")
		if text := err.Error(); text != l.told {
			l.log.Error("tail cannot be polled: mend what the error names, nothing else will",
				slog.String("error", text))
			l.told = text
		}
	default:
		l.metrics.count("failed")
		l.log.Warn("tail could not be polled, tried again", slog.Any("error", err))
	}
}

// wait is how long the next poll has time.
func (l *Loop) wait(err error) time.Duration {
	var later *subscriptions.Later
	misconfigured := errors.Is(err, subscriptions.ErrMisconfigured)
	if err == nil || errors.As(err, &later) || misconfigured {
		l.retry.Reset()
	}
	switch {
	case later != nil:
		return max(time.Until(later.Until), 0) + jitter(firstRetry, 2*firstRetry)
	case misconfigured:
		return about(max(mendWait, l.cfg.Interval))
	case err != nil:
		return l.retry.NextBackOff()
	}
	return about(l.cfg.Interval)
}

// about is d, give or take a tenth.
func about(d time.Duration) time.Duration { return jitter(d-d/10, d+d/10) }

func jitter(from, to time.Duration) time.Duration { return from + rand.N(to-from+1) }

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
