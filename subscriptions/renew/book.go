package renew

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// Book is what a listener knows of the ledgers, whoever writes them. Its methods may
// be used concurrently and never wait, but [Book.Wait].
type Book struct {
	secret func(events.Home, int64) subscriptions.Secret
	log    *slog.Logger

	mu      sync.Mutex
	pages   map[events.Home]page
	changed chan struct{} // closed when one of them changes
}

// page is one ledger, and what is wanted of it.
type page struct {
	wanted   []string
	ledger   subscriptions.Ledger
	revision uint64
}

// NewBook is empty. wanted is what each home must have; of others nothing is noted.
func NewBook(
	wanted map[events.Home][]string, secret func(events.Home, int64) subscriptions.Secret, log *slog.Logger,
) *Book {
	b := &Book{secret: secret, log: log, pages: map[events.Home]page{}, changed: make(chan struct{})}
	for h, w := range wanted {
		b.pages[h] = page{wanted: w, ledger: subscriptions.Ledger{Home: h}}
	}
	return b
}

// Read takes in a ledger as it is stored; nil: there is none.
func (b *Book) Read(h events.Home, value []byte, revision uint64) {
	l := subscriptions.Ledger{Home: h}
	if value != nil {
		var err error
		if l, err = subscriptions.DecodeLedger(value); err != nil || l.Home != h {
			b.log.Warn("ledger cannot be read", "provider", h.Provider, "tenant", h.Tenant, "error", err)
			return
		}
	}
	b.Note(l, revision)
}

// Note takes in a ledger that was stored under a revision. An older one is passed
// over, unless it only seems to be: a store that was lost counts from the beginning.
func (b *Book) Note(l subscriptions.Ledger, revision uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ours := b.pages[l.Home]
	if !ours || revision < p.revision && !l.Looked.After(p.ledger.Looked) {
		return
	}
	p.ledger, p.revision = l, revision
	b.pages[l.Home] = p
	close(b.changed)
	b.changed = make(chan struct{})
}

// Ledger is the last that is known of a home.
func (b *Book) Ledger(h events.Home) subscriptions.Ledger {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pages[h].ledger
}

// Secrets are those that a home's deliveries may bear now.
func (b *Book) Secrets(h events.Home) (secrets []subscriptions.Secret) {
	l := b.Ledger(h)
	for _, serial := range l.Serials(time.Now()) {
		secrets = append(secrets, b.secret(h, serial))
	}
	return secrets
}

// Missing says what does not deliver, and why; empty if all that is wanted does.
func (b *Book) Missing(h events.Home) []string {
	b.mu.Lock()
	p := b.pages[h]
	b.mu.Unlock()
	missing := delivers(p.ledger, p.wanted, time.Now())
	if len(missing) > 0 && p.ledger.Problem != "" {
		return []string{p.ledger.Problem}
	}
	return missing
}

// Wait returns nil once all that is wanted of a home delivers, or why ctx ended, with
// what is missing.
func (b *Book) Wait(ctx context.Context, h events.Home) error {
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		missing := b.Missing(h)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for subscriptions of %s: %w: %s", h, context.Cause(ctx), missing[0])
		}
	}
}
