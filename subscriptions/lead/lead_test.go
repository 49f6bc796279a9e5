package lead_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/lead"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const life = 15 * time.Second

// bed is a lease in memory that fails as it is told, and what is done under it.
type bed struct {
	mu    sync.Mutex
	fail  map[string]error
	slow  time.Duration // of a renewal; it ends with its context
	steps []string
	notes []lead.Step
	log   bytes.Buffer
	held  bool
}

func (b *bed) step(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps = append(b.steps, name)
	return b.fail[name]
}

func (b *bed) breaks(name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail[name] = err
}

func (b *bed) count(name string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.steps {
		if s == name {
			n++
		}
	}
	return n
}

func (b *bed) Life() time.Duration { return life }

func (b *bed) Acquire(context.Context) error {
	err := b.step("acquire")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = err == nil
	return err
}

func (b *bed) Renew(ctx context.Context) error {
	err := b.step("renew")
	b.mu.Lock()
	slow := b.slow
	b.mu.Unlock()
	select {
	case <-time.After(slow):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *bed) Release(ctx context.Context) error {
	b.mu.Lock()
	b.held = false
	b.mu.Unlock()
	return errors.Join(ctx.Err(), b.step("release"))
}

func (b *bed) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bed) logged(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.log.String(), text)
}

func (b *bed) noted() []lead.Step {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notes)
}

// start competes until the test ends, or stop is called. What is done waits for its
// end unless told otherwise.
func start(t *testing.T, do func(context.Context, func(error))) (b *bed, stop func()) {
	t.Helper()
	b = &bed{fail: map[string]error{}}
	if do == nil {
		do = func(ctx context.Context, _ func(error)) { <-ctx.Done() }
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		lead.Run(ctx, lead.Config{Lease: b, What: "the thing", Log: slog.New(slog.NewTextHandler(b, nil)),
			Note: func(s lead.Step) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.notes = append(b.notes, s)
			}}, func(ctx context.Context, lose func(error)) {
			_ = b.step("do")
			do(ctx, lose)
		})
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return b, stop
}

func later(d time.Duration) {
	time.Sleep(d) // simulated
	synctest.Wait()
}

func TestTheLeaseIsRenewedAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, nil)
		later(12 * time.Second)
		began := time.Now()
		stop()
		if want := []string{"acquire", "do", "renew", "renew", "release"}; !slices.Equal(b.steps, want) {
			t.Errorf("steps %q, want %q", b.steps, want)
		}
		if want := []lead.Step{lead.Held, lead.Left}; !slices.Equal(b.noted(), want) || time.Since(began) > 0 {
			t.Errorf("noted %q, want %q; stopped in %s", b.noted(), want, time.Since(began))
		}
		if b.logged("level=WARN") > 0 {
			t.Error(b.log.String())
		}
	})
}

// Whoever has lost the lease stops at once, and competes again.
func TestALostLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := start(t, nil)
		synctest.Wait()
		b.breaks("renew", events.ErrConflict)
		b.breaks("acquire", events.ErrConflict)
		later(10 * time.Minute)
		if b.held || b.count("acquire") < 100 || b.count("do") != 1 || b.logged("lease lost") != 1 {
			t.Errorf("asked for it %d times, done %d times", b.count("acquire"), b.count("do"))
		}
		if want := []lead.Step{lead.Held, lead.Lost, lead.Left}; !slices.Equal(b.noted(), want) {
			t.Errorf("noted %q, want %q", b.noted(), want)
		}
		b.breaks("acquire", nil)
		b.breaks("renew", nil)
		later(life)
		if b.count("do") != 2 || !b.held {
			t.Error("it does not go on")
		}
	})
}

// The work may find that the lease is another's; its context ends with that word.
func TestTheWorkMayLoseTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("somebody else wrote")
		var cause error
		b, stop := start(t, func(ctx context.Context, lose func(error)) {
			lose(why)
			<-ctx.Done()
			cause = context.Cause(ctx)
		})
		later(time.Second)
		stop()
		if !errors.Is(cause, lead.ErrLost) || !errors.Is(cause, why) || b.count("release") != 1 || b.logged("somebody else") != 1 {
			t.Errorf("cause %v, steps %q", cause, b.steps)
		}
	})
}

// A lease that cannot be renewed is another's after its life, not before and not
// after, even if the store is slow to say so.
func TestALeaseThatCannotBeRenewedIsGivenUp(t *testing.T) {
	for name, slow := range map[string]time.Duration{"refused at once": 0, "no answer": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended time.Time
				b, _ := start(t, func(ctx context.Context, _ func(error)) {
					<-ctx.Done()
					ended = time.Now()
				})
				b.slow = slow
				b.breaks("renew", errors.New("no server"))
				began := time.Now()
				synctest.Wait()
				b.breaks("acquire", errors.New("no server"))
				later(2 * life)
				if took := ended.Sub(began); took != life {
					t.Errorf("given up after %s", took)
				}
				if b.held || b.count("release") != 1 || b.logged("cannot be asked for") == 0 ||
					!slices.Contains(b.noted(), lead.Failed) {
					t.Errorf("steps %q", b.steps)
				}
			})
		})
	}
}

// Renewals that fail for less than two thirds of a life cost nothing.
func TestAPassingFaultIsBorne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := start(t, nil)
		for range 20 {
			b.breaks("renew", errors.New("no server"))
			later(2*life/3 - time.Second)
			b.breaks("renew", nil)
			later(life / 2)
		}
		if b.count("do") != 1 || !b.held {
			t.Errorf("done %d times", b.count("do"))
		}
	})
}

// Work that ends gives the lease back, and is begun again a little later.
func TestWorkThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := start(t, func(context.Context, func(error)) {})
		later(time.Minute)
		if n := b.count("do"); n < 10 || n > 20 || b.count("release") != n || slices.Contains(b.noted(), lead.Lost) {
			t.Errorf("done %d times, given back %d times", n, b.count("release"))
		}
	})
}

func TestALeaseThatCannotBeGivenBackEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, nil)
		b.breaks("release", errors.New("no server"))
		synctest.Wait()
		stop()
		if b.logged("ends by itself") != 1 {
			t.Error(b.log.String())
		}
	})
}
