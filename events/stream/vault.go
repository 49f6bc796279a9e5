package stream

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// ErrSealingKey says that a value was not sealed with our key, not for this
// name, or was altered.
var ErrSealingKey = errors.New("sealed with another key, or altered")

// sealVersion is the first byte of a sealed value: AES-256-GCM, then a random
// nonce, then the text, bound to the key's name.
const sealVersion = 1

// vaultLimit bounds each call: whoever waits for a token holds a lease, for
// which others wait.
const vaultLimit = 2 * time.Second

// Vault keeps small secrets for the fleet, sealed with a key that the server
// never sees. Names of keys are readable there, values are not.
type Vault struct {
	kv  jetstream.KeyValue
	key [32]byte
}

// Vault seals with the key given. All workers need the same one.
func (s *Stream) Vault(key [32]byte) *Vault { return &Vault{kv: s.kv, key: key} }

// Get returns a value and its revision, or [events.ErrNoSecret] if there is
// none. One that was sealed with another key counts as none, so that a new key
// heals itself: the error is [ErrSealingKey] too, and the revision is given.
func (v *Vault) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	entry, err := v.kv.Get(ctx, secretName(key))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, fmt.Errorf("secret %q: %w", key, events.ErrNoSecret)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("secret %q: %w", key, err)
	}
	value, err = v.open(key, entry.Value())
	if errors.Is(err, ErrSealingKey) {
		return nil, entry.Revision(), fmt.Errorf("secret %q: %w: %w", key, events.ErrNoSecret, err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("secret %q: %w", key, err)
	}
	return value, entry.Revision(), nil
}

// Put stores a value if the revision is still the one given, 0 for none, else
// it returns [events.ErrConflict].
func (v *Vault) Put(ctx context.Context, key string, value []byte, revision uint64) error {
	sealed, err := v.seal(key, value)
	if err != nil {
		return fmt.Errorf("secret %q: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	if revision == 0 {
		_, err = v.kv.Create(ctx, secretName(key), sealed)
	} else {
		_, err = v.kv.Update(ctx, secretName(key), sealed, revision)
	}
	if conflict(err) {
		return fmt.Errorf("secret %q: %w", key, events.ErrConflict)
	}
	return wrap(fmt.Sprintf("secret %q", key), err)
}

// Keep is [Vault.Put] of a value that ends by itself after life, in whole seconds
// rounded up, at least one. What it replaces is ended first: if that cannot be
// followed by the new one, there is none.
func (v *Vault) Keep(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) error {
	sealed, err := v.seal(key, value)
	if err != nil {
		return fmt.Errorf("secret %q: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	if revision != 0 { // only what is created can end by itself
		err = v.kv.Purge(ctx, secretName(key), jetstream.LastRevision(revision), jetstream.PurgeTTL(markerTTL))
	}
	if err == nil {
		_, err = v.kv.Create(ctx, secretName(key), sealed, jetstream.KeyTTL(wholeSeconds(life)))
	}
	if conflict(err) {
		return fmt.Errorf("secret %q: %w", key, events.ErrConflict)
	}
	return wrap(fmt.Sprintf("secret %q", key), err)
}

// wholeSeconds rounds up to what the server knows of lives.
func wholeSeconds(d time.Duration) time.Duration {
	return (max(d, time.Second) + time.Second - 1).Truncate(time.Second)
}

// Lock takes a lock that ends by itself after ttl, in whole seconds, at least
// one; or returns [events.ErrConflict] at once if another holds it. unlock is
// idempotent and ends only this holder's lock; one that it cannot end, because
// the server is away, ends by itself. A holder that is late still believes
// that it holds: guard writes by revision.
func (v *Vault) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	within, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	revision, err := v.kv.Create(within, lockName(key), nil, jetstream.KeyTTL(wholeSeconds(ttl)))
	if conflict(err) {
		return nil, fmt.Errorf("lock %q: %w", key, events.ErrConflict)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %q: %w", key, err)
	}
	return sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
		defer cancel()
		// The revision keeps a late holder from ending its successor's lock.
		_ = v.kv.Purge(ctx, lockName(key), jetstream.LastRevision(revision), jetstream.PurgeTTL(markerTTL))
	}), nil
}

func secretName(key string) string { return "secret." + nameToken(key) }
func lockName(key string) string   { return "lock." + nameToken(key) }

// nameToken is the escaped key with "=" for "%", which a bucket does not allow
// in names; "=" itself is escaped, so two keys never share a name.
func nameToken(key string) string { return strings.ReplaceAll(events.Escape(key), "%", "=") }

func (v *Vault) seal(key string, value []byte) ([]byte, error) {
	gcm, err := v.cipher()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 1+gcm.NonceSize(), 1+gcm.NonceSize()+len(value)+gcm.Overhead())
	out[0] = sealVersion
	if _, err := rand.Read(out[1:]); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	return gcm.Seal(out, out[1:], value, []byte(key)), nil
}

func (v *Vault) open(key string, sealed []byte) ([]byte, error) {
	gcm, err := v.cipher()
	if err != nil {
		return nil, err
	}
	n := 1 + gcm.NonceSize()
	if len(sealed) < n || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%w: not a value of this version", ErrSealingKey)
	}
	value, err := gcm.Open(nil, sealed[1:n], sealed[n:], []byte(key))
	if err != nil {
		return nil, ErrSealingKey
	}
	return value, nil
}

func (v *Vault) cipher() (cipher.AEAD, error) {
	block, err := aes.NewCipher(v.key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Unsealed counts what lies sealed in a bucket that is only looked at: how much can be
// opened with a key, and how much cannot. Locks and what is no secret are passed over.
func Unsealed(entries []jetstream.KeyValueEntry, key [32]byte) (opened, foreign int) {
	v := &Vault{key: key}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Key(), secretName(""))
		text, err := events.Unescape(strings.ReplaceAll(name, "=", "%"))
		if !ok || err != nil {
			continue
		}
		if _, err := v.open(text, e.Value()); err != nil {
			foreign++
		} else {
			opened++
		}
	}
	return opened, foreign
}
