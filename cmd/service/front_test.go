package service_test

import (
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// front stands before the listeners, as a balancer does: at the address that is
// registered. It sends to each in turn.
type front struct {
	url string

	mu      sync.Mutex
	targets []string // host:port
	next    int
	seen    map[string]map[int]int // answers to deliveries by target, by status
}

func startFront(t testing.TB) *front {
	t.Helper()
	f := &front{seen: map[string]map[int]int{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: f.turn()}) },
		Transport: transport,
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Header.Get("Validation-Token") == "" { // no handshake
				f.note(r.Request.URL.Host, r.StatusCode)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
			f.note(r.URL.Host, http.StatusBadGateway)
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	f.url = server.URL
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return f
}

// to says where it sends from now on; nowhere: it refuses.
func (f *front) to(targets ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = targets
}

func (f *front) turn() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.targets) == 0 {
		return "127.0.0.1:1" // nobody is there
	}
	f.next++
	return f.targets[f.next%len(f.targets)]
}

func (f *front) note(target string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[target] == nil {
		f.seen[target] = map[int]int{}
	}
	f.seen[target][status]++
}

// answers are those of a target to deliveries, by status.
func (f *front) answers(target string) map[int]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.seen[target])
}

// cable is a connection that can be cut: whoever talks through it is as good as dead
// to the other side.
type cable struct {
	on     net.Listener
	target string
	group  sync.WaitGroup

	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func startCable(t testing.TB, target string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{on: l, target: target}
	c.group.Go(c.accept)
	t.Cleanup(func() {
		c.cut()
		c.group.Wait()
	})
	return c
}

func (c *cable) accept() {
	for {
		near, err := c.on.Accept()
		if err != nil {
			return // it was cut
		}
		far, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = near.Close() // nobody is there
			continue
		}
		if !c.keep(near, far) {
			return
		}
		c.group.Go(func() { c.carry(near, far) })
		c.group.Go(func() { c.carry(far, near) })
	}
}

// keep remembers both ends; it is false, and both are closed, once it is cut.
func (c *cable) keep(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, ends...)
	if c.isCut {
		c.closeAll()
	}
	return !c.isCut
}

func (c *cable) carry(to, from net.Conn) {
	_, _ = io.Copy(to, from) // it ends with either side
	_, _ = to.Close(), from.Close()
}

// cut ends all connections, and lets no other through.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	_ = c.on.Close() // it may be cut already
	c.closeAll()
}

func (c *cable) closeAll() {
	for _, one := range c.conns {
		_ = one.Close() // it may have ended
	}
}
