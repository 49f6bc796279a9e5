package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
)

const (
	journalAge   = 24 * time.Hour
	journalBytes = 128 << 20
	// journalBuffer is how many outcomes wait to be written, journalPending how many
	// are written and not acknowledged.
	journalBuffer  = 8192
	journalPending = 4096
	// journalLimit bounds how long an outcome waits for its acknowledgement, and for
	// how long the last ones are waited for.
	journalLimit = 5 * time.Second
	journalEnd   = time.Second
	// journalHold is how long what is told of changes that hit nothing alive waits for
	// more of it: on a backlog that is nearly all.
	journalHold = time.Second
)

// openJournal makes or takes JOURNAL. It is in memory: on a disk its writes would hold
// up those of the changes. Where the server does not want it there is none: nothing
// depends on it.
func (s *Stream) openJournal(ctx context.Context) error {
	want := jetstream.StreamConfig{
		Name: Outcomes, Subjects: []string{events.AllOutcomes}, Storage: jetstream.MemoryStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxAge: journalAge,
		MaxBytes: journalBytes, AllowDirect: true, Replicas: s.replicas,
	}
	cfg, err := s.createIfMissing(ctx, want)
	if refused(err) {
		s.warn(Outcomes, fmt.Sprintf("the server refuses it, so outcomes are not kept: %s", err))
		return nil
	}
	if err != nil {
		return err
	}
	if cfg.MaxAge <= 0 && cfg.MaxBytes <= 0 && cfg.MaxMsgs <= 0 {
		s.warn(Outcomes, fmt.Sprintf("it has no limit and grows for good; set max_age %s or max_bytes", journalAge))
	}
	if cfg.Discard != jetstream.DiscardOld {
		s.warn(Outcomes, "discard is new: when it is full nothing new is kept; use old")
	}
	if !coveredByAny(cfg.Subjects, events.AllOutcomes) {
		s.warn(Outcomes, fmt.Sprintf("subjects are %q: they do not cover ours, so outcomes are not kept; add %q",
			cfg.Subjects, events.AllOutcomes))
	}
	return nil
}

// Journal writes down what became of changes, as well as that goes: what it cannot
// write at once it drops, and counts. As a Collector it counts what it wrote, by
// kind, and dropped:
//
//	rescind_journal_published_total{kind}
//	rescind_journal_dropped_total
type Journal struct {
	s       *Stream
	queue   chan events.Outcome
	refused atomic.Bool // something was: JOURNAL may be gone with its server
	written *prometheus.CounterVec
	dropped prometheus.Counter
}

var _ prometheus.Collector = (*Journal)(nil)

// Journal makes no call and starts nothing: what is noted is written by
// [Journal.Run].
func (s *Stream) Journal() *Journal {
	return &Journal{
		s: s, queue: make(chan events.Outcome, journalBuffer),
		written: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rescind_journal_published_total", Help: "Outcomes that the journal has, by kind.",
		}, []string{"kind"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rescind_journal_dropped_total", Help: "Outcomes that were not written: too many, or NATS is away.",
		}),
	}
}

// Describe implements [prometheus.Collector].
func (j *Journal) Describe(descs chan<- *prometheus.Desc) {
	j.written.Describe(descs)
	j.dropped.Describe(descs)
}

// Collect implements [prometheus.Collector].
func (j *Journal) Collect(metrics chan<- prometheus.Metric) {
	j.written.Collect(metrics)
	j.dropped.Collect(metrics)
}

// Note takes an outcome and never waits. One without a time gets this one; its ID is
// given by whoever writes it.
func (j *Journal) Note(o events.Outcome) {
	if o.At.IsZero() {
		o.At = time.Now()
	}
	select {
	case j.queue <- o.Bounded():
	default:
		j.dropped.Inc()
	}
}

// Run writes what is noted until ctx ends, and what is left then within a second. It
// returns nil.
func (j *Journal) Run(ctx context.Context) error {
	js, err := jetstream.New(j.s.nc, // of its own: changes must not wait behind outcomes
		jetstream.WithPublishAsyncMaxPending(journalPending), jetstream.WithPublishAsyncTimeout(journalLimit),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, _ *jetstream.PubAck) {
			j.written.WithLabelValues(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]).Inc()
		}),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) {
			j.dropped.Inc()
			j.refused.Store(true)
		}))
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer js.CleanupPublisher()
	w := writer{Journal: j, js: js, prefix: rand.Text(), held: map[events.Home]events.Outcome{}}
	tick := time.NewTicker(journalHold)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case o := <-j.queue:
			w.take(o)
		case <-tick.C:
			w.flush()
			j.reopen(ctx)
		case <-ctx.Done():
			ended = true
		}
	}
	for len(j.queue) > 0 {
		w.take(<-j.queue)
	}
	w.flush()
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(journalEnd):
	}
	return nil
}

// reopen makes JOURNAL anew if it went with its server.
func (j *Journal) reopen(ctx context.Context) {
	if j.s.nc.Status() != nats.CONNECTED || !j.refused.Swap(false) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, journalEnd)
	defer cancel()
	if err := j.s.openJournal(ctx); err != nil {
		j.s.log.DebugContext(ctx, "journal", "error", err)
	}
}

// writer is a journal that runs.
type writer struct {
	*Journal
	js     jetstream.JetStream
	prefix string // of IDs
	last   uint64
	held   map[events.Home]events.Outcome // of changes that hit nothing alive
}

// take writes an outcome, or holds it for company.
func (w *writer) take(o events.Outcome) {
	if len(o.Sequences) == 0 || o.Reason != "" || o.Change != "" {
		w.write(o)
		return
	}
	h, ok := w.held[o.Home]
	switch {
	case !ok:
		w.held[o.Home] = o
		return
	case len(h.Sequences)+len(o.Sequences) > events.MaxSequences:
		w.write(h)
		w.held[o.Home] = o
		return
	}
	h.Sequences, h.Version = append(h.Sequences, o.Sequences...), max(h.Version, o.Version)
	w.held[o.Home] = h
}

func (w *writer) flush() {
	for _, o := range w.held {
		w.write(o)
	}
	clear(w.held)
}

// write sends an outcome, unless too many wait for the server. What an outage would
// have us keep is dropped.
func (w *writer) write(o events.Outcome) {
	if o.ID == "" {
		w.last++
		o.ID = w.prefix + "-" + strconv.FormatUint(w.last, 10)
	}
	m, err := outcomeMessage(o)
	if err != nil {
		w.s.log.Warn("outcome not written", "kind", o.Kind, "error", err)
	}
	if err == nil && w.s.nc.Status() != nats.CONNECTED {
		err = nats.ErrDisconnected
	}
	if err == nil {
		_, err = w.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
	}
	if err != nil {
		w.dropped.Inc()
	}
}

func outcomeMessage(o events.Outcome) (*nats.Msg, error) {
	data, err := events.EncodeOutcome(o)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: events.JournalSubject(o.Home, o.Kind), Data: data,
		Header: nats.Header{contentType: {events.ContentType}}}, nil
}

// Record writes an outcome and returns once it is stored, 2 s later at the latest:
// for what a person did. One without an ID or a time gets them.
func (s *Stream) Record(ctx context.Context, o events.Outcome) error {
	if o.ID == "" {
		o.ID = rand.Text()
	}
	if o.At.IsZero() {
		o.At = time.Now()
	}
	m, err := outcomeMessage(o)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	ctx, cancel := bounded(ctx, publishLimit)
	defer cancel()
	if _, err := s.publish(ctx, m); err != nil {
		return fmt.Errorf("record %s: %w", o.Kind, err)
	}
	return nil
}

// Noted is a message of JOURNAL as it lies there.
type Noted struct {
	Sequence uint64
	// Time is when it was written, by the server's clock.
	Time    time.Time
	Subject string
	// Outcome is what it says; zero if DecodeErr is set.
	Outcome   events.Outcome
	DecodeErr error
	Size      int
}

// JournalOptions say what is read of JOURNAL; see [ReadOptions] for what is the same.
type JournalOptions struct {
	Since, Until   time.Time
	FromSeq, ToSeq uint64
	Home           events.Home
	Kind           events.Kind // empty means all
	Wanted         func(Noted) bool
	Limit          int
	Follow, New    bool
}

// ReadJournal does for JOURNAL what [Stream.Read] does for CHANGES. Without a
// JOURNAL the error is [ErrNoJournal].
func (s *Stream) ReadJournal(ctx context.Context, o JournalOptions, each func(Noted) error) error {
	r := reading{
		stream: Outcomes, subject: events.OutcomesOf(o.Home, o.Kind), since: o.Since, until: o.Until,
		from: o.FromSeq, to: o.ToSeq, limit: o.Limit, follow: o.Follow, fresh: o.New,
	}
	err := s.run(ctx, r, func(raw jetstream.Msg, meta *jetstream.MsgMetadata) (bool, error) {
		n := Noted{Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Subject: raw.Subject(), Size: len(raw.Data())}
		n.Outcome, n.DecodeErr = decodeOutcome(raw.Subject(), raw.Data())
		if o.Wanted != nil && !o.Wanted(n) {
			return false, nil
		}
		return true, each(n)
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return ErrNoJournal
	}
	return wrap("read journal", err)
}

// ErrNoJournal says that there is no JOURNAL here.
var ErrNoJournal = errors.New("there is no stream " + Outcomes + " here: no service has run with this NATS, " +
	"or the server refuses it, which the services' logs say at their start")

// decodeOutcome refuses an outcome that stands under another's subject.
func decodeOutcome(subject string, data []byte) (events.Outcome, error) {
	o, err := events.DecodeOutcome(data)
	if err != nil {
		return events.Outcome{}, err
	}
	if want := events.JournalSubject(o.Home, o.Kind); subject != want {
		return events.Outcome{}, fmt.Errorf("outcome of %s came on subject %.200q", o.Home, subject)
	}
	return o, nil
}
