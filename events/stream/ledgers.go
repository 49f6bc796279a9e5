package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// MaxLedger is how long a ledger may be, in bytes: it is one message, which a server
// takes up to 1 MiB by default.
const MaxLedger = 512 << 10

// ErrTooLong says that a ledger, a request or a reply is longer than it may be.
var ErrTooLong = errors.New("too long")

// ErrNoLedgers says that no service has run with this NATS.
var ErrNoLedgers = errors.New("nothing is noted of subscriptions here: no listener has run with this NATS")

// Ledgers are small durable values, one for each home, in the bucket of the leases.
// Every write is a compare-and-set on the revision. They are readable there: they
// must hold no secret.
//
// Its methods may be used concurrently, and are bounded, each to 2 s, but for
// [Ledgers.Watch].
type Ledgers struct {
	s *Stream
}

// Kept is a ledger as it lies there.
type Kept struct {
	Value    []byte
	Revision uint64
}

// Ledgers makes no call.
func (s *Stream) Ledgers() *Ledgers { return &Ledgers{s} }

// Load returns a home's value and the revision under which it lies; nil and 0 if
// there is none. A replica may be behind: then Save refuses.
func (l *Ledgers) Load(ctx context.Context, h events.Home) (value []byte, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	entry, err := l.s.kv.Get(ctx, ledgerKey(h))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, l.wrap(h, err)
	}
	return entry.Value(), entry.Revision(), nil
}

// Save stores a value of at most [MaxLedger] bytes if the revision is still the one
// given, 0 for none, and returns the next; else the error is [events.ErrConflict].
// After any other error it may be stored or not. One that is longer is [ErrTooLong].
func (l *Ledgers) Save(
	ctx context.Context, h events.Home, value []byte, revision uint64,
) (next uint64, err error) {
	if err := h.Validate(); err != nil {
		return 0, l.wrap(h, err)
	}
	if len(value) > MaxLedger {
		return 0, l.wrap(h, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLong, len(value), MaxLedger))
	}
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	if revision == 0 {
		next, err = l.s.kv.Create(ctx, ledgerKey(h), value)
	} else {
		next, err = l.s.kv.Update(ctx, ledgerKey(h), value, revision)
	}
	if conflict(err) || errors.Is(err, jetstream.ErrKeyExists) {
		err = events.ErrConflict
	}
	if err != nil {
		return 0, l.wrap(h, err)
	}
	return next, nil
}

// Delete removes a home's value if the revision is still the one given, else the
// error is [events.ErrConflict]. It is no error to delete what is not there, by
// revision 0. A mark stays, so that no watch misses the end.
func (l *Ledgers) Delete(ctx context.Context, h events.Home, revision uint64) error {
	if revision == 0 {
		_, revision, err := l.Load(ctx, h)
		if err == nil && revision != 0 {
			err = l.wrap(h, events.ErrConflict)
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	err := l.s.kv.Delete(ctx, ledgerKey(h), jetstream.LastRevision(revision))
	if conflict(err) || errors.Is(err, jetstream.ErrKeyExists) {
		err = events.ErrConflict
	}
	return l.wrap(h, err)
}

// All returns what is there, all of it or an error. It may be asked of a stream that is
// only looked at ([Attach]).
func (l *Ledgers) All(ctx context.Context) (map[events.Home]Kept, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	kv := l.s.kv
	if kv == nil {
		var err error
		if kv, err = l.s.js.KeyValue(ctx, Bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
			return nil, ErrNoLedgers
		} else if err != nil {
			return nil, fmt.Errorf("ledgers: %w", err)
		}
	}
	w, err := kv.Watch(ctx, allLedgers, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("ledgers: %w", err)
	}
	defer stopWatch(w)
	all := map[events.Home]Kept{}
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ledgers: %w", ctx.Err())
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, fmt.Errorf("ledgers: %w", errWatchEnded)
			case e == nil: // these were all
				return all, nil
			}
			if h, err := homeOfLedger(e.Key()); err == nil {
				all[h] = Kept{e.Value(), e.Revision()}
			}
		}
	}
}

func (l *Ledgers) wrap(h events.Home, err error) error {
	return wrap(fmt.Sprintf("ledger of %s", h), err)
}

const (
	ledgerPrefix = "ledger."
	allLedgers   = ledgerPrefix + ">"
)

func ledgerKey(h events.Home) string {
	return ledgerPrefix + nameToken(string(h.Provider)) + "." + nameToken(string(h.Tenant))
}

// homeOfLedger is the inverse of ledgerKey.
func homeOfLedger(key string) (h events.Home, err error) {
	parts := strings.Split(strings.TrimPrefix(key, ledgerPrefix), ".")
	if len(parts) != 2 {
		return events.Home{}, fmt.Errorf("key %.80q has %d ids, not 2", key, len(parts))
	}
	for i, p := range parts {
		if parts[i], err = events.Unescape(strings.ReplaceAll(p, "=", "%")); err != nil {
			return events.Home{}, fmt.Errorf("key %.80q: %w", key, err)
		}
	}
	h = events.Home{Provider: events.Provider(parts[0]), Tenant: events.Tenant(parts[1])}
	return h, h.Validate()
}
