package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// maxHandshake is the most that a webhook may answer to a handshake, headers included.
const maxHandshake = 1024

// delivery is a notification on its way to one subscription.
type delivery struct {
	sub      *subscription
	envelope envelope
	header   string    // that carries the secret
	then     *delivery // sent after this one
}

// sender works a queue off with a bounded number of goroutines, which end when it is empty.
type sender struct {
	limit   int
	send    func(context.Context, *delivery)
	waiting context.Context // ends when closing begins: for what only waits
	stop    context.CancelFunc
	flight  context.Context // ends when closing has waited enough: for what is under way
	abort   context.CancelFunc

	mu      sync.Mutex // guards what follows
	queue   []*delivery
	running int
	closed  bool
	all     sync.WaitGroup
}

func newSender(limit int, send func(context.Context, *delivery)) *sender {
	q := &sender{limit: limit, send: send}
	q.flight, q.abort = context.WithCancel(context.Background())
	q.waiting, q.stop = context.WithCancel(q.flight)
	return q
}

// put queues a delivery; after close it is lost.
func (q *sender) put(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.queue = append(q.queue, d)
	if q.running < q.limit {
		q.running++
		q.all.Go(q.drain)
	}
}

func (q *sender) drain() {
	for d := q.next(); d != nil; d = q.next() {
		for ; d != nil && q.flight.Err() == nil; d = d.then {
			q.send(q.flight, d)
		}
	}
}

func (q *sender) next() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.running--
		return nil
	}
	d := q.queue[0]
	q.queue = q.queue[1:]
	return d
}

// background runs f, which must end when waiting does; after close it does not run.
func (q *sender) background(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.all.Go(f)
	}
}

func (q *sender) close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.stop()
	defer q.abort()
	done := make(chan struct{})
	go func() {
		q.all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		q.abort()
		<-done
		return fmt.Errorf("close simulator: %w", ctx.Err())
	}
}

// send makes the one attempt there is.
func (s *RingCentral) send(ctx context.Context, d *delivery) {
	x := d.sub
	s.mu.Lock()
	ended := x.ctx.Err() != nil && s.deliver.waiting.Err() == nil // and not just closing
	lost := ended || !x.blacklisted.IsZero() || !time.Now().Before(x.expires)
	s.mu.Unlock()
	if lost {
		return
	}
	body, err := json.Marshal(d.envelope)
	if err != nil {
		s.log.ErrorContext(ctx, "encode notification", "event", d.envelope.Event, "error", err)
		return
	}
	head := http.Header{"Content-Type": {"application/json; charset=UTF-8"}}
	if x.secret != "" {
		head.Set(d.header, x.secret)
	}
	s.settle(x, s.failure(ctx, x.address, head, body))
}

// failure delivers and says, in the vendor's words, why that failed; empty when it did not.
func (s *RingCentral) failure(ctx context.Context, address string, head http.Header, body []byte) string {
	reply, err := s.request(ctx, address, head, body)
	if err != nil {
		return "I/O operation is failed. Details: [" + cause(err) + "]"
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Sprintf("Webhook responses with code: [%d], reason: [%s]", reply.StatusCode,
			http.StatusText(reply.StatusCode))
	}
	return ""
}

// cause is an error without the address, which may carry a secret.
func cause(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return "Read timed out"
		}
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "Read timed out"
	}
	return err.Error()
}

// settle counts the outcome, and blacklists after ten minutes in which everything failed.
func (s *RingCentral) settle(x *subscription, failure string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failure == "" {
		x.delivered++
		x.failing = time.Time{}
		return
	}
	now := time.Now()
	x.failed++
	if x.failing.IsZero() {
		x.failing = now
	}
	if !x.blacklisted.IsZero() || now.Sub(x.failing) < s.scale(blacklistAt) {
		return
	}
	x.blacklisted, x.reason = now, failure
	s.log.Info("subscription blacklisted", "subscription", x.id, "reason", failure)
	if s.quirks.AutoRecover {
		s.deliver.background(func() { s.recover(x) })
	}
}

// recover asks a blacklisted webhook every fifteen minutes, and makes it active again when it answers.
func (s *RingCentral) recover(x *subscription) {
	for wait(x.ctx, s.scale(recoverEach)) {
		if s.handshake(x.ctx, x.address, x.secret) != nil {
			continue
		}
		s.mu.Lock()
		x.blacklisted, x.failing, x.reason = time.Time{}, time.Time{}, ""
		s.mu.Unlock()
		return
	}
}

// handshake asks a webhook whether it wants to be one: an empty POST with a Validation-Token, which it has to
// echo in a small JSON answer with status 200.
func (s *RingCentral) handshake(ctx context.Context, address, secret string) error {
	token := rand.Text()
	head := http.Header{"Validation-Token": {token}}
	if secret != "" {
		head.Set("Verification-Token", secret)
	}
	reply, err := s.request(ctx, address, head, nil)
	if err != nil {
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return errSubscription(http.StatusBadRequest, "SUB-524", "WebHook certificate is not valid")
		}
		return errSubscription(http.StatusBadRequest, "SUB-521", "WebHook is not reachable")
	}
	kind, _, _ := strings.Cut(reply.Header.Get("Content-Type"), ";")
	switch {
	case reply.StatusCode != http.StatusOK:
		return errSubscription(http.StatusBadRequest, "SUB-522",
			fmt.Sprintf("WebHook responds with incorrect HTTP status. HTTP status is %d", reply.StatusCode))
	case reply.Header.Get("Validation-Token") != token:
		return errSubscription(http.StatusBadRequest, "SUB-520", "Validation Token is not returned")
	case reply.size > maxHandshake, !strings.EqualFold(strings.TrimSpace(kind), "application/json"):
		return errSubscription(http.StatusBadRequest, "SUB-525", "WebHook server response is invalid")
	}
	return nil
}

// webhookReply is an answer, read as far as it matters.
type webhookReply struct {
	*http.Response
	size int // headers and body
}

// request posts and reads the answer, all within the delivery timeout. Redirects are not followed.
func (s *RingCentral) request(
	ctx context.Context, address string, head http.Header, body []byte,
) (reply webhookReply, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.DeliveryTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return reply, err
	}
	r.Header = head
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "RingCentral-Webhook/8.3")
	answer, err := s.opts.Transport.RoundTrip(r)
	if err != nil {
		return reply, err
	}
	defer answer.Body.Close()
	head2, err := httputil.DumpResponse(answer, false)
	if err != nil {
		return reply, err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	return webhookReply{answer, len(head2) + int(n)}, err
}
