package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

var errBad = errors.New("bad")

// call is one without a budget, and with what token there is.
func (b *bad) call(ctx context.Context, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	return b.deps.HTTP.Do(r)
}

func badDoors() map[string]badProvider {
	sign := func(d subscriptions.Delivery) subscriptions.Delivery {
		own := subscriptions.NewSecret("x")
		d.Header.Set("X-Signature", toySign(d.Body, d.Header.Get("X-Stamp"), own.Reveal()))
		d.Secrets = []subscriptions.Secret{own}
		return d
	}
	return map[string]badProvider{
		"signs itself": {"verify", verifying(sign)},
		"any tenant": {"verify", verifying(func(d subscriptions.Delivery) subscriptions.Delivery {
			d.Home = toyHome
			return d
		})},
		"any age": {"verify", verifying(func(d subscriptions.Delivery) subscriptions.Delivery {
			d.Received = time.Now()
			return d
		})},
		"other errors": {"refuse", func(b *bad) {
			b.verify = func(d subscriptions.Delivery) (subscriptions.Reply, error) {
				reply, err := b.toy.Verify(d)
				if err != nil {
					err = errBad
				}
				return reply, err
			}
		}},
		"repeats the body": {"refuse", translating(func(d subscriptions.Delivery, _ *events.Change, err *error) {
			if *err != nil {
				*err = fmt.Errorf("%w: %.900s", subscriptions.ErrUnreadable, d.Body)
			}
		})},
		"panics": {"refuse", translating(func(d subscriptions.Delivery, _ *events.Change, _ *error) {
			_ = d.Body[1]
		})},
		"id of the attempt": {"translate", translating(func(d subscriptions.Delivery, c *events.Change, _ *error) {
			c.ID += d.Header.Get("X-Another-Attempt")
		})},
		"one id for all": {"translate", translating(func(_ subscriptions.Delivery, c *events.Change, _ *error) {
			c.ID = "toy:1:x"
		})},
		"no such tag": {"translate", translating(func(_ subscriptions.Delivery, c *events.Change, _ *error) {
			c.Tags = []events.Tag{{Kind: "subject"}}
		})},
		"another's change": {"translate", translating(func(_ subscriptions.Delivery, c *events.Change, _ *error) {
			c.Tenant = "2"
		})},
	}
}

func badRegistrars() map[string]badProvider {
	return map[string]badProvider{
		"lends its list": {"subscribe", func(b *bad) { b.wanted = []string{"all"} }},
		"wants nothing":  {"subscribe", func(b *bad) { b.wanted = []string{} }},
		"lists what is not": {"subscribe", func(b *bad) {
			b.list = func(context.Context) ([]subscriptions.Subscription, error) {
				return []subscriptions.Subscription{{ID: "9", Want: "all"}}, nil
			}
		}},
		"deletes once": {"subscribe", func(b *bad) {
			deleted := map[string]bool{}
			b.remove = func(ctx context.Context, id string) error {
				if deleted[id] {
					return subscriptions.ErrGone
				}
				deleted[id] = true
				return b.toy.Delete(ctx, id)
			}
		}},
		"deletes nothing": {"subscribe", func(b *bad) {
			b.remove = func(context.Context, string) error { return nil }
		}},
	}
}

func badTails() map[string]badProvider {
	return map[string]badProvider{
		"tells at first": {"tail", polling(func(old []byte, all *[]events.Change, _ *[]byte) {
			if len(old) == 0 {
				*all = append(*all, events.Change{ID: "x", Home: toyHome, Tags: []events.Tag{events.TenantTag}})
			}
		})},
		"goes back": {"tail", polling(func(old []byte, _ *[]events.Change, next *[]byte) { *next = nil })},
		"ids of the moment": {"tail", func(b *bad) {
			n := 0
			polling(func(_ []byte, all *[]events.Change, _ *[]byte) {
				for i := range *all {
					n++
					(*all)[i].ID = fmt.Sprintf("toy:1:%d", n)
				}
			})(b)
		}},
		"one id for every change": {"tail", polling(func(_ []byte, all *[]events.Change, _ *[]byte) {
			for i := range *all {
				(*all)[i].ID = "toy:1:x"
			}
		})},
		"misses": {"tail", polling(func(_ []byte, all *[]events.Change, _ *[]byte) { *all = nil })},
		"remembers": {"tail", func(b *bad) {
			told := map[string]bool{}
			polling(func(_ []byte, all *[]events.Change, _ *[]byte) {
				*all = slices.DeleteFunc(*all, func(c events.Change) bool { return told[c.ID] })
				for _, c := range *all {
					told[c.ID] = true
				}
			})(b)
		}},
		"starts anew in silence": {"cursors", polling(func(_ []byte, all *[]events.Change, _ *[]byte) {
			*all = slices.DeleteFunc(*all, func(c events.Change) bool { return c.Tags[0] == events.TenantTag })
		})},
		"panics at garbage": {"cursors", func(b *bad) {
			b.poll = func(ctx context.Context, cursor []byte) ([]events.Change, []byte, error) {
				if bytes.HasPrefix(cursor, []byte("x")) {
					panic("garbage")
				}
				return b.toy.Poll(ctx, cursor)
			}
		}},
	}
}

func badReaders() map[string]badProvider {
	return map[string]badProvider{
		"no width": {"read", reading(func(a *cache.Answer, _ *error) {
			for g := range a.Grants {
				a.Grants[g] = ""
			}
		})},
		"no such tag in the answer": {"read", reading(func(a *cache.Answer, _ *error) {
			a.Tags = []events.Tag{{Kind: "X"}}
		})},
		"granted and not": {"read", reading(func(a *cache.Answer, _ *error) {
			a.Why = map[cache.Grant]string{"permission/look": "no"}
		})},
		"covers twice": {"read", reading(func(a *cache.Answer, _ *error) {
			a.Covers = append(a.Covers, a.Covers...)
		})},
		"ended": {"read", reading(func(a *cache.Answer, _ *error) {
			a.Expires = time.Now().Add(-time.Second)
		})},
		"no tag of the app": {"read", func(b *bad) {
			b.read = func(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
				return b.toy.Read(ctx, ref, &session{number: s.Stamp().Number})
			}
		}},
		"grants to nobody": {"read what is not there", reading(func(a *cache.Answer, err *error) {
			if *err == nil {
				a.Grants["permission/look"] = "*"
			}
		})},
		"reads another tenant": {"read what is not there", func(b *bad) {
			b.read = func(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
				ref.Home = toyHome
				return b.toy.Read(ctx, ref, s)
			}
		}},
		"reads any resource": {"read what is not there", func(b *bad) {
			b.read = func(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
				ref.Resource = ""
				return b.toy.Read(ctx, ref, s)
			}
		}},
		"keeps answers": {"revocation", func(b *bad) {
			kept := map[events.Ref]cache.Answer{}
			b.read = func(ctx context.Context, ref events.Ref, s cache.Session) (a cache.Answer, err error) {
				if a, ok := kept[ref]; ok {
					return a, nil
				}
				if a, err = b.toy.Read(ctx, ref, s); err == nil {
					kept[ref] = a
				}
				return a, err
			}
		}},
	}
}

// badAnswers are what bad providers make of faults.
func badAnswers() map[string]badProvider {
	return map[string]badProvider{
		"an answer with its error": {"outages", func(b *bad) {
			b.read = func(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
				a, err := b.toy.Read(ctx, ref, s)
				if err != nil {
					a.Covers = []cache.Kind{cache.Permission}
				}
				return a, err
			}
		}},
		"answers in an outage":   {"outages", forgiving(func(error) bool { return true })},
		"answers at a limit":     {"limits", forgiving(isLater)},
		"a dead token denies":    {"dead tokens", forgiving(isDead)},
		"answers what is broken": {"replies", forgiving(func(err error) bool { return !isLater(err) })},
		"gone is an outage": {"outages", reading(func(_ *cache.Answer, err *error) {
			if *err != nil {
				*err = subscriptions.ErrMisconfigured
			}
		})},
		"forgets when": {"limits", reading(func(_ *cache.Answer, err *error) {
			if *err != nil {
				*err = errBad
			}
		})},
	}
}

func isDead(err error) bool { return errors.Is(err, errDead) }

func isLater(err error) bool {
	var later *subscriptions.Later
	return errors.As(err, &later)
}

// forgiving takes an error for an answer.
func forgiving(which func(error) bool) func(*bad) {
	return reading(func(a *cache.Answer, err *error) {
		if *err != nil && which(*err) {
			*a, *err = cache.Answer{Facts: cache.Facts{Basis: "none", Covers: []cache.Kind{cache.Permission}}}, nil
		}
	})
}

func badCallers() map[string]badProvider {
	before := func(do func(*bad, context.Context) error) func(*bad) {
		return func(b *bad) {
			b.read = func(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
				if err := do(b, ctx); err != nil {
					return cache.Answer{}, err
				}
				return b.toy.Read(ctx, ref, s)
			}
		}
	}
	unasked := before(func(b *bad, ctx context.Context) error {
		resp, err := b.call(ctx, "/rights/1")
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	})
	take := func(ctx context.Context, b *bad) (subscriptions.Call, error) {
		lane := subscriptions.Lane{Provider: "toy", Identity: "x", Group: "all"}
		return b.deps.Budget.Take(ctx, lane, subscriptions.Window{})
	}
	return map[string]badProvider{
		"calls unasked":           {"budgets", unasked},
		"calls in spite of Later": {"budget that refuses", unasked},
		"never done": {"budgets", before(func(b *bad, ctx context.Context) error {
			_, err := take(ctx, b)
			return err
		})},
		"done twice": {"budgets", before(func(b *bad, ctx context.Context) error {
			c, err := take(ctx, b)
			if err == nil {
				c.Done(ctx, subscriptions.Said{Unsent: true})
				c.Done(ctx, subscriptions.Said{Unsent: true})
			}
			return err
		})},
		"logs the token": {"secrets", before(func(b *bad, ctx context.Context) error {
			t, err := b.c.Registering(b.ring()).Token(ctx)
			b.deps.Log.InfoContext(ctx, "read", "with", t.Access.Reveal())
			return err
		})},
		"tells the key": {"secrets", func(b *bad) {
			b.verify = func(d subscriptions.Delivery) (subscriptions.Reply, error) {
				reply, err := b.toy.Verify(d)
				if err != nil {
					err = fmt.Errorf("%w, the key is %s", err, toyKey)
				}
				return reply, err
			}
		}},
	}
}
