package tail_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const life = 15 * time.Second

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

// bed is all that a loop stands on, in memory: what it polls, its lease, and the
// stream. Every poll finds one change, unless nothing is set.
type bed struct {
	mu      sync.Mutex
	fail    map[string]error // by step
	steps   []string
	polls   []time.Time
	renewed []time.Time
	slow    time.Duration // of a poll
	nothing bool
	cursor  string
	held    bool
	purpose cache.Purpose
	log     bytes.Buffer
}

func newBed() *bed { return &bed{fail: map[string]error{}, purpose: -1} }

// step notes what is done, and fails if that is wanted.
func (b *bed) step(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps = append(b.steps, name)
	return b.fail[name]
}

// breaks makes a step fail from now on, or work again.
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

func (b *bed) Poll(ctx context.Context, cursor []byte) ([]events.Change, []byte, error) {
	err := b.step("poll")
	b.mu.Lock()
	b.polls = append(b.polls, time.Now())
	b.purpose = cache.PurposeOf(ctx)
	slow, nothing := b.slow, b.nothing
	b.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if err != nil {
		return nil, nil, err
	}
	if nothing {
		return nil, cursor, nil
	}
	next := string(cursor) + "x"
	return []events.Change{{ID: fmt.Sprint(len(next)), Home: home}}, []byte(next), nil
}

func (b *bed) Interval() time.Duration { return 0 } // the loop is told its own

func (b *bed) Delay() time.Duration { return 0 }

func (b *bed) publish(_ context.Context, c events.Change) error { return b.step("publish " + c.ID) }

func (b *bed) Life() time.Duration { return life }

func (b *bed) Acquire(context.Context) error {
	err := b.step("acquire")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = err == nil
	return err
}

func (b *bed) Load(context.Context) ([]byte, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return []byte(b.cursor), 1, b.fail["load"]
}

func (b *bed) Renew(context.Context) error {
	b.mu.Lock()
	b.renewed = append(b.renewed, time.Now())
	b.mu.Unlock()
	return b.step("renew")
}

func (b *bed) Save(_ context.Context, cursor []byte) error {
	if err := b.step("save"); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cursor = string(cursor)
	return nil
}

func (b *bed) Release(context.Context) error {
	b.mu.Lock()
	b.held = false
	b.mu.Unlock()
	return b.step("release")
}

func (b *bed) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

// logged counts the lines that hold a text.
func (b *bed) logged(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.log.String(), text)
}

// start runs a loop until the test ends, or stop is called.
func (b *bed) start(t *testing.T, r prometheus.Registerer) (stop func()) {
	t.Helper()
	l, err := tail.New(tail.Config{
		Home: home, Tail: b, Lease: b, Publish: b.publish, Registerer: r,
		Log: slog.New(slog.NewTextHandler(b, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
