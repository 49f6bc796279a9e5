package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// long is a life that does not end within a test.
const long = time.Hour

func acquire(t *testing.T, l *stream.Lease) {
	t.Helper()
	if err := l.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, l *stream.Lease, cursor string) {
	t.Helper()
	if err := l.Save(t.Context(), []byte(cursor)); err != nil {
		t.Fatal(err)
	}
}

func wantCursor(t *testing.T, l *stream.Lease, want string) (revision uint64) {
	t.Helper()
	got, revision, err := l.Load(t.Context())
	if err != nil || string(got) != want {
		t.Fatalf("cursor %q, %v; want %q", got, err, want)
	}
	return revision
}

func TestOneHoldsALease(t *testing.T) {
	s, _ := opened(t)
	var held atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := s.Lease("n", long).Acquire(t.Context()); err != nil {
				wantError(t, err, events.ErrConflict)
				return
			}
			held.Add(1)
		})
	}
	wg.Wait()
	if n := held.Load(); n != 1 {
		t.Errorf("%d hold it", n)
	}
	acquire(t, s.Lease("another", long))
}

func TestTheCursorMovesUnderTheLease(t *testing.T) {
	s, _ := opened(t)
	a, b := s.Lease("n", long), s.Lease("n", long)
	if rev := wantCursor(t, a, ""); rev != 0 {
		t.Errorf("revision %d of what was never held", rev)
	}
	wantError(t, a.Save(t.Context(), []byte("x")), events.ErrConflict)
	wantError(t, a.Renew(t.Context()), events.ErrConflict)
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("release of what was never held: %v", err)
	}
	acquire(t, a)
	first := wantCursor(t, a, "")
	save(t, a, "one")
	if err := a.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rev := wantCursor(t, b, "one"); rev < first+2 { // as it lies on the server
		t.Errorf("revision %d after two writes, was %d", rev, first)
	}
	wantError(t, b.Save(t.Context(), []byte("x")), events.ErrConflict)
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantError(t, a.Save(t.Context(), []byte("x")), events.ErrConflict)
	acquire(t, b)
	wantCursor(t, b, "one")
}

// A holder that is silent for a life is followed, and not before; when it comes
// back it can write nothing.
func TestASilentHolderLosesItsLease(t *testing.T) {
	const life = 400 * time.Millisecond
	s, _ := opened(t)
	a, b := s.Lease("n", life), s.Lease("n", life)
	acquire(t, a)
	save(t, a, "one")
	began := time.Now()
	eventually(t, "another has it", func() bool { return b.Acquire(t.Context()) == nil })
	if took := time.Since(began); took < life {
		t.Errorf("taken after %s, the life is %s", took, life)
	}
	wantError(t, a.Save(t.Context(), []byte("late")), events.ErrConflict)
	wantError(t, a.Renew(t.Context()), events.ErrConflict)
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("release of what was lost: %v", err)
	}
	wantError(t, a.Acquire(t.Context()), events.ErrConflict)
	wantCursor(t, b, "one")
	save(t, b, "two")
	wantCursor(t, s.Lease("n", life), "two")
}

// Whoever renews keeps it, however many lives pass: the other never sees the same
// revision twice.
func TestARenewedLeaseIsNotTaken(t *testing.T) {
	const life = 100 * time.Millisecond
	s, _ := opened(t)
	a, b := s.Lease("n", life), s.Lease("n", life)
	acquire(t, a)
	for end := time.Now().Add(10 * life); time.Now().Before(end); {
		if err := a.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantError(t, b.Acquire(t.Context()), events.ErrConflict)
	}
}

// Many lives and holders: the cursor counts every write that was told to have
// worked, and none that was refused.
func TestNobodyWritesWithoutTheLease(t *testing.T) {
	const life = 20 * time.Millisecond
	s, _ := opened(t)
	var wrote, perhaps atomic.Int64
	var wg sync.WaitGroup
	for worker := range 4 {
		l := s.Lease("n", life)
		wg.Go(func() {
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
				if l.Acquire(t.Context()) != nil {
					continue
				}
				cursor, _, err := l.Load(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if worker%2 == 0 {
					<-time.After(life + life/2) // slow: often it is lost by now
				}
				switch err := l.Save(t.Context(), append(bytes.Clone(cursor), 'x')); {
				case err == nil:
					wrote.Add(1)
				case !errors.Is(err, events.ErrConflict):
					perhaps.Add(1) // stored or not
				}
			}
		})
	}
	wg.Wait()
	got, _, err := s.Lease("n", life).Load(t.Context())
	least, most := wrote.Load(), wrote.Load()+perhaps.Load()
	if n := int64(len(got)); err != nil || n < least || n > most || n == 0 {
		t.Errorf("the cursor counts %d writes, %v; %d to %d were told to have worked", n, err, least, most)
	}
}

// A holder whose write was stored while its answer was lost is still the holder.
func TestALostAnswerDoesNotLoseTheLease(t *testing.T) {
	s, nc := opened(t)
	a := s.Lease("n", long)
	acquire(t, a)
	save(t, a, "one")
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	there, err := kv.Get(t.Context(), "lease.n")
	if err != nil {
		t.Fatal(err)
	}
	// As if it had been stored once more.
	if _, err := kv.Update(t.Context(), "lease.n", there.Value(), there.Revision()); err != nil {
		t.Fatal(err)
	}
	save(t, a, "two")
	wantCursor(t, s.Lease("n", long), "two")
	if err := kv.Delete(t.Context(), "lease.n"); err != nil { // as if the server had lost it
		t.Fatal(err)
	}
	if err := a.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCursor(t, s.Lease("n", long), "two")
}

func TestWhatCannotBeReadIsHandedOn(t *testing.T) {
	s, nc := opened(t)
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"not JSON", `{"cursor":"%"}`, `[]`} {
		name := fmt.Sprint(i)
		if _, err := kv.Put(t.Context(), "lease."+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		l := s.Lease(name, long)
		acquire(t, l)
		wantCursor(t, l, text)
	}
}

func TestACursorHasABound(t *testing.T) {
	s, _ := opened(t)
	l := s.Lease("n", long)
	acquire(t, l)
	save(t, l, string(make([]byte, stream.MaxCursor)))
	wantError(t, l.Save(t.Context(), make([]byte, stream.MaxCursor+1)), stream.ErrCursor)
	save(t, l, "short")
}

// A restart of the server neither ends a lease nor loses the cursor.
func TestALeaseOutlivesTheServer(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	a, b := s.Lease("n", long), s.Lease("n", long)
	acquire(t, a)
	save(t, a, "one")
	stopServer(t, o.srv)
	if err := a.Save(t.Context(), []byte("two")); err == nil {
		t.Error("stored without a server")
	}
	o.srv = startServer(t, o.opts)
	eventually(t, "connected again", func() bool { return nc.Status() == nats.CONNECTED })
	eventually(t, "saved", func() bool { return a.Save(t.Context(), []byte("three")) == nil })
	wantError(t, b.Acquire(t.Context()), events.ErrConflict)
	wantCursor(t, b, "three")
}
