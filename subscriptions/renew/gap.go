package renew

import (
	"context"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// Why there may be a gap.
const (
	causeLapse    = "no listener ran"
	causeUnstored = "deliveries were refused: not stored"
	causeLost     = "a subscription was gone, or did not serve all"
	causeUnproven = "it was not shown to live"
	causeDead     = "it was dead"
	causeUnknown  = "the notes of a subscription were lost, and its secret with them"
)

// absence says whether it was our doing alone, in which case the provider may try
// what failed again.
func absence(cause string) bool { return cause == causeLapse || cause == causeUnstored }

// open is the gap that is not mended yet, nil if there is none. It stands in the
// ledger, so that whoever comes next mends it.
func (k *Keeper) open() *subscriptions.Gap {
	n := len(k.ledger.Gaps)
	if n == 0 || k.ledger.Gaps[n-1].Mended != "" {
		return nil
	}
	return &k.ledger.Gaps[n-1]
}

// doubt opens a gap, or widens the one that is open.
func (k *Keeper) doubt(g subscriptions.Gap) {
	if open := k.open(); open != nil {
		*open = widened(*open, g)
		return
	}
	k.ledger.Note(g)
}

// owe is doubt before the ledger is read.
func (k *Keeper) owe(g subscriptions.Gap) {
	if k.lapse != nil {
		g = widened(*k.lapse, g)
	}
	k.lapse = &g
}

// widened is a gap that takes another in. The graver cause stays.
func widened(g, other subscriptions.Gap) subscriptions.Gap {
	if other.From.Before(g.From) {
		g.From = other.From
	}
	g.To = latestOf(g.To, other.To)
	if absence(g.Cause) && !absence(other.Cause) || other.Cause == causeDead {
		g.Cause = other.Cause
	}
	return g
}

// missed is a gap since the last proof of life; before the first there is none.
func (k *Keeper) missed(now time.Time, cause string) {
	if from := k.ledger.Proof; !from.IsZero() {
		k.doubt(subscriptions.Gap{From: from, To: latestOf(from, now), Cause: cause})
	}
}

// alive mends what there is to be mended, and then tells that the feed lives.
func (k *Keeper) alive(ctx context.Context, s *state) error {
	switch l := k.ledger; {
	case !l.Died.IsZero():
		k.missed(s.now, causeDead)
	case s.now.Sub(l.Proof) > Bound(k.cfg.Check):
		k.missed(s.now, causeUnproven)
	}
	if err := k.mend(ctx, s); err != nil {
		return err
	}
	k.ledger.Proof, k.ledger.Died = latestOf(k.ledger.Proof, s.now), time.Time{}
	if k.cfg.Alive != nil {
		k.cfg.Alive(k.cfg.Home, s.now)
	}
	return nil
}

// mend sees to it that nothing is kept that a missed change would have dropped.
func (k *Keeper) mend(ctx context.Context, s *state) error {
	open := k.open()
	if open == nil {
		return nil
	}
	g := *open
	if !absence(g.Cause) {
		g.To = time.Now().Round(0)
	}
	g.Mended = subscriptions.Swept
	switch {
	case s.terms.Tailed && k.cfg.Tailed != nil && k.cfg.Tailed(k.cfg.Home):
		g.Mended = subscriptions.Followed
	default:
		if err := k.cfg.Sweep(ctx, k.cfg.Home, g); err != nil {
			return err
		}
	}
	*open = g
	k.metrics.gap(g)
	k.log.Warn("gap", "from", g.From, "to", g.To, "cause", g.Cause, "mended", string(g.Mended))
	return nil
}
