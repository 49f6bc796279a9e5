package service_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// The operations that are counted.
const (
	profileCall  = "readAuthorizationProfile"
	featuresCall = "readExtensionFeatures"
	listingCall  = "listAssignedRoles"
	roleCall     = "readUserRole"
)

// thorough says whether RESCIND_RUNS asks for more than CI has time for.
func thorough() bool {
	n, err := strconv.Atoi(os.Getenv("RESCIND_RUNS"))
	return err == nil && n > 1
}

// slowTest skips where only quick tests are wanted.
func slowTest(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
}

// application checks as an application does: Redis first, the worker on a miss.
func (w *world) application() *lookup.Client {
	w.t.Helper()
	asker, err := lookup.NewHTTP(lookup.HTTPOptions{
		URL: "http://" + w.worker.it.Addr(), Token: askToken, Client: w.client, Timeout: limit,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	app, err := lookup.New(w.rdb, lookup.Options{Asker: asker, Timeout: limit})
	if err != nil {
		w.t.Fatal(err)
	}
	return app
}

// beat calls once a second, or later while a call lasts longer, as often as
// wanted or until do says that it is enough.
func beat(times int, do func() (enough bool)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; n < times && !do(); n++ {
		<-tick.C
	}
}

// metric sums the series of the worker that begin so.
func (w *world) metric(series string) (sum float64) {
	w.t.Helper()
	_, text := w.get(w.worker.it.AdminAddr(), "/metrics")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, series) {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
		if err != nil {
			w.t.Fatalf("metric %q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// settled are the extensions that were there before anybody listened: no
// change of theirs asks for another look.
func (w *world) settled(ids []string, roles ...string) {
	w.t.Helper()
	list := make([]sim.Extension, len(ids))
	for i, id := range ids {
		list[i] = sim.Extension{ID: id, Number: id, Name: "Extension " + id, Roles: roles}
	}
	if err := w.sim.AddExtensions(list...); err != nil {
		w.t.Fatal(err)
	}
}

// opens starts what an idle world has not.
func (w *world) opens() {
	w.t.Helper()
	w.worker, w.listener = w.startWorker(), w.startListener()
	w.subscribed()
	w.fed(w.worker)
}

// seededBasis marks an entry that no provider has answered.
const seededBasis = "seeded"

// holders stores an entry for each subject that was computed from a role.
func (w *world) holders(subjects []string, role string) {
	w.t.Helper()
	ctx := context.Background()
	store, err := fence.Open(ctx, w.rdb, cache.Keys{})
	if err != nil {
		w.t.Fatal(err)
	}
	fields, err := cache.Facts{Basis: seededBasis, Covers: []cache.Kind{cache.Permission},
		Grants: map[cache.Grant]string{abroad: "Self", calls: "Self"}}.Fields()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := store.Invalidate(ctx, home, events.SubjectTag("nobody")); err != nil { // makes the fence
		w.t.Fatal(err)
	}
	w.each(subjects, 16, func(subject string) error {
		begun, err := store.Begin(ctx, home, cache.EntryName(ref(subject)), fence.Want{})
		if err != nil || begun.Lease == nil {
			return fmt.Errorf("begin %s: %+v, %w", subject, begun, err)
		}
		o, err := store.Commit(ctx, begun.Lease, fence.Fill{Fields: fields, Life: cache.DefaultLife,
			Tags: []events.Tag{events.SubjectTag(events.Subject(subject)), events.RoleTag(role)}})
		if err == nil && !o.Stored {
			err = fmt.Errorf("commit %s: refused: %s", subject, o.Refused)
		}
		return err
	})
}

// wire is a proxy before the simulator: what the provider answers is counted
// where it is said.
type wire struct {
	target string // what is behind it
	mu     sync.Mutex
	seen   map[int]int // by status
}

// tap puts a wire between the services and the simulator.
func tap(t testing.TB, o *options) *wire {
	t.Helper()
	x := &wire{seen: map[int]int{}}
	edit := o.edit
	o.edit = func(c *config.Config) {
		if edit != nil {
			edit(c)
		}
		target, err := url.Parse(c.Providers[0].Plain["base_url"])
		if err != nil {
			t.Fatal(err)
		}
		x.target, c.Providers[0].Plain["base_url"] = target.String(), x.serve(t, target)
	}
	return x
}

func (x *wire) serve(t testing.TB, target *url.URL) string {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
		ModifyResponse: func(r *http.Response) error {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.seen[r.StatusCode]++
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { // the caller has gone
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return server.URL
}

// statuses is how often each came.
func (x *wire) statuses() map[int]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.seen)
}

// since is what was called after an earlier count.
func since(before, now map[string]int) map[string]int {
	made := map[string]int{}
	for op, n := range now {
		if n > before[op] {
			made[op] = n - before[op]
		}
	}
	return made
}

// spread is a line of quantiles, in milliseconds.
func spread(took []time.Duration) string {
	if len(took) == 0 {
		return "nothing measured"
	}
	slices.Sort(took)
	ms := func(p int) float64 { return float64(took[(len(took)-1)*p/100].Microseconds()) / 1000 }
	return fmt.Sprintf("n=%d p50=%.1f p90=%.1f p99=%.1f max=%.1f ms", len(took), ms(50), ms(90), ms(99), ms(100))
}
