package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type handler func(context.Context, []byte) []byte

func echo(_ context.Context, request []byte) []byte { return append([]byte("re: "), request...) }

// serve answers for a home until the test ends or stop is called, which waits; it
// returns once it can be asked.
func serve(t *testing.T, s *stream.Stream, h events.Home, handle handler) (stop func()) {
	t.Helper()
	c := s.Calls()
	begun := make(chan struct{})
	once := sync.OnceFunc(func() { close(begun) })
	stop = background(t, func(ctx context.Context) error {
		return c.Serve(ctx, h, func(ctx context.Context, request []byte) []byte {
			if string(request) == "anybody?" {
				once()
				return nil
			}
			return handle(ctx, request)
		})
	})
	eventually(t, "it is this one that is asked of "+h.String(), func() bool {
		_, _ = c.Ask(t.Context(), h, []byte("anybody?")) // of whom it is, the channel tells
		select {
		case <-begun:
			return true
		default:
			return false
		}
	})
	return stop
}

func ask(t *testing.T, s *stream.Stream, h events.Home, request, want string) {
	t.Helper()
	reply, err := s.Calls().Ask(t.Context(), h, []byte(request))
	if err != nil || string(reply) != want {
		t.Errorf("%.80q, %v; want %.80q", reply, err, want)
	}
}

func wantAskError(t *testing.T, s *stream.Stream, h events.Home, request, says string) {
	t.Helper()
	reply, err := s.Calls().Ask(t.Context(), h, []byte(request))
	if err == nil || !strings.Contains(err.Error(), says) || reply != nil {
		t.Errorf("%.80q, %v; want an error that says %q", reply, err, says)
	}
}

func TestWhoServesAHomeIsAsked(t *testing.T) {
	s, nc := opened(t)
	for i, h := range homes() {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := s.Calls().Ask(ctx, h, []byte("x"))
		wantError(t, err, events.ErrNobody)
		cancel()
		serve(t, s, h, func(_ context.Context, r []byte) []byte { return fmt.Appendf(nil, "%d %s", i, r) })
	}
	far := openOn(t, nc) // of another process
	for i, h := range homes() {
		ask(t, far, h, "hello", fmt.Sprint(i, " hello"))
	}
	ask(t, far, homes()[0], "", "0 ")
	_, err := far.Calls().Ask(t.Context(), events.Home{Provider: "p"}, nil)
	wantError(t, err, events.ErrID)
	wantError(t, far.Calls().Serve(t.Context(), events.Home{Provider: "p"}, echo), events.ErrID)
}

// What is told ends at the same place, one after the other with what is asked.
func TestOneOrderAtATime(t *testing.T) {
	s, _ := opened(t)
	var running, most, told atomic.Int64
	stop := serve(t, s, home, func(_ context.Context, r []byte) []byte {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		if string(r) == "told" {
			told.Add(1)
		}
		<-time.After(time.Millisecond)
		return r
	})
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { ask(t, s, home, fmt.Sprint(i), fmt.Sprint(i)) })
		wg.Go(func() {
			for range 10 {
				if err := s.Calls().Tell(home, []byte("told")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "all that was told is heard", func() bool { return told.Load() == 100 })
	stop()
	if n := most.Load(); n != 1 {
		t.Errorf("%d at once", n)
	}
	_, err := s.Calls().Ask(t.Context(), home, nil)
	wantError(t, err, events.ErrNobody)
	if err := s.Calls().Tell(home, nil); err != nil {
		t.Errorf("told to nobody: %v", err)
	}
}

// If two serve, be it by mistake, one does what is ordered.
func TestOneOfTwoIsAsked(t *testing.T) {
	s, nc := opened(t)
	var done atomic.Int64
	count := func(context.Context, []byte) []byte {
		done.Add(1)
		return []byte("done")
	}
	serve(t, s, home, count)
	serve(t, openOn(t, nc), home, count)
	for range 20 {
		ask(t, s, home, "x", "done")
	}
	if n := done.Load(); n != 20 {
		t.Errorf("20 orders were done %d times", n)
	}
}

// The handler has the time that whoever asks has, less what the way back takes, and
// two minutes at most.
func TestAHandlerHasTheTimeOfWhoAsks(t *testing.T) {
	s, nc := opened(t)
	left := make(chan time.Duration, 1)
	serve(t, s, home, func(ctx context.Context, _ []byte) []byte {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return nil
	})
	for name, c := range map[string]struct{ wish, least, most time.Duration }{
		"little":             {5 * time.Second, 3 * time.Second, 4500 * time.Millisecond},
		"more":               {time.Minute, 57 * time.Second, 59 * time.Second},
		"more than there is": {time.Hour, 117 * time.Second, 119 * time.Second},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.wish)
		if _, err := s.Calls().Ask(ctx, home, nil); err != nil {
			t.Fatal(err)
		}
		cancel()
		if got := receive(t, left, name); got < c.least || got > c.most {
			t.Errorf("%s: %s, want %s to %s", name, got, c.least, c.most)
		}
	}
	for name, wish := range map[string]string{"an hour by force": "1h", "not a time": "soon", "nothing": ""} {
		m := &nats.Msg{Subject: events.KeeperSubject(home), Header: nats.Header{"Rescind-Within": []string{wish}}}
		if _, err := nc.RequestMsg(m, limit); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, left, name); got < time.Minute || got > stream.MaxCall {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Who asks waits no longer than it wants to; what it does not wait for any more is
// not begun.
func TestWhatNobodyWaitsForIsNotBegun(t *testing.T) {
	s, _ := opened(t)
	busy, free := make(chan struct{}), make(chan struct{})
	var begun atomic.Int64
	serve(t, s, home, func(ctx context.Context, r []byte) []byte {
		switch string(r) {
		case "block":
			close(busy)
			<-free
		case "late":
			begun.Add(1)
		}
		return nil
	})
	if err := s.Calls().Tell(home, []byte("block")); err != nil {
		t.Fatal(err)
	}
	receive(t, busy, "the handler is busy")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Calls().Ask(ctx, home, []byte("late"))
	wantError(t, err, context.DeadlineExceeded)
	close(free)
	ask(t, s, home, "after it", "")
	if n := begun.Load(); n != 0 {
		t.Error("what came too late was done")
	}
}

// A handler that is busy lets some wait, refuses more, and loses what is told beyond.
func TestABusyHandlerRefuses(t *testing.T) {
	s, nc := opened(t)
	busy, free := make(chan struct{}), make(chan struct{})
	var told atomic.Int64
	serve(t, s, home, func(_ context.Context, r []byte) []byte {
		switch string(r) {
		case "block":
			close(busy)
			<-free
		case "told":
			told.Add(1)
		}
		return []byte("done")
	})
	if err := s.Calls().Tell(home, []byte("block")); err != nil {
		t.Fatal(err)
	}
	receive(t, busy, "the handler is busy")
	for range 2000 {
		if err := s.Calls().Tell(home, []byte("told")); err != nil {
			t.Fatal(err)
		}
	}
	const asks, wait = 20, 16
	results := make(chan error, asks)
	var wg sync.WaitGroup
	for range asks {
		wg.Go(func() {
			_, err := openOn(t, nc).Calls().Ask(t.Context(), home, []byte("x"))
			results <- err
		})
	}
	for range asks - wait {
		if err := receive(t, results, "a refusal"); err == nil || !strings.Contains(err.Error(), "16 wait already") {
			t.Errorf("%v, want a refusal", err)
		}
	}
	close(free)
	wg.Wait()
	for range wait {
		if err := receive(t, results, "an answer"); err != nil {
			t.Errorf("one that waited: %v", err)
		}
	}
	eventually(t, "what was told and found a place", func() bool { return told.Load() == 1024 })
}

func TestCallsHaveTheirLimits(t *testing.T) {
	s, nc := opened(t)
	serve(t, s, home, func(_ context.Context, r []byte) []byte {
		switch string(r) {
		case "long":
			return bytes.Repeat([]byte("x"), stream.MaxReply)
		case "too long":
			return bytes.Repeat([]byte("x"), stream.MaxReply+1)
		case "panic":
			panic("secret of the handler")
		case "out of range":
			return r[:len(r)*1000]
		}
		return fmt.Append(nil, len(r))
	})
	ask(t, s, home, strings.Repeat("x", stream.MaxRequest), fmt.Sprint(stream.MaxRequest))
	ask(t, s, home, "long", strings.Repeat("x", stream.MaxReply))
	wantAskError(t, s, home, "too long", "reply of 921601 bytes, the limit is 921600")
	for _, r := range []string{"panic", "out of range"} {
		wantAskError(t, s, home, r, "the handler panicked")
		if err := s.Calls().Tell(home, []byte(r)); err != nil {
			t.Error(err)
		}
		ask(t, s, home, "after it", "8")
	}
	if _, err := s.Calls().Ask(t.Context(), home, []byte("panic")); strings.Contains(err.Error(), "secret") {
		t.Errorf("what it panicked with is told: %v", err)
	}
	big := bytes.Repeat([]byte("x"), stream.MaxRequest+1)
	_, err := s.Calls().Ask(t.Context(), home, big)
	wantError(t, err, stream.ErrTooLong)
	wantError(t, s.Calls().Tell(home, big), stream.ErrTooLong)
	m, err := nc.Request(events.KeeperSubject(home), big, limit) // by who keeps no rules
	if err != nil || !strings.Contains(m.Header.Get("Rescind-Error"), "the limit is 65536") {
		t.Errorf("%+v, %v", m, err)
	}
}
