package budget_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// The simulator's clock, how long it runs by that, and how many callers there
// are for each call that is allowed.
const (
	speed  = 20
	span   = 10 * time.Minute
	demand = 10
)

// tenant is an account at a simulator of its own, which every worker calls.
type tenant struct {
	home     events.Home
	limit    int // light calls a minute
	api      *httptest.Server
	vault    *memory
	refused  atomic.Int64 // calls answered 429
	arrived  atomic.Int64 // light calls since the beginning
	counting atomic.Bool
	made     [4]atomic.Int64 // by purpose
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

func newTenant(t *testing.T, id string, limit int) *tenant {
	t.Helper()
	rc := sim.NewRingCentral(sim.Options{AccountID: id, Speed: speed,
		Limits: map[string]sim.Limit{"light": {Calls: limit}}})
	x := &tenant{home: events.Home{Provider: "ringcentral", Tenant: events.Tenant(id)}, limit: limit,
		api: httptest.NewServer(rc), vault: &memory{kept: map[string][]byte{}}}
	t.Cleanup(func() {
		x.api.Close()
		if err := rc.Close(context.Background()); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	return x
}

// open is one worker's provider for the tenant.
func (x *tenant) open(t *testing.T, b subscriptions.Budget) *ringcentral.Provider {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	p, err := ringcentral.New(ringcentral.Config{
		Account: x.home.Tenant, BaseURL: x.api.URL, ClientID: "rescind-dev",
		ClientSecret:       subscriptions.NewSecret("rescind-dev-secret"),
		JWT:                subscriptions.NewSecret("sim-service-jwt"),
		VerificationTokens: []subscriptions.Secret{subscriptions.NewSecret("0123456789abcdef")},
	}, subscriptions.Deps{HTTP: &http.Client{Transport: watch{x, transport}}, Vault: x.vault, Budget: b,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// caller makes one light call after the other for a purpose until ctx ends, and
// comes again when it was told to.
func (x *tenant) caller(ctx context.Context, t *testing.T, p *ringcentral.Provider, as cache.Purpose) {
	for ctx.Err() == nil {
		_, err := p.List(cache.WithPurpose(ctx, as))
		var later *subscriptions.Later
		switch {
		case err == nil:
			if x.counting.Load() {
				x.made[as].Add(1)
			}
		case errors.As(err, &later):
			timer := time.NewTimer(time.Until(later.Until))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		case ctx.Err() == nil:
			t.Errorf("tenant %s: %v", x.home.Tenant, err)
			return
		}
	}
}

// TestFourWorkersUnderTenTimesTheLimit is the whole of it: the simulator, its
// headers and penalties, the provider's client, four budgets on one Redis.
func TestFourWorkersUnderTenTimesTheLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	db := cachetest.Redis(t)
	tenants := []*tenant{newTenant(t, "1001", 50), newTenant(t, "1002", 75), newTenant(t, "1003", 30)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	providers := map[*tenant][]*ringcentral.Provider{}
	for range 4 {
		b := another(t, db)
		for _, x := range tenants {
			p := x.open(t, b)
			providers[x] = append(providers[x], p)
			if _, err := p.List(ctx); err != nil { // mints, and learns the limit
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	for _, x := range tenants {
		x.counting.Store(true)
		for n := range demand * x.limit {
			wg.Go(func() { x.caller(ctx, t, providers[x][n%4], cache.Purpose(n/4%4)) })
		}
	}
	timer := time.NewTimer(span / speed)
	defer timer.Stop()
	<-timer.C
	for _, x := range tenants {
		x.counting.Store(false)
	}
	simulated := time.Since(began) * speed
	cancel()
	wg.Wait()
	for _, x := range tenants {
		x.judge(t, simulated)
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
		"upkeep, sweeps: %v", x.home.Tenant, x.limit, x.arrived.Load(), simulated.Round(time.Second),
		x.refused.Load(), 100*share, by)
	if n := x.refused.Load(); n > 0 {
		t.Errorf("tenant %s: %d calls answered 429", x.home.Tenant, n)
	}
	if share < .8 { // a slow machine is late; simulated time has the sharper bar
		t.Errorf("tenant %s: %.1f %% of the budget used", x.home.Tenant, 100*share)
	}
	if by[cache.ForReader] < by[cache.ForChange]+by[cache.ForUpkeep]+by[cache.ForSweep] {
		t.Errorf("tenant %s: not by purpose: %v", x.home.Tenant, by)
	}
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
