package renew_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	part    = "0123456789abcdef0123456789abcdef"
	address = "https://l.example/hooks/ringcentral/" + part
	appAt   = address + "/0" // where the secret is the app's
	week    = 7 * 24 * time.Hour
)

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

// fake is a provider in memory, with all that a Keeper stands on. It grants a life,
// and fails as it is told.
type fake struct {
	mu       sync.Mutex
	life     time.Duration
	wanted   []string
	terms    subscriptions.Terms
	subs     []subscriptions.Subscription
	made     int
	adopts   string // the id that Create takes over
	calls    []string
	at       []time.Time
	fail     map[string]error // by the first word of a call
	before   func(call string)
	after    func(call string)
	disabled []string

	ledger   []byte
	revision uint64
	saved    []subscriptions.Ledger
	borne    []string // serial for which the secret was asked
	told     []string // "alive", "doubt <cause>", "dead <cause>", "swept <cause>"
	alive    []time.Time
	sweeps   []subscriptions.Gap
	tailed   bool
}

func newFake(life time.Duration) *fake {
	f := &fake{life: life, fail: map[string]error{}, wanted: []string{"account"}, terms: subscriptions.Terms{Most: 20}}
	return f
}

// own is a fake whose registrations have their own secrets.
func own(life time.Duration) *fake {
	f := newFake(life)
	f.terms.OwnSecret = true
	return f
}

// call notes a call and fails it if that is wanted. The hook may look at all.
func (f *fake) call(ctx context.Context, words string) error {
	f.mu.Lock()
	f.calls, f.at = append(f.calls, words), append(f.at, time.Now())
	verb, _, _ := strings.Cut(words, " ")
	err, before := f.fail[verb], f.before
	f.mu.Unlock()
	if before != nil {
		before(words)
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

func (f *fake) then(words string) {
	if f.after != nil {
		f.after(words)
	}
}

func (f *fake) List(ctx context.Context) ([]subscriptions.Subscription, error) {
	err := f.call(ctx, "list")
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.subs), err
}

func (f *fake) Wanted() []string { return f.wanted }

func (f *fake) Terms() subscriptions.Terms { return f.terms }

func (f *fake) Create(ctx context.Context, o subscriptions.Order) (subscriptions.Subscription, error) {
	words := "create"
	if len(f.wanted) > 1 {
		words += " " + o.Want
	}
	if err := f.call(ctx, words); err != nil {
		return subscriptions.Subscription{}, err
	}
	defer f.then(words)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made++
	s := subscriptions.Subscription{ID: fmt.Sprint(f.made), Want: o.Want, Address: o.Address, Active: true,
		Status: "Active", Created: time.Now(), Expires: time.Now().Add(f.life), Disabled: f.disabled}
	if f.adopts != "" {
		s.ID = f.adopts
		f.subs = slices.DeleteFunc(f.subs, func(old subscriptions.Subscription) bool { return old.ID == s.ID })
	}
	f.borne = append(f.borne, o.Secret.Reveal())
	f.subs = append(f.subs, s)
	return s, nil
}

func (f *fake) Renew(ctx context.Context, id string) (subscriptions.Subscription, error) {
	if err := f.call(ctx, "renew "+id); err != nil {
		return subscriptions.Subscription{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.subs {
		if f.subs[i].ID == id {
			f.subs[i].Expires, f.subs[i].Disabled = time.Now().Add(f.life), f.disabled
			return f.subs[i], nil
		}
	}
	return subscriptions.Subscription{}, subscriptions.ErrGone
}

func (f *fake) Delete(ctx context.Context, id string) error {
	if err := f.call(ctx, "delete "+id); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = slices.DeleteFunc(f.subs, func(s subscriptions.Subscription) bool { return s.ID == id })
	return nil
}

// Load and Save are the store of ledgers; "load" and "save" fail it.
func (f *fake) Load(context.Context, events.Home) ([]byte, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ledger, f.revision, f.fail["load"]
}

func (f *fake) Save(ctx context.Context, _ events.Home, value []byte, revision uint64) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["save"]; err != nil || ctx.Err() != nil {
		return 0, errors.Join(err, ctx.Err())
	}
	if revision != f.revision {
		return 0, fmt.Errorf("save: %w", events.ErrConflict)
	}
	l, err := subscriptions.DecodeLedger(value)
	if err != nil {
		return 0, err
	}
	f.ledger, f.saved = value, append(f.saved, l)
	f.revision++
	return f.revision, nil
}

func (f *fake) sweep(_ context.Context, _ events.Home, g subscriptions.Gap) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["sweep"]; err != nil {
		return err
	}
	f.told, f.sweeps = append(f.told, "swept "+g.Cause), append(f.sweeps, g)
	return nil
}

func (f *fake) lives(_ events.Home, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told, f.alive = append(f.told, "alive"), append(f.alive, at)
}

func (f *fake) dies(_ events.Home, _ time.Time, cause string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, "dead "+cause)
}

func (f *fake) doubts(_ events.Home, _ time.Time, cause string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, "doubt "+cause)
}

// with lets the test change the fake between two looks.
func (f *fake) with(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// notes is the ledger as it is stored.
func (f *fake) notes(t *testing.T) subscriptions.Ledger {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ledger == nil {
		return subscriptions.Ledger{Home: home}
	}
	l, err := subscriptions.DecodeLedger(f.ledger)
	if err != nil {
		t.Fatal(err)
	}
	return l
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

// heard is what was told of the feed so far, and forgets it. The same twice in a row
// is one.
func (f *fake) heard() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := slices.Compact(f.told)
	f.told = nil
	return told
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

// config is a Keeper's, on a fake, with r in its place.
func config(f *fake, r subscriptions.Registrar) renew.Config {
	return renew.Config{Home: home, Registrar: r, Address: address, Ledgers: f, Sweep: f.sweep, Alive: f.lives,
		Doubt: f.doubts, Dead: f.dies, Tailed: func(events.Home) bool { return f.tailed }, Log: slog.New(slog.DiscardHandler),
		Secret: func(serial int64) subscriptions.Secret { return subscriptions.NewSecret(fmt.Sprint(serial)) }}
}

// run starts a Keeper; it is stopped at the end of the test, or before.
func run(t *testing.T, f *fake) *kept {
	t.Helper()
	return start(t, config(f, f), nil)
}

func start(t *testing.T, c renew.Config, lapse *subscriptions.Gap) *kept {
	t.Helper()
	k := &kept{log: &journal{}, metrics: prometheus.NewRegistry()}
	c.Log, c.Registerer = slog.New(slog.NewJSONHandler(k.log, nil)), k.metrics
	var err error
	if k.Keeper, err = renew.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, lapse) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if n := k.log.count(part); n > 0 {
			t.Errorf("the address was logged %d times", n)
		}
	})
	t.Cleanup(k.stop)
	return k
}

// later lets simulated time pass, and what follows from it happen.
func later(d time.Duration) {
	time.Sleep(d) // simulated
	synctest.Wait()
}

func wantCalls(t *testing.T, f *fake, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.done()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func wantTold(t *testing.T, f *fake, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.heard()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// wantLife wants an active registration with that id, alone, or none if it is empty.
func wantLife(t *testing.T, f *fake, id string) {
	t.Helper()
	var ids []string
	l := f.notes(t)
	for _, e := range l.Entries {
		if e.Active {
			ids = append(ids, e.ID)
		}
	}
	if got := strings.Join(ids, " "); got != id || (id != "" && !l.Died.IsZero()) {
		t.Errorf("active %q, want %q; died %s, problem %q", got, id, l.Died, l.Problem)
	}
}

// obey gives an order that must be answered.
func obey(t *testing.T, k *kept, o renew.Order) renew.Report {
	t.Helper()
	r, err := k.Obey(t.Context(), o)
	if err != nil {
		t.Errorf("order %s: %v", o.Do, err)
	}
	return r
}

// sub is one that is listed, active.
func sub(id, want, address string, left time.Duration) subscriptions.Subscription {
	return subscriptions.Subscription{ID: id, Want: want, Address: address, Active: true, Status: "Active",
		Expires: time.Now().Add(left)}
}
