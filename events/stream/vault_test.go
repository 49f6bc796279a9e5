package stream_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// contract is what the callers of a vault rely on.
type contract interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte, revision uint64) error
	Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error)
	Keep(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) error
}

var _ contract = (*stream.Vault)(nil)

func TestVaultKeepsByRevision(t *testing.T) {
	s, _ := opened(t)
	v := s.Vault([32]byte{1})
	ctx := t.Context()
	_, _, err := v.Get(ctx, "mural/t 1")
	wantError(t, err, events.ErrNoSecret)
	wantError(t, v.Put(ctx, "mural/t 1", []byte("x"), 7), events.ErrConflict)
	if err := v.Put(ctx, "mural/t 1", []byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, v.Put(ctx, "mural/t 1", []byte("x"), 0), events.ErrConflict)
	value, rev, err := v.Get(ctx, "mural/t 1")
	if err != nil || string(value) != "one" || rev == 0 {
		t.Fatalf("%q, %d, %v", value, rev, err)
	}
	if err := v.Put(ctx, "mural/t 1", []byte("two"), rev); err != nil {
		t.Fatal(err)
	}
	wantError(t, v.Put(ctx, "mural/t 1", []byte("x"), rev), events.ErrConflict)
	if value, _, err = v.Get(ctx, "mural/t 1"); err != nil || string(value) != "two" {
		t.Errorf("%q, %v", value, err)
	}
}

func TestVaultKeysAreKeptApart(t *testing.T) {
	s, _ := opened(t)
	v := s.Vault([32]byte{1})
	keys := []string{"a.b", "a/b", "a b", "a%20b", "a=20b", "A", "a", "*", ">", ".", "Größe", "a\nb", "lock.a"}
	for _, k := range keys {
		if err := v.Put(t.Context(), k, []byte(k), 0); err != nil {
			t.Errorf("%q: %v", k, err)
		}
	}
	for _, k := range keys {
		if got, _, err := v.Get(t.Context(), k); err != nil || string(got) != k {
			t.Errorf("%q = %q, %v", k, got, err)
		}
	}
}

func TestVaultSealsWithItsKeyAndBindsToTheName(t *testing.T) {
	s, nc := opened(t)
	const secret = "refresh-token-value"
	v := s.Vault([32]byte{1})
	if err := v.Put(t.Context(), "k", []byte(secret), 0); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Vault([32]byte{2}).Get(t.Context(), "k")
	wantError(t, err, stream.ErrSealingKey)
	if strings.Contains(err.Error(), secret) {
		t.Errorf("error tells the value: %v", err)
	}
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := kv.Get(t.Context(), "secret.k")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed.Value(), []byte(secret)) {
		t.Error("the value lies there in clear")
	}
	flipped := bytes.Clone(sealed.Value())
	flipped[len(flipped)-1] ^= 1
	for name, b := range map[string][]byte{
		"moved": sealed.Value(), "altered": flipped, "empty": nil, "short": {1, 2},
		"clear": []byte("not sealed at all"),
	} {
		if _, err := kv.Put(t.Context(), "secret."+name, b); err != nil {
			t.Fatal(err)
		}
		_, _, err := v.Get(t.Context(), name)
		wantError(t, err, stream.ErrSealingKey)
	}
}

func TestWhatIsKeptForATimeEndsByItself(t *testing.T) {
	s, nc := opened(t)
	v, ctx := s.Vault([32]byte{1}), t.Context()
	began := time.Now()
	if err := v.Keep(ctx, "k", []byte("one"), 0, time.Millisecond); err != nil { // at least a second
		t.Fatal(err)
	}
	wantError(t, v.Keep(ctx, "k", []byte("x"), 0, time.Minute), events.ErrConflict)
	value, rev, err := v.Get(ctx, "k")
	if err != nil || string(value) != "one" {
		t.Fatalf("%q, %v", value, err)
	}
	wantError(t, v.Keep(ctx, "k", []byte("x"), rev+1, time.Minute), events.ErrConflict)
	eventually(t, "it ends", func() bool {
		_, _, err = v.Get(ctx, "k")
		return err != nil
	})
	wantError(t, err, events.ErrNoSecret)
	if took := time.Since(began); took < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("ended after %s, want about a second", took)
	}
	st, err := jetStream(t, nc).Stream(ctx, "KV_"+stream.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	mark, err := st.GetLastMsgForSubject(ctx, "$KV."+stream.Bucket+".secret.k")
	if err != nil || mark.Header.Get(jetstream.MsgTTLHeader) == "" || len(mark.Data) > 0 {
		t.Errorf("what is left of it does not end: %+v, %v", mark, err)
	}
	if err := v.Keep(ctx, "k", []byte("two"), 0, time.Minute); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

func TestWhatIsKeptForATimeReplacesWhatCannotBeOpened(t *testing.T) {
	s, _ := opened(t)
	old, v, ctx := s.Vault([32]byte{2}), s.Vault([32]byte{1}), t.Context()
	if err := old.Keep(ctx, "k", []byte("one"), 0, time.Minute); err != nil {
		t.Fatal(err)
	}
	_, rev, err := v.Get(ctx, "k")
	wantError(t, err, stream.ErrSealingKey)
	if err := v.Keep(ctx, "k", []byte("two"), rev, time.Second); err != nil {
		t.Fatal(err)
	}
	if value, _, err := v.Get(ctx, "k"); err != nil || string(value) != "two" {
		t.Errorf("%q, %v", value, err)
	}
	eventually(t, "the new one ends", func() bool {
		_, _, err = v.Get(ctx, "k")
		return err != nil
	})
	wantError(t, err, events.ErrNoSecret)
}

func TestSealingTheSameTwiceDiffers(t *testing.T) {
	s, nc := opened(t)
	v := s.Vault([32]byte{1})
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	var sealed [2]jetstream.KeyValueEntry
	for i := range sealed {
		var rev uint64
		if i > 0 {
			rev = sealed[0].Revision()
		}
		if err := v.Put(t.Context(), "k", []byte("same"), rev); err != nil {
			t.Fatal(err)
		}
		if sealed[i], err = kv.Get(t.Context(), "secret.k"); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(sealed[0].Value(), sealed[1].Value()) {
		t.Error("the nonce is used twice")
	}
}

func TestOneHoldsALock(t *testing.T) {
	s, _ := opened(t)
	v := s.Vault([32]byte{1})
	var held atomic.Int64
	var wg sync.WaitGroup
	unlocks := make(chan func(), 20)
	for range cap(unlocks) {
		wg.Go(func() {
			unlock, err := v.Lock(t.Context(), "k", time.Minute)
			if err != nil {
				wantError(t, err, events.ErrConflict)
				return
			}
			held.Add(1)
			unlocks <- unlock
		})
	}
	wg.Wait()
	if n := held.Load(); n != 1 {
		t.Fatalf("%d hold it", n)
	}
	first := <-unlocks
	first()
	unlock, err := v.Lock(t.Context(), "k", time.Minute)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	first() // ends nobody else's lock
	_, err = v.Lock(t.Context(), "k", time.Minute)
	wantError(t, err, events.ErrConflict)
	unlock()
}

func TestALockEndsByItself(t *testing.T) {
	s, _ := opened(t)
	v := s.Vault([32]byte{1})
	began := time.Now()
	late, err := v.Lock(t.Context(), "k", time.Millisecond) // at least a second
	if err != nil {
		t.Fatal(err)
	}
	var unlock func()
	eventually(t, "another gets it", func() bool {
		unlock, err = v.Lock(t.Context(), "k", time.Minute)
		return err == nil
	})
	if took := time.Since(began); took < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("ended after %s, want about a second", took)
	}
	late()
	_, err = v.Lock(t.Context(), "k", time.Minute)
	wantError(t, err, events.ErrConflict)
	unlock()
}

func TestALockCanBeGivenBackAfterItsContextEnded(t *testing.T) {
	s, _ := opened(t)
	v := s.Vault([32]byte{1})
	ctx, cancel := context.WithCancel(t.Context())
	unlock, err := v.Lock(ctx, "k", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	unlock()
	if _, err := v.Lock(t.Context(), "k", time.Minute); err != nil {
		t.Errorf("still held: %v", err)
	}
}

func TestASecretAndALockOfOneNameAreApart(t *testing.T) {
	s, _ := opened(t)
	v := s.Vault([32]byte{1})
	if _, err := v.Lock(t.Context(), "k", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := v.Put(t.Context(), "k", []byte("v"), 0); err != nil {
		t.Errorf("put under a lock: %v", err)
	}
}
