package listen_test

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/subscriptions/listen"
)

func TestLimitLeavesFurtherConnectionsWaiting(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listen.Limit(inner, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := receive(t, accepted, "first connection")
	second := receive(t, accepted, "second connection")
	select {
	case <-accepted:
		t.Error("a third connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	for range 2 { // closing again frees no second slot
		first.Close()
	}
	third := receive(t, accepted, "third connection")
	if err := l.Close(); err != nil { // while Accept waits for a slot
		t.Error(err)
	}
	if err := receive(t, ended, "end of Accept"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	second.Close()
	third.Close()
}

func TestMetricsHaveEverySeriesFromTheBeginning(t *testing.T) {
	s := open(t, listen.Config{Publisher: &memory{}}, ringCentral(t), nil)
	if status := s.post(t, notice("u", "42")); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	eventually(t, "it is counted", func() bool { return s.count(t, "published") == 1 })
	want := `
# HELP rescind_deliveries_total Deliveries by what became of them.
# TYPE rescind_deliveries_total counter
rescind_deliveries_total{outcome="unknown",provider=""} 0
rescind_deliveries_total{outcome="duplicate",provider="ringcentral"} 0
rescind_deliveries_total{outcome="handshake",provider="ringcentral"} 0
rescind_deliveries_total{outcome="method",provider="ringcentral"} 0
rescind_deliveries_total{outcome="nothing",provider="ringcentral"} 0
rescind_deliveries_total{outcome="panicked",provider="ringcentral"} 0
rescind_deliveries_total{outcome="published",provider="ringcentral"} 1
rescind_deliveries_total{outcome="refused",provider="ringcentral"} 0
rescind_deliveries_total{outcome="slow",provider="ringcentral"} 0
rescind_deliveries_total{outcome="too_large",provider="ringcentral"} 0
rescind_deliveries_total{outcome="unpublished",provider="ringcentral"} 0
rescind_deliveries_total{outcome="unreadable",provider="ringcentral"} 0
# HELP rescind_listener_connections Open connections of the listener.
# TYPE rescind_listener_connections gauge
rescind_listener_connections 1
`
	err := testutil.GatherAndCompare(s.metrics, strings.NewReader(want),
		"rescind_deliveries_total", "rescind_listener_connections")
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"rescind_delivery_seconds", "rescind_publish_seconds"} {
		if n, err := testutil.GatherAndCount(s.metrics, name); n != 1 || err != nil {
			t.Errorf("%d series of %s, %v", n, name, err)
		}
	}
	s.client.CloseIdleConnections()
	eventually(t, "the connection is closed", func() bool {
		return testutil.GatherAndCompare(s.metrics, strings.NewReader("# HELP rescind_listener_connections "+
			"Open connections of the listener.\n# TYPE rescind_listener_connections gauge\n"+
			"rescind_listener_connections 0\n"), "rescind_listener_connections") == nil
	})
}
