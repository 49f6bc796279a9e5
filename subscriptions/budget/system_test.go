package budget_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// demand is how many callers there are for each call that is allowed.
const demand = 10

// tenant is an account at a simulator of its own, which every worker calls.
type tenant struct {
	home     events.Home
	limit    int // light calls a minute
	api      string
	wire     func() http.RoundTripper // of one worker
	vault    *memory
	refused  atomic.Int64 // calls answered 429
	arrived  atomic.Int64 // light calls since the beginning
	counting atomic.Bool
	made     [4]atomic.Int64 // by purpose
	least    atomic.Int64    // that a reader made
}

// watch counts what the simulator answers.
type watch struct {
	*tenant
	next http.RoundTripper
}

func (w watch) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if err == nil && w.counting.Load() {
		if resp.StatusCode == http.StatusTooManyRequests {
			w.refused.Add(1)
		}
		if resp.Header.Get("X-Rate-Limit-Group") == "light" {
			w.arrived.Add(1)
		}
	}
	return resp, err
}

// vendorOf is a simulated vendor whose clock runs that much faster.
func vendorOf(t *testing.T, limit int, speed float64) (*tenant, *sim.RingCentral) {
	t.Helper()
	id := strconv.Itoa(1000 + limit)
	rc := sim.NewRingCentral(sim.Options{AccountID: id, Speed: speed,
		Limits: map[string]sim.Limit{"light": {Calls: limit}}})
	t.Cleanup(func() {
		if err := rc.Close(context.Background()); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	return &tenant{home: events.Home{Provider: "ringcentral", Tenant: events.Tenant(id)}, limit: limit,
		vault: &memory{kept: map[string][]byte{}}}, rc
}

// networked is a tenant behind a real network.
func networked(t *testing.T, limit int, speed float64) *tenant {
	t.Helper()
	x, rc := vendorOf(t, limit, speed)
	server := httptest.NewServer(rc)
	t.Cleanup(server.Close)
	x.api = server.URL
	x.wire = func() http.RoundTripper {
		transport := &http.Transport{MaxIdleConnsPerHost: 64}
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}
	return x
}

// slow carries requests to a handler, in up to 150 ms each way.
type slow struct{ to http.Handler }

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(rand.N(150 * time.Millisecond)) // simulated
	arriving := r.Clone(r.Context())
	if r.Body == nil {
		arriving.Body = http.NoBody
	}
	reply := httptest.NewRecorder()
	s.to.ServeHTTP(reply, arriving)
	time.Sleep(rand.N(150 * time.Millisecond)) // simulated
	return reply.Result(), nil
}

// open is one worker's provider for the tenant.
func (x *tenant) open(t *testing.T, b subscriptions.Budget) *ringcentral.Provider {
	t.Helper()
	p, err := ringcentral.New(ringcentral.Config{
		Account: x.home.Tenant, BaseURL: x.api, ClientID: "rescind-dev",
		ClientSecret:       subscriptions.NewSecret("rescind-dev-secret"),
		JWT:                subscriptions.NewSecret("sim-service-jwt"),
		VerificationTokens: []subscriptions.Secret{subscriptions.NewSecret("0123456789abcdef")},
	}, subscriptions.Deps{HTTP: &http.Client{Transport: watch{x, x.wire()}}, Vault: x.vault, Budget: b,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// caller makes one light call after the other for a purpose until ctx ends, and
// comes again when it was told to. It returns how many it made.
func (x *tenant) caller(
	ctx context.Context, t *testing.T, p *ringcentral.Provider, as cache.Purpose,
) (made int64) {
	for ctx.Err() == nil {
		_, err := p.List(cache.WithPurpose(ctx, as))
		var later *subscriptions.Later
		switch {
		case err == nil:
			made++
		case errors.As(err, &later):
			timer := time.NewTimer(time.Until(later.Until))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		case ctx.Err() == nil:
			t.Errorf("tenant %s: %v", x.home.Tenant, err)
			return made
		}
	}
	return made
}

// TestTenMinutesAgainstTheVendor is the whole of it on simulated time: the
// simulator, its headers and penalties, four workers with the provider's client
// and the budget, on one real Redis whose clock is the simulated one.
func TestTenMinutesAgainstTheVendor(t *testing.T) {
	db := cachetest.Redis(t)
	synctest.Test(t, func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: db.Addr})
		defer rdb.Close()
		step := lockstep{rdb: rdb, mu: new(sync.Mutex)}
		var tenants []*tenant
		for _, limit := range []int{50, 75, 30} {
			x, rc := vendorOf(t, limit, 1)
			x.api, x.wire = "http://127.0.0.1:1", func() http.RoundTripper { return slow{rc} }
			tenants = append(tenants, x)
		}
		open := func() subscriptions.Budget {
			step.Budget = driven(t, rdb)
			return step
		}
		rush(t, tenants, open, 10*time.Minute)
		for _, x := range tenants {
			x.judge(t, 10*time.Minute)
			if n := x.least.Load(); n == 0 {
				t.Errorf("tenant %s: a reader got nothing", x.home.Tenant)
			}
		}
	})
}

// TestFourWorkersUnderTenTimesTheLimit has the wall's time, a network, and
// Redis's own clock; five windows of 4 s. It is small, so that a slow machine can
// serve it: what it shows is that the simulated one leaves nothing out.
func TestFourWorkersUnderTenTimesTheLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a third of a minute")
	}
	const speed = 15
	db := cachetest.Redis(t)
	var tenants []*tenant
	for _, limit := range []int{10, 15, 6} {
		tenants = append(tenants, networked(t, limit, speed))
	}
	took := rush(t, tenants, func() subscriptions.Budget { return another(t, db) }, 5*time.Minute/speed)
	for _, x := range tenants {
		x.judge(t, took*speed)
	}
}

// rush lets four workers call all tenants for so long, and returns how long it
// was.
func rush(
	t *testing.T, tenants []*tenant, open func() subscriptions.Budget, d time.Duration,
) (took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	workers := map[*tenant][]*ringcentral.Provider{}
	for range 4 {
		b := open()
		for _, x := range tenants {
			workers[x] = append(workers[x], x.open(t, b))
		}
	}
	for _, x := range tenants {
		if _, err := workers[x][0].List(ctx); err != nil { // mints, and learns the limit
			t.Fatal(err)
		}
	}
	began := time.Now()
	for _, x := range tenants {
		x.start(ctx, t, &wg, workers[x])
	}
	timer := time.NewTimer(d - time.Since(began))
	defer timer.Stop()
	<-timer.C
	for _, x := range tenants {
		x.counting.Store(false)
	}
	took = time.Since(began)
	cancel()
	wg.Wait()
	return took
}

// start sends the callers, which are spread over workers and purposes.
func (x *tenant) start(
	ctx context.Context, t *testing.T, wg *sync.WaitGroup, workers []*ringcentral.Provider,
) {
	x.least.Store(1 << 30)
	x.counting.Store(true)
	for n := range demand * x.limit {
		as := cache.Purpose(n / 4 % 4)
		ctx := cache.WithCaller(ctx, fmt.Sprint(n))
		wg.Go(func() {
			made := x.caller(ctx, t, workers[n%4], as)
			x.made[as].Add(made)
			for least := x.least.Load(); as == cache.ForReader && made < least; least = x.least.Load() {
				x.least.CompareAndSwap(least, made)
			}
		})
	}
}

func (x *tenant) judge(t *testing.T, simulated time.Duration) {
	t.Helper()
	var by [4]int64
	for p := range by {
		by[p] = x.made[p].Load()
	}
	share := float64(x.arrived.Load()) / (float64(x.limit) * simulated.Minutes())
	t.Logf("tenant %s: limit %d, %d calls in %s, %d answered 429, %.1f %% of the budget; for readers, changes, "+
		"upkeep, sweeps: %v; the least lucky reader got %d", x.home.Tenant, x.limit, x.arrived.Load(),
		simulated.Round(time.Second), x.refused.Load(), 100*share, by, x.least.Load())
	if n := x.refused.Load(); n > 0 {
		t.Errorf("tenant %s: %d calls answered 429", x.home.Tenant, n)
	}
	if share < .95 {
		t.Errorf("tenant %s: %.1f %% of the budget used", x.home.Tenant, 100*share)
	}
	if by[cache.ForReader] < 4*(by[cache.ForChange]+by[cache.ForUpkeep]+by[cache.ForSweep]) {
		t.Errorf("tenant %s: not by purpose: %v", x.home.Tenant, by)
	}
}

// lockstep is a budget on a driven Redis, whose clock it sets before each script.
// It lets one through at a time: the library keeps the timers of who waits for a
// connection beyond the simulated time.
type lockstep struct {
	subscriptions.Budget
	rdb *redis.Client
	mu  *sync.Mutex
}

type steppedCall struct {
	subscriptions.Call
	on lockstep
}

func (l lockstep) Take(
	ctx context.Context, lane subscriptions.Lane, usual subscriptions.Window,
) (subscriptions.Call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := setClock(ctx, l.rdb, time.Now()); err != nil {
		return nil, err
	}
	c, err := l.Budget.Take(ctx, lane, usual)
	return steppedCall{c, l}, err
}

func (c steppedCall) Done(ctx context.Context, said subscriptions.Said) {
	c.on.mu.Lock()
	defer c.on.mu.Unlock()
	_ = setClock(context.WithoutCancel(ctx), c.on.rdb, time.Now()) // else it stands still
	c.Call.Done(ctx, said)
}

// memory is a vault in memory.
type memory struct {
	mu       sync.Mutex
	kept     map[string][]byte
	revision uint64
	locked   bool
}

func (m *memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept[key] == nil {
		return nil, 0, subscriptions.ErrNoSecret
	}
	return bytes.Clone(m.kept[key]), m.revision, nil
}

func (m *memory) Put(_ context.Context, key string, value []byte, _ uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[key] = bytes.Clone(value)
	m.revision++
	return nil
}

func (m *memory) Lock(context.Context, string, time.Duration) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, subscriptions.ErrConflict
	}
	m.locked = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.locked = false
	}, nil
}
