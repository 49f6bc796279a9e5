package renew_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// proofs are the times at which a feed was said to be alive.
type proofs struct {
	mu sync.Mutex
	at []time.Time
}

func (p *proofs) note(_ events.Home, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = append(p.at, at)
}

// take returns them and forgets them.
func (p *proofs) take() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.at
	p.at = nil
	return at
}

// prove runs a Keeper that tells of proofs, until stop.
func prove(t *testing.T, f *fake) (p *proofs, stop func()) {
	t.Helper()
	p = &proofs{}
	k, err := renew.New(renew.Config{
		Home: home, Registrar: f, Address: address, Alive: p.note, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return p, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestEveryLookAtAnActiveSubscriptionProvesItsFeedAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		p, stop := prove(t, f)
		defer stop()
		synctest.Wait()
		if got := p.take(); len(got) != 1 || !got[0].Equal(time.Now()) {
			t.Errorf("when it was made: %v", got)
		}
		last := time.Now()
		for range 20 {
			later(renew.DefaultCheck * 5 / 2)
			got := p.take()
			if len(got) == 0 {
				t.Fatal("no proof within two and a half checks")
			}
			if gap := got[0].Sub(last); gap > renew.DefaultCheck*11/10 {
				t.Errorf("a gap of %s", gap)
			}
			last = got[len(got)-1]
		}
	})
}

func TestASubscriptionThatIsNotActiveProvesNothing(t *testing.T) {
	inactive := []subscriptions.Subscription{{ID: "1", Address: address}}
	for name, shape := range map[string]func(*fake){
		"stopped by the provider": func(f *fake) { f.subs, f.fail["create"] = inactive, errors.New("no") },
		"another's is active": func(f *fake) {
			f.subs = []subscriptions.Subscription{{ID: "1", Address: "https://other.example", Active: true}}
			f.fail["create"] = errors.New("no")
		},
		"none, and none can be made":    func(f *fake) { f.fail["create"] = errors.New("no") },
		"made, and over at once":        func(f *fake) { f.life = -time.Second },
		"the provider does not answer":  func(f *fake) { f.fail["list"] = errors.New("no") },
		"gone, and none can be made":    func(f *fake) { f.fail["create"] = subscriptions.ErrGone },
		"wrongly configured over there": func(f *fake) { f.fail["create"] = subscriptions.ErrMisconfigured },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(week)
				shape(f)
				p, stop := prove(t, f)
				defer stop()
				later(time.Hour)
				if got := p.take(); len(got) > 0 || len(f.words()) == 0 {
					t.Errorf("%d proofs from %d calls", len(got), len(f.words()))
				}
			})
		})
	}
}

// A proof is as old as the question, not as young as the answer.
func TestASlowLookProvesNoMoreThanItAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.subs = []subscriptions.Subscription{{ID: "1", Address: address, Active: true}}
		began := time.Now()
		p := &proofs{}
		k, err := renew.New(renew.Config{Home: home, Registrar: slow{f}, Address: address, Alive: p.note,
			Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := k.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := p.take(); len(got) != 1 || !got[0].Equal(began) {
			t.Errorf("proofs of %v, asked at %s", got, began)
		}
	})
}

// slow answers a minute after it was asked.
type slow struct{ *fake }

func (s slow) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	subs, err := s.fake.List(ctx)
	later := time.NewTimer(time.Minute) // simulated
	defer later.Stop()
	<-later.C
	return subs, err
}
