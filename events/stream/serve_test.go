package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
)

// When it stops, what is in hand is answered, and who waits hears that nobody is
// there any more.
func TestWhoStopsServingTellsThoseWhoWait(t *testing.T) {
	s, nc := opened(t)
	busy := make(chan struct{})
	var late atomic.Int64
	stop := serve(t, s, home, func(ctx context.Context, r []byte) []byte {
		if string(r) != "block" {
			late.Add(1)
			return nil
		}
		close(busy)
		<-ctx.Done() // as serving ends
		return []byte("in hand")
	})
	spy, err := nc.SubscribeSync(events.KeeperSubject(home)) // sees all, answers nothing
	if err != nil {
		t.Fatal(err)
	}
	inHand, waiting := make(chan string, 1), make(chan error, 3)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		reply, err := s.Calls().Ask(t.Context(), home, []byte("block"))
		inHand <- fmt.Sprint(string(reply), err)
	})
	receive(t, busy, "the handler is busy")
	for range cap(waiting) {
		wg.Go(func() {
			_, err := s.Calls().Ask(t.Context(), home, []byte("x"))
			waiting <- err
		})
	}
	if err := s.Calls().Tell(home, []byte("x")); err != nil {
		t.Error(err)
	}
	eventually(t, "all are on their way", func() bool {
		n, _, err := spy.Pending()
		return err == nil && n == 1+cap(waiting)+1
	})
	stop()
	if got := receive(t, inHand, "the answer to what was in hand"); got != "in hand<nil>" {
		t.Errorf("what was in hand: %s", got)
	}
	for range cap(waiting) {
		wantError(t, receive(t, waiting, "who waits is told"), events.ErrNobody)
	}
	if n := late.Load(); n != 0 {
		t.Errorf("%d were done after the end", n)
	}
}

// However often one hands over to another, nobody waits for an answer in vain.
func TestAHandOverLosesNoRequest(t *testing.T) {
	s, nc := opened(t)
	over := make(chan struct{})
	var asked, nobody atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				_, err := s.Calls().Ask(ctx, home, nil)
				cancel()
				if asked.Add(1); errors.Is(err, events.ErrNobody) {
					nobody.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	far := openOn(t, nc)
	for range 10 {
		stop := serve(t, far, home, echo)
		stop()
	}
	close(over)
	wg.Wait()
	if n, none := asked.Load(), nobody.Load(); n == none || none == 0 {
		t.Errorf("asked %d times, of which %d found nobody: want some of both", n, none)
	}
}

func TestServingOutlivesARestartOfTheServer(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	stop := serve(t, s, home, echo)
	stopServer(t, o.srv)
	eventually(t, "the line is down", func() bool { return !nc.IsConnected() })
	began := time.Now()
	wantAskError(t, s, home, "x", "nats:")
	if err := s.Calls().Tell(home, nil); err == nil {
		t.Error("told without a connection")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("to be told so took %s", took)
	}
	o.srv = startServer(t, o.opts)
	eventually(t, "it is asked again", func() bool {
		reply, err := s.Calls().Ask(t.Context(), home, []byte("x"))
		return err == nil && string(reply) == "re: x"
	})
	stopServer(t, o.srv)
	began = time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("without a server it ended after %s", took)
	}
}

func TestServingEndsWithTheConnection(t *testing.T) {
	s, nc := opened(t)
	done := make(chan error, 1)
	go func() { done <- s.Calls().Serve(t.Context(), home, echo) }()
	eventually(t, "it serves", func() bool {
		_, err := s.Calls().Ask(t.Context(), home, nil)
		return err == nil
	})
	nc.Close()
	wantError(t, receive(t, done, "it ends"), nats.ErrConnectionClosed)
}
