package faults

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers every byte with the same, until the test ends.
func echo(t *testing.T) (addr string) {
	t.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := on.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = on.Close()
		<-done
	})
	return on.Addr().String()
}

func startProxy(t *testing.T) *proxy {
	t.Helper()
	p, err := newProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// says sends a byte and wants it back.
func says(t *testing.T, c net.Conn, b byte) {
	t.Helper()
	if _, err := c.Write([]byte{b}); err != nil {
		t.Fatal(err)
	}
	hears(t, c, b)
}

func hears(t *testing.T, c net.Conn, want byte) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1)
	if _, err := io.ReadFull(c, got); err != nil || got[0] != want {
		t.Fatalf("heard %q, %v, want %q", got, err, want)
	}
}

// silence wants nothing to come, and the line not to end.
func silence(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v, want silence", n, err)
	}
}

func TestACutIsSilentAndHealed(t *testing.T) {
	p := startProxy(t)
	old := dial(t, p)
	says(t, old, 'a')
	p.cut()
	if _, err := old.Write([]byte{'b'}); err != nil {
		t.Fatal(err)
	}
	young := dial(t, p) // is accepted, and hangs
	if _, err := young.Write([]byte{'c'}); err != nil {
		t.Fatal(err)
	}
	silence(t, old)
	silence(t, young)
	p.heal()
	hears(t, old, 'b')
	hears(t, young, 'c')
	says(t, old, 'd')
}

func TestOnlyReplicationIsCut(t *testing.T) {
	p := startProxy(t)
	client, replica := dial(t, p), dial(t, p)
	for _, b := range []byte("REPLCONF") { // it is known once it was said in one piece
		says(t, client, b)
	}
	if _, err := replica.Write([]byte("REPLCONF")); err != nil {
		t.Fatal(err)
	}
	for _, b := range []byte("REPLCONF") {
		hears(t, replica, b)
	}
	p.cutReplica()
	if _, err := replica.Write([]byte{'b'}); err != nil {
		t.Fatal(err)
	}
	silence(t, replica)
	says(t, client, 'c')
	p.heal()
	hears(t, replica, 'b')
}

func TestAResetEndsConnections(t *testing.T) {
	p := startProxy(t)
	c := dial(t, p)
	says(t, c, 'a')
	p.reset()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the line goes on: %v", err)
	}
	says(t, dial(t, p), 'b')
}

func TestAProxyEndsWhileItIsCut(t *testing.T) {
	p := startProxy(t)
	c := dial(t, p)
	says(t, c, 'a')
	p.cut()
	dial(t, p)
	done := make(chan error, 1)
	go func() { done <- p.close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it does not end")
	}
}
