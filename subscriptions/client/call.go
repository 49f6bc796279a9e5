package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

const maxBody = 4 << 20

// Request is one call of the API.
type Request struct {
	Op    Op
	Path  string // below the base address, escaped
	Query url.Values
	// Header is sent besides what every call has.
	Header http.Header
	Body   any // written as JSON; nil: none
	// Identity is whose limits it uses; empty: the token's.
	Identity string
}

// Call makes a call as the bearer and reads the reply into out (nil: ignored).
// A token that is dead is replaced once. Errors: [*subscriptions.Later], that of
// [Vendor.Refusal], or any other, which may pass.
func (c *Client) Call(ctx context.Context, b *Bearer, r Request, out any) error {
	t, err := b.Token(ctx)
	if err != nil {
		return err
	}
	err = c.attempt(ctx, t, r, out)
	if err == nil || !c.vendor.TokenDead(err) {
		return err
	}
	if t, err = b.replace(ctx, t, err); err != nil {
		return err
	}
	return c.attempt(ctx, t, r, out)
}

// attempt retries what is safe to repeat. A creation is not: it may have
// succeeded although its reply was lost.
func (c *Client) attempt(ctx context.Context, t Token, r Request, out any) error {
	once := func() error { return c.send(ctx, t, r, out) }
	if r.Op.Method == http.MethodPost {
		return once()
	}
	return retry(ctx, c.vendor.FirstWait, once)
}

// send is one request over the network, if the budget grants it.
func (c *Client) send(ctx context.Context, t Token, r Request, out any) error {
	req, err := c.prepare(ctx, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+t.Access.Reveal())
	identity := r.Identity
	if identity == "" {
		identity = t.Identity
	}
	return c.Raw(ctx, r.Op, identity, req, out)
}

// Raw sends a request within the limits of an identity, with no token but what
// it carries itself, and reads the reply into out (nil: ignored). It is not
// repeated.
func (c *Client) Raw(ctx context.Context, op Op, identity string, req *http.Request, out any) error {
	granted, err := c.take(ctx, identity, op)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		granted.done(ctx, 0, nil, err)
		return c.unreached(ctx, op, err)
	}
	defer resp.Body.Close()
	said := granted.done(ctx, resp.StatusCode, resp.Header, nil)
	c.log.DebugContext(ctx, "call", slog.String("operation", op.Name), slog.Int("status", resp.StatusCode),
		slog.String("request_id", c.requestID(resp.Header)), slog.Duration("took", time.Since(began)))
	if err := penalised(op, resp.StatusCode, said); err != nil {
		return c.unbudgeted(op, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return c.refused(op, resp.StatusCode, resp.Header, body)
	case err != nil:
		return c.unreached(ctx, op, err)
	case len(body) > maxBody:
		return fmt.Errorf("%s %s: reply over %d bytes", c.vendor.Name, op.Name, maxBody)
	}
	return c.decode(op, resp.Header, body, out)
}

func (c *Client) prepare(ctx context.Context, r Request) (*http.Request, error) {
	var body io.Reader
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: write body: %w", c.vendor.Name, r.Op.Name, err)
		}
		body = bytes.NewReader(b)
	}
	target := c.o.BaseURL + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Op.Method, target, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.vendor.Name, r.Op.Name, err)
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	return req, nil
}
