package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// noticed publishes changes as a listener does: "changed N" one for each of the first
// N subjects of the account, of whom Bea is the first; "changed N OTHER" those of
// another tenant.
func noticed(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1 || len(args) == 2)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	h := home
	if len(args) == 2 {
		h.Tenant = events.Tenant(args[1])
	}
	s, shut := streamOf(ts)
	defer shut()
	var g sync.WaitGroup
	for worker := range 8 {
		g.Go(func() {
			for i := worker; i < n; i += 8 {
				publishNotice(ts, s, h, i)
			}
		})
	}
	g.Wait()
}

func publishNotice(ts *testscript.TestScript, s *stream.Stream, h events.Home, i int) {
	subject := events.Subject(user)
	if i > 0 {
		subject = events.Subject(strconv.Itoa(8_000_000 + i))
	}
	_, err := s.Publish(context.Background(), events.Change{
		ID: events.ChangeID(h, fmt.Sprintf("notice-%d-%d", time.Now().UnixNano(), i)), Home: h,
		Tags: []events.Tag{events.SubjectTag(subject)}, Source: events.Webhook, Reasons: []string{"Permissions"},
		Received: time.Now(),
	})
	if err != nil {
		ts.Logf("publish: %v", err)
	}
}

func streamOf(ts *testscript.TestScript) (*stream.Stream, func()) {
	nc, err := nats.Connect(ts.Getenv("NATS"))
	ts.Check(err)
	s, err := stream.Attach(nc)
	ts.Check(err)
	return s, nc.Close
}

// spoiled is a proxy between the services and Redis. While it is on it spoils every call
// of a script, as an update of such a proxy did.
type spoiled struct{ on atomic.Bool }

// proxy starts one before the Redis whose URL is in a variable, which names the proxy
// from then on.
func proxy(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	to := strings.TrimSuffix(strings.TrimPrefix(ts.Getenv(args[0]), "redis://"), "/0")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	p := of(ts).spoiled
	var g sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	keep := func(c net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		open[c] = true
		return c
	}
	g.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			keep(down)
			up, err := net.Dial("tcp", to)
			if err != nil {
				down.Close()
				continue
			}
			keep(up)
			g.Go(func() { defer up.Close(); p.copy(up, down) })
			g.Go(func() { defer down.Close(); _, _ = io.Copy(down, up) })
		}
	})
	ts.Defer(func() {
		ts.Check(l.Close())
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		g.Wait()
	})
	ts.Setenv(args[0], "redis://"+l.Addr().String()+"/0")
}

// copy passes on commands line by line; a spoiled one is a command that Redis does not
// know.
func (p *spoiled) copy(to io.Writer, from io.Reader) {
	r, w := bufio.NewReader(from), bufio.NewWriter(to)
	for {
		line, err := r.ReadBytes('\n')
		if p.on.Load() && strings.EqualFold(string(line), "evalsha\r\n") {
			line = []byte("evalsh?\r\n")
		}
		if _, werr := w.Write(line); err != nil || werr != nil {
			return
		}
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

func spoil(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 0)
	of(ts).spoiled.on.Store(true)
}

func mended(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 0)
	of(ts).spoiled.on.Store(false)
}

// buried waits until so many messages are dead: a change is tried for half a minute.
func buried(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	s, shut := streamOf(ts)
	defer shut()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(3 * limit); time.Now().Before(end); <-tick.C {
		info, err := s.Info(context.Background())
		if ts.Check(err); fmt.Sprint(info.Dead) == args[0] {
			return
		}
	}
	ts.Fatalf("not %s dead within %s", args[0], 3*limit)
}

func TestDeadRowsArePlainLines(t *testing.T) {
	const evil = "a\x1b[2J\r\nb"
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	c := events.Change{ID: evil, Home: events.Home{Provider: "p", Tenant: evil}, Source: evil,
		Tags: []events.Tag{events.SubjectTag(evil)}, Reasons: []string{evil}}
	b := stream.Buried{Sequence: 7, Home: c.Home, Last: at, Reason: evil, What: stream.DeadChange, Change: c,
		From: evil, FromSubject: evil, Header: nats.Header{evil: {evil}}, Data: []byte(evil)}
	var out strings.Builder
	if err := writeDeadRow(&out, b); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "7      -                    2026-01-02T03:04:05Z     -  change") ||
		strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\x1b\r") {
		t.Errorf("got %q, want one plain line", got)
	}
	for _, r := range deadRows(b) {
		if strings.ContainsAny(r[0]+r[1], "\x1b\r\n") {
			t.Errorf("got %q, want one plain line", r)
		}
	}
}

func TestWhoeverDoesIt(t *testing.T) {
	t.Setenv("USER", "")
	t.Setenv("LOGNAME", "")
	if got, want := whoever(""), fmt.Sprintf("uid %d@", os.Getuid()); !strings.HasPrefix(got, want) {
		t.Errorf("nobody: %q, want %s...", got, want)
	}
	t.Setenv("USER", "ada")
	host, err := os.Hostname()
	if got := whoever(""); err != nil || got != "ada@"+host {
		t.Errorf("got %q, %v", got, err)
	}
	if got := whoever("ops"); got != "ops" {
		t.Errorf("got %q", got)
	}
}

func TestOnTerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, w := range map[string]any{"a buffer": new(bytes.Buffer), "a file": file, os.DevNull: null} {
		if onTerminal(w) {
			t.Errorf("%s is taken for a terminal", name)
		}
	}
}
