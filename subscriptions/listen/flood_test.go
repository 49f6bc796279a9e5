package listen_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/listen"
)

// crowd opens connections, and closes those that are left at the end.
func (s *stage) crowd(t *testing.T, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", s.host)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
		t.Cleanup(func() { c.Close() })
	}
	return conns
}

// connected is the metric of open connections.
func (s *stage) connected(t *testing.T) int {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "rescind_listener_connections" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatal("no metric of connections")
	return 0
}

// A thousand connections say nothing: deliveries go on, and the server itself
// ends every one of them.
func TestAThousandSilentConnections(t *testing.T) {
	const silent, patience = 1000, 4 * time.Second
	s := open(t, listen.Config{Publisher: &memory{}}, ringCentral(t), func(srv *http.Server) {
		srv.ReadHeaderTimeout, srv.IdleTimeout = patience, limit
	})
	if got := s.post(t, notice("u", "42")); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	before, start := runtime.NumGoroutine(), time.Now()
	conns := s.crowd(t, silent)
	eventually(t, "the server has them all", func() bool { return s.connected(t) >= silent })
	peak, slowest := runtime.NumGoroutine(), time.Duration(0)
	for range 20 {
		s.client.CloseIdleConnections() // each comes on a new connection
		began := time.Now()
		if got := s.post(t, notice("u", "42")); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		slowest = max(slowest, time.Since(began))
	}
	if n := s.connected(t); n < silent {
		t.Errorf("only %d connections were there with the deliveries", n)
	}
	for _, c := range conns {
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Fatalf("a silent connection was told %q, %v", b, err)
		}
	}
	ended := time.Since(start)
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+5 })
	eventually(t, "the connections are gone", func() bool { return s.connected(t) <= 1 })
	t.Logf("20 deliveries beside %d silent connections, slowest %s; all ended after %s; goroutines %d, %d, %d",
		silent, slowest, ended, before, peak, runtime.NumGoroutine())
	if ended < patience/2 || slowest > patience/2 {
		t.Errorf("ended after %s, want that after %s; slowest delivery %s", ended, patience, slowest)
	}
}

// Strangers fill every place of the door and would stay as long as a
// connection may be idle: each place is free again after its answer.
func TestStrangersHoldNoPlace(t *testing.T) {
	s := open(t, listen.Config{Publisher: &memory{}}, ringCentral(t), func(srv *http.Server) {
		srv.IdleTimeout = limit
	})
	for _, c := range s.crowd(t, maxConnections) {
		if _, err := io.WriteString(c, request("GET", "/", -1)); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 404 {
			t.Fatalf("%+v, %v", resp, err)
		}
	}
	start := time.Now()
	if got := s.post(t, notice("u", "42")); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	if took := time.Since(start); took > limit/4 {
		t.Errorf("a delivery waited %s", took)
	}
}

// heap samples how many bytes its objects take, until it is stopped; then it
// returns the highest.
func heap() (stop func() uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		highest := read()
		for {
			select {
			case <-done:
				peak <- highest
				return
			case <-tick.C:
				highest = max(highest, read())
			}
		}
	}()
	return func() uint64 {
		close(done)
		return <-peak
	}
}

// resident is the line of the highest resident size, where the system tells.
func resident() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "not told here"
	}
	for line := range strings.Lines(string(b)) {
		if size, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(size)
		}
	}
	return "not told here"
}

// endless sends a body of that many bytes in chunks, as far as it is let.
func endless(path string, bytes int) func(net.Conn) {
	block := strings.Repeat("x", 64<<10)
	return func(c net.Conn) {
		_, err := io.WriteString(c, request("POST", path, -1, auth, "Transfer-Encoding: chunked"))
		for sent := 0; err == nil && sent < bytes; sent += len(block) {
			_, err = fmt.Fprintf(c, "%x\r\n%s\r\n", len(block), block)
		}
	}
}

// The worst that can be sent at the same time, by those who know the address
// and the token and by those who do not. What is announced is not reserved,
// what is too much is not read, and what is read is bounded by the number of
// connections: here 100 that stop just before the limit, so 25 MiB, which a
// growing buffer can triple and the collector double. Without the limit the 64
// endless bodies alone would be 2 GiB.
func TestMemoryStaysBounded(t *testing.T) {
	const maxBody, bound = 256 << 10, 256 << 20
	s := open(t, listen.Config{Publisher: &memory{}, MaxBody: maxBody}, ringCentral(t), func(srv *http.Server) {
		srv.ReadHeaderTimeout, srv.ReadTimeout = 2*time.Second, 3*time.Second
	})
	almost := request("POST", s.path, maxBody, auth) + strings.Repeat("x", maxBody-1)
	mix := []struct {
		n    int
		send func(net.Conn)
		want int // 0: none, or an end in the middle
	}{
		{600, whole(""), 0},
		{100, whole(almost), 408},
		{64, endless(s.path, 32<<20), 413},
		{64, whole(request("POST", s.path, 10<<30, auth) + almost), 413},
		{64, endless(s.path+"x", 32<<20), 404},
		{64, whole(request("POST", s.path, -1, auth, "X: "+strings.Repeat("x", 1<<20))), 431},
	}
	runtime.GC()
	before := heap()()
	stop := heap()
	var wg sync.WaitGroup
	for _, m := range mix {
		for _, c := range s.crowd(t, m.n) {
			wg.Go(func() { m.send(c) })
			wg.Go(func() {
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err == nil && resp.StatusCode != m.want && resp.StatusCode != http.StatusRequestTimeout {
					t.Errorf("status %d, want %d, or 408 from a slow machine", resp.StatusCode, m.want)
				}
				c.Close()
			})
		}
	}
	for range 20 {
		if got := s.post(t, notice("u", "42")); got != http.StatusOK {
			t.Errorf("status %d for a good delivery", got)
		}
	}
	wg.Wait()
	peak := stop()
	t.Logf("heap %d MiB, at most %d MiB, bound %d MiB more; resident at most %s", before>>20, peak>>20,
		bound>>20,
		resident())
	if peak > before+bound {
		t.Errorf("%d MiB were taken", (peak-before)>>20)
	}
}
