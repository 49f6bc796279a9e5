package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events/stream"
)

// notice is a delivery that tells of changed permissions.
func notice(uuid, subscription string, subjects ...string) []byte {
	type change struct {
		Extension string   `json:"extensionId"`
		Type      string   `json:"eventType"`
		Hints     []string `json:"hints"`
	}
	changes := make([]change, len(subjects))
	for i, s := range subjects {
		changes[i] = change{s, "Update", []string{"Permissions"}}
	}
	b, err := json.Marshal(map[string]any{
		"uuid": uuid, "event": "/restapi/v1.0/account/" + account + "/extension", "subscriptionId": subscription,
		"timestamp": "2026-01-02T03:04:05.678Z", "ownerId": "256440016",
		"body": map[string]any{"extensions": changes},
	})
	if err != nil {
		panic(err) // strings can always be written
	}
	return b
}

// send posts a delivery; the status is 0 if there was no answer.
func (w *world) send(address, token string, body []byte) (int, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Verification-Token", token)
	resp, err := w.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// deliver posts as the provider does and wants success.
func (w *world) deliver(body []byte) {
	w.t.Helper()
	got, err := w.send(w.listener.it.Addresses()[0], verificationToken, body)
	if got != http.StatusOK || err != nil {
		w.t.Fatalf("status %d, %v, want 200", got, err)
	}
}

func TestHostileDeliveriesLeaveNoTrace(t *testing.T) {
	w := startWorld(t, options{})
	w.expect(bea, cache.Granted, abroad)
	right := w.listener.it.Addresses()[0]
	whole := notice("u-1", "s-1", bea)
	for _, c := range []struct {
		name, address, token string
		body                 []byte
		want                 int
		lines                int // above debug
	}{
		{"wrong token", right, "wrong", whole, http.StatusUnauthorized, 1},
		{"no token", right, "", whole, http.StatusUnauthorized, 1},
		{"cut short", right, verificationToken, whole[:len(whole)/2], http.StatusBadRequest, 1},
		{"another account", right, verificationToken, bytes.ReplaceAll(whole, []byte(account), []byte("1")),
			http.StatusBadRequest, 1},
		{"10 MB", right, verificationToken, bytes.Repeat([]byte(" "), 10<<20), http.StatusRequestEntityTooLarge, 1},
		{"unknown part", right[:len(right)-1] + "_", verificationToken, whole, http.StatusNotFound, 0},
		{"unknown provider", strings.Replace(right, "/ringcentral/", "/box/", 1), verificationToken, whole,
			http.StatusNotFound, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, told := w.info(), len(w.warnings())
			got, err := w.send(c.address, c.token, c.body)
			if got != c.want && !(got == 0 && c.want == http.StatusRequestEntityTooLarge) {
				t.Errorf("status %d, %v, want %d", got, err, c.want)
			}
			if after := w.info(); after != before {
				t.Errorf("the stream has changed: %+v, was %+v", after, before)
			}
			w.await("one line", func() bool { return len(w.warnings()) >= told+c.lines })
			if got := len(w.warnings()) - told; got != c.lines {
				t.Errorf("%d log lines, want %d", got, c.lines)
			}
		})
	}
	if w.asOf(bea).IsZero() {
		t.Error("a refused delivery has dropped an entry")
	}
}

// warnings are the lines about deliveries that a person would see.
func (w *world) warnings() (lines []map[string]any) {
	w.t.Helper()
	for _, line := range w.log.lines(w.t, "delivery") {
		if line["level"] == "WARN" || line["level"] == "ERROR" {
			lines = append(lines, line)
		}
	}
	return lines
}

// Who knows address and token is believed: a subscription that we do not know
// may be one that was just replaced. All it can cause is a question.
func TestADeliveryOfAnUnknownSubscriptionIsApplied(t *testing.T) {
	w := startWorld(t, options{})
	before := w.expect(bea, cache.Granted, abroad)
	w.deliver(notice("u-2", "a-subscription-that-was-never-made", bea))
	w.refreshed(bea, before)
	w.expect(bea, cache.Granted, abroad)
}

func TestTheSameDeliveryAThousandTimes(t *testing.T) {
	w := startWorld(t, options{quiet: true})
	before := w.expect(bea, cache.Granted, abroad)
	w.assign(bea, lesserRole)
	w.refreshed(bea, before)
	was := w.info().Messages
	body := notice("the-same", "s-1", bea)
	for range 1_000 {
		w.deliver(body)
	}
	if got := w.info().Messages - was; got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
	w.applied()
	w.expect(bea, cache.Denied, abroad)
}

func TestTheSameDeliveryFromManySendersAtOnce(t *testing.T) {
	w := startWorld(t, options{quiet: true})
	before := w.expect(bea, cache.Granted, abroad)
	w.assign(bea, lesserRole)
	w.refreshed(bea, before)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 50 {
				got, err := w.send(w.listener.it.Addresses()[0], verificationToken, notice("the-same", "s-1", bea))
				if got != http.StatusOK {
					t.Errorf("status %d, %v, want 200", got, err)
				}
			}
		})
	}
	group.Wait()
	w.applied()
	w.expect(bea, cache.Denied, abroad)
	if got := w.info().Dead; got > 0 {
		t.Errorf("%d changes are dead", got)
	}
}

// flood sends deliveries until it is told to stop, each about a subject of its
// own, and remembers those that were answered with success.
type flood struct {
	stop, halt chan struct{}
	sent       atomic.Int64

	mu       sync.Mutex
	accepted []string    // subjects
	refused  map[int]int // by status
}

func (w *world) flood(address string) *flood {
	f := &flood{stop: make(chan struct{}), halt: make(chan struct{}), refused: map[int]int{}}
	var group sync.WaitGroup
	for sender := range 8 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-f.stop:
					return
				default:
				}
				subject := fmt.Sprint(sender, "00", i)
				status, _ := w.send(address, verificationToken, notice("flood-"+subject, "s-1", subject))
				f.note(subject, status)
			}
		})
	}
	go func() {
		group.Wait()
		close(f.halt)
	}()
	w.t.Cleanup(f.end)
	return f
}

func (f *flood) note(subject string, status int) {
	f.sent.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if status == http.StatusOK {
		f.accepted = append(f.accepted, subject)
	} else {
		f.refused[status]++
	}
}

func (f *flood) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	<-f.halt
}

// count is how many were accepted so far.
func (f *flood) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.accepted)
}

// stored are the subjects that the changes in the stream name. Changes may have
// been joined on their way.
func (w *world) stored() map[string]bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	found := map[string]bool{}
	err := w.stream.Read(ctx, stream.ReadOptions{}, func(s stream.Stored) error {
		for _, tag := range s.Change.Tags {
			found[tag.ID] = true
		}
		return s.DecodeErr
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// keptAll wants every accepted delivery in the stream.
func (w *world) keptAll(f *flood) {
	w.t.Helper()
	found, lost := w.stored(), 0
	for _, subject := range f.accepted {
		if !found[subject] {
			lost++
		}
	}
	if lost > 0 || len(f.accepted) == 0 {
		w.t.Errorf("%d of %d accepted deliveries are not in the stream", lost, len(f.accepted))
	}
	w.t.Logf("%d accepted, refused by status: %v", len(f.accepted), f.refused)
}

func TestNATSIsStoppedAndStarted(t *testing.T) {
	w := startWorld(t, options{quiet: true})
	before := w.expect(bea, cache.Granted, abroad)
	f := w.flood(w.listener.it.Addresses()[0])
	w.await("some are accepted", func() bool { return f.count() > 100 })
	if err := w.nats.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.listener.it.Ready(context.Background()); err == nil {
		t.Error("the listener is ready without NATS")
	}
	if err := w.worker.it.Ready(context.Background()); err == nil {
		t.Error("the worker is ready without NATS")
	}
	w.assign(bea, lesserRole) // this notice may be lost: the provider sends it once
	was := f.count()
	w.startNATS()
	w.await("some are accepted again", func() bool { return f.count() > was+100 })
	f.end()
	w.keptAll(f)
	w.deliver(notice("after-the-outage", "s-1", bea))
	w.refreshed(bea, before)
	w.applied()
	w.expect(bea, cache.Denied, abroad)
	w.await("both ready", func() bool {
		ctx := context.Background()
		return errors.Join(w.listener.it.Ready(ctx), w.worker.it.Ready(ctx)) == nil
	})
	if got := f.refused[http.StatusInternalServerError]; got > 0 {
		t.Errorf("%d deliveries were answered with 500", got)
	}
}

// A stop finishes what was begun: whatever was answered with success is there.
func TestTheListenerIsStoppedWithDeliveriesInFlight(t *testing.T) {
	w := startWorld(t, options{quiet: true})
	f := w.flood(w.listener.it.Addresses()[0])
	w.await("some are accepted", func() bool { return f.count() > 200 })
	w.listener.stop(t)
	f.end()
	w.keptAll(f)
	if got := f.refused[http.StatusServiceUnavailable] + f.refused[http.StatusInternalServerError]; got > 0 {
		t.Errorf("%d deliveries were refused while stopping, want an answer or no connection", got)
	}
}

// A worker that stops gives its changes back; another has them at once.
func TestAWorkerIsStoppedAndAnotherTakesOver(t *testing.T) {
	w := startWorld(t, options{quiet: true})
	f := w.flood(w.listener.it.Addresses()[0])
	w.await("some are accepted", func() bool { return f.count() > 200 })
	w.worker.stop(t)
	w.worker = w.startWorker()
	f.end()
	start := time.Now()
	w.applied()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the other worker had everything after %s: it waited for acknowledgements to run out", took)
	}
	if got := w.info().Dead; got > 0 {
		t.Errorf("%d changes are dead", got)
	}
}
