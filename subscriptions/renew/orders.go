package renew

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// Order is what an operator, or a listener that received something, says to whoever
// keeps a tenant's registrations.
type Order struct {
	Do Do `json:"do"`
	// ID is the registration that DoHear and DoMourn speak of, At is when.
	ID string    `json:"id,omitempty"`
	At time.Time `json:"at,omitzero"`
}

// Do is what is ordered.
type Do string

// The orders. DoHear and DoMourn are words that want no answer.
const (
	// DoPlan says what a look would do, and does nothing.
	DoPlan Do = "plan"
	// DoApply looks at once; what was taken down by DoRemove is wanted again.
	DoApply Do = "apply"
	// DoRenew prolongs whatever is there.
	DoRenew Do = "renew"
	// DoRotate changes the secrets.
	DoRotate Do = "rotate"
	// DoRemove takes all registrations down, until DoApply.
	DoRemove Do = "remove"
	// DoHear: a delivery came.
	DoHear Do = "heard"
	// DoMourn: a delivery said that it was the last.
	DoMourn Do = "over"
	// DoMend: deliveries were refused from At on, since what they told of could not be
	// stored.
	DoMend Do = "mend"
)

// Report is the answer to an order.
type Report struct {
	// Steps is what was done, or would be.
	Steps []Step `json:"steps"`
	// Error is what went wrong, without secrets; empty if nothing did.
	Error string `json:"error,omitempty"`
	// Mended: what [DoMend] speaks of is made good, or is part of a gap that will be.
	Mended bool `json:"mended,omitempty"`
	// Ledger is what is noted now.
	Ledger subscriptions.Ledger `json:"ledger"`
}

// ErrAppSecret: the secret of deliveries is the app's and cannot be changed from here.
var ErrAppSecret = errors.New("the secrets are the app's: make a new one at the provider, put both into the " +
	"configuration, and take the old one out once nothing bears it")

// errPaused says that there is nothing to renew.
var errPaused = errors.New("the subscriptions are taken down on order: apply first")

// message is an order on its way to Run.
type message struct {
	order Order
	reply chan Report
}

// word is what was heard of a registration since the last look.
type word struct {
	at   time.Time
	over bool
}

// Obey carries an order out and reports. It waits for a look that is under way. A
// word is taken down at once, and the report is empty.
func (k *Keeper) Obey(ctx context.Context, o Order) (Report, error) {
	switch o.Do {
	case DoHear, DoMourn:
		k.hear(o)
		return Report{}, nil
	case DoPlan, DoApply, DoRenew, DoRemove, DoMend:
	case DoRotate:
		if !k.cfg.Registrar.Terms().OwnSecret {
			return Report{}, ErrAppSecret
		}
	default:
		return Report{}, fmt.Errorf("order %.40q is unknown, there are %s, %s, %s, %s and %s", o.Do,
			DoPlan, DoApply, DoRenew, DoRotate, DoRemove)
	}
	m := message{o, make(chan Report, 1)}
	select {
	case k.orders <- m:
	case <-ctx.Done():
		return Report{}, fmt.Errorf("order %s: %w", o.Do, context.Cause(ctx))
	}
	select {
	case r := <-m.reply:
		return r, nil
	case <-ctx.Done():
		return Report{}, fmt.Errorf("order %s is under way: %w", o.Do, context.Cause(ctx))
	}
}

// Answer is [Keeper.Obey] for an order and a report in JSON, as they go over the wire.
func (k *Keeper) Answer(ctx context.Context, order []byte) []byte {
	var o Order
	var r Report
	err := json.Unmarshal(order, &o)
	if err != nil {
		err = errors.New("the order is not JSON")
	} else {
		r, err = k.Obey(ctx, o)
	}
	if err != nil {
		r.Error = err.Error()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil // nothing in a report can be refused
	}
	return b
}

// How much is heard of registrations between two looks, and how often it is stored.
const (
	noteEvery = 15 * time.Second
	maxWords  = 10000
	maxID     = 256 // bytes of a registration's id
)

// hear takes a word down. The end of a registration is looked after at once.
func (k *Keeper) hear(o Order) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, known := k.words[o.ID]
	if len(o.ID) > maxID || !known && len(k.words) >= maxWords {
		return
	}
	w.at, w.over = latestOf(w.at, o.At), w.over || o.Do == DoMourn
	k.words[o.ID] = w
	if o.Do == DoMourn {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// absorb writes into the ledger what was heard. A delivery proves life if all that is
// wanted was there at the last look.
func (k *Keeper) absorb() {
	k.mu.Lock()
	words := k.words
	k.words = map[string]word{}
	k.mu.Unlock()
	now := time.Now().Round(0)
	if k.ledger.Proof.After(now) { // a clock was set back
		k.ledger.Proof = now
	}
	for id, w := range words {
		at := w.at
		if at.After(now) {
			at = now
		}
		k.ledger.Delivered = latestOf(k.ledger.Delivered, at)
		e := k.ledger.Entry(id)
		if e == nil {
			continue
		}
		e.Delivered = latestOf(e.Delivered, at)
		if w.over {
			e.Over, e.Active, e.Status = true, false, saidSo
			k.unsaved[id] = true
		}
	}
	wanted := k.cfg.Registrar.Wanted()
	if len(words) > 0 && len(delivers(k.ledger, wanted, now)) == 0 && k.ledger.Died.IsZero() {
		k.ledger.Proof = latestOf(k.ledger.Proof, k.lately(wanted))
	}
}

// lately is when the last of all that is wanted had delivered: each proves itself
// alone.
func (k *Keeper) lately(wanted []string) (at time.Time) {
	last := map[string]time.Time{}
	for _, e := range k.ledger.Entries {
		last[e.Want] = latestOf(last[e.Want], e.Delivered)
	}
	for i, want := range wanted {
		if i == 0 || last[want].Before(at) {
			at = last[want]
		}
	}
	return at
}

// again has words heard once more that went with a ledger which another has written.
func (k *Keeper) again() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.unsaved {
		w := k.words[id]
		w.over = true
		k.words[id] = w
	}
	clear(k.unsaved)
}

// rest waits for the next look, carrying out orders meanwhile. It is false when ctx
// has ended.
func (k *Keeper) rest(ctx context.Context, d time.Duration) bool {
	end := time.Now().Add(d)
	t, note := time.NewTimer(d), time.NewTicker(noteEvery)
	defer t.Stop()
	defer note.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-note.C:
			k.jot(ctx)
			continue
		case <-t.C:
			return ctx.Err() == nil
		case <-k.wake:
			if soon := k.soon(); soon.Before(end) {
				end = soon
			}
		case m := <-k.orders:
			if again := k.obey(ctx, m); again > 0 {
				end = time.Now().Add(again)
			}
		}
		t.Reset(max(time.Until(end), 0))
	}
}

// jot stores what was heard since the last look, so that all may read it.
func (k *Keeper) jot(ctx context.Context) {
	k.mu.Lock()
	heard := len(k.words) > 0
	k.mu.Unlock()
	if !heard || !k.loaded {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	k.absorb()
	if err := k.save(ctx); err != nil {
		k.log.Debug("what was heard is stored at the next look", "error", err)
	}
}

// soon is when a word may be looked after.
func (k *Keeper) soon() time.Time { return latestOf(k.looked.Add(leastWait), k.penalty) }

// obey carries out one order. It returns when to look again; zero: as it was.
func (k *Keeper) obey(ctx context.Context, m message) (again time.Duration) {
	var r Report
	var err error
	defer func() {
		r.Ledger, r.Error = k.copied(), k.textOf(err)
		m.reply <- r
	}()
	if m.order.Do == DoPlan {
		r.Steps, err = k.preview(ctx)
		return 0
	}
	if err = k.load(ctx); err != nil {
		return 0
	}
	if o := m.order.Do; !k.ledger.Paused.IsZero() && (o == DoRenew || o == DoRotate) {
		err = errPaused
		return 0
	}
	for range 2 { // once more if another has written the ledger meanwhile
		if err = k.load(ctx); err != nil {
			return 0
		}
		r.Steps, err = k.pass(ctx, k.intend(m.order))
		if !errors.Is(err, events.ErrConflict) {
			break
		}
	}
	r.Mended = k.kept && k.lapse == nil
	if m.order.Do == DoMend && k.ledger.Fault == subscriptions.FaultFilters { // it may stay so: who mends it then?
		g := subscriptions.Gap{From: m.order.At, To: time.Now(), Cause: causeUnstored}
		swept := k.cfg.Sweep(ctx, k.cfg.Home, g)
		r.Mended, err = r.Mended && swept == nil, errors.Join(err, swept)
	}
	k.report(err)
	return k.wait(err)
}

// intend writes into the ledger what an order changes there. It returns what is to be
// done whether it is due or not.
func (k *Keeper) intend(o Order) (force map[Verb]bool) {
	switch o.Do {
	case DoApply:
		k.ledger.Paused = time.Time{}
	case DoRenew:
		return map[Verb]bool{Renew: true}
	case DoRotate:
		return map[Verb]bool{Replace: true}
	case DoRemove:
		if k.ledger.Paused.IsZero() {
			k.ledger.Paused = time.Now()
		}
	case DoMend:
		k.owe(subscriptions.Gap{From: o.At, To: time.Now().Round(0), Cause: causeUnstored})
	}
	return nil
}

// preview is what [DoApply] would do.
func (k *Keeper) preview(ctx context.Context) (steps []Step, err error) {
	defer k.catch(&err)
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	s, err := k.look(ctx, nil)
	if err != nil {
		return nil, err
	}
	return s.plan(), nil
}
