package service

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events/stream"
)

const (
	connectLimit = 2 * time.Second // it is tried again until then
	// lateChange is how old the oldest change may be that no worker has settled.
	lateChange = 10 * time.Second
	fullShare  = 80 // of a limit, in percent: beyond it is told
)

// nats looks at the server and the streams; shut ends the connection.
func (e *exam) nats(ctx context.Context) (shut func()) {
	ctx, cancel := limited(ctx)
	defer cancel()
	n := e.cfg.NATS
	soon, stop := context.WithTimeout(ctx, connectLimit)
	defer stop()
	nc, err := stream.Connect(soon, stream.ConnectOptions{
		URL: n.URL, Name: "rescind-doctor", CredentialsFile: n.Credentials, User: n.User,
		Password: n.Password.Reveal(), CAFile: n.TLSCA,
	})
	if err != nil {
		e.unreached("nats", err, "nats.url, nats.credentials, nats.user and nats.tls_ca say where it is and who we are")
		return func() {}
	}
	e.server(nc)
	if e.js, err = jetstream.New(nc); err == nil {
		err = e.account(ctx)
	}
	if err != nil {
		e.note(Failure, "jetstream", err.Error(), "switch JetStream on, for this account too")
		return nc.Close
	}
	for _, name := range stream.Names() {
		e.stream(ctx, name)
	}
	if e.changes != nil {
		e.consumer(ctx)
	}
	return nc.Close
}

func (e *exam) server(nc *nats.Conn) {
	version := nc.ConnectedServerVersion()
	if err := stream.CheckVersion(version); err != nil {
		e.note(Failure, "nats", err.Error(), "run nats-server 2.12 or later")
	} else {
		e.fine("nats", "version %s, %s", version, counted(max(1, len(nc.Servers())), "server", "servers"))
	}
	_, err := nc.TLSConnectionState()
	switch {
	case err == nil:
		e.fine("nats tls", "the connection is encrypted")
	case local(nc.ConnectedUrl()):
		e.fine("nats tls", "not encrypted, on this machine")
	default:
		e.note(Warning, "nats tls", "the connection is not encrypted: who listens on the way reads logins and changes",
			"give NATS a certificate, and nats.tls_ca")
	}
}

// local says whether an address is of this machine.
func local(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (e *exam) account(ctx context.Context) error {
	a, err := e.js.AccountInfo(ctx)
	if err != nil {
		return err
	}
	e.fine("jetstream", "on, %s on file and %s in memory", size(a.Store), size(a.Memory))
	e.room("jetstream", "max_file_store", a.Store, a.Limits.MaxStore)
	e.room("jetstream", "max_memory_store", a.Memory, a.Limits.MaxMemory)
	return nil
}

// room warns of a limit that is nearly reached; one that is not set is none.
func (e *exam) room(about, limit string, used uint64, most int64) {
	if most > 0 && used*100 >= uint64(most)*fullShare {
		e.note(Warning, about, fmt.Sprintf("%s of %s are used", size(used), size(uint64(most))), "raise "+limit)
	}
}

func size(n uint64) string {
	const kib = 1 << 10
	switch {
	case n >= kib*kib*kib:
		return fmt.Sprintf("%.1f GiB", float64(n)/(kib*kib*kib))
	case n >= kib*kib:
		return fmt.Sprintf("%.1f MiB", float64(n)/(kib*kib))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/kib)
}

// stream looks at one stream of ours.
func (e *exam) stream(ctx context.Context, name string) {
	before := time.Now()
	s, err := e.js.Stream(ctx, name)
	after := time.Now()
	about := "stream " + name
	switch {
	case absent(err) && name == stream.Changes:
		e.note(Unknown, about, "there is none: no service has run with this NATS", "start a listener and a worker, which make it")
		return
	case absent(err):
		if e.changes != nil && name != stream.Refreshes && name != "KV_"+stream.FeedBucket { // those come when needed
			e.note(Warning, about, "there is none", "start a listener or a worker, which make it")
		}
		return
	case err != nil:
		e.unreached(about, err, "the user needs to ask for what streams there are: allow $JS.API.>")
		return
	}
	info := s.CachedInfo()
	if name == stream.Changes {
		e.changes = &info.Config
		if at := info.TimeStamp; !at.IsZero() {
			e.skew("nats clock", at, before, after, cache.ClockSlack)
			ahead := at.Sub(after)
			e.now = func() time.Time { return time.Now().Add(ahead) }
		}
	}
	e.streamConfig(about, info)
	e.streamHealth(about, info)
	if name == stream.Graveyard && info.State.Msgs > 0 {
		e.note(Failure, about, fmt.Sprintf("%d could not be handled, the last at %s", info.State.Msgs, stamp(info.State.LastTime)),
			"rescind dead list says why; then rescind dead redrive, or discard")
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (e *exam) streamConfig(about string, info *jetstream.StreamInfo) {
	problems, warnings := stream.CheckKept(info.Config)
	e.judged(Failure, about, problems)
	e.judged(Warning, about, warnings)
	if want := max(1, e.cfg.NATS.Replicas); info.Config.Replicas != want {
		e.note(Warning, about, fmt.Sprintf("num_replicas is %d, and nats.replicas is %d, which counts when it is made",
			info.Config.Replicas, want), fmt.Sprintf("nats stream edit %s --replicas %d", info.Config.Name, want))
	}
	if len(problems) == 0 {
		e.fine(about, "%s, %s, %s, %s, kept %s", counted(int(info.State.Msgs), "message", "messages"),
			size(info.State.Bytes), strings.ToLower(info.Config.Storage.String()),
			counted(info.Config.Replicas, "replica", "replicas"), ageOf(info.Config.MaxAge))
	}
}

func ageOf(d time.Duration) string {
	switch {
	case d == 0:
		return "for good"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("for %dd", d/(24*time.Hour))
	}
	return "for " + d.String()
}

// streamHealth looks at the replicas.
func (e *exam) streamHealth(about string, info *jetstream.StreamInfo) {
	if info.Cluster == nil || info.Config.Replicas < 2 {
		return
	}
	if info.Cluster.Leader == "" {
		e.note(Failure, about, "it has no leader: nothing is stored", "start the servers that have it")
	}
	for _, p := range info.Cluster.Replicas {
		if p.Offline || !p.Current {
			e.note(Warning, about, fmt.Sprintf("its replica on %q is offline or behind", p.Name), "start or mend that server")
		}
	}
}

// consumer looks at how far the workers are.
func (e *exam) consumer(ctx context.Context) {
	const about = "changes"
	c, err := e.js.Consumer(ctx, stream.Changes, stream.DefaultDurable)
	if absent(err) {
		e.note(Unknown, about, "no worker has taken any yet", "start a worker")
		return
	}
	if err != nil {
		e.unreached(about, err, "the user needs to ask for consumers: allow $JS.API.>")
		return
	}
	info := c.CachedInfo()
	waits := info.NumPending + uint64(info.NumAckPending)
	age := e.oldest(ctx, info.AckFloor.Stream+1, waits)
	text := fmt.Sprintf("%d wait to be applied", waits)
	if age > 0 {
		text += ", the oldest for " + age.Round(time.Second).String()
	}
	switch {
	case waits > 0 && age > lateChange:
		e.note(Failure, about, text, "is a worker running, and is Redis there? A worker's /readyz and log say what it lacks")
	case info.NumWaiting == 0 && info.NumAckPending == 0:
		e.note(Warning, about, text+", and nobody asks for them just now", "is a worker running?")
	default:
		e.note(Fine, about, text, "")
	}
	if n := info.NumRedelivered; n > 0 {
		e.note(Warning, about, fmt.Sprintf("%d were handed out more than once and are not applied", n),
			"a worker's log says why; after their tries they lie in "+stream.Graveyard)
	}
}

// oldest is the age of the first change that is not settled, zero if it is not known.
func (e *exam) oldest(ctx context.Context, seq, waits uint64) time.Duration {
	if waits == 0 {
		return 0
	}
	s, err := e.js.Stream(ctx, stream.Changes)
	if err != nil {
		return 0
	}
	m, err := s.GetMsg(ctx, max(seq, s.CachedInfo().State.FirstSeq))
	if err != nil {
		return 0 // it has ended meanwhile
	}
	return max(0, e.now().Sub(m.Time))
}

// monitors asks servers whether they sync every write.
func (e *exam) monitors(ctx context.Context) {
	for _, at := range e.Monitors {
		about := "nats at " + redactedURL(at)
		always, every, err := askSync(ctx, at)
		switch {
		case err != nil:
			e.note(Unknown, about, err.Error(), "the address is that of http_port, such as http://nats:8222")
			continue
		case always:
			e.fine(about, "every write is synced")
		default:
			e.note(Failure, about, fmt.Sprintf("sync_interval is %s: a power cut loses acknowledged changes", every),
				"set sync_interval: always")
		}
		all := always && (e.synced == nil || *e.synced)
		e.synced = &all
	}
}

// askSync asks one server for its configuration of JetStream.
func askSync(ctx context.Context, at string) (always bool, every time.Duration, err error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	var said struct {
		Config *struct {
			SyncAlways   bool          `json:"sync_always"`
			SyncInterval time.Duration `json:"sync_interval"`
		} `json:"config"`
	}
	body, _, err := fetch(ctx, http.MethodGet, strings.TrimSuffix(at, "/")+"/jsz?config=true")
	if err != nil {
		return false, 0, err
	}
	if err := json.Unmarshal(body, &said); err != nil || said.Config == nil {
		return false, 0, fmt.Errorf("its /jsz tells no configuration")
	}
	return said.Config.SyncAlways, said.Config.SyncInterval, nil
}

// maxFetched bounds what is read of a reply.
const maxFetched = 1 << 20

// fetch asks once, follows nothing, and returns what was said, whatever the status.
func fetch(ctx context.Context, method, address string) (body []byte, head http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return nil, nil, fmt.Errorf("not an address: %.200q", address)
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	reply, err := t.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer reply.Body.Close()
	body, err = io.ReadAll(io.LimitReader(reply.Body, maxFetched))
	return body, reply.Header, err
}
