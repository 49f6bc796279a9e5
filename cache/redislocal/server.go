package redislocal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNotInstalled says that there is no redis-server on PATH.
var ErrNotInstalled = errors.New("redis-server is not on PATH")

// Options say how to start a redis-server.
type Options struct {
	// Addr is where it listens; empty means a free port on 127.0.0.1.
	Addr string
	// Cluster starts a cluster of one node that owns every slot.
	Cluster bool
	// Args are further arguments, such as "--maxmemory", "10mb".
	Args []string
}

// Server is a running redis-server.
type Server struct {
	// Addr is host:port.
	Addr string

	cmd    *exec.Cmd
	output *bytes.Buffer
	dir    string
	exited chan struct{}
}

// Start spawns a redis-server and waits until it answers, at most 10 s.
func Start(ctx context.Context, o Options) (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNotInstalled
	}
	if o.Addr != "" {
		return start(ctx, path, o)
	}
	for range 3 { // a free port may be taken before redis-server has it
		if o.Addr, err = freeAddr(); err != nil {
			return nil, err
		}
		var s *Server
		if s, err = start(ctx, path, o); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func start(ctx context.Context, path string, o Options) (*Server, error) {
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	dir, err := os.MkdirTemp("", "rescind-redis-")
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	args := []string{
		"--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no",
		"--maxmemory-policy", "noeviction", "--daemonize", "no",
	}
	if o.Cluster {
		bus, err := freeAddr()
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		_, busPort, _ := net.SplitHostPort(bus)
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", busPort)
	}
	s := &Server{Addr: o.Addr, output: new(bytes.Buffer), dir: dir, exited: make(chan struct{})}
	s.cmd = exec.Command(path, append(args, o.Args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = ownGroup()
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start redis-server: %w", err), os.RemoveAll(dir))
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in its output
		close(s.exited)
	}()
	if err := s.ready(ctx, o.Cluster); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// ready waits until the server answers, and gives a cluster its slots.
func (s *Server) ready(ctx context.Context, cluster bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer rdb.Close()
	if err := s.await(ctx, func() bool { return rdb.Ping(ctx).Err() == nil }); err != nil {
		return err
	}
	if pid, err := rdb.InfoMap(ctx, "server").Result(); err != nil ||
		pid["Server"]["process_id"] != strconv.Itoa(s.cmd.Process.Pid) {
		return fmt.Errorf("start redis-server: another Redis answers on %s", s.Addr)
	}
	if !cluster {
		return nil
	}
	if err := rdb.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		return fmt.Errorf("start redis-server: give the cluster its slots: %w", err)
	}
	return s.await(ctx, func() bool {
		info, err := rdb.ClusterInfo(ctx).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
}

func (s *Server) await(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-s.exited:
			return fmt.Errorf("start redis-server on %s: it ended: %s", s.Addr, lastLines(s.output.String()))
		case <-ctx.Done():
			return fmt.Errorf("start redis-server on %s: %w", s.Addr, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Kill ends the server at once, as kill -9 does.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Stop ends the server, waits for it, and removes its folder.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

func (s *Server) end(sig os.Signal) error {
	select {
	case <-s.exited:
	default:
		if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop redis-server: %w", err)
		}
		select {
		case <-s.exited:
		case <-time.After(5 * time.Second):
			_ = s.cmd.Process.Kill() // it ends one way or the other
			<-s.exited
		}
	}
	return os.RemoveAll(s.dir)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}
