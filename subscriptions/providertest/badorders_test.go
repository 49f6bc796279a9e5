package providertest

import (
	"context"
	"errors"
	"fmt"

	"github.com/rescindhq/rescind/subscriptions"
)

func badTerms() map[string]badProvider {
	terms := func(spoil func(*bad, *subscriptions.Terms)) func(*bad) {
		return func(b *bad) {
			b.terms = func() subscriptions.Terms {
				terms := b.toy.Terms()
				spoil(b, &terms)
				return terms
			}
		}
	}
	return map[string]badProvider{
		"room for none": {"terms", terms(func(_ *bad, terms *subscriptions.Terms) { terms.Most = 0 })},
		"room that shrinks": {"terms", func(b *bad) {
			left := 10
			terms(func(_ *bad, terms *subscriptions.Terms) {
				terms.Most = left
				left--
			})(b)
		}},
		"asks for its terms": {"terms", terms(func(b *bad, _ *subscriptions.Terms) {
			if resp, err := b.call(context.Background(), "/hooks"); err == nil {
				_ = resp.Body.Close()
			}
		})},
	}
}

func badOrigins() map[string]badProvider {
	origin := func(spoil func(subscriptions.Delivery, *subscriptions.Origin)) func(*bad) {
		return func(b *bad) {
			b.origin = func(d subscriptions.Delivery) subscriptions.Origin {
				o := b.toy.Origin(d)
				spoil(d, &o)
				return o
			}
		}
	}
	return map[string]badProvider{
		"names another": {"origin", origin(func(_ subscriptions.Delivery, o *subscriptions.Origin) {
			o.Subscription += "9"
		})},
		"names none": {"origin", origin(func(_ subscriptions.Delivery, o *subscriptions.Origin) {
			o.Subscription = ""
		})},
		"names a book": {"origin", origin(func(d subscriptions.Delivery, o *subscriptions.Origin) {
			if o.Subscription == "" {
				o.Subscription = string(d.Body)
			}
		})},
		"of nothing": {"origin", origin(func(d subscriptions.Delivery, o *subscriptions.Origin) {
			if len(d.Body) == 0 {
				o.Subscription = "1"
			}
		})},
		"is over at once": {"origin", origin(func(_ subscriptions.Delivery, o *subscriptions.Origin) {
			o.Over = true
		})},
		"panics at nothing": {"origin", origin(func(d subscriptions.Delivery, _ *subscriptions.Origin) {
			_ = d.Body[0]
		})},
	}
}

// badOrders take an order otherwise than it is meant.
func badOrders() map[string]badProvider {
	ordering := func(edit func(*subscriptions.Order)) func(*bad) {
		return func(b *bad) {
			b.create = func(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
				edit(&o)
				return b.toy.Create(ctx, o)
			}
		}
	}
	return map[string]badProvider{
		"makes up a secret": {"secrets of registrations", ordering(func(o *subscriptions.Order) {
			if o.Secret.Empty() {
				o.Secret = subscriptions.NewSecret("x")
			}
		})},
		"has one secret for all": {"secrets of registrations", func(b *bad) {
			var first subscriptions.Secret
			ordering(func(o *subscriptions.Order) {
				if first.Empty() {
					first = o.Secret
				}
				if !o.Secret.Empty() {
					o.Secret = first
				}
			})(b)
		}},
		"remembers secrets": {"secrets of registrations", func(b *bad) {
			var known []subscriptions.Secret
			ordering(func(o *subscriptions.Order) { known = append(known, o.Secret) })(b)
			b.verify = func(d subscriptions.Delivery) (subscriptions.Reply, error) {
				d.Secrets = known
				return b.toy.Verify(d)
			}
		}},
		"tells whose secret it is not": {"secrets", func(b *bad) {
			b.verify = func(d subscriptions.Delivery) (subscriptions.Reply, error) {
				reply, err := b.toy.Verify(d)
				if err != nil && len(d.Secrets) > 0 {
					err = fmt.Errorf("%w: not %s", err, d.Secrets[0].Reveal())
				}
				return reply, err
			}
		}},
	}
}

// badRefusals make something else of a refusal.
func badRefusals() map[string]badProvider {
	failing := func(instead func(error) error) func(*bad) {
		return func(b *bad) {
			b.create = func(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
				made, err := b.toy.Create(ctx, o)
				if err != nil {
					err = instead(err)
				}
				return made, err
			}
		}
	}
	return map[string]badProvider{
		"full is nobody's fault": {"refused registrations", failing(func(err error) error {
			if errors.Is(err, subscriptions.ErrFull) {
				return subscriptions.ErrFull
			}
			return err
		})},
		"all is misconfigured": {"refused registrations", failing(func(error) error {
			return subscriptions.ErrMisconfigured
		})},
		"cannot be reached, and is full": {"refused registrations", failing(func(err error) error {
			return errors.Join(err, subscriptions.ErrFull)
		})},
		"half a registration": {"refused registrations", func(b *bad) {
			b.create = func(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
				made, err := b.toy.Create(ctx, o)
				if err != nil {
					made.ID = "1"
				}
				return made, err
			}
		}},
	}
}
