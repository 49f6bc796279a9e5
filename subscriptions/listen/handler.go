package listen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// Handler answers POST /hooks/<provider>/<part>. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	doors   []keyed
	metrics *metrics
}

// visit is one delivery on its way through.
type visit struct {
	door     Door
	delivery subscriptions.Delivery
	reply    subscriptions.Reply
	origin   subscriptions.Origin
	change   events.Change
	changed  bool
	outcome  outcome
}

// ServeHTTP receives a delivery and answers it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{delivery: subscriptions.Delivery{Header: r.Header, Received: time.Now()}}
	h.answer(w, r, v, h.receive(w, r, v))
	h.prove(v)
}

// prove tells of a delivery that went its whole way, or that had nothing to
// tell, such as a reminder; and of one that could not be stored. A handshake proves nothing: it may have come from
// whoever knows the address.
func (h *Handler) prove(v *visit) {
	switch v.outcome {
	case published, repeated, nothing:
		if h.cfg.Heard != nil {
			h.cfg.Heard(v.door.Home, v.origin, v.delivery.Received)
		}
	case unpublished:
		if h.cfg.Missed != nil {
			h.cfg.Missed(v.door.Home, v.delivery.Received)
		}
	}
}

// receive lets the delivery through, or says where it ended. A panic of a
// provider's door ends that delivery and nothing else.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, v *visit) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{value: p, stack: debug.Stack()}
		}
	}()
	if err := h.find(r, v); err != nil {
		return err
	}
	if err := h.read(w, r, v); err != nil {
		return err
	}
	if h.cfg.Secrets != nil {
		v.delivery.Secrets = h.cfg.Secrets(v.door.Home)
	}
	if err := v.verify(); err != nil {
		return err
	}
	v.origin = v.door.Door.Origin(v.delivery)
	if err := v.translate(); err != nil {
		return err
	}
	return h.publish(r.Context(), v)
}

// find compares the whole address with that of every door, but for a registration's
// serial at its end: the time it takes tells neither how much of it was right nor
// which providers there are.
func (h *Handler) find(r *http.Request, v *visit) error {
	digest := sha256.Sum256([]byte(withoutSerial(r.URL.Path)))
	for _, k := range h.doors {
		if subtle.ConstantTimeCompare(k.digest[:], digest[:]) == 1 {
			v.door, v.delivery.Home = k.Door, k.Home
		}
	}
	if v.door.Door == nil {
		return errNoDoor
	}
	if r.Method != http.MethodPost {
		return errMethod
	}
	return nil
}

// maxSerial is how many digits a registration's serial has at most; the unguessable
// part of an address is longer.
const maxSerial = minPart - 1

// withoutSerial is an address without the serial of a registration.
func withoutSerial(path string) string {
	i := strings.LastIndexByte(path, '/')
	serial := path[i+1:]
	if i < 0 || serial == "" || len(serial) > maxSerial || strings.Trim(serial, "0123456789") != "" {
		return path
	}
	return path[:i]
}

// read takes the body in, no more than is allowed. What was announced is not
// reserved before it comes, beyond a usual notice.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, v *visit) error {
	if r.ContentLength > h.cfg.MaxBody {
		return &http.MaxBytesError{Limit: h.cfg.MaxBody}
	}
	const usual = 8 << 10
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), usual)) + bytes.MinRead)
	if _, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, h.cfg.MaxBody)); err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	v.delivery.Body = b.Bytes()
	return nil
}

// verify asks the provider whether the delivery is authentic. An error that
// does not say what it is refuses.
func (v *visit) verify() (err error) {
	if v.reply, err = v.door.Door.Verify(v.delivery); err != nil {
		return inFamily(err, subscriptions.ErrRefused)
	}
	room := maxReply
	for name, value := range v.reply.Header {
		room -= len(name) + len(value) + len(": \r\n")
	}
	if room < 0 {
		return fmt.Errorf("%w: what it wants to hear does not fit into an answer", subscriptions.ErrUnreadable)
	}
	return nil
}

// translate makes the change. One that cannot be stored is unreadable, and not
// a reason to send it again.
func (v *visit) translate() (err error) {
	if v.change, v.changed, err = v.door.Door.Translate(v.delivery); err != nil {
		return inFamily(err, subscriptions.ErrUnreadable)
	}
	if !v.changed {
		return nil
	}
	if v.change.Home != v.door.Home {
		return fmt.Errorf("%w: a change of another tenant", subscriptions.ErrUnreadable)
	}
	if err := v.change.Validate(); err != nil {
		return fmt.Errorf("%w: %w", subscriptions.ErrUnreadable, err)
	}
	return v.fit()
}

// fit replaces the tags of a change that is too large for a message by the one
// that covers them all.
func (v *visit) fit() error {
	size := 0
	for _, t := range v.change.Tags {
		size += len(t.Kind) + len(t.ID)
	}
	for _, r := range v.change.Reasons {
		size += len(r)
	}
	const grown = 6 // JSON writes a byte as \u0000 at worst, or a short tag with its quotes and comma
	if (size+4*len(v.change.Tags)+3*len(v.change.Reasons))*grown < maxMessage {
		return nil
	}
	b, err := events.Encode(v.change)
	if err != nil {
		return fmt.Errorf("%w: %w", subscriptions.ErrUnreadable, err)
	}
	if len(b) > maxMessage {
		v.change.Tags, v.change.Reasons = []events.Tag{events.TenantTag}, nil
	}
	return nil
}

// publish waits for the stream, whether or not the sender still does.
func (h *Handler) publish(ctx context.Context, v *visit) error {
	switch {
	case !v.changed && len(v.reply.Header) > 0:
		v.outcome = handshake
		return nil
	case !v.changed:
		v.outcome = nothing
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.PublishWait)
	defer cancel()
	began := time.Now()
	duplicate, err := h.cfg.Publisher.Publish(ctx, v.change)
	h.metrics.publishing.Observe(time.Since(began).Seconds())
	if err != nil {
		return fmt.Errorf("%w: %w", errUnpublished, err)
	}
	v.outcome = published
	if duplicate {
		v.outcome = repeated
	}
	return nil
}

// inFamily sees to it that an error of a provider is of one of the two families.
func inFamily(err, family error) error {
	if errors.Is(err, subscriptions.ErrRefused) || errors.Is(err, subscriptions.ErrUnreadable) {
		return err
	}
	return fmt.Errorf("%w: %w", family, err)
}
