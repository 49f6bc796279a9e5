package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

func TestEveryChangeIsDeliveredToOneOfTheWorkers(t *testing.T) {
	s, _ := opened(t)
	a, b := newCollector(), newCollector()
	consume(t, s, stream.ConsumeOptions{Batch: 10}, a.handle)
	consume(t, s, stream.ConsumeOptions{Batch: 10}, b.handle)
	const n = 2000
	publishMany(t, s, n)
	eventually(t, "all are delivered", func() bool { return a.count()+b.count() == n })
	eventually(t, "none is pending", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.Pending == 0 && info.InFlight == 0 && info.Settled == info.LastSeq
	})
}

func TestMessageTellsWhereItComesFrom(t *testing.T) {
	s, _ := opened(t)
	c := change("1")
	began := time.Now().Add(-time.Second)
	ack := publish(t, s, c)
	got := make(chan stream.Message, 1)
	consume(t, s, stream.ConsumeOptions{}, func(_ context.Context, batch []stream.Message) {
		got <- batch[0]
		if err := batch[0].Ack(); err != nil {
			t.Error(err)
		}
	})
	m := receive(t, got, "message")
	if m.DecodeErr != nil || m.Change.ID != c.ID || m.Sequence != ack.Sequence || m.Deliveries != 1 {
		t.Errorf("message = %+v", m)
	}
	if m.Published.Before(began) || m.Published.After(time.Now().Add(time.Second)) {
		t.Errorf("published at %s", m.Published)
	}
}

func TestBatchesAreBoundedAndDoNotWaitToBeFull(t *testing.T) {
	s, _ := opened(t)
	publishMany(t, s, 100)
	sizes := make(chan int, 200)
	release := make(chan struct{})
	consume(t, s, stream.ConsumeOptions{Batch: 7}, func(_ context.Context, batch []stream.Message) {
		<-release
		sizes <- len(batch)
		for _, m := range batch {
			if err := m.Ack(); err != nil {
				t.Error(err)
			}
		}
	})
	eventually(t, "the backlog to be given out", func() bool { // as far as a consumer may have in hand
		info, err := s.Info(t.Context())
		return err == nil && info.InFlight >= 14
	})
	close(release)
	total, full := 0, 0
	for total < 100 {
		n := receive(t, sizes, "batch")
		if n < 1 || n > 7 {
			t.Fatalf("batch of %d", n)
		}
		if n == 7 {
			full++
		}
		total += n
	}
	if full == 0 {
		t.Error("no full batch on a backlog")
	}
	publish(t, s, change("last"))
	if n := receive(t, sizes, "a batch of one"); n != 1 {
		t.Errorf("batch of %d", n)
	}
}

func TestWhatIsNakedComesAgain(t *testing.T) {
	s, _ := opened(t)
	deliveries := make(chan uint64, 10)
	consume(t, s, stream.ConsumeOptions{}, func(_ context.Context, batch []stream.Message) {
		m := batch[0]
		deliveries <- m.Deliveries
		var err error
		switch m.Deliveries {
		case 1:
			err = m.Nak(0)
		case 2:
			err = m.Nak(50 * time.Millisecond)
		default:
			err = m.Ack()
		}
		if err != nil {
			t.Error(err)
		}
	})
	publish(t, s, change("1"))
	for want := uint64(1); want <= 3; want++ {
		if got := receive(t, deliveries, "delivery"); got != want {
			t.Errorf("delivery %d, want %d", got, want)
		}
	}
}

func TestWhatAHandlerLeavesComesAgain(t *testing.T) {
	s, _ := opened(t)
	deliveries := make(chan uint64, 10)
	consume(t, s, stream.ConsumeOptions{}, func(_ context.Context, batch []stream.Message) {
		deliveries <- batch[0].Deliveries
		if batch[0].Deliveries == 2 {
			if err := batch[0].Ack(); err != nil {
				t.Error(err)
			}
		}
	})
	publish(t, s, change("1"))
	receive(t, deliveries, "first delivery")
	if got := receive(t, deliveries, "second delivery"); got != 2 {
		t.Errorf("delivery %d", got)
	}
}

func TestInProgressKeepsAMessage(t *testing.T) {
	s, _ := opened(t)
	var deliveries atomic.Int64
	done := make(chan struct{})
	const wait = 400 * time.Millisecond
	consume(t, s, stream.ConsumeOptions{AckWait: wait}, func(ctx context.Context, batch []stream.Message) {
		deliveries.Add(int64(len(batch)))
		for end := time.Now().Add(3 * wait); time.Now().Before(end) && ctx.Err() == nil; {
			if err := batch[0].InProgress(); err != nil {
				t.Error(err)
			}
			<-time.After(wait / 8)
		}
		if err := batch[0].Ack(); err != nil {
			t.Error(err)
		}
		close(done)
	})
	publish(t, s, change("1"))
	receive(t, done, "handler")
	if n := deliveries.Load(); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// A worker that stops gives back at once what it had been given, so that
// another need not wait for AckWait.
func TestAStoppedWorkerGivesBack(t *testing.T) {
	s, _ := opened(t)
	const n = 300
	publishMany(t, s, n)
	inHand := make(chan struct{}, 1)
	stop := consume(t, s, stream.ConsumeOptions{Batch: 10, AckWait: time.Hour},
		func(ctx context.Context, batch []stream.Message) {
			select {
			case inHand <- struct{}{}:
			default:
			}
			<-ctx.Done()
		})
	receive(t, inHand, "first batch")
	stop()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Pending+info.InFlight == 0 {
		t.Errorf("info = %+v, want everything open", info)
	}
	got := newCollector()
	consume(t, s, stream.ConsumeOptions{Batch: 10, AckWait: time.Hour}, got.handle)
	eventually(t, "the next worker gets all", func() bool { return got.count() == n })
}

func TestUnreadableMessagesAreDeliveredWithTheirError(t *testing.T) {
	s, nc := opened(t)
	foreign, err := events.Encode(change("1"))
	if err != nil {
		t.Fatal(err)
	}
	js := jetStream(t, nc)
	for subject, data := range map[string][]byte{
		"perm.change.box.1": foreign, "perm.change.box.2": []byte("{"), "perm.change.odd": []byte("x"),
	} {
		if _, err := js.Publish(t.Context(), subject, data); err != nil {
			t.Fatal(err)
		}
	}
	var buried atomic.Int64
	consume(t, s, stream.ConsumeOptions{}, func(ctx context.Context, batch []stream.Message) {
		for _, m := range batch {
			if m.DecodeErr == nil || m.Change.ID != "" {
				t.Errorf("message %d reads as %+v", m.Sequence, m.Change)
			}
			if err := m.Dead(ctx, m.DecodeErr); err != nil {
				t.Error(err)
			}
			buried.Add(1)
		}
	})
	eventually(t, "all are buried", func() bool { return buried.Load() == 3 })
	dead, err := js.Stream(t.Context(), stream.Graveyard)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"perm.dead.box.1", "perm.dead.box.2", "perm.dead.unknown.unknown"} {
		if _, err := dead.GetLastMsgForSubject(t.Context(), subject); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

func TestDeadTellsWhyAndWhence(t *testing.T) {
	s, nc := opened(t)
	c := change("1")
	ack := publish(t, s, c)
	reason := errors.New("bad\r\n\x00news: " + strings.Repeat("ü", 600))
	done := make(chan error, 1)
	consume(t, s, stream.ConsumeOptions{}, func(ctx context.Context, batch []stream.Message) {
		done <- batch[0].Dead(ctx, reason)
	})
	if err := receive(t, done, "burial"); err != nil {
		t.Fatal(err)
	}
	st, err := jetStream(t, nc).Stream(t.Context(), stream.Graveyard)
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetLastMsgForSubject(t.Context(), events.DeadSubject(home))
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{
		stream.HeaderStream: stream.Changes, stream.HeaderSequence: fmt.Sprint(ack.Sequence),
		stream.HeaderSubject: events.ChangeSubject(home), stream.HeaderDeliveries: "1",
		jetstream.MsgIDHeader: fmt.Sprintf("CHANGES:%d", ack.Sequence),
	} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s = %q, want %q", header, got, want)
		}
	}
	got := m.Header.Get(stream.HeaderReason)
	if len(got) > 512 || len(got) < 500 || !strings.HasPrefix(got, "badnews: ü") {
		t.Errorf("reason = %q (%d bytes)", got, len(got))
	}
	if back, err := events.Decode(m.Data); err != nil || back.ID != c.ID {
		t.Errorf("body = %s, %v", m.Data, err)
	}
	eventually(t, "the original is acknowledged", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.InFlight == 0 && info.Pending == 0 && info.Dead == 1
	})
}

func TestDeadLeavesOutABodyThatHasNoRoom(t *testing.T) {
	s, nc := opened(t)
	size := int(nc.MaxPayload()) - 100
	m := &nats.Msg{Subject: "perm.change.box.1", Data: make([]byte, size), Header: nats.Header{}}
	if _, err := jetStream(t, nc).PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	consume(t, s, stream.ConsumeOptions{}, func(ctx context.Context, batch []stream.Message) {
		done <- batch[0].Dead(ctx, batch[0].DecodeErr)
	})
	if err := receive(t, done, "burial"); err != nil {
		t.Fatal(err)
	}
	st, err := jetStream(t, nc).Stream(t.Context(), stream.Graveyard)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := st.GetLastMsgForSubject(t.Context(), "perm.dead.box.1")
	if err != nil || len(dead.Data) != 0 || dead.Header.Get(stream.HeaderOmitted) != fmt.Sprint(size) {
		t.Errorf("dead = %v, %v", dead, err)
	}
}

// While DEAD does not answer, the original stays.
func TestWithoutDeadNothingIsAcknowledged(t *testing.T) {
	s, nc := opened(t)
	js := jetStream(t, nc)
	if err := js.DeleteStream(t.Context(), stream.Graveyard); err != nil {
		t.Fatal(err)
	}
	publish(t, s, change("1"))
	done := make(chan error, 10)
	stop := consume(t, s, stream.ConsumeOptions{}, func(ctx context.Context, batch []stream.Message) {
		done <- batch[0].Dead(ctx, errors.New("no"))
	})
	if err := receive(t, done, "burial"); err == nil {
		t.Error("buried nowhere")
	}
	stop()
	info, err := js.Consumer(t.Context(), stream.Changes, stream.DefaultDurable)
	if err != nil || info.CachedInfo().AckFloor.Stream != 0 {
		t.Errorf("consumer = %+v, %v: want nothing acknowledged", info.CachedInfo(), err)
	}
}

func TestAConsumerThatIsDeletedIsSetUpAgain(t *testing.T) {
	s, nc := opened(t)
	got := newCollector()
	consume(t, s, stream.ConsumeOptions{}, got.handle)
	a := change("a")
	publish(t, s, a)
	eventually(t, "first delivery", func() bool { return got.has(a.ID) })
	if err := jetStream(t, nc).DeleteConsumer(t.Context(), stream.Changes, stream.DefaultDurable); err != nil {
		t.Fatal(err)
	}
	b := change("b")
	publish(t, s, b)
	eventually(t, "delivery by the new consumer", func() bool { return got.has(b.ID) })
}

func TestConsumeSaysWhyItCannotBegin(t *testing.T) {
	s, nc := opened(t)
	if err := jetStream(t, nc).DeleteStream(t.Context(), stream.Changes); err != nil {
		t.Fatal(err)
	}
	err := s.ConsumeChanges(t.Context(), stream.ConsumeOptions{}, func(context.Context, []stream.Message) {})
	wantError(t, err, jetstream.ErrStreamNotFound)
}
