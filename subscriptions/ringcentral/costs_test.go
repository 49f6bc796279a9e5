package ringcentral_test

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// tally is a simulator that counts its calls by the group that the replies name,
// with the limit that they tell.
type tally struct {
	*sim.RingCentral
	mu     sync.Mutex
	groups map[string]subscriptions.GroupCalls
}

// ServeHTTP counts before the reply goes out: whoever has it is counted.
func (c *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := httptest.NewRecorder()
	c.RingCentral.ServeHTTP(reply, r)
	c.count(reply.Header())
	maps.Copy(w.Header(), reply.Header())
	w.WriteHeader(reply.Code)
	_, _ = w.Write(reply.Body.Bytes()) // the client may have left
}

func (c *tally) count(h http.Header) {
	group := h.Get("X-Rate-Limit-Group")
	if group == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups[group] = subscriptions.GroupCalls{Group: group, Calls: c.groups[group].Calls + 1,
		Window: subscriptions.Window{Calls: number(h, "X-Rate-Limit-Limit"),
			Length: time.Duration(number(h, "X-Rate-Limit-Window")) * time.Second}}
}

// number is that of a header; -1 if it holds none.
func number(h http.Header, name string) int {
	n, err := strconv.Atoi(h.Get(name))
	if err != nil {
		return -1
	}
	return n
}

// anew lists what was counted and begins anew.
func (c *tally) anew() []subscriptions.GroupCalls {
	c.mu.Lock()
	defer c.mu.Unlock()
	counted := slices.SortedFunc(maps.Values(c.groups), byGroup)
	clear(c.groups)
	return counted
}

func byGroup(a, b subscriptions.GroupCalls) int { return strings.Compare(a.Group, b.Group) }

// counted is a provider before a simulator that counts.
func counted(t *testing.T, quirks sim.Quirks, exchange bool) (*ringcentral.Provider, *tally) {
	t.Helper()
	calls := &tally{RingCentral: sim.NewRingCentral(sim.Options{Quirks: quirks}),
		groups: map[string]subscriptions.GroupCalls{}}
	api, transport := httptest.NewServer(calls), &http.Transport{}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := calls.Close(ctx); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
		transport.CloseIdleConnections()
		api.Close()
	})
	cfg := testConfig()
	cfg.BaseURL, cfg.ClientID = api.URL, "rescind-dev"
	cfg.ClientSecret = subscriptions.NewSecret("rescind-dev-secret")
	cfg.JWT = subscriptions.NewSecret("sim-service-jwt")
	if exchange {
		cfg.Exchange = &ringcentral.ExchangeConfig{URL: api.URL + "/token-exchange", ClientID: sim.ExchangeID,
			ClientSecret: subscriptions.NewSecret(sim.ExchangeSecret)}
	}
	p, err := ringcentral.New(cfg, subscriptions.Deps{HTTP: &http.Client{Transport: transport},
		Budget: budget.NewLocal(), Vault: newMemory(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return p, calls
}

// Each cost is what the simulator counts while an extension is read anew, once
// the token, and what is shared, are there.
func TestCostsAreWhatReadingTakes(t *testing.T) {
	ways := map[string]struct {
		quirks   sim.Quirks
		exchange bool
		parts    []string
	}{
		"the subject's own token: authz-profile": {exchange: true},
		"service token: authz-profile":           {quirks: sim.Quirks{ForeignProfiles: true}},
		"service token: assigned-roles":          {parts: []string{"dictionary", "role:3"}},
	}
	for _, c := range ringcentral.Costs() {
		name := c.As + ": " + c.Basis
		way, ok := ways[name]
		if !ok {
			t.Errorf("nobody reads with the %s", name)
		}
		delete(ways, name)
		t.Run(name, func(t *testing.T) {
			p, calls := counted(t, way.quirks, way.exchange)
			s := newSession(100)
			for range 2 {
				calls.anew()
				a, err := p.Read(t.Context(), events.Ref{Home: home, Subject: simUser}, s)
				if err != nil || a.Basis != c.Basis {
					t.Fatalf("learnt by %q: %v", a.Basis, err)
				}
			}
			slices.SortFunc(c.Calls, byGroup)
			if diff := cmp.Diff(c.Calls, calls.anew()); diff != "" {
				t.Errorf("calls (-cost +counted):\n%s", diff)
			}
			parts := slices.Sorted(maps.Keys(s.parts))
			if diff := cmp.Diff(way.parts, parts); diff != "" {
				t.Errorf("what is shared (-want +got):\n%s", diff)
			}
			if shared := len(parts) > 0; (c.Shared != "") != shared || (c.Longest == cache.Ceiling/2) != shared {
				t.Errorf("%d parts are shared, the cost tells %q, %s", len(parts), c.Shared, c.Longest)
			}
		})
	}
	for name := range ways {
		t.Errorf("there is no cost of the %s", name)
	}
}
