package providertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// A good provider passes.
func TestToy(t *testing.T) { Run(t, toySite(func(p *toy) Provider { return p })) }

// bad is a provider with one fault.
type bad struct {
	*toy
	verify    func(subscriptions.Delivery) (subscriptions.Reply, error)
	translate func(subscriptions.Delivery) (events.Change, bool, error)
	read      func(context.Context, events.Ref, cache.Session) (cache.Answer, error)
	poll      func(context.Context, []byte) ([]events.Change, []byte, error)
	list      func(context.Context) ([]subscriptions.Subscription, error)
	remove    func(context.Context, string) error
	wanted    []string
	create    func(context.Context, subscriptions.Order) (subscriptions.Subscription, error)
	terms     func() subscriptions.Terms
	origin    func(subscriptions.Delivery) subscriptions.Origin
}

func (b *bad) Verify(d subscriptions.Delivery) (subscriptions.Reply, error) {
	if b.verify != nil {
		return b.verify(d)
	}
	return b.toy.Verify(d)
}

func (b *bad) Translate(d subscriptions.Delivery) (events.Change, bool, error) {
	if b.translate != nil {
		return b.translate(d)
	}
	return b.toy.Translate(d)
}

func (b *bad) Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
	if b.read != nil {
		return b.read(ctx, ref, s)
	}
	return b.toy.Read(ctx, ref, s)
}

func (b *bad) Poll(ctx context.Context, cursor []byte) ([]events.Change, []byte, error) {
	if b.poll != nil {
		return b.poll(ctx, cursor)
	}
	return b.toy.Poll(ctx, cursor)
}

func (b *bad) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	if b.list != nil {
		return b.list(ctx)
	}
	return b.toy.List(ctx)
}

func (b *bad) Delete(ctx context.Context, id string) error {
	if b.remove != nil {
		return b.remove(ctx, id)
	}
	return b.toy.Delete(ctx, id)
}

func (b *bad) Create(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	if b.create != nil {
		return b.create(ctx, o)
	}
	return b.toy.Create(ctx, o)
}

func (b *bad) Terms() subscriptions.Terms {
	if b.terms != nil {
		return b.terms()
	}
	return b.toy.Terms()
}

func (b *bad) Origin(d subscriptions.Delivery) subscriptions.Origin {
	if b.origin != nil {
		return b.origin(d)
	}
	return b.toy.Origin(d)
}

func (b *bad) Wanted() []string {
	if b.wanted != nil {
		return b.wanted
	}
	return b.toy.Wanted()
}

// reading, translating and polling do the right thing, and then spoil it.
func reading(spoil func(*cache.Answer, *error)) func(*bad) {
	return func(b *bad) {
		b.read = func(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
			a, err := b.toy.Read(ctx, ref, s)
			spoil(&a, &err)
			return a, err
		}
	}
}

func translating(spoil func(subscriptions.Delivery, *events.Change, *error)) func(*bad) {
	return func(b *bad) {
		b.translate = func(d subscriptions.Delivery) (events.Change, bool, error) {
			c, ok, err := b.toy.Translate(d)
			spoil(d, &c, &err)
			return c, ok, err
		}
	}
}

func polling(spoil func([]byte, *[]events.Change, *[]byte)) func(*bad) {
	return func(b *bad) {
		b.poll = func(ctx context.Context, cursor []byte) ([]events.Change, []byte, error) {
			all, next, err := b.toy.Poll(ctx, cursor)
			if err == nil {
				spoil(cursor, &all, &next)
			}
			return all, next, err
		}
	}
}

// verifying accepts what good would refuse, if it looks at another delivery.
func verifying(edit func(subscriptions.Delivery) subscriptions.Delivery) func(*bad) {
	return func(b *bad) {
		b.verify = func(d subscriptions.Delivery) (subscriptions.Reply, error) {
			return b.toy.Verify(edit(copyOf(d)))
		}
	}
}

// recorder takes down what a check says.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.SkipNow()
}
func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

// TestEachCheckCatches a provider that breaks what it is about.
func TestEachCheckCatches(t *testing.T) {
	caught := map[string]bool{}
	for name, one := range badProviders() {
		t.Run(one.by+"/"+name, func(t *testing.T) {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == one.by })
			if i < 0 {
				t.Fatalf("there is no check %q", one.by)
			}
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{TB: t}
				done := make(chan struct{})
				go func() { // it may end the goroutine
					defer close(done)
					checks[i].run(r, toySite(func(p *toy) Provider {
						b := &bad{toy: p}
						one.spoil(b)
						return b
					}))
				}()
				<-done
				if len(r.failed) == 0 {
					t.Error("it is not caught")
				} else {
					t.Log(r.failed[0])
				}
			})
		})
		caught[one.by] = true
	}
	for _, c := range checks {
		if !caught[c.name] {
			t.Errorf("no bad provider shows that the check %q catches anything", c.name)
		}
	}
}

type badProvider struct {
	by    string
	spoil func(*bad)
}

func badProviders() map[string]badProvider {
	all := map[string]badProvider{}
	maps.Copy(all, badDoors())
	maps.Copy(all, badRegistrars())
	maps.Copy(all, badTerms())
	maps.Copy(all, badOrigins())
	maps.Copy(all, badOrders())
	maps.Copy(all, badRefusals())
	maps.Copy(all, badTails())
	maps.Copy(all, badReaders())
	maps.Copy(all, badAnswers())
	maps.Copy(all, badCallers())
	return all
}
