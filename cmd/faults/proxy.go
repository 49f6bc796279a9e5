package faults

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy forwards TCP connections to one address until it is cut.
type proxy struct {
	addr   string // where it listens
	target string
	on     net.Listener
	base   context.Context // ends with the proxy
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu    sync.Mutex    // guards what follows
	pass  chan struct{} // closed while bytes pass
	sync  chan struct{} // closed while those of Redis's replication do
	conns map[net.Conn]bool
}

// line is one connection through a proxy.
type line struct{ replication atomic.Bool }

// newProxy listens on a free port of loopback and forwards until close.
func newProxy(target string) (*proxy, error) {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &proxy{
		addr: on.Addr().String(), target: target, on: on,
		pass: make(chan struct{}), sync: make(chan struct{}), conns: map[net.Conn]bool{},
	}
	p.heal()
	p.base, p.cancel = context.WithCancel(context.Background())
	p.group.Go(p.accept)
	return p, nil
}

// cut stops all bytes. Connections stay open, new ones are accepted and hang.
func (p *proxy) cut() { p.shut(&p.pass) }

// cutReplica stops only what a Redis sends its replica, and hears from it.
func (p *proxy) cutReplica() { p.shut(&p.sync) }

// heal lets everything pass again, what was held back first.
func (p *proxy) heal() {
	p.open(&p.pass)
	p.open(&p.sync)
}

func (p *proxy) shut(gate *chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isOpen(*gate) {
		*gate = make(chan struct{})
	}
}

func (p *proxy) open(gate *chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !isOpen(*gate) {
		close(*gate)
	}
}

func isOpen(gate chan struct{}) bool {
	select {
	case <-gate:
		return true
	default:
		return false
	}
}

// reset closes all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // it may be closed already
	}
}

// close ends the proxy and waits for what it has under way.
func (p *proxy) close() error {
	p.cancel()
	err := p.on.Close()
	p.reset()
	p.group.Wait()
	return err
}

func (p *proxy) accept() {
	for {
		c, err := p.on.Accept()
		if err != nil {
			return // closed
		}
		p.group.Go(func() { p.forward(c) })
	}
}

func (p *proxy) forward(client net.Conn) {
	defer p.keep(client)()
	l := &line{}
	if !p.wait(l) {
		return
	}
	server, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(p.base, "tcp", p.target)
	if err != nil {
		return // the client sees the line close, as if it had been refused
	}
	defer p.keep(server)()
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, server, client) })
	p.pump(l, client, server)
	both.Wait()
}

// keep notes a connection for reset; the function that it returns closes it.
func (p *proxy) keep(c net.Conn) (drop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	if p.base.Err() != nil {
		_ = c.Close() // the proxy has just ended
	}
	return func() {
		_ = c.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	}
}

// pump copies one way while bytes pass, then closes both ends.
func (p *proxy) pump(l *line, to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if bytes.Contains(buf[:n], []byte("REPLCONF")) { // what a replica says first
			l.replication.Store(true)
		}
		if !p.wait(l) {
			break
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
}

// wait returns once bytes may pass, or false if the proxy has ended.
func (p *proxy) wait(l *line) bool {
	p.mu.Lock()
	gates := []chan struct{}{p.pass}
	if l.replication.Load() {
		gates = append(gates, p.sync)
	}
	p.mu.Unlock()
	for _, gate := range gates {
		select {
		case <-gate:
		case <-p.base.Done():
			return false
		}
	}
	return p.base.Err() == nil
}
