package natslocal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// readyLimit bounds the wait for connections once the store was read.
const readyLimit = 10 * time.Second

// Options say where the server keeps its data and where it listens.
type Options struct {
	// Dir is the folder of the store; empty means a temporary one, which is
	// removed at Stop.
	Dir string
	// Addr is a loopback host and port, such as "127.0.0.1:4223"; port 0 lets
	// the system choose. Empty means no port: only [Server.Connect] reaches it.
	Addr string
	// SyncAlways syncs every write to the disk before it is acknowledged.
	SyncAlways bool
	// Log receives the server's own lines; nil discards them.
	Log *slog.Logger
}

// Server is a running server.
type Server struct {
	srv  *server.Server
	temp string // the folder to remove at Stop; empty if it was named
	stop sync.Once
	err  error
}

// Start runs a server and waits until it can be used; how long that takes
// depends on the size of the store. A port that is taken, a store that cannot
// be opened and an address that is not a loopback one are errors.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	opts, err := serverOptions(o)
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	s := &Server{}
	if opts.StoreDir == "" {
		if s.temp, err = os.MkdirTemp("", "rescind-nats-"); err != nil {
			return nil, fmt.Errorf("start nats: %w", err)
		}
		opts.StoreDir = s.temp
	}
	if err := s.run(ctx, opts, newLogger(o.Log)); err != nil {
		return nil, fmt.Errorf("start nats: %w", errors.Join(err, s.Stop()))
	}
	return s, nil
}

func serverOptions(o Options) (*server.Options, error) {
	opts := &server.Options{
		ServerName: "rescind-local", JetStream: true, StoreDir: o.Dir, SyncAlways: o.SyncAlways,
		NoSigs: true, DontListen: o.Addr == "", DisableJetStreamBanner: true,
	}
	if o.Addr == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: want host:port, such as 127.0.0.1:4223", o.Addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("address %q: only a loopback one is allowed, the server has no password", o.Addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: %q is not a port", o.Addr, port)
	}
	opts.Host, opts.Port = host, int(n)
	if n == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return opts, nil
}

// run starts the server; Start reads the store and returns when it listens, or
// after a fatal line.
func (s *Server) run(ctx context.Context, opts *server.Options, log *logger) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.srv = srv
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if err := log.cause(); err != nil {
		return err
	}
	if !srv.ReadyForConnections(readyLimit) {
		return fmt.Errorf("not ready within %s", readyLimit)
	}
	return ctx.Err()
}

// Connect opens a connection that goes through no socket. It ends with this
// server: to outlive a restart, connect to [Server.URL].
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append(opts, nats.InProcessServer(s.srv))...)
	if err != nil {
		return nil, fmt.Errorf("connect to local nats: %w", err)
	}
	return nc, nil
}

// URL is where it listens, such as "nats://127.0.0.1:4223"; empty if it has no
// port.
func (s *Server) URL() string {
	addr, ok := s.srv.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return "nats://" + addr.String()
}

// Stop ends the server, waits until it is gone, and removes a temporary
// folder. It may be called again; it then returns the same.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		if s.srv != nil {
			s.srv.Shutdown()
			s.srv.WaitForShutdown()
		}
		if s.temp != "" {
			s.err = os.RemoveAll(s.temp)
		}
	})
	return s.err
}
