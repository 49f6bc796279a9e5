package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

func keep(t *testing.T, l *stream.Ledgers, h events.Home, value string, revision uint64) (next uint64) {
	t.Helper()
	next, err := l.Save(t.Context(), h, []byte(value), revision)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func wantLedger(t *testing.T, l *stream.Ledgers, h events.Home, want string) (revision uint64) {
	t.Helper()
	got, revision, err := l.Load(t.Context(), h)
	if err != nil || string(got) != want {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
	return revision
}

func conflicts(t *testing.T, l *stream.Ledgers, h events.Home, revision uint64) {
	t.Helper()
	_, err := l.Save(t.Context(), h, []byte("x"), revision)
	wantError(t, err, events.ErrConflict)
}

func TestALedgerIsWrittenByRevision(t *testing.T) {
	s, _ := opened(t)
	l := s.Ledgers()
	if rev := wantLedger(t, l, home, ""); rev != 0 {
		t.Errorf("revision %d of what is not there", rev)
	}
	conflicts(t, l, home, 7)
	first := keep(t, l, home, "one", 0)
	conflicts(t, l, home, 0)
	conflicts(t, l, home, first+1)
	if rev := wantLedger(t, s.Ledgers(), home, "one"); rev != first {
		t.Errorf("revision %d, want %d", rev, first)
	}
	keep(t, l, other, "two", 0)
	second := keep(t, l, home, "three", first)
	conflicts(t, l, home, first)

	wantError(t, l.Delete(t.Context(), home, first), events.ErrConflict)
	wantError(t, l.Delete(t.Context(), home, 0), events.ErrConflict)
	if err := l.Delete(t.Context(), home, second); err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(t.Context(), home, 0); err != nil {
		t.Errorf("delete of what is not there: %v", err)
	}
	if rev := wantLedger(t, l, home, ""); rev != 0 {
		t.Errorf("revision %d of what was deleted", rev)
	}
	conflicts(t, l, home, second)
	third := keep(t, l, home, "four", 0)
	if third <= second {
		t.Errorf("revision %d after %d", third, second)
	}
	wantLedger(t, l, other, "two")
}

func TestALedgerHasItsLimits(t *testing.T) {
	s, _ := opened(t)
	l, ctx := s.Ledgers(), t.Context()
	full := bytes.Repeat([]byte("x"), stream.MaxLedger)
	_, err := l.Save(ctx, home, append(full, 'x'), 0)
	wantError(t, err, stream.ErrTooLong)
	if _, err := l.Save(ctx, home, full, 0); err != nil {
		t.Fatal(err)
	}
	if got, _, err := l.Load(ctx, home); err != nil || !bytes.Equal(got, full) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	_, err = l.Save(ctx, events.Home{Provider: "p"}, nil, 0)
	wantError(t, err, events.ErrID)
}

// homes have ids that a key could not hold as they are.
func homes() (all []events.Home) {
	ids := []string{"a", "a.b", "=2E", "%2E", "*", ">", "ü ", "a.b.c", strings.Repeat("=", events.MaxID)}
	for _, id := range ids {
		all = append(all, events.Home{Provider: "ringcentral", Tenant: events.Tenant(id)},
			events.Home{Provider: events.Provider(id), Tenant: "t"})
	}
	return all
}

func TestAllLedgersAreToldByHome(t *testing.T) {
	s, nc := opened(t)
	l := s.Ledgers()
	if all, err := l.All(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v of nothing", all, err)
	}
	acquire(t, s.Lease("ledger", long)) // lies beside them
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"ledger.x", "ledger.a.b.c", "ledger.a.=zz", "ledgers.a.b"} {
		if _, err := kv.Put(t.Context(), key, []byte("nobody's")); err != nil {
			t.Fatal(err)
		}
	}
	want := map[events.Home]stream.Kept{}
	for _, h := range homes() {
		rev := keep(t, l, h, "of "+h.String(), 0)
		want[h] = stream.Kept{Value: []byte("of " + h.String()), Revision: rev}
	}
	gone := homes()[0]
	if err := l.Delete(t.Context(), gone, want[gone].Revision); err != nil {
		t.Fatal(err)
	}
	delete(want, gone)
	all, err := l.All(t.Context())
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Two writers count: no number is lost and none is counted twice.
func TestTwoWritersLoseNothing(t *testing.T) {
	s, _ := opened(t)
	const each = 50
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			l := s.Ledgers()
			for n := 0; n < each; {
				value, revision, err := l.Load(t.Context(), home)
				if err != nil {
					t.Error(err)
					return
				}
				was, _ := strconv.Atoi(string(value)) // none is zero
				_, err = l.Save(t.Context(), home, []byte(strconv.Itoa(was+1)), revision)
				if err == nil {
					n++
				} else if !errors.Is(err, events.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantLedger(t, s.Ledgers(), home, strconv.Itoa(2*each))
}

// watched is what a watch has told.
type watched struct {
	mu     sync.Mutex
	values map[events.Home]string
	nils   int
	calls  int
	last   uint64
}

func (w *watched) hear(h events.Home, value []byte, revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	w.last = revision
	if value == nil {
		w.nils++
		delete(w.values, h)
		return
	}
	w.values[h] = string(value)
}

func (w *watched) is(want map[events.Home]string) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return maps.Equal(w.values, want)
	}
}

func watch(t *testing.T, l *stream.Ledgers) (w *watched, stop func()) {
	t.Helper()
	w = &watched{values: map[events.Home]string{}}
	return w, background(t, func(ctx context.Context) error { return l.Watch(ctx, w.hear) })
}

func TestAWatchTellsWhatIsThereAndWhatComes(t *testing.T) {
	s, _ := opened(t)
	l := s.Ledgers()
	first := keep(t, l, home, "one", 0)
	keep(t, l, other, "", 0) // empty is not nothing
	w, stop := watch(t, s.Ledgers())
	want := map[events.Home]string{home: "one", other: ""}
	eventually(t, "what is there", w.is(want))
	second := keep(t, l, home, "two", first)
	want[home] = "two"
	eventually(t, "a change", w.is(want))
	for _, h := range homes() {
		keep(t, l, h, "of "+h.String(), 0)
		want[h] = "of " + h.String()
	}
	eventually(t, "new ones", w.is(want))
	if err := l.Delete(t.Context(), home, second); err != nil {
		t.Fatal(err)
	}
	delete(want, home)
	eventually(t, "a deletion", w.is(want))
	acquire(t, s.Lease("n", long)) // is none of its business
	last := keep(t, l, home, "three", 0)
	want[home] = "three"
	eventually(t, "the last", w.is(want))
	stop()
	if n := 2 + 1 + len(homes()) + 2; w.calls != n || w.nils != 1 || w.last != last {
		t.Errorf("%d calls, %d of them nil, the last of %d; want %d, 1, %d", w.calls, w.nils, w.last, n, last)
	}
}

func TestLedgersOutliveARestartOfTheServer(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	l := s.Ledgers()
	first := keep(t, l, home, "one", 0)
	gone := keep(t, l, other, "gone", 0)
	w, _ := watch(t, l)
	eventually(t, "what is there", w.is(map[events.Home]string{home: "one", other: "gone"}))
	o.restart(t)
	eventually(t, "the server is back", func() bool { return s.Healthy(t.Context()) == nil })
	if rev := wantLedger(t, l, home, "one"); rev != first {
		t.Errorf("revision %d, was %d", rev, first)
	}
	keep(t, l, home, "two", first)
	if err := l.Delete(t.Context(), other, gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what came after", w.is(map[events.Home]string{home: "two"}))
}

// The watch makes a bucket that was lost anew, and hears of what is written to it,
// though its sequences begin again. What was lost nobody has deleted.
func TestAWatchOfLedgersOutlivesTheirBucket(t *testing.T) {
	s, nc := opened(t)
	l := s.Ledgers()
	lease := s.Lease("n", long)
	acquire(t, lease)
	var rev uint64
	for i := range 20 {
		rev = keep(t, l, home, fmt.Sprint(i), rev)
	}
	keep(t, l, other, "stays known", 0)
	w, _ := watch(t, l)
	eventually(t, "what is there", w.is(map[events.Home]string{home: "19", other: "stays known"}))
	if err := jetStream(t, nc).DeleteKeyValue(t.Context(), stream.Bucket); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bucket is there again", func() bool {
		_, revision, err := l.Load(t.Context(), home)
		return err == nil && revision == 0
	})
	conflicts(t, l, home, rev)
	if next := keep(t, l, home, "again", 0); next >= rev {
		t.Fatalf("revision %d after %d: this is no new bucket", next, rev)
	}
	want := map[events.Home]string{home: "again", other: "stays known"}
	eventually(t, "what is written to the new one", w.is(want))
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("the lease in the same bucket: %v", err)
	}
	if _, err := s.Vault([32]byte{1}).Lock(t.Context(), "k", long); err != nil { // needs its markers
		t.Errorf("a lock in the same bucket: %v", err)
	}
}

// With the server away nobody waits for ever, and a watch can be stopped.
func TestLedgersWithoutAServer(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	l := s.Ledgers()
	rev := keep(t, l, home, "one", 0)
	w, stop := watch(t, l)
	eventually(t, "what is there", w.is(map[events.Home]string{home: "one"}))
	stopServer(t, o.srv)
	var wg sync.WaitGroup
	for what, ask := range map[string]func() error{
		"load":   func() error { _, _, err := l.Load(t.Context(), home); return err },
		"save":   func() error { _, err := l.Save(t.Context(), home, []byte("two"), rev); return err },
		"delete": func() error { return l.Delete(t.Context(), home, rev) },
		"all":    func() error { _, err := l.All(t.Context()); return err },
	} {
		wg.Go(func() {
			began := time.Now()
			if ask() == nil {
				t.Errorf("%s: no error", what)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: took %s", what, took)
			}
		})
	}
	wg.Wait()
	began := time.Now()
	stop()
	// The client library tells the server of its end, for 5 s at most; then what is
	// still coming is taken, for 2 s at most.
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("the watch ended after %s", took)
	}
}
