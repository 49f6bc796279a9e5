package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// ErrMalformed says that a reply is not what the vendor's description promises.
var ErrMalformed = errors.New("malformed reply")

// transient marks what may pass if it is tried again.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }

// Transient marks an error that may pass if the call is tried again.
func Transient(err error) error { return transient{err} }

// IsTransient says whether it is marked so.
func IsTransient(err error) bool {
	var t transient
	return errors.As(err, &t)
}

var wordShape = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Word passes what looks like a code, a name or an id, and nothing else.
func Word(s string) string {
	if !wordShape.MatchString(s) {
		return ""
	}
	return s
}

// Clip makes foreign text fit for logs: printable ASCII, at most 64 bytes.
func Clip(s string) string {
	s = s[:min(len(s), 64)]
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return "?"
	}
	return s
}

// clipped formats an error of encoding/json, which repeats a number that does
// not fit, however long.
const clipped = "%.200s"

// decode reads a reply. One that is cut short may be whole the next time.
func (c *Client) decode(op Op, h http.Header, body []byte, out any) error {
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return Transient(fmt.Errorf("%s %s, request %s: %w: "+clipped,
			c.vendor.Name, op.Name, c.requestID(h), ErrMalformed, err))
	}
	return nil
}

func (c *Client) requestID(h http.Header) string { return Word(h.Get(c.vendor.RequestID)) }

// unreached wraps an error of the network; it may pass unless ctx has ended.
func (c *Client) unreached(ctx context.Context, op Op, err error) error {
	err = fmt.Errorf("%s %s: %w", c.vendor.Name, op.Name, unquoted{err})
	if ctx.Err() != nil {
		return err
	}
	return Transient(err)
}

// unquoted is an error of net/http without the address, and without what it
// quotes of a reply that it cannot read: its text ends before that.
type unquoted struct{ error }

func (u unquoted) Error() string {
	err := u.error
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	text, _, _ := strings.Cut(err.Error(), `"`)
	return strings.TrimRight(text, ": ")
}

func (u unquoted) Unwrap() error { return u.error }

// refused is the vendor's error; one of its servers may pass.
func (c *Client) refused(op Op, status int, h http.Header, body []byte) error {
	err := c.vendor.Refusal(op, status, h, body)
	if status >= 500 || status == http.StatusRequestTimeout {
		return Transient(err)
	}
	return err
}

const maxTries = 3

// retry tries up to three times, but never waits beyond the deadline of ctx:
// then the error returns at once.
func retry(ctx context.Context, first time.Duration, f func() error) error {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == maxTries || !IsTransient(err) {
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
