package listen_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/subscriptions/listen"
)

func TestADeliveryBecomesAChange(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	s := open(t, listen.Config{Publisher: toStream{b.Stream}}, ringCentral(t), nil)
	began := time.Now().Add(-time.Second)
	if status := s.post(t, notice("u", "42")); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	got := b.stored(t)[changeID("u")]
	if got.Received.Before(began) || got.Received.After(time.Now()) {
		t.Errorf("received %s", got.Received)
	}
	want := events.Change{ID: changeID("u"), Home: home, Tags: []events.Tag{events.SubjectTag("42")},
		Source: events.Webhook, Reasons: []string{"Update", "Permissions"}, Received: got.Received,
		Occurred: time.Date(2026, 6, 14, 12, 0, 0, 0, time.UTC)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
	wantLine := line{Level: "INFO", Msg: "delivery", Provider: "ringcentral", Tenant: "37439510",
		Outcome: "published", DeliveryID: changeID("u"), Tags: 1}
	eventually(t, "its line is logged", func() bool { return len(s.log.lines(t)) == 1 })
	if diff := cmp.Diff(wantLine, s.log.lines(t)[0]); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestADeliveryWithoutAChangeIsASuccess(t *testing.T) {
	s := open(t, listen.Config{Publisher: toStream{}}, ringCentral(t), nil)
	body := `{"uuid":"u","event":"/restapi/v1.0/subscription/~?threshold=1&interval=1","body":{}}`
	if status := s.post(t, body); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	eventually(t, "its line is logged", func() bool { return len(s.log.lines(t)) == 1 })
	if l := s.log.lines(t)[0]; l.Outcome != "nothing" {
		t.Errorf("logged %+v", l)
	}
}

func TestTenThousandExtensionsAreOneMessage(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	s := open(t, listen.Config{Publisher: toStream{b.Stream}}, ringCentral(t), nil)
	var body strings.Builder
	body.WriteString(`{"uuid":"u","event":"/restapi/v1.0/account/~/extension","body":{"extensions":[`)
	var want []events.Tag
	for i := range 10_000 {
		id := fmt.Sprint(400130394008 + i)
		want = append(want, events.SubjectTag(events.Subject(id)))
		if i > 0 {
			body.WriteString(",")
		}
		fmt.Fprintf(&body, `{"extensionId":%q,"eventType":"Update","hints":["Permissions","Features"]}`, id)
	}
	body.WriteString(`]}}`)
	if status := s.post(t, body.String()); status != http.StatusOK {
		t.Fatalf("status %d for %d bytes", status, body.Len())
	}
	got := b.stored(t)
	if diff := cmp.Diff(want, got[changeID("u")].Tags); diff != "" || len(got) != 1 {
		t.Errorf("%d messages; tags (-want +got):\n%.400s", len(got), diff)
	}
}

func TestTheSameDeliveryAThousandTimesIsOneMessage(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	s := open(t, listen.Config{Publisher: toStream{b.Stream}}, ringCentral(t), nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				if status, err := s.send(notice("u", "42")); status != http.StatusOK || err != nil {
					t.Errorf("status %d, %v", status, err)
				}
			}
		})
	}
	wg.Wait()
	if got := b.stored(t); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
	eventually(t, "all are counted", func() bool {
		return s.count(t, "published") == 1 && s.count(t, "duplicate") == 999
	})
}

// count is rescind_deliveries_total of an outcome.
func (s *stage) count(t testing.TB, outcome string) float64 {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); f.GetName() == "rescind_deliveries_total" && l[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no series for %q", outcome)
	return 0
}

// gate is a publisher that waits to be let through.
type gate struct {
	entered chan context.Context
	open    chan struct{}
	stored  atomic.Int64
}

func newGate() *gate { return &gate{entered: make(chan context.Context, 1), open: make(chan struct{})} }

func (g *gate) Publish(ctx context.Context, _ events.Change) (bool, error) {
	g.entered <- ctx
	select {
	case <-g.open:
		g.stored.Add(1)
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func TestAChangeIsPublishedThoughTheSenderHangsUp(t *testing.T) {
	g := newGate()
	gone := make(chan struct{})
	s := open(t, listen.Config{Publisher: g, PublishWait: limit}, ringCentral(t), func(srv *http.Server) {
		h := srv.Handler
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			context.AfterFunc(r.Context(), sync.OnceFunc(func() { close(gone) }))
			h.ServeHTTP(w, r)
		})
	})
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(notice("u", "42")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Verification-Token", token)
	done := make(chan error, 1)
	go func() {
		resp, err := s.client.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	publishing := receive(t, g.entered, "the publish")
	hangUp()
	if err := receive(t, done, "end of the request"); !errors.Is(err, context.Canceled) {
		t.Errorf("the sender saw %v", err)
	}
	receive(t, gone, "end of the request's context")
	if err := publishing.Err(); err != nil {
		t.Errorf("the publish ended with its sender: %v", err)
	}
	close(g.open)
	eventually(t, "it is published", func() bool { return s.count(t, "published") == 1 })
	if g.stored.Load() != 1 {
		t.Error("not stored")
	}
}

func TestShutdownWaitsForADeliveryUnderWay(t *testing.T) {
	g := newGate()
	s := open(t, listen.Config{Publisher: g, PublishWait: limit}, ringCentral(t), nil)
	status := make(chan int, 1)
	go func() {
		got, err := s.send(notice("u", "42"))
		if err != nil {
			t.Error(err)
		}
		status <- got
	}()
	receive(t, g.entered, "the publish")
	down := make(chan error, 1)
	closing := make(chan struct{})
	s.server.RegisterOnShutdown(sync.OnceFunc(func() { close(closing) }))
	go func() { down <- s.server.Shutdown(t.Context()) }()
	receive(t, closing, "the shutdown")
	if _, err := s.send(notice("v", "42")); err == nil {
		t.Error("a delivery was let in during the shutdown")
	}
	close(g.open)
	if got := receive(t, status, "the answer"); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	if err := receive(t, down, "end of the shutdown"); err != nil {
		t.Error(err)
	}
}

// Senders go on while the stream goes away and comes back. Not every delivery
// is taken; but what was taken is there.
func TestEveryAnsweredDeliverySurvivesAnOutage(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	s := open(t, listen.Config{Publisher: toStream{b.Stream}, PublishWait: 200 * time.Millisecond},
		ringCentral(t), nil)
	var taken sync.Map
	var ok, refused atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for sender := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				uuid := fmt.Sprintf("%d-%d", sender, i)
				switch status, err := s.send(notice(uuid, "42")); {
				case err != nil:
					t.Error(err)
				case status == http.StatusOK:
					taken.Store(changeID(uuid), true)
					ok.Add(1)
				case status == http.StatusServiceUnavailable:
					refused.Add(1)
				default:
					t.Errorf("status %d", status)
				}
			}
		})
	}
	for range 2 {
		before := ok.Load()
		eventually(t, "deliveries are taken", func() bool { return ok.Load() > before+200 })
		before = refused.Load()
		b.stop(t, b.srv)
		eventually(t, "deliveries are refused", func() bool { return refused.Load() > before+16 })
		b.start(t)
	}
	before := ok.Load()
	eventually(t, "deliveries are taken again", func() bool { return ok.Load() > before+200 })
	close(stop)
	wg.Wait()
	stored := b.stored(t)
	taken.Range(func(id, _ any) bool {
		if _, there := stored[id.(string)]; !there {
			t.Errorf("%s was answered with 200 and is not in the stream", id)
		}
		return true
	})
	t.Logf("%d taken, %d refused, %d stored", ok.Load(), refused.Load(), len(stored))
}
