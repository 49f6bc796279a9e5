package listen_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions/listen"
)

// BenchmarkDeliveries compares the listener with a bare handler that reads the
// body and publishes it with one synchronous call, each with 64 connections on
// loopback, sender, server and broker in one process. Every delivery has an id
// of its own.
func BenchmarkDeliveries(b *testing.B) {
	for _, always := range []bool{false, true} {
		o := natslocal.Options{SyncAlways: always}
		b.Run(fmt.Sprintf("sync_always=%t/bare", always), func(b *testing.B) { benchmarkBare(b, o) })
		b.Run(fmt.Sprintf("sync_always=%t/listener", always), func(b *testing.B) { benchmarkListener(b, o) })
	}
}

func benchmarkListener(b *testing.B, o natslocal.Options) {
	br := newBroker(b, o)
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	s := open(b, listen.Config{Publisher: toStream{br.Stream}, Log: log}, ringCentral(b), nil)
	load(b, s.client, s.url)
}

func benchmarkBare(b *testing.B, o natslocal.Options) {
	br := newBroker(b, o)
	nc, err := stream.Connect(b.Context(), stream.ConnectOptions{URL: br.srv.URL()})
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			id := jetstream.WithMsgID(fmt.Sprint(n.Add(1)))
			_, err = js.Publish(context.WithoutCancel(r.Context()), events.ChangeSubject(home), body, id)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
	defer client.CloseIdleConnections()
	load(b, client, srv.URL)
}

func load(b *testing.B, client *http.Client, url string) {
	b.Helper()
	const connections = 64
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(notice(fmt.Sprint(n), "42")))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Verification-Token", token)
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.Errorf("status %d", resp.StatusCode)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
