package listen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/listen"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait.
const limit = 20 * time.Second

// maxConnections is the default of the configuration.
const maxConnections = 1024

// The secrets of the tests; none may be logged.
const (
	token = "SECRET-verification-token"
	part  = "SECRETpart0123456789abcdef"
)

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

// noVault is for a provider that makes no call.
type noVault struct{ subscriptions.Vault }

func ringCentral(t testing.TB) *ringcentral.Provider {
	t.Helper()
	return ringCentralOf(t, home, token)
}

// ringCentralOf is the provider of a tenant that is told from others by a token.
func ringCentralOf(t testing.TB, h events.Home, token string) *ringcentral.Provider {
	t.Helper()
	secret := subscriptions.NewSecret
	p, err := ringcentral.New(ringcentral.Config{
		Name: h.Provider, Account: h.Tenant, BaseURL: "http://127.0.0.1:1", ClientID: "c",
		ClientSecret: secret("s"),
		JWT:          secret("j"), VerificationTokens: []subscriptions.Secret{secret(token)},
	}, subscriptions.Deps{HTTP: http.DefaultClient, Vault: noVault{}, Budget: budget.NewLocal(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// toStream publishes into JetStream.
type toStream struct{ *stream.Stream }

func (s toStream) Publish(ctx context.Context, c events.Change) (bool, error) {
	ack, err := s.Stream.Publish(ctx, c)
	return ack.Duplicate, err
}

// broker is a NATS server that can go away and come back where it was.
type broker struct {
	*stream.Stream
	opts natslocal.Options
	srv  *natslocal.Server
}

func newBroker(t testing.TB, o natslocal.Options) *broker {
	t.Helper()
	o.Dir, o.Addr = t.TempDir(), "127.0.0.1:0"
	b := &broker{opts: o}
	b.start(t)
	b.opts.Addr = strings.TrimPrefix(b.srv.URL(), "nats://")
	nc, err := stream.Connect(t.Context(), stream.ConnectOptions{URL: b.srv.URL(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		nc.Close()
		receive(t, closed, "end of the connection")
	})
	if b.Stream, err = stream.Open(t.Context(), nc, stream.Options{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *broker) start(t testing.TB) {
	t.Helper()
	srv, err := natslocal.Start(t.Context(), b.opts)
	if err != nil {
		t.Fatal(err)
	}
	b.srv = srv
	t.Cleanup(func() { b.stop(t, srv) })
}

func (b *broker) stop(t testing.TB, srv *natslocal.Server) {
	t.Helper()
	if err := srv.Stop(); err != nil {
		t.Errorf("stop nats: %v", err)
	}
}

// stored reads back what is in the stream, by id.
func (b *broker) stored(t testing.TB) map[string]events.Change {
	t.Helper()
	out := map[string]events.Change{}
	err := b.Read(t.Context(), stream.ReadOptions{}, func(m stream.Stored) error {
		if _, twice := out[m.Change.ID]; twice || m.DecodeErr != nil {
			t.Errorf("message %d: id %q, twice %t, %v", m.Sequence, m.Change.ID, twice, m.DecodeErr)
		}
		out[m.Change.ID] = m.Change
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// stage is a listener that serves.
type stage struct {
	url     string
	host    string
	path    string
	client  *http.Client
	log     *journal
	metrics *prometheus.Registry
	server  *http.Server
}

// open serves a door beside those of cfg; shape may change the server before
// it begins.
func open(t testing.TB, cfg listen.Config, d subscriptions.Door, shape func(*http.Server)) *stage {
	t.Helper()
	s := &stage{log: &journal{}, metrics: prometheus.NewRegistry(), client: &http.Client{Timeout: limit,
		Transport: &http.Transport{MaxIdleConnsPerHost: 128}}}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if cfg.Log == nil {
		cfg.Log = log
	}
	cfg.Registerer = s.metrics
	cfg.Doors = append(cfg.Doors, listen.Door{Home: home, Path: part, Door: d})
	h, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.host, s.path = l.Addr().String(), "/hooks/ringcentral/"+part
	s.url = listen.Address("http://"+s.host+"/", home, part)
	s.server = listen.NewServer("", h, log)
	s.server.ConnState = h.ConnState
	if shape != nil {
		shape(s.server)
	}
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(listen.Limit(l, maxConnections)) }()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := receive(t, done, "end of the server"); err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
		if s.log.has("SECRET") {
			t.Errorf("a secret was logged:\n%s", s.log)
		}
	})
	return s
}

// post delivers with the right token and returns the status.
func (s *stage) post(t testing.TB, body string) int {
	t.Helper()
	status, err := s.send(body)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func (s *stage) send(body string) (int, error) {
	r, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Verification-Token", token)
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// line is what was logged of a delivery.
type line struct {
	Level, Msg, Provider, Tenant, Outcome, Error string
	DeliveryID                                   string `json:"delivery_id"`
	Tags                                         int
}

// journal is what was logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) has(text string) bool { return strings.Contains(j.String(), text) }

// lines are those of deliveries.
func (j *journal) lines(t testing.TB) []line {
	t.Helper()
	var out []line
	for text := range strings.Lines(j.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		if l.Msg == "delivery" {
			out = append(out, l)
		}
	}
	return out
}

// notice is a notification of one extension's new permissions.
func notice(uuid, extension string) string {
	return fmt.Sprintf(`{"uuid":%q,"event":"/restapi/v1.0/account/37439510/extension",`+
		`"timestamp":"2026-06-14T12:00:00.000Z","subscriptionId":"s","ownerId":"1",`+
		`"body":{"extensionId":%q,"eventType":"Update","hints":["Permissions"]}}`, uuid, extension)
}

func changeID(uuid string) string { return events.ChangeID(home, uuid) }

func receive[T any](t testing.TB, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(limit):
		t.Fatalf("not in %s: %s", limit, what)
	}
	return v
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in %s: %s", limit, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
