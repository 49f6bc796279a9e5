package listen

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// The limits of [NewServer].
const (
	readHeaderTimeout = 3 * time.Second
	readTimeout       = 10 * time.Second // headers and body: 4 MiB at 3.4 Mbit/s
	writeTimeout      = 15 * time.Second // from the headers on: body, publish and answer
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
)

// NewServer is a server with a bound on everything a stranger may take: 3 s for
// headers of at most 16 KiB (and what net/http adds), 10 s with the body, 15 s
// in all, a minute of idleness. It speaks HTTP/1 only. The caller serves and
// shuts down; Shutdown waits for the deliveries under way.
func NewServer(addr string, h http.Handler, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Addr: addr, Handler: h, Protocols: &protocols,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Limit accepts no more than conns connections at the same time, at least one;
// others wait in the system's queue.
func Limit(l net.Listener, conns int) net.Listener {
	done := make(chan struct{})
	return &limited{Listener: l, slots: make(chan struct{}, max(conns, 1)), done: done,
		stop: sync.OnceFunc(func() { close(done) })}
}

type limited struct {
	net.Listener
	slots chan struct{} // one element for each open connection
	done  chan struct{}
	stop  func()
}

// Accept waits for a slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close ends an Accept that waits, too.
func (l *limited) Close() error {
	l.stop()
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	free func()
}

func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// CloseWrite lets net/http end an answer before the connection: a sender whose
// body was refused half way would see a reset instead of its 413.
func (c *limitedConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}
