package stream_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

func TestPublishStoresTheChangeUnderItsSubject(t *testing.T) {
	s, nc := opened(t)
	c := change("1")
	ack := publish(t, s, c)
	st, err := jetStream(t, nc).Stream(t.Context(), stream.Changes)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := st.GetMsg(t.Context(), ack.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	want, err := events.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if string(raw.Data) != string(want) || raw.Subject != events.ChangeSubject(home) {
		t.Errorf("stored %s on %s, want %s", raw.Data, raw.Subject, want)
	}
	if raw.Header.Get(jetstream.MsgIDHeader) != c.ID || raw.Header.Get("Content-Type") != events.ContentType {
		t.Errorf("headers = %v", raw.Header)
	}
}

func TestPublishTellsDuplicates(t *testing.T) {
	s, _ := opened(t)
	first := publish(t, s, change("1"))
	second := publish(t, s, change("1"))
	if first.Duplicate || !second.Duplicate || second.Sequence != first.Sequence {
		t.Errorf("acks = %+v, %+v", first, second)
	}
}

func TestIDsThatAHeaderWouldMergeStayApart(t *testing.T) {
	s, _ := opened(t)
	for _, id := range []string{"a b", "a\nb", "a\r\nb", " a b", "a b ", "a%20b", "ä", "a\x00b", "a\tb"} {
		if ack := publish(t, s, change(id)); ack.Duplicate {
			t.Errorf("%q is taken for another", id)
		}
	}
	for _, id := range []string{"a\nb", "a b ", "ä"} {
		if ack := publish(t, s, change(id)); !ack.Duplicate {
			t.Errorf("%q is not known again", id)
		}
	}
}

func TestPublishRefusesWhatIsUnusable(t *testing.T) {
	s, _ := opened(t)
	c := change("1")
	c.Tags = nil
	if _, err := s.Publish(t.Context(), c); err == nil || !strings.Contains(err.Error(), "0 tags") {
		t.Errorf("no tags: %v", err)
	}
	c = change("2")
	for i := range 10_000 {
		c.Tags = append(c.Tags, events.FolderTag(fmt.Sprint(strings.Repeat("x", 200), i)))
	}
	_, err := s.Publish(t.Context(), c)
	wantError(t, err, nats.ErrMaxPayload)
}

func TestPublishWithoutAServerEndsWithItsContext(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	stopServer(t, o.srv)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := s.Publish(ctx, change("1"))
	wantError(t, err, context.DeadlineExceeded)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestThousandsPublishAtOnce(t *testing.T) {
	s, _ := opened(t)
	const n = 5000
	seen := make([]uint64, n)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for i := range n {
		wg.Go(func() {
			ack, err := s.Publish(ctx, change(fmt.Sprint(i)))
			if err != nil {
				t.Error(err)
			}
			seen[i] = ack.Sequence
		})
	}
	wg.Wait()
	distinct := map[uint64]bool{}
	for _, seq := range seen {
		distinct[seq] = true
	}
	if len(distinct) != n || distinct[0] {
		t.Errorf("%d distinct sequences for %d changes", len(distinct), n)
	}
}

// Every change whose publish returned without an error is in the stream after
// the server went away twice under load.
func TestAcknowledgedChangesOutliveRestarts(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	got := newCollector()
	consume(t, s, stream.ConsumeOptions{AckWait: 2 * time.Second}, got.handle)

	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var acked []string
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				c := change(fmt.Sprintf("%d-%d", worker, i))
				if _, err := s.Publish(context.WithoutCancel(ctx), c); err == nil {
					mu.Lock()
					acked = append(acked, c.ID)
					mu.Unlock()
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	for range 2 {
		before := count()
		eventually(t, "some changes are acknowledged", func() bool { return count() > before+200 })
		o.restart(t)
	}
	before := count()
	eventually(t, "more are after the restarts", func() bool { return count() > before+200 })
	cancel()
	wg.Wait()

	stored := map[string]bool{}
	err := s.Read(t.Context(), stream.ReadOptions{}, func(m stream.Stored) error {
		stored[m.Change.ID] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range acked {
		if !stored[id] {
			t.Fatalf("%s was acknowledged and is lost", id)
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acked), len(stored))
	eventually(t, "the consumer has them all", func() bool { return got.count() >= len(stored) })
	for _, id := range acked {
		if !got.has(id) {
			t.Fatalf("%s was acknowledged and not delivered", id)
		}
	}
}
