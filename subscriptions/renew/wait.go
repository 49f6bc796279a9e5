package renew

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// report tells the log and the metrics how a look went.
func (k *Keeper) report(err error) {
	text := k.textOf(err)
	switch fault := subscriptions.FaultOf(err); {
	case err == nil:
		k.told = ""
	case fault == subscriptions.FaultLater:
		k.metrics.count("later")
		k.log.Warn("subscription must wait", slog.String("error", text))
	case errors.Is(err, subscriptions.ErrMisconfigured):
		k.metrics.count("misconfigured")
		if text != k.told {
			k.log.Error("subscription cannot be kept: mend what the error names, nothing else will",
				slog.String("fault", string(fault)), slog.String("error", text))
		}
		k.told = text
	case errors.Is(err, errMore):
		k.log.Info("more is to be done for subscriptions, it follows")
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
	text := strings.ReplaceAll(err.Error(), k.cfg.Address, "[address]")
	if part := path.Base(k.cfg.Address); len(part) >= secretPart {
		text = strings.ReplaceAll(text, part, "[address]")
	}
	return short(text)
}

const (
	// maxText is how much of an error is told, in bytes.
	maxText = 2000
	// secretPart is how long the part of an address is that nobody must guess, in
	// bytes; what is shorter is a word like any other.
	secretPart = 16
)

func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "..."
}

// wait is how long the next look has time.
func (k *Keeper) wait(err error) time.Duration {
	var later *subscriptions.Later
	misconfigured := errors.Is(err, subscriptions.ErrMisconfigured)
	if err == nil || errors.As(err, &later) || misconfigured {
		k.retry.Reset()
	}
	k.looked, k.penalty = time.Now(), time.Time{}
	switch {
	case later != nil:
		k.penalty = later.Until
		return max(time.Until(later.Until), 0) + jitter(leastWait, 2*leastWait)
	case k.more:
		return leastWait
	case misconfigured:
		return min(about(mendWait), k.soonest(true))
	case err != nil:
		return min(k.retry.NextBackOff(), k.soonest(true))
	}
	return min(about(k.cfg.Check), k.soonest(false))
}

// soonest is in what time the first registration must be renewed. One that must be
// already counts only if that has not just failed; then it counts when it ends.
func (k *Keeper) soonest(failed bool) time.Duration {
	d := max(k.cfg.Check, mendWait) * 2
	for _, e := range k.ledger.Entries {
		if left := time.Until(e.Leaving.Add(drain)); !e.Leaving.IsZero() && (left > 0 || !failed) {
			d = min(d, left)
		}
		if e.Active && !e.Expires.IsZero() && e.Leaving.IsZero() {
			left := time.Until(due(e, subscriptions.Subscription{Expires: e.Expires}))
			if left > 0 || !failed {
				d = min(d, left)
			}
			if left = time.Until(e.Expires); left > 0 {
				d = min(d, left)
			}
		}
	}
	return max(d, leastWait)
}

// about is d, give or take a tenth.
func about(d time.Duration) time.Duration { return jitter(d-d/10, d+d/10) }

func jitter(from, to time.Duration) time.Duration { return from + rand.N(to-from+1) }
