package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The bounds of processes.
const (
	startLimit = 60 * time.Second // a service waits that long for NATS and Redis
	stopLimit  = 15 * time.Second
	tries      = 3 // of a start: the port may be taken for a moment
)

var errEnded = errors.New("it ended")

// process is a part that can be killed and started again.
type process struct {
	name string
	log  string // file that takes its output
	args []string
	env  []string
	// ports are held for it until it starts, lest something else gets them.
	ports []net.Listener
	// ready says whether it serves.
	ready func(context.Context) bool

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd
	exited chan struct{}
	ended  bool  // by us
	read   int64 // of its log, by complaints
}

// start runs it unless it runs, and waits until it serves.
func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return nil
	}
	var err error
	for range tries {
		if err = p.spawn(); err != nil {
			break
		}
		if err = p.serves(ctx); !errors.Is(err, errEnded) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("start %s: %w (see %s)", p.name, err, p.log)
	}
	return nil
}

// spawn starts it, to end with us whatever happens to us.
func (p *process) spawn() error {
	letGo(p.ports)
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() // the child has its own
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = append(cleanEnviron(), p.env...), out, out, bound()
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	p.cmd, p.exited, p.ended = cmd, exited, false
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(exited)
	}()
	return nil
}

// cleanEnviron is our environment without what would configure a service. The
// race detector need not wait at the end: nobody is left to race.
func cleanEnviron() (env []string) {
	env = []string{"GORACE=atexit_sleep_ms=0"}
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "RESCIND_") {
			env = append(env, line)
		}
	}
	return env
}

func (p *process) serves(ctx context.Context) error {
	return await(ctx, startLimit, "it serves", func(ctx context.Context) (bool, error) {
		if !p.running() {
			return false, errEnded
		}
		return p.ready(ctx), nil
	})
}

func (p *process) running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// alive says whether it runs.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

// kill ends it at once, as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		p.ended = true
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// complaints are lines of its log since the last call that tell of a bug, and
// whether it has ended by itself.
func (p *process) complaints() (lines []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited != nil && !p.running() && !p.ended {
		lines = append(lines, p.name+" has ended by itself")
	}
	f, err := os.Open(p.log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(p.read, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	p.read += int64(len(b))
	for line := range strings.Lines(string(b)) {
		for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if strings.HasPrefix(line, bad) {
				lines = append(lines, p.name+": "+strings.TrimSpace(line))
			}
		}
	}
	return lines, err
}

// stop asks it to end, and kills it if it does not.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	p.ended = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not end within %s and was killed", p.name, stopLimit)
	}
}

// await polls until done says so, errs, or the limit is over.
func await(
	ctx context.Context, limit time.Duration, what string, done func(context.Context) (bool, error),
) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// pause lets time pass in which something is broken; it ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// letGo gives ports free; it may be called again.
func letGo(ports []net.Listener) {
	for _, l := range ports {
		_ = l.Close() // it is closed from the second time on
	}
}

// listens says whether somebody accepts connections at an address.
func listens(addr string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}
}
