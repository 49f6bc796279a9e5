package natslocal_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/events/natslocal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o natslocal.Options) *natslocal.Server {
	t.Helper()
	s, err := natslocal.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *natslocal.Server) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func store(t *testing.T, nc *nats.Conn) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestInProcessHasNoPortAndLeavesNoFolder(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	s := start(t, natslocal.Options{})
	if got := s.URL(); got != "" {
		t.Errorf("URL = %q, want none", got)
	}
	nc, err := s.Connect(nats.Name("test"))
	if err != nil {
		t.Fatal(err)
	}
	store(t, nc)
	nc.Close()
	if left, _ := os.ReadDir(tmp); len(left) != 1 {
		t.Errorf("while running: %d temporary folders, want 1", len(left))
	}
	stop(t, s)
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("after Stop: %v is left", left)
	}
}

func TestRestartOnTheSameFolderAndPortKeepsMessages(t *testing.T) {
	dir := t.TempDir()
	s := start(t, natslocal.Options{Dir: dir, Addr: "127.0.0.1:0", SyncAlways: true})
	url := s.URL()
	nc := dial(t, url)
	store(t, nc)
	if _, err := nc.Request("s.a", []byte("kept"), time.Second); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	stop(t, s)

	again := start(t, natslocal.Options{Dir: dir, Addr: strings.TrimPrefix(url, "nats://")})
	if again.URL() != url {
		t.Errorf("URL = %q, want %q", again.URL(), url)
	}
	nc = dial(t, url)
	defer nc.Close()
	m, err := store(t, nc).GetLastMsgForSubject(t.Context(), "s.a")
	if err != nil || string(m.Data) != "kept" {
		t.Errorf("after restart: %v, %v", m, err)
	}
}

func dial(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    natslocal.Options
		want string
	}{
		"a port that is taken":      {natslocal.Options{Addr: taken.Addr().String()}, "address already in use"},
		"an address for everybody":  {natslocal.Options{Addr: "0.0.0.0:0"}, "loopback"},
		"an address without a port": {natslocal.Options{Addr: "127.0.0.1"}, "host:port"},
		"a port that is none":       {natslocal.Options{Addr: "127.0.0.1:nats"}, "not a port"},
		"a folder that is a file":   {natslocal.Options{Dir: file}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := natslocal.Start(t.Context(), c.o)
			if err == nil {
				stop(t, s)
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func TestStartRefusesAContextThatEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := natslocal.Start(ctx, natslocal.Options{}); err == nil {
		stop(t, s)
		t.Error("started")
	}
}
