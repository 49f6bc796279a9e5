package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// MaxCursor is how long a cursor may be, in bytes: with it a lease is still one
// message, which a server takes up to 1 MiB by default.
const MaxCursor = 512 << 10

// ErrCursor says that a cursor is longer than [MaxCursor].
var ErrCursor = errors.New("cursor too long")

// Lease is the right to do a thing that one process of the fleet shall do, with
// the cursor that tells how far it got. Both are one value under one key, and
// every write is a compare-and-set on its revision, the fencing token: whoever
// has lost the lease cannot move the cursor.
//
// A lease is lost when its holder does not renew it in time. Whoever wants it
// judges that by itself: it must have seen the same revision for a whole life,
// by its own monotonic clock, so that no two clocks are ever compared. The
// server's are no help here: a key's own TTL would take the cursor along, and
// an update cannot set one; and the time of a message tells when it was
// written, not how late it is now.
//
// Its methods may be used concurrently, and are bounded, each to 2 s.
type Lease struct {
	kv     jetstream.KeyValue
	name   string
	life   time.Duration
	holder string // unique to this value, made anew in each process

	mu       sync.Mutex
	revision uint64 // of our last write; 0: not held
	cursor   []byte // as of that write
	seen     uint64 // the revision by which another holds it,
	since    time.Time
}

// leased is what lies under the key.
type leased struct {
	Holder string `json:"holder,omitempty"` // empty: nobody
	Cursor []byte `json:"cursor,omitempty"`
}

// Lease is the lease of that name. It lives for life unless renewed; all who
// compete for it must say the same. Nothing is asked of the server yet.
func (s *Stream) Lease(name string, life time.Duration) *Lease {
	return &Lease{kv: s.kv, name: name, life: life, holder: rand.Text()}
}

// Life is how long it lasts after each write.
func (l *Lease) Life() time.Duration { return l.life }

// Acquire takes the lease if nobody has it, or its holder was silent for a life
// since Acquire first saw that revision; else it returns [events.ErrConflict].
// So ask again and again, several times in a life.
func (l *Lease) Acquire(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	there, revision, err := l.read(ctx)
	if err != nil {
		return l.wrap(err)
	}
	if there.Holder != "" && there.Holder != l.holder && !l.silent(revision) {
		return l.wrap(events.ErrConflict)
	}
	return l.wrap(l.write(ctx, leased{l.holder, there.Cursor}, revision))
}

// silent says whether the revision has been the same for a life.
func (l *Lease) silent(revision uint64) bool {
	if revision != l.seen {
		l.seen, l.since = revision, time.Now()
	}
	return time.Since(l.since) >= l.life
}

// Renew prolongs the lease. It is [Lease.Save] with the cursor as it is.
func (l *Lease) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrap(l.keep(ctx, func(old []byte) leased { return leased{l.holder, old} }))
}

// Save stores the cursor and prolongs the lease, in one write. The error is
// [events.ErrConflict] if the lease is not ours any more: then nothing was
// stored. After any other error the cursor may be stored or not.
func (l *Lease) Save(ctx context.Context, cursor []byte) error {
	if len(cursor) > MaxCursor {
		return l.wrap(fmt.Errorf("%w: %d bytes, the limit is %d", ErrCursor, len(cursor), MaxCursor))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrap(l.keep(ctx, func([]byte) leased { return leased{l.holder, cursor} }))
}

// Release gives the lease back, so that another need not wait; the cursor
// stays. It is no error if the lease was lost, or never held.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revision == 0 {
		return nil
	}
	err := l.keep(ctx, func(old []byte) leased { return leased{"", old} })
	l.revision, l.cursor = 0, nil
	if errors.Is(err, events.ErrConflict) {
		return nil
	}
	return l.wrap(err)
}

// Load gives the cursor, nil if there is none, and the revision under which it
// lies, 0 if the lease was never held. Anybody may ask; the holder is told of its
// own last write, since a replica of the bucket may be behind.
func (l *Lease) Load(ctx context.Context) (cursor []byte, revision uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revision != 0 {
		return l.cursor, l.revision, nil
	}
	there, revision, err := l.read(ctx)
	if err != nil {
		return nil, 0, l.wrap(err)
	}
	return there.Cursor, revision, nil
}

// keep writes over our last write. The answer to that one may have been lost,
// with the server or on the way: then the value has another revision than we
// know and is ours still, since nobody else writes our holder's name.
func (l *Lease) keep(ctx context.Context, next func(old []byte) leased) error {
	if l.revision == 0 {
		return events.ErrConflict
	}
	err := l.write(ctx, next(l.cursor), l.revision)
	if !errors.Is(err, events.ErrConflict) {
		return err
	}
	there, revision, err := l.read(ctx)
	if err != nil {
		return err
	}
	if revision == 0 { // the server has lost it; we have not
		there = leased{l.holder, l.cursor}
	}
	if there.Holder != l.holder {
		l.revision, l.cursor = 0, nil
		return events.ErrConflict
	}
	return l.write(ctx, next(there.Cursor), revision)
}

// read returns what is there. What cannot be read is nobody's, and is handed on
// as the cursor: whose it is must see that it is none.
func (l *Lease) read(ctx context.Context) (leased, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	entry, err := l.kv.Get(ctx, leaseName(l.name))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return leased{}, 0, nil
	}
	if err != nil {
		return leased{}, 0, err
	}
	var there leased
	if json.Unmarshal(entry.Value(), &there) != nil {
		return leased{Cursor: entry.Value()}, entry.Revision(), nil
	}
	return there, entry.Revision(), nil
}

func (l *Lease) write(ctx context.Context, value leased, revision uint64) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	if revision == 0 {
		revision, err = l.kv.Create(ctx, leaseName(l.name), b)
	} else {
		revision, err = l.kv.Update(ctx, leaseName(l.name), b, revision)
	}
	if conflict(err) || errors.Is(err, jetstream.ErrKeyExists) {
		return events.ErrConflict
	}
	if err != nil {
		return err
	}
	l.revision, l.cursor = revision, value.Cursor
	return nil
}

func (l *Lease) wrap(err error) error { return wrap(fmt.Sprintf("lease %q", l.name), err) }

func leaseName(name string) string { return "lease." + nameToken(name) }
