package subscriptions

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/rescindhq/rescind/events"
)

const redacted = "[redacted]"

// Secret is text that never prints: in logs, errors, JSON, YAML and %v it is
// "[redacted]", or nothing if empty. Reveal gives the text itself.
type Secret struct{ text string }

// NewSecret wraps a text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal is the text. Whoever calls it answers for where it goes.
func (s Secret) Reveal() string { return s.text }

// Empty says whether there is none.
func (s Secret) Empty() bool { return s.text == "" }

// String hides the text.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the text from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Equal compares in constant time, whatever the lengths. An empty secret
// equals nothing.
func (s Secret) Equal(text string) bool {
	a, b := sha256.Sum256([]byte(s.text)), sha256.Sum256([]byte(text))
	return hmac.Equal(a[:], b[:]) && s.text != ""
}

// AddressPart is the unguessable part of a tenant's webhook address: 32 hex
// digits derived from a secret of ours, so that it survives a restart without
// being stored.
func AddressPart(key Secret, h events.Home) string {
	mac := hmac.New(sha256.New, []byte(key.text))
	mac.Write([]byte("address\x00" + string(h.Provider) + "\x00" + string(h.Tenant)))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// RegistrationSecret is the secret of one registration: 64 hex digits derived from a
// secret of ours and the registration's serial number in its [Ledger]. So it is
// stored nowhere, and every listener knows that of a registration which another is
// just making.
func RegistrationSecret(key Secret, h events.Home, serial int64) Secret {
	mac := hmac.New(sha256.New, []byte(key.text))
	fmt.Fprintf(mac, "registration\x00%s\x00%s\x00%d", h.Provider, h.Tenant, serial)
	return NewSecret(hex.EncodeToString(mac.Sum(nil)))
}

// What a vault may say.
var (
	// ErrNoSecret: nothing is kept under that key.
	ErrNoSecret = events.ErrNoSecret
	// ErrConflict: somebody else was faster.
	ErrConflict = events.ErrConflict
)

// Vault keeps small secrets, sealed, for the whole fleet.
type Vault interface {
	// Get returns a value and its revision, or ErrNoSecret; then the revision
	// is not 0 if something is there that cannot be opened.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put stores if the revision is still the one given (0: not there), else
	// returns ErrConflict.
	Put(ctx context.Context, key string, value []byte, revision uint64) error
	// Lock takes a lock that ends by itself after ttl (at least 1 s), or
	// returns ErrConflict at once if another holds it. unlock is idempotent.
	Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error)
}
