package ringcentral

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	maxBody   = 4 << 20
	maxTries  = 3
	firstWait = 2 * time.Second  // errors.md: exponential from 2 s
	tokenWait = 10 * time.Second // errors.md: the token endpoint, 10 s apart
)

// request is one call of the API.
type request struct {
	op    operation
	path  string // below /restapi/v1.0, escaped
	query url.Values
	body  any // written as JSON; nil: none
}

// call makes a call as the bearer and reads the reply into out (nil: ignored).
// A token that is dead is replaced once. Errors: [*subscriptions.Later],
// [*APIError], or any other, which may pass.
func (p *Provider) call(ctx context.Context, b *bearer, r request, out any) error {
	t, err := b.token(ctx)
	if err != nil {
		return err
	}
	err = p.attempt(ctx, t, r, out)
	if !tokenDead(err) {
		return err
	}
	if t, err = b.replace(ctx, t); err != nil {
		return err
	}
	return p.attempt(ctx, t, r, out)
}

// attempt retries what is safe to repeat. A creation is not: it may have
// succeeded although its reply was lost.
func (p *Provider) attempt(ctx context.Context, t token, r request, out any) error {
	once := func() error { return p.send(ctx, t, r, out) }
	if r.op.method == http.MethodPost {
		return once()
	}
	return retry(ctx, firstWait, once)
}

// retry tries up to three times, but never waits beyond the deadline of ctx:
// then the error returns at once.
func retry(ctx context.Context, first time.Duration, f func() error) error {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == maxTries || !isTransient(err) {
			return err
		}
		wait := b.NextBackOff()
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
			return err
		}
		if pause(ctx, wait) != nil {
			return err
		}
	}
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send is one request over the network, if the budget grants it.
func (p *Provider) send(ctx context.Context, t token, r request, out any) error {
	req, err := p.prepare(ctx, t, r)
	if err != nil {
		return err
	}
	granted, err := p.take(ctx, t.identity, r.op)
	if err != nil {
		return budgeted(r.op, err)
	}
	began := time.Now()
	resp, err := p.http.Do(req)
	if err != nil {
		granted.Done(ctx, unanswered(err))
		return unreached(ctx, r.op, err)
	}
	defer resp.Body.Close()
	granted.Done(ctx, said(r.op, resp.StatusCode, resp.Header))
	p.log.DebugContext(ctx, "call", slog.String("operation", r.op.name), slog.Int("status", resp.StatusCode),
		slog.String("request_id", word(resp.Header.Get("RCRequestId"))), slog.Duration("took", time.Since(began)))
	if err := penalised(r.op, resp.StatusCode, resp.Header); err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return refusal(r.op, resp.StatusCode, resp.Header, body)
	case err != nil:
		return unreached(ctx, r.op, err)
	case len(body) > maxBody:
		return fmt.Errorf("ringcentral %s: reply over %d bytes", r.op.name, maxBody)
	}
	return decode(r.op, resp.Header, body, out)
}

// budgeted names the operation that the budget did not grant.
func budgeted(op operation, err error) error { return fmt.Errorf("ringcentral %s: %w", op.name, err) }

func (p *Provider) prepare(ctx context.Context, t token, r request) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("ringcentral %s: write body: %w", r.op.name, err)
		}
		body = bytes.NewReader(b)
	}
	target := p.cfg.BaseURL + "/restapi/v1.0" + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.op.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("ringcentral %s: %w", r.op.name, err)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", p.cfg.UserAgent)
	req.Header.Set("Authorization", "Bearer "+t.access.Reveal())
	return req, nil
}

// unreached wraps an error of the network; it may pass unless ctx has ended.
func unreached(ctx context.Context, op operation, err error) error {
	err = fmt.Errorf("ringcentral %s: %w", op.name, err)
	if ctx.Err() != nil {
		return err
	}
	return transient{err}
}

// errMalformed says that a reply is not what the API description promises.
var errMalformed = errors.New("malformed reply")

// clipped formats an error of encoding/json, which repeats a number that does
// not fit, however long.
const clipped = "%.200s"

// decode reads a reply. One that is cut short may be whole the next time.
func decode(op operation, h http.Header, body []byte, out any) error {
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return transient{fmt.Errorf("ringcentral %s, request %s: %w: "+clipped,
			op.name, word(h.Get("RCRequestId")), errMalformed, err)}
	}
	return nil
}
