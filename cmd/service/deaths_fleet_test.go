package service_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

const creation = "createSubscription"

// behind makes the front the address that is registered.
func (o options) behind(f *front) options {
	edit := o.edit
	o.edit = func(c *config.Config) {
		if edit != nil {
			edit(c)
		}
		c.Listener.PublicURL = f.url
	}
	return o
}

// pair starts two listeners behind a front. The first holds the lease.
func (w *world) pair(f *front, first *config.Config) (other *running[*service.Listener]) {
	w.t.Helper()
	w.listener = w.listens("first", first, deathCheck)
	f.to(w.listener.it.Addr())
	w.subscribed()
	other = w.listens("other", w.elsewhere(), deathCheck)
	f.to(w.listener.it.Addr(), other.it.Addr())
	return other
}

// lasting are the registrations at the simulator that nobody means to remove.
func (w *world) lasting(l subscriptions.Ledger) (ids []string) {
	for _, s := range w.sim.Subscriptions() {
		if e := l.Entry(s.ID); e == nil || e.Leaving.IsZero() {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// The lease is taken from whoever has it again and again, while registrations are
// lost and deliveries come.
func fight(t *testing.T, table *deaths) {
	f := startFront(t)
	w := startMortal(t, options{}.behind(f))
	other := w.pair(f, w.cfg)
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	v.die(w.lose)
	v.revoke(w.takeAway)
	w.robAll(6)
	found := v.healed()
	w.awaitLong("one lasts", func() bool { return len(w.lasting(v.ledger())) == 1 })
	t.Logf("4 were lost, %d made; the lease was held %d times", w.sim.Calls(creation)-1,
		strings.Count(w.log.String(), "lease of the subscriptions held here"))
	w.bothAccept(f, w.listener.it.Addr(), other.it.Addr())
	if thorough() {
		alone := func() bool { return len(w.sim.Subscriptions()) == 1 }
		for range 6 { // what is one too many goes after a minute
			if !alone() {
				beat(15, alone)
			}
		}
		w.only()
	}
	table.add(t, deathRow{8, "two listeners fight for the lease, one is lost", found,
		"as 4; what both made is one after a minute"}, 10*time.Second)
}

// robAll takes the lease away several times, and every other time the registrations.
func (w *world) robAll(times int) {
	w.t.Helper()
	nc, err := nats.Connect(w.nats.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, stream.Bucket)
	if err != nil {
		w.t.Fatal(err)
	}
	held := func() int { return strings.Count(w.log.String(), "lease of the subscriptions") }
	for n := range times {
		if n%2 == 1 {
			for _, s := range w.sim.Subscriptions() {
				_ = w.sim.LoseSubscription(s.ID) // it may have gone
			}
		}
		// A value that is nobody's: whoever is first has it.
		if _, err := kv.Put(ctx, "lease.subscriptions", []byte("{}")); err != nil {
			w.t.Fatal(err)
		}
		was := held()
		w.await("somebody holds it", func() bool { return held() > was })
	}
}

// bothAccept has the simulator deliver until each has accepted, and nobody refused.
func (w *world) bothAccept(f *front, addrs ...string) {
	w.t.Helper()
	roles, n := []string{lesserRole, usualRole}, 0
	for _, addr := range addrs {
		was := f.answers(addr)[http.StatusOK]
		w.await(addr+" accepts", func() bool {
			n++
			w.assign(cem, roles[n%2])
			return f.answers(addr)[http.StatusOK] > was
		})
		for status, times := range f.answers(addr) {
			if status != http.StatusOK {
				w.t.Errorf("%d deliveries were answered with %d", times, status)
			}
		}
	}
}

// stuck stands before the simulator and keeps the answer to a creation for itself,
// once it is armed.
type stuck struct {
	url   string
	armed atomic.Bool
	made  chan struct{} // closed when it did
}

func startStuck(t *testing.T, target string) *stuck {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	s := &stuck{made: make(chan struct{})}
	transport := &http.Transport{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport: transport,
		ModifyResponse: func(r *http.Response) error {
			creates := r.Request.Method == http.MethodPost && strings.HasSuffix(r.Request.URL.Path, "/subscription")
			if creates && s.armed.CompareAndSwap(true, false) {
				close(s.made)
				<-r.Request.Context().Done()
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	s.url = server.URL
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return s
}

// The holder dies between the provider's making a registration and our noting it:
// nothing that it says arrives anywhere any more.
func holderKilled(t *testing.T, table *deaths) {
	f := startFront(t)
	w := startMortal(t, options{}.behind(f))
	line := startCable(t, strings.TrimPrefix(w.nats.URL(), "nats://"))
	s := startStuck(t, w.cfg.Providers[0].Plain["base_url"])
	doomed := *w.cfg
	doomed.NATS.URL = "nats://" + line.on.Addr().String()
	doomed.Providers = slices.Clone(w.cfg.Providers)
	doomed.Providers[0].Plain = maps.Clone(w.cfg.Providers[0].Plain)
	doomed.Providers[0].Plain["base_url"] = s.url
	other := w.pair(f, &doomed)
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	s.armed.Store(true)
	v.die(w.lose)
	v.revoke(w.takeAway)
	<-s.made
	line.cut()
	f.to(other.it.Addr())
	killed := time.Now()
	made := w.only().ID
	found := v.healed()
	t.Logf("healed %s after the holder was killed", time.Since(killed).Round(time.Millisecond))
	if got := w.only().ID; got != made {
		t.Errorf("%s is there, want %s, which the dead holder has made, adopted", got, made)
	}
	if got := w.sim.Calls(creation); got != 2 {
		t.Errorf("%d were made, want 2", got)
	}
	w.bothAccept(f, other.it.Addr())
	table.add(t, deathRow{9, "and its holder is killed in mid-apply", found, "as 4, and 6.5 s more for the takeover"},
		cache.MinLife)
}

// NATS is away while a registration is due. Nobody can renew it meanwhile, for the
// token lies there, and so does the lease; there is time enough after that.
func natsAwayRenewing(t *testing.T, table *deaths) {
	natsAwayOnce(t, table, 10, "NATS is away when it is to be renewed", time.Minute, minutes(18*time.Second))
}

// NATS is away while deliveries come.
func natsAwayDelivering(t *testing.T, table *deaths) {
	natsAwayOnce(t, table, 13, "deliveries are refused (503): NATS is away", deathCheck, options{})
}

func natsAwayOnce(t *testing.T, table *deaths, n int, way string, check time.Duration, o options) {
	renews := o.sim.Speed > 0
	w := startMortalEvery(t, check, o)
	w.listener = w.listens("listener", w.cfg, check)
	w.subscribed()
	v := w.inquireEvery(check, beasCalls, cemsCalls, w.delivering)
	was := w.only()
	if renews { // it is due when a third of its life is left
		w.awaitLong("soon due", func() bool { return time.Until(was.Expires) < 6300*time.Millisecond })
	}
	v.die(func() {
		if err := w.nats.Stop(); err != nil {
			t.Fatal(err)
		}
	})
	v.revoke(w.takeAway)
	w.await("it was sent, and refused", func() bool { return w.only().Failed > was.Failed })
	w.startNATS()
	if renews {
		w.await("renewed", func() bool { return w.only().Expires.After(was.Expires) })
	}
	found := v.healed()
	if got := w.only(); got.ID != was.ID {
		t.Errorf("%s is there, want %s kept", got.ID, was.ID)
	}
	w.await("the ledger tells when it ends", func() bool {
		l := v.ledger()
		e := l.Entry(was.ID)
		return e != nil && e.Expires.Truncate(time.Millisecond).Equal(w.only().Expires.Truncate(time.Millisecond))
	})
	v.close()
	w.listener.stop(t) // while NATS is there
	w.worker.stop(t)
	table.add(t, deathRow{n, way, found, "swept within 45 s once NATS is back; doubtful 12.5 min after the last " +
		"proof, and until then an entry ends by its own deadline"}, cache.Ceiling)
}

// Secrets are changed while deliveries come all the time, to both listeners in turn.
func rotation(t *testing.T, table *deaths) {
	f := startFront(t)
	w := startMortal(t, options{}.behind(f))
	ids := names(0, 400)
	w.settled(ids)
	other := w.pair(f, w.cfg)
	v := w.inquire(beasCalls, cemsCalls, w.delivering)
	stop, sent := make(chan struct{}), &atomic.Int64{}
	var group sync.WaitGroup
	group.Go(func() { w.assignAll(ids, sent, stop) })
	v.die(func() {
		for n := range 3 {
			if o := w.order(home, renew.DoRotate); o.Error != "" || len(o.Steps) == 0 {
				t.Errorf("rotation %d: %+v", n, o)
			}
			was := sent.Load()
			w.await("some are sent", func() bool { return sent.Load() > was+50 })
		}
	})
	v.revoke(w.takeAway)
	w.await("denied", func() bool { return w.plain(bea, abroad).State == cache.Denied })
	close(stop)
	group.Wait()
	n := int(sent.Load())
	beat(int(limit/time.Second), func() bool { return len(w.unstored(ids[:n])) == 0 })
	if lost := w.unstored(ids[:n]); len(lost) > 0 {
		t.Errorf("%d deliveries are lost", len(lost))
	}
	for _, s := range w.sim.Subscriptions() {
		if s.Failed > 0 {
			t.Errorf("%d deliveries of %s have failed", s.Failed, s.ID)
		}
	}
	if got := len(w.lasting(v.ledger())); got != 1 {
		t.Errorf("%d will last, want 1", got)
	}
	t.Logf("%d deliveries during 3 rotations, of %d registrations", n, len(w.sim.Subscriptions()))
	w.bothAccept(f, w.listener.it.Addr(), other.it.Addr())
	table.add(t, deathRow{11, fmt.Sprintf("3 rotations under load: %d deliveries, none refused", n), v.findings(),
		"the old one delivers a minute more, both secrets are taken"}, cache.MinLife)
}

// assignAll changes the roles of one after the other, until it is stopped.
func (w *world) assignAll(ids []string, sent *atomic.Int64, stop <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, id := range ids {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if err := w.sim.AssignRoles(id, lesserRole); err != nil {
			w.t.Error(err)
		}
		sent.Add(1)
	}
}

// unstored are those of whom no change in the stream tells.
func (w *world) unstored(ids []string) (missing []string) {
	found := w.stored()
	for _, id := range ids {
		if !found[id] {
			missing = append(missing, id)
		}
	}
	return missing
}
