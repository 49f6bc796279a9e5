package renew

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// take writes into the ledger what the provider's list says. If something that is
// wanted was not delivered, now or at the last look, there may be a gap.
func (k *Keeper) take(s *state, steps []Step) {
	k.ledger.Looked = s.now
	lost := len(delivers(k.ledger, s.wanted, time.Time{})) > 0
	listed := map[string]bool{}
	for _, sub := range s.subs {
		if s.ours(sub) {
			listed[sub.ID] = true
			k.note(sub, s)
		}
	}
	for _, e := range slices.Clone(k.ledger.Entries) {
		if !listed[e.ID] {
			k.ledger.Remove(e.ID, s.now)
			k.log.Warn("subscription is gone at the provider", "subscription", e.ID, "for", e.Want)
		}
	}
	lost = lost || len(delivers(k.ledger, s.wanted, s.now)) > 0
	k.adopt(s)
	if lost || slices.ContainsFunc(steps, func(step Step) bool { return step.Verb == Create }) {
		k.missed(s.now, causeLost)
	}
}

// note takes over one that is listed and that we have notes of.
func (k *Keeper) note(sub subscriptions.Subscription, s *state) {
	switch _, here := s.serial(sub); {
	case s.over(sub.ID):
		sub.Active, sub.Status = false, saidSo
	case !here:
		sub.Active, sub.Status = false, "it delivers to an address that is no more"
	}
	k.copy(sub)
}

// adopt takes in those that are ours by their address, and of which we have no notes:
// whoever made them could not store it. If we know of no proof either, then notes were
// lost, and what such a one delivered was refused where it has a secret of its own.
func (k *Keeper) adopt(s *state) {
	for _, sub := range s.subs {
		serial, here := s.serial(sub)
		if !here || k.ledger.Entry(sub.ID) != nil {
			continue
		}
		made := sub.Created
		if made.IsZero() || made.After(s.now) {
			made = s.now
		}
		k.ledger.Serial = max(k.ledger.Serial, serial) // else the next one would seem older, or be the same
		k.ledger.Entries = append(k.ledger.Entries, subscriptions.Entry{ID: sub.ID, Serial: serial, Made: made})
		k.copy(sub)
		if s.terms.OwnSecret && k.ledger.Proof.IsZero() {
			k.doubt(subscriptions.Gap{From: made, To: s.now, Cause: causeUnknown})
		}
	}
}

// maxFiltered is of how many registrations the filters are noted: a ledger is one
// value.
const maxFiltered = 50

// copy writes what the provider says of a registration into its entry.
func (k *Keeper) copy(sub subscriptions.Subscription) {
	e := k.ledger.Entry(sub.ID)
	if e == nil {
		return
	}
	if len(sub.Disabled) > 0 && !slices.Equal(sub.Disabled, e.Disabled) {
		k.log.Warn("subscription has filters that are not served", "subscription", sub.ID, "disabled", sub.Disabled)
	}
	e.Want, e.Expires, e.Status = sub.Want, sub.Expires, sub.Status
	e.Active = alive(sub, time.Now())
	e.Filters, e.Disabled = sub.Filters, sub.Disabled
	if len(k.ledger.Entries) > maxFiltered {
		e.Filters = nil
	}
}

// delivers says whether all that is wanted is there, and nothing of it is disabled.
// What is missing has its reason.
func delivers(l subscriptions.Ledger, wanted []string, now time.Time) (missing []string) {
	type standing struct {
		there, whole bool
		disabled     []string
	}
	found := map[string]standing{}
	for _, e := range l.Entries {
		if e.Active && (e.Expires.IsZero() || e.Expires.After(now)) {
			whole := len(e.Disabled) == 0 || found[e.Want].whole
			found[e.Want] = standing{true, whole, e.Disabled}
		}
	}
	for _, want := range wanted {
		switch f := found[want]; {
		case !f.there:
			missing = append(missing, want+": no active subscription")
		case !f.whole:
			missing = append(missing, want+": not served: "+strings.Join(f.disabled, "; "))
		}
	}
	return missing
}

// settle concludes a look: it proves the feed alive, mending the gap that there was,
// or says that it is not. It returns what else went wrong than why.
func (k *Keeper) settle(ctx context.Context, s *state, why error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	missing := delivers(k.ledger, s.wanted, time.Now())
	k.metrics.activate(&k.counted, len(missing) == 0)
	first := k.ledger.Fault != subscriptions.FaultFilters
	k.ledger.Fault, k.ledger.Problem = subscriptions.FaultOf(why), k.textOf(why)
	switch {
	case len(missing) == 0:
		err = k.alive(ctx, s)
	case k.served(s.wanted):
		err = k.doubtful(ctx, missing, first)
	default:
		err = k.dead(ctx, missing)
	}
	err = errors.Join(err, k.save(ctx))
	if len(missing) > 0 {
		k.tell(k.served(s.wanted)) // again: until the ledger told it, a delivery may have been taken for life
	}
	return err
}

// tell says that the feed is doubtful, or dead, once our own listener knows it.
func (k *Keeper) tell(doubt bool) {
	if k.cfg.Noted != nil {
		k.cfg.Noted(k.copied(), k.revision)
	}
	say := k.cfg.Dead
	if doubt {
		say = k.cfg.Doubt
	}
	if say != nil {
		say(k.cfg.Home, time.Now().Round(0), k.ledger.Problem)
	}
}

// served says whether all that is wanted is registered, if with disabled filters.
// That is no proof of life, and none of death.
func (k *Keeper) served(wanted []string) bool {
	bare := k.ledger
	bare.Entries = slices.Clone(bare.Entries)
	for i := range bare.Entries {
		bare.Entries[i].Disabled = nil
	}
	return len(delivers(bare, wanted, time.Now())) == 0
}

// doubtful tells that not all is served, and drops what is kept when that is found.
func (k *Keeper) doubtful(ctx context.Context, missing []string, first bool) error {
	now := time.Now().Round(0)
	problem := short(strings.Join(missing, "; "))
	k.ledger.Problem = problem
	k.tell(true)
	if first {
		g := subscriptions.Gap{From: latestOf(k.ledger.Proof, time.Unix(0, 0)), To: now, Cause: problem}
		if err := k.cfg.Sweep(ctx, k.cfg.Home, g); err != nil {
			return err
		}
	}
	k.ledger.Fault = subscriptions.FaultFilters
	return nil
}

// dead tells that the feed does not live, and drops what is kept once: nobody knows
// how long it has been dead.
func (k *Keeper) dead(ctx context.Context, missing []string) error {
	now := time.Now().Round(0)
	if k.ledger.Problem == "" {
		k.ledger.Problem, k.ledger.Fault = short(strings.Join(missing, "; ")), subscriptions.FaultOther
	}
	if !k.ledger.Paused.IsZero() {
		k.ledger.Problem, k.ledger.Fault = "taken down on order", subscriptions.FaultOther
	}
	k.tell(false) // first, so that what is read meanwhile is not kept for long
	if !k.ledger.Died.IsZero() {
		return nil
	}
	g := subscriptions.Gap{From: latestOf(k.ledger.Proof, time.Unix(0, 0)), To: now, Cause: k.ledger.Problem}
	if err := k.cfg.Sweep(ctx, k.cfg.Home, g); err != nil {
		return err
	}
	k.ledger.Died = now
	level := slog.LevelError
	if !k.ledger.Paused.IsZero() {
		level = slog.LevelWarn
	}
	k.log.Log(ctx, level, "feed is dead", "missing", len(missing), "problem", k.ledger.Problem)
	return nil
}

// trouble writes down why the provider could not be asked. What is over by our own
// notes is dead even so.
func (k *Keeper) trouble(ctx context.Context, why error) (err error) {
	if ctx.Err() != nil {
		return nil // whoever comes next writes
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	k.ledger.Fault, k.ledger.Problem = subscriptions.FaultOf(why), k.textOf(why)
	wanted := k.cfg.Registrar.Wanted()
	missing := delivers(k.ledger, wanted, time.Now())
	known := !k.ledger.Looked.IsZero()
	k.metrics.activate(&k.counted, known && len(missing) == 0)
	if known && !k.served(wanted) {
		err = k.dead(ctx, missing)
	}
	return errors.Join(err, k.save(ctx))
}
