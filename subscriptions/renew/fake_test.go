package renew_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const address = "https://l.example/hooks/ringcentral/0123456789abcdef0123456789abcdef"

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

// fake is a provider in memory: it grants a life, and fails as it is told.
type fake struct {
	mu       sync.Mutex
	life     time.Duration
	subs     []subscriptions.Subscription
	made     int
	calls    []string // "create", "renew 1", "delete 1", "list"
	at       []time.Time
	fail     map[string]error // by the first word of a call
	disabled []string
}

func newFake(life time.Duration) *fake { return &fake{life: life, fail: map[string]error{}} }

func (f *fake) call(words string) error {
	f.calls, f.at = append(f.calls, words), append(f.at, time.Now())
	verb, _, _ := strings.Cut(words, " ")
	return f.fail[verb]
}

func (f *fake) List(context.Context) ([]subscriptions.Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.subs), f.call("list")
}

func (f *fake) Wanted() []string { return []string{"account"} }

func (f *fake) Terms() subscriptions.Terms { return subscriptions.Terms{Most: 20} }

func (f *fake) Create(_ context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	address, want := o.Address, o.Want
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("create"); err != nil {
		return subscriptions.Subscription{}, err
	}
	f.made++
	s := subscriptions.Subscription{ID: fmt.Sprint(f.made), Want: want, Address: address, Active: true,
		Status: "Active", Expires: time.Now().Add(f.life), Disabled: f.disabled}
	f.subs = append(f.subs, s)
	return s, nil
}

func (f *fake) Renew(_ context.Context, id string) (subscriptions.Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("renew " + id); err != nil {
		return subscriptions.Subscription{}, err
	}
	for i := range f.subs {
		if f.subs[i].ID == id {
			f.subs[i].Expires = time.Now().Add(f.life)
			return f.subs[i], nil
		}
	}
	return subscriptions.Subscription{}, subscriptions.ErrGone
}

func (f *fake) Delete(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("delete " + id); err != nil {
		return err
	}
	f.subs = slices.DeleteFunc(f.subs, func(s subscriptions.Subscription) bool { return s.ID == id })
	return nil
}

// with lets the test change the fake between two looks.
func (f *fake) with(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// done is the calls so far but lists, and forgets them.
func (f *fake) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, c := range f.calls {
		if c != "list" {
			out = append(out, c)
		}
	}
	f.calls, f.at = nil, nil
	return out
}

// words is every call so far.
func (f *fake) words() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// times is when each call was made, relative to a moment, and forgets them.
func (f *fake) times(since time.Time) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []time.Duration
	for _, at := range f.at {
		out = append(out, at.Sub(since))
	}
	f.calls, f.at = nil, nil
	return out
}

// journal is what was logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), text)
}

// kept is a Keeper that runs.
type kept struct {
	*renew.Keeper
	log     *journal
	metrics *prometheus.Registry
	stop    func()
}

// run starts a Keeper; it is stopped at the end of the test, or before.
func run(t *testing.T, r subscriptions.Registrar, address string) *kept {
	t.Helper()
	k := &kept{log: &journal{}, metrics: prometheus.NewRegistry()}
	var err error
	k.Keeper, err = renew.New(renew.Config{Home: home, Registrar: r, Address: address,
		Log: slog.New(slog.NewJSONHandler(k.log, nil)), Registerer: k.metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if n := k.log.count(address); n > 0 {
			t.Errorf("the address was logged %d times", n)
		}
	})
	t.Cleanup(k.stop)
	return k
}
