package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
)

// fed waits until a worker knows that the feed is alive.
func (w *world) fed(worker *running[*service.Worker]) {
	w.t.Helper()
	w.await("the feed is alive", func() bool {
		_, text := w.get(worker.it.AdminAddr(), "/metrics")
		return strings.Contains(text, `rescind_feed_alive{kind="webhook",provider="ringcentral"} 1`) &&
			strings.Contains(text, `rescind_feed_alive{kind="tail",provider="ringcentral"} 1`)
	})
}

// answered is what an answer says of the feed, and of how long it holds.
type answered struct {
	Feed  events.FeedState `json:"feed"`
	State string           `json:"state"`
	Until time.Time        `json:"until"`
	Delay float64          `json:"delay_s"`
	left  time.Duration    // until then, when it came
}

// told asks about a subject whose entry is not there.
func (w *world) told(subject string) answered {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	a, err := w.answer(ctx, whose{ref(subject), abroad})
	if err != nil || a.State != "granted" {
		w.t.Fatalf("%+v, %v", a, err)
	}
	return a
}

// answer drops an entry, and asks the worker for it as any program does.
func (w *world) answer(ctx context.Context, of whose) (a answered, err error) {
	if err := w.rdb.Del(ctx, cache.Keys{}.Entry(of.Ref)).Err(); err != nil {
		return a, err
	}
	body, err := json.Marshal(map[string]any{
		"subject": map[string]string{"type": "user", "id": string(of.Subject)},
		"action":  map[string]string{"name": string(of.need)},
		"resource": map[string]any{"type": "account", "id": string(of.Tenant), "properties": map[string]string{
			"provider": string(of.Provider), "resource": string(of.Resource)}},
	})
	if err != nil {
		return a, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.worker.it.Addr()+ask.Path,
		bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+askToken)
	resp, err := w.client.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	var got struct{ Context answered }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return a, fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	got.Context.left = time.Until(got.Context.Until)
	return got.Context, nil
}

// becomes asks until the feed is what is wanted from before an entry is made
// until after, and returns what is left of that entry's life: with a feed that
// is alive, more than the floor. Meanwhile happens before each.
func (w *world) becomes(want events.FeedState, meanwhile func()) time.Duration {
	w.t.Helper()
	var was, is answered
	w.await("the feed is "+string(want), func() bool {
		meanwhile()
		was, is = is, w.told(cem)
		same := was.Feed == want && is.Feed == want
		return same && (want == events.FeedDoubtful || is.left > cache.MinLife)
	})
	return is.left
}

// One worker polls; what it knows of the delay every answer tells.
func TestEveryAnswerTellsTheDelay(t *testing.T) {
	w := startWorld(t, options{})
	w.fed(w.worker)
	if got := w.told(cem).Delay; got != 86 { // 1.1 min and a slow call
		t.Errorf("a delay of %v s, want 86", got)
	}
	first := w.worker
	w.worker = w.startWorker()
	w.fed(w.worker)
	if got := w.told(cem).Delay; got != 86 {
		t.Errorf("a delay of %v s at who does not poll, want 86", got)
	}
	for name, worker := range map[string]*running[*service.Worker]{"first": first, "second": w.worker} {
		_, text := w.get(worker.it.AdminAddr(), "/metrics")
		if !strings.Contains(text, `rescind_tail_delay_seconds{provider="ringcentral"} 86`) {
			t.Errorf("the %s worker does not tell the delay", name)
		}
	}
}

func TestADoubtfulFeedShortensLives(t *testing.T) {
	const bound = 3 * time.Second
	w := startWorld(t, options{idle: true})
	it, err := service.NewWorkerChecking(context.Background(), w.cfg, w.logger("worker"), bound*2/5)
	if err != nil {
		t.Fatal(err)
	}
	w.worker = run(t, it)
	if got := w.told(bea); got.Feed != events.FeedDoubtful || got.left > cache.MinLife {
		t.Errorf("before there is a listener: %s, a life of %s", got.Feed, got.left)
	}
	w.listener = w.startListener()
	w.subscribed()

	idle, n := func() {}, 0
	deliver := func() {
		n++
		w.deliver(notice(fmt.Sprint("feed-", n), "s-1", bea))
	}
	w.becomes(events.FeedAlive, deliver)
	for round, step := range []func(){
		func() {}, // nothing but silence
		func() { w.listener.stop(t) },
	} {
		step()
		if life := w.becomes(events.FeedDoubtful, idle); life > cache.MinLife {
			t.Errorf("doubtful, round %d: a life of %s", round, life)
		}
		if round == 1 {
			w.listener = w.startListener()
		}
		w.becomes(events.FeedAlive, deliver)
	}
}
