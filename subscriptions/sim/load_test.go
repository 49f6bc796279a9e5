package sim_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim"
)

// TestThousandEvents delivers a thousand events, each of them once.
func TestThousandEvents(t *testing.T) {
	w := start(t, sim.Options{Limits: free()})
	h := listen(t, nil)
	emit := w.numbered(t, h)
	begin := time.Now()
	for n := range 1000 {
		emit(n)
	}
	seen := map[any]bool{}
	for range 1000 {
		seen[h.next(t).json.Body["n"]] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different events arrived", len(seen))
	}
	t.Logf("1,000 deliveries in %v", time.Since(begin))
	h.quiet(t)
}

// TestConcurrentUse is for the race detector: readers, writers, faults and deliveries at once.
func TestConcurrentUse(t *testing.T) {
	w := start(t, sim.Options{Limits: free(), Speed: 1000})
	h := &hook{notices: make(chan notice, 100000)}
	server := listen(t, h.accept)
	tok := w.as(t, admin)
	w.subscribed(t, tok, subscribe(server.url, 1000000, listFilter, "/account/~/extension/"+user,
		"/subscription/~?threshold=1000&interval=500"))
	work := []func(int) error{
		func(n int) error { return w.AssignRoles(user, []string{"3", "4"}[n%2]) },
		func(n int) error { return w.AddExtensions(sim.Extension{ID: fmt.Sprint(900000 + n)}) },
		func(n int) error {
			_, err := w.PutRole(sim.Role{ID: "4", Permissions: []string{"General"}})
			return err
		},
		func(n int) error {
			return w.Fault(sim.Fault{Operation: "readExtension", Kind: sim.Stale, Delay: time.Millisecond, Count: 5})
		},
		func(n int) error {
			return w.Fault(sim.Fault{Operation: sim.Deliveries, Kind: sim.Reorder, Count: 1})
		},
		func(n int) error { w.Subscriptions(); w.Extensions(); w.AllCalls(); w.ClearFaults(); return nil },
	}
	paths := []string{ownExtension, "/account/~/extension", ownExtension + "/authz-profile",
		ownExtension + "/features", "/account/~/user-role", "/subscription"}
	var mu sync.Mutex
	issued := time.Now()
	token := func() string { // its hour is 3.6 s here
		mu.Lock()
		defer mu.Unlock()
		if time.Since(issued) > time.Second {
			tok, issued = w.as(t, admin), time.Now()
		}
		return tok
	}
	var all sync.WaitGroup
	for i, do := range work {
		all.Go(func() {
			for n := range 60 {
				if err := do(n); err != nil {
					t.Error(err)
				}
				if a := w.get(t, token(), paths[(i+n)%len(paths)]); a.status != 200 {
					t.Errorf("%d %s", a.status, a.raw)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkProfile is the handler alone, without a network.
func BenchmarkProfile(b *testing.B) {
	s := sim.NewRingCentral(sim.Options{Limits: free()})
	tok := s.IssueToken(user, nil)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := httptest.NewRequest(http.MethodGet, v1+ownExtension+"/authz-profile", nil)
			r.Header.Set("Authorization", "Bearer "+tok)
			w := httptest.NewRecorder()
			if s.ServeHTTP(w, r); w.Code != http.StatusOK {
				b.Error(w.Body)
				return
			}
		}
	})
}
