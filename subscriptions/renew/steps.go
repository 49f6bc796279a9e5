package renew

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// done is what came of the steps.
type done struct {
	gone    map[string]bool // ids that another step has dealt with
	tried   map[string]bool // what steps were for, true if one failed
	without map[string]bool // what could not be made or renewed
	stuck   map[string]bool // ids that are dead and could not be removed
	stored  bool            // the ledger, since the last one was made
}

// errMore says that the rest follows in the next look.
var errMore = errors.New("more is to be done than one look may, the rest follows")

// do takes the steps, as many as one look may. What failed while others had no turn
// comes after them in the next.
func (k *Keeper) do(ctx context.Context, s *state, steps []Step) error {
	d := done{
		gone: map[string]bool{}, tried: map[string]bool{}, without: map[string]bool{}, stuck: map[string]bool{},
	}
	var errs, refused []error
	taken := 0
	for _, step := range k.inTurn(steps) {
		switch {
		case step.Verb == Refuse:
			refused = append(refused, fmt.Errorf("%s: %w: %w: %s", step.Want,
				subscriptions.ErrMisconfigured, subscriptions.ErrFull, step.Why))
			continue
		case step.Verb == Retire:
			k.retire(step.ID, s.now)
			continue
		case step.Verb == Keep:
			k.retire(step.ID, time.Time{})
			continue
		case k.more:
			continue
		case taken >= maxSteps:
			k.more = true
			continue
		}
		taken++
		err := k.step(ctx, step, s, &d)
		errs = append(errs, err)
		d.tried[step.Want] = d.tried[step.Want] || err != nil
		d.without[step.Want] = d.without[step.Want] || err != nil && step.Verb != Remove
		if general(ctx, err) {
			return errors.Join(errs...)
		}
	}
	k.queue(d)
	err := errors.Join(append(errs, refused...)...)
	if err == nil && k.more {
		err = errMore
	}
	return err
}

// inTurn puts last what failed while others had no turn.
func (k *Keeper) inTurn(steps []Step) []Step {
	var first, last []Step
	for _, step := range steps {
		if k.behind[step.Want] {
			last = append(last, step)
		} else {
			first = append(first, step)
		}
	}
	return append(first, last...)
}

// queue notes who failed. Once all had their turn, there is no more.
func (k *Keeper) queue(d done) {
	fresh := false
	for want, failed := range d.tried {
		fresh = fresh || !k.behind[want]
		if failed {
			k.behind[want] = true
		}
	}
	k.more = k.more && fresh
	if !k.more {
		clear(k.behind)
	}
}

// general says whether the next call would meet the same: then it is not made.
func general(ctx context.Context, err error) bool {
	var later *subscriptions.Later
	return errors.As(err, &later) || ctx.Err() != nil ||
		errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errUnstored)
}

func (k *Keeper) step(ctx context.Context, step Step, s *state, d *done) error {
	switch step.Verb {
	case Create:
		return k.create(ctx, step, s, d)
	case Replace:
		err := k.create(ctx, step, s, d)
		if err == nil {
			k.retire(step.ID, time.Now().Round(0))
		}
		return err
	case Renew:
		return k.renew(ctx, step, s, d)
	}
	if d.gone[step.ID] || d.without[step.Want] && s.living(step.ID) {
		return nil
	}
	return k.remove(ctx, step, s, d)
}

// retire notes since when one is to go; zero: it stays.
func (k *Keeper) retire(id string, now time.Time) {
	if e := k.ledger.Entry(id); e != nil {
		e.Leaving = now
	}
}

// create makes a registration. Its serial is stored before, so that every listener
// knows its secret before its first delivery.
func (k *Keeper) create(ctx context.Context, step Step, s *state, d *done) error {
	o := subscriptions.Order{Want: step.Want}
	var serial int64
	if s.terms.OwnSecret {
		serial = k.ledger.Mint(s.now)
		o.Secret = k.cfg.Secret(serial)
		if err := k.save(ctx); err != nil {
			return err
		}
	}
	o.Address = addressOf(k.cfg.Address, serial)
	sub, err := k.cfg.Registrar.Create(ctx, o)
	if err != nil {
		return err
	}
	d.gone[sub.ID], d.stored = true, false // it may be one that was there, taken over
	k.ledger.Remove(sub.ID, s.now)
	k.ledger.Entries = append(k.ledger.Entries, subscriptions.Entry{ID: sub.ID, Want: step.Want, Serial: serial,
		Made: time.Now()})
	if d.stuck[sub.ID] { // it is the old one, which could not be removed
		k.ledger.Entry(sub.ID).Over = true
		return fmt.Errorf("subscription %s is over and is there still", sub.ID)
	}
	return k.made("created", step.Want, sub)
}

// renew prolongs; one that is gone is made anew.
func (k *Keeper) renew(ctx context.Context, step Step, s *state, d *done) error {
	k.retire(step.ID, time.Time{})
	sub, err := k.cfg.Registrar.Renew(ctx, step.ID)
	if errors.Is(err, subscriptions.ErrGone) {
		k.ledger.Remove(step.ID, s.now)
		k.missed(s.now, causeLost)
		return k.create(ctx, Step{Create, step.Want, "", "gone when it was renewed"}, s, d)
	}
	if err != nil {
		return err
	}
	if e := k.ledger.Entry(sub.ID); e != nil {
		e.Renewed = time.Now()
	}
	return k.made("renewed", step.Want, sub)
}

// made takes over what the provider replied.
func (k *Keeper) made(outcome, want string, sub subscriptions.Subscription) error {
	k.metrics.count(outcome)
	k.log.Info("subscription "+outcome, "subscription", sub.ID, "for", want, "expires", sub.Expires)
	sub.Want = want
	k.copy(sub)
	if !alive(sub, time.Now()) {
		return fmt.Errorf("subscription %s is %s but not active: %s", sub.ID, outcome, sub.Status)
	}
	return nil
}

// remove takes one down. Of what lives, the ledger is stored before: if another has
// written it, that one knows better what is to stay.
func (k *Keeper) remove(ctx context.Context, step Step, s *state, d *done) error {
	if !d.stored && s.living(step.ID) {
		if err := k.save(ctx); err != nil {
			return err
		}
		d.stored = true
	}
	if err := k.cfg.Registrar.Delete(ctx, step.ID); err != nil {
		d.stuck[step.ID] = !s.living(step.ID)
		return err
	}
	d.gone[step.ID] = true
	k.ledger.Remove(step.ID, time.Now())
	k.metrics.count("removed")
	k.log.Info("subscription removed", "subscription", step.ID, "for", step.Want, "why", step.Why)
	return nil
}
