package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

const (
	success    = "{}"
	retryAfter = "1" // seconds
	// maxReply is what the headers of a handshake may take: with ours, about
	// 130 bytes, the answer stays under the 1,024 that RingCentral reads
	// (creating-webhooks.md).
	maxReply = 800
	// maxMessage is what a change may take: NATS carries 1 MiB by default, and
	// its own headers are in that.
	maxMessage = 1<<20 - 16<<10
)

// Where a delivery can end, besides the two families of the providers.
var (
	errNoDoor      = errors.New("no such address")
	errMethod      = errors.New("not POST")
	errBody        = errors.New("read body")
	errUnpublished = errors.New("not published")
)

// panicked is what a provider's door did.
type panicked struct {
	value any
	stack []byte
}

// Error names the kind of panic alone: its text may hold parts of a delivery.
func (p *panicked) Error() string {
	if err, ok := p.value.(runtime.Error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic: %T", p.value)
}

// outcome is what became of a delivery, for the log and the metrics.
type outcome string

const (
	published   outcome = "published"
	repeated    outcome = "duplicate"
	nothing     outcome = "nothing"
	handshake   outcome = "handshake"
	refused     outcome = "refused"
	unreadable  outcome = "unreadable"
	slow        outcome = "slow"
	tooLarge    outcome = "too_large"
	method      outcome = "method"
	unpublished outcome = "unpublished"
	broken      outcome = "panicked"
	unknown     outcome = "unknown"
)

// outcomes are those that a known address can have.
func outcomes() []outcome {
	return []outcome{published, repeated, nothing, handshake, refused, unreadable, slow, tooLarge, method,
		unpublished, broken}
}

// statusOf maps an error to its answer. No other place chooses a status.
func statusOf(err error) (int, outcome) {
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errNoDoor):
		return http.StatusNotFound, unknown
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed, method
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, tooLarge
	case errors.Is(err, errBody) && errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, slow
	case errors.Is(err, errUnpublished):
		return http.StatusServiceUnavailable, unpublished
	case errors.Is(err, subscriptions.ErrRefused):
		return http.StatusUnauthorized, refused
	case errors.Is(err, errBody), errors.Is(err, subscriptions.ErrUnreadable):
		return http.StatusBadRequest, unreadable
	}
	return http.StatusInternalServerError, broken
}

// answer tells the sender, the log and the metrics.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	status := http.StatusOK
	if err != nil {
		status, v.outcome = statusOf(err)
	}
	header := w.Header()
	switch status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", retryAfter)
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		header.Set("Connection", "close") // a stranger holds no place by being idle
	}
	if err == nil {
		h.welcome(w, v)
	} else {
		http.Error(w, http.StatusText(status), status)
	}
	took := time.Since(v.delivery.Received)
	h.metrics.note(v, took)
	h.record(r.Context(), v, took, err)
}

func (h *Handler) welcome(w http.ResponseWriter, v *visit) {
	w.Header().Set("Content-Type", "application/json")
	for name, value := range v.reply.Header {
		w.Header().Set(name, value)
	}
	if _, err := w.Write([]byte(success)); err != nil {
		h.cfg.Log.Debug("sender is gone before its answer", "error", err)
	}
}

// record writes the one line. An error of a provider's door is not in it: it
// may quote the delivery.
func (h *Handler) record(ctx context.Context, v *visit, took time.Duration, err error) {
	level := levelOf(v.outcome)
	if !h.cfg.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("delivery_id", v.change.ID), slog.String("provider", string(v.door.Home.Provider)),
		slog.String("tenant", string(v.door.Home.Tenant)), slog.String("outcome", string(v.outcome)),
		slog.Int("tags", len(v.change.Tags)), slog.Float64("ms", float64(took.Microseconds())/1000),
	}
	if v.outcome == unpublished {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	var p *panicked
	if errors.As(err, &p) {
		attrs = append(attrs, slog.String("error", p.Error()), slog.String("stack", string(p.stack)))
	}
	h.cfg.Log.LogAttrs(ctx, level, "delivery", attrs...)
}

func levelOf(o outcome) slog.Level {
	switch o {
	case unknown:
		return slog.LevelDebug
	case published, repeated, nothing, handshake:
		return slog.LevelInfo
	case unpublished, broken:
		return slog.LevelError
	}
	return slog.LevelWarn
}
