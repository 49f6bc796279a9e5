package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/rescindhq/rescind/events"
)

// delivery is a notification that came by, and how it was answered.
type delivery struct {
	id      string // of the change that it must become
	subject string
	gen     int // the subject's generation when it came by
	status  int // 0: no listener answered
	ended   time.Time
}

func (d delivery) ok() bool { return d.status == http.StatusOK }

// balancer hands deliveries to the listeners in turn, and to the other one if
// one refuses the connection or dies before it has answered.
type balancer struct {
	targets []string // URLs
	client  *http.Client
	truth   *truth

	mu       sync.Mutex // guards what follows
	next     int
	deliver  []delivery
	underway []int // requests at each target
}

func newBalancer(t *truth, targets ...string) *balancer {
	return &balancer{targets: targets, truth: t, underway: make([]int, len(targets)), client: &http.Client{
		Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
}

// ServeHTTP forwards and remembers.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, "read body", http.StatusBadRequest)
		return
	}
	seen, isDelivery := b.recognise(body)
	a := answer{status: http.StatusBadGateway}
	for range b.targets {
		if got, err := b.send(r, body); err == nil {
			a, seen.status = got, got.status
			break
		}
	}
	if isDelivery {
		b.record(seen)
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the provider may have gone
}

// answer is what a listener replied.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// recognise reads of whom a delivery tells; handshakes are none.
func (b *balancer) recognise(body []byte) (delivery, bool) {
	var n struct {
		UUID string
		Body struct {
			Extensions []struct {
				ID string `json:"extensionId"`
			}
		}
	}
	if json.Unmarshal(body, &n) != nil || len(n.Body.Extensions) != 1 {
		return delivery{}, false
	}
	subject := n.Body.Extensions[0].ID
	return delivery{id: events.ChangeID(home, n.UUID), subject: subject, gen: b.truth.now(subject)}, true
}

// send tries one listener, whether or not the provider still waits: the answer
// counts all the same.
func (b *balancer) send(r *http.Request, body []byte) (answer, error) {
	i := b.turn()
	defer b.done(i)
	ctx := context.WithoutCancel(r.Context())
	to, err := http.NewRequestWithContext(ctx, r.Method, b.targets[i]+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	to.Header = r.Header.Clone()
	resp, err := b.client.Do(to)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, reply}, err
}

// turn is whose turn it is.
func (b *balancer) turn() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.next % len(b.targets)
	b.next++
	b.underway[i]++
	return i
}

func (b *balancer) done(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.underway[i]--
}

func (b *balancer) record(d delivery) {
	d.ended = time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deliver = append(b.deliver, d)
}

// since are the deliveries from the nth on; those before are len of what was
// returned before.
func (b *balancer) since(n int) []delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]delivery(nil), b.deliver[n:]...)
}

// told says whether a listener has accepted that a subject reached a
// generation.
func (b *balancer) told(subject string, gen int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.deliver) - 1; i >= 0; i-- {
		if d := b.deliver[i]; d.subject == subject && d.gen >= gen && d.ok() {
			return true
		}
	}
	return false
}

// at is how many requests are under way at a target.
func (b *balancer) at(target int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.underway[target]
}

// count is how many deliveries have come and been answered.
func (b *balancer) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.deliver)
}
