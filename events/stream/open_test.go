package stream_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
)

// config keeps the tables narrow.
type config = jetstream.StreamConfig

func sound() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: stream.Changes, Subjects: []string{events.AllChanges}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, MaxAge: 7 * 24 * time.Hour, Duplicates: 10 * time.Minute,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, Replicas: 3,
	}
}

func TestCheckChanges(t *testing.T) {
	for name, c := range map[string]struct {
		spoil         func(*config)
		problem, warn string
	}{
		"sound":          {func(*config) {}, "", ""},
		"kept for ever":  {func(c *config) { c.MaxAge = 0 }, "", ""},
		"wider subjects": {func(c *config) { c.Subjects = []string{"x", "perm.>"} }, "", ""},
		"a star":         {func(c *config) { c.Subjects = []string{"perm.*.>"} }, "", ""},
		"bytes with discard new": {func(c *config) {
			c.MaxBytes, c.Discard = 1<<30, jetstream.DiscardNew
		}, "", ""},
		"per subject with discard new per subject": {func(c *config) {
			c.MaxMsgsPerSubject, c.Discard, c.DiscardNewPerSubject = 9, jetstream.DiscardNew, true
		}, "", ""},
		"memory":      {func(c *config) { c.Storage = jetstream.MemoryStorage }, "storage", ""},
		"async":       {func(c *config) { c.PersistMode = jetstream.AsyncPersistMode }, "persist_mode", ""},
		"work queue":  {func(c *config) { c.Retention = jetstream.WorkQueuePolicy }, "retention is workqueue", ""},
		"interest":    {func(c *config) { c.Retention = jetstream.InterestPolicy }, "retention is interest", ""},
		"count":       {func(c *config) { c.MaxMsgs = 1000 }, "max_msgs is 1000", ""},
		"bytes":       {func(c *config) { c.MaxBytes = 1 << 30 }, "max_bytes is 1073741824", ""},
		"per subject": {func(c *config) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject is 1", ""},
		"per subject with discard new alone": {func(c *config) {
			c.MaxMsgsPerSubject, c.Discard = 1, jetstream.DiscardNew
		}, "max_msgs_per_subject", ""},
		"no dedupe":        {func(c *config) { c.Duplicates = 0 }, "duplicate_window", ""},
		"other subjects":   {func(c *config) { c.Subjects = []string{"perm.change.box.>"} }, "subjects", ""},
		"one token only":   {func(c *config) { c.Subjects = []string{"perm.change.*"} }, "subjects", ""},
		"shorter subjects": {func(c *config) { c.Subjects = []string{"perm.change"} }, "subjects", ""},
		"a mirror":         {func(c *config) { c.Subjects = nil }, "subjects", ""},
		"a transform": {func(c *config) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		}, "subject_transform", ""},
		"sealed":      {func(c *config) { c.Sealed = true }, "sealed", ""},
		"no ack":      {func(c *config) { c.NoAck = true }, "no_ack", ""},
		"one replica": {func(c *config) { c.Replicas = 1 }, "", "num_replicas"},
		"one day":     {func(c *config) { c.MaxAge = 24 * time.Hour }, "", "max_age is 24h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := sound()
			c.spoil(&cfg)
			problems, warnings := stream.CheckChanges(cfg)
			checkLines(t, "problems", problems, c.problem)
			checkLines(t, "warnings", warnings, c.warn)
		})
	}
}

// checkLines wants one line with that text, or none if it is empty.
func checkLines(t *testing.T, what string, got []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("%s = %q, want none", what, got)
	case want != "" && (len(got) != 1 || !strings.Contains(got[0], want)):
		t.Errorf("%s = %q, want one with %q", what, got, want)
	}
}

func TestOpenCreatesAndOpensAgain(t *testing.T) {
	s, nc := opened(t)
	publish(t, s, change("1"))
	again := openOn(t, nc)
	info, err := again.Info(t.Context())
	if err != nil || info.Messages != 1 {
		t.Errorf("info = %+v, %v: want the message that was there", info, err)
	}
	if w := again.Warnings(); len(w) != 1 || !strings.Contains(w[0], "num_replicas is 1") {
		t.Errorf("warnings = %q, want one of the single replica", w)
	}
	if err := again.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	st, err := jetStream(t, nc).Stream(t.Context(), stream.Changes)
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	if cfg.MaxAge != 7*24*time.Hour || cfg.Duplicates != 10*time.Minute || !cfg.AllowDirect {
		t.Errorf("created with %+v", cfg)
	}
}

func TestOpenAtOnceFromManyProcesses(t *testing.T) {
	srv := startServer(t, natslocal.Options{})
	errs := make(chan error, 8)
	for range cap(errs) {
		nc := connect(t, srv)
		go func() {
			_, err := stream.Open(context.Background(), nc, stream.Options{})
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := receive(t, errs, "open"); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefusesAStreamThatLosesChanges(t *testing.T) {
	nc := connect(t, startServer(t, natslocal.Options{}))
	cfg := sound()
	cfg.Storage, cfg.Replicas = jetstream.MemoryStorage, 1
	if _, err := jetStream(t, nc).CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	_, err := stream.Open(t.Context(), nc, stream.Options{})
	if err == nil || !strings.Contains(err.Error(), "CHANGES: storage is memory") {
		t.Errorf("open = %v, want a refusal that names the storage", err)
	}
}

func TestOpenMakesAnUnfitQueueAnew(t *testing.T) {
	for name, spoil := range map[string]func(*config){
		"another retention": func(*config) {},
		"file storage":      func(c *config) { c.Storage = jetstream.FileStorage },
	} {
		t.Run(name, func(t *testing.T) {
			nc := connect(t, startServer(t, natslocal.Options{}))
			cfg := jetstream.StreamConfig{
				Name: stream.Refreshes, Subjects: []string{events.AllRefreshes}, Storage: jetstream.MemoryStorage,
			}
			spoil(&cfg)
			js := jetStream(t, nc)
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			s := openOn(t, nc)
			task := stream.Task{Ref: ref("1"), Until: time.Now().Add(time.Minute)}
			if ok, err := s.EnqueueAt(t.Context(), task, time.Now().Add(time.Second)); !ok || err != nil {
				t.Errorf("enqueue = %v, %v", ok, err)
			}
		})
	}
}

func TestOpenRefusesAClosedConnection(t *testing.T) {
	srv := startServer(t, natslocal.Options{})
	nc := connect(t, srv)
	nc.Close()
	_, err := stream.Open(t.Context(), nc, stream.Options{})
	wantError(t, err, nats.ErrConnectionClosed)
}

func TestConnectIsBoundedAndTellsNoSecret(t *testing.T) {
	const secret = "hunter2"
	for name, o := range map[string]stream.ConnectOptions{
		"nobody there":      {URL: "nats://user:" + secret + "@127.0.0.1:1"},
		"a token":           {URL: "nats://" + secret + "@127.0.0.1:1"},
		"an unreadable URL": {URL: "nats://user:" + secret + "%zz@127.0.0.1:1"},
		"a query":           {URL: "127.0.0.1:1?token=" + secret},
		"two ways":          {URL: "127.0.0.1:1", User: "u", Password: secret, Token: secret},
		"no such CA":        {URL: "127.0.0.1:1", Token: secret, CAFile: "/nowhere/ca.pem"},
		"no credentials":    {URL: "127.0.0.1:1", CredentialsFile: "/nowhere/x.creds"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			nc, err := stream.Connect(ctx, o)
			if err == nil {
				nc.Close()
				t.Fatal("connected")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("error tells the secret: %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestConnectWaitsForTheServerAndSpeaksOfOutages(t *testing.T) {
	dir := t.TempDir()
	probe := startServer(t, natslocal.Options{Dir: dir, Addr: "127.0.0.1:0"})
	url := probe.URL()
	stopServer(t, probe)

	var lines bytes.Buffer
	logged := make(chan string, 100)
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		logged <- string(b)
		return lines.Write(b)
	}), nil))
	type result struct {
		nc  *nats.Conn
		err error
	}
	connected := make(chan result, 1)
	go func() {
		nc, err := stream.Connect(context.Background(), stream.ConnectOptions{URL: url, Log: log})
		connected <- result{nc, err}
	}()
	opts := natslocal.Options{Dir: dir, Addr: strings.TrimPrefix(url, "nats://")}
	srv := startServer(t, opts)
	got := receive(t, connected, "connection")
	if got.err != nil {
		t.Fatal(got.err)
	}
	closeAtEnd(t, got.nc)
	stopServer(t, srv)
	startServer(t, opts)
	for _, want := range []string{"disconnected", "reconnected"} {
		for !strings.Contains(receive(t, logged, want), want) {
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestHealthySaysThatTheServerIsAway(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	health := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return s.Healthy(ctx)
	}
	eventually(t, "healthy", func() bool { return health() == nil })
	stopServer(t, o.srv)
	eventually(t, "unhealthy without a server", func() bool { return health() != nil })
	o.srv = startServer(t, o.opts)
	eventually(t, "healthy again", func() bool { return health() == nil })
}

func TestSourceNamesNoTestingInProduct(t *testing.T) {
	for _, dir := range []string{".", "../natslocal"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}
			b, err := os.ReadFile(dir + "/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte("\"testing\"")) {
				t.Errorf("%s/%s imports testing", dir, f.Name())
			}
		}
	}
}
