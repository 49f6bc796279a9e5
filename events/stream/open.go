package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// The names of what is kept in JetStream.
const (
	Changes   = "CHANGES" // the stream of changes
	Refreshes = "REFRESH" // the stream of the refresh queue
	Graveyard = "DEAD"    // the stream of what could not be handled
	Outcomes  = "JOURNAL" // the stream of what became of changes
	Bucket    = "RESCIND" // the key-value bucket of the vault
)

const (
	dedupeWindow = 10 * time.Minute
	deadAge      = 30 * 24 * time.Hour
	markerTTL    = time.Minute // how long the mark of an ended lock stays
	// maxInFlight bounds what one process has published and not yet seen
	// acknowledged; ackLimit when it forgets a message nobody answers.
	maxInFlight = 64 << 10
	ackLimit    = 30 * time.Second
)

// ErrServer says that the server lacks what is needed: it is too old, or
// JetStream is off.
var ErrServer = errors.New("unsuitable nats server")

// Options say how streams are created where there are none.
type Options struct {
	// Replicas of each stream; 0 means 1. Use 3 on a cluster.
	Replicas int
	// Log receives warnings; nil discards them.
	Log *slog.Logger
}

// Stream is an opened set of streams.
type Stream struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	log      *slog.Logger
	replicas int
	warnings []string

	mu      sync.Mutex // one rebuild of the queue at a time
	rebuilt time.Time
}

// Open creates what is missing and checks what is there. An existing CHANGES
// is never altered: one that could lose changes is refused, see
// [CheckChanges]. REFRESH is brought into its shape, or made anew.
// An unsuitable server is [ErrServer].
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Stream, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if nc.IsClosed() {
		return nil, fmt.Errorf("open streams: %w", nats.ErrConnectionClosed)
	}
	if err := checkVersion(nc.ConnectedServerVersion()); err != nil {
		return nil, fmt.Errorf("open streams: %w", err)
	}
	js, err := jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(maxInFlight), jetstream.WithPublishAsyncTimeout(ackLimit))
	if err != nil {
		return nil, fmt.Errorf("open streams: %w", err)
	}
	s := &Stream{nc: nc, js: js, log: o.Log, replicas: max(1, o.Replicas)}
	for _, step := range []func(context.Context) error{
		s.openChanges, s.openRefreshes, s.openGraveyard, s.openJournal, s.openBucket,
	} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("open streams: %w", explain(err))
		}
	}
	for _, w := range s.warnings {
		s.log.Warn("stream configuration", "warning", w)
	}
	return s, nil
}

// Warnings are what an operator should know of the streams' configuration.
func (s *Stream) Warnings() []string { return slices.Clone(s.warnings) }

// checkVersion wants 2.12, the first server that knows message schedules.
func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) == 3 {
		major, err1 := strconv.Atoi(parts[0])
		minor, err2 := strconv.Atoi(parts[1])
		if err1 == nil && err2 == nil && (major > 2 || major == 2 && minor >= 12) {
			return nil
		}
	}
	return fmt.Errorf("%w: version %q, but 2.12 or later is needed for message schedules", ErrServer, version)
}

func explain(err error) error {
	off := errors.Is(err, jetstream.ErrJetStreamNotEnabled) ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) || errors.Is(err, nats.ErrNoResponders)
	if off {
		return fmt.Errorf("%w: JetStream does not answer; is it enabled for this account? %w", ErrServer, err)
	}
	return err
}

func (s *Stream) openChanges(ctx context.Context) error {
	cfg, err := s.createIfMissing(ctx, jetstream.StreamConfig{
		Name: Changes, Subjects: []string{events.AllChanges}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, MaxAge: changesAge, Duplicates: dedupeWindow,
		AllowDirect: true, Replicas: s.replicas,
	})
	if err != nil {
		return err
	}
	problems, warnings := CheckChanges(cfg)
	if len(problems) > 0 {
		return fmt.Errorf("%w: stream %s: %s", ErrServer, Changes, strings.Join(problems, "; "))
	}
	s.warn(Changes, warnings...)
	return nil
}

func (s *Stream) openGraveyard(ctx context.Context) error {
	cfg, err := s.createIfMissing(ctx, jetstream.StreamConfig{
		Name: Graveyard, Subjects: []string{events.AllDead}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, MaxAge: deadAge, Duplicates: dedupeWindow,
		AllowDirect: true, Replicas: s.replicas,
	})
	if err == nil && cfg.Storage != jetstream.FileStorage {
		s.warn(Graveyard, "storage is memory: a restart loses what could not be handled; use file")
	}
	return err
}

func (s *Stream) warn(name string, warnings ...string) {
	for _, w := range warnings {
		s.warnings = append(s.warnings, "stream "+name+": "+w)
	}
}

// createIfMissing returns the configuration that the stream has.
func (s *Stream) createIfMissing(ctx context.Context, want jetstream.StreamConfig) (
	jetstream.StreamConfig, error,
) {
	st, err := s.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		st, err = s.js.CreateStream(ctx, want)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else created it meanwhile
		st, err = s.js.Stream(ctx, want.Name)
	}
	if err != nil {
		return jetstream.StreamConfig{}, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	return st.CachedInfo().Config, nil
}

// openRefreshes updates the queue, or makes it anew if the server cannot: it
// holds nothing that matters.
func (s *Stream) openRefreshes(ctx context.Context) error {
	want := jetstream.StreamConfig{
		Name: Refreshes, Subjects: []string{events.AllDelayed, events.AllRefreshes},
		Storage: jetstream.MemoryStorage, Retention: jetstream.WorkQueuePolicy,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, // discard new is refused with schedules
		AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true, Replicas: s.replicas,
	}
	_, err := s.js.CreateOrUpdateStream(ctx, want)
	if cannotUpdate(err) {
		s.log.Warn("refresh queue is made anew", "reason", err)
		if err := s.js.DeleteStream(ctx, Refreshes); err != nil {
			return fmt.Errorf("stream %s: %w", Refreshes, err)
		}
		_, err = s.js.CreateStream(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", Refreshes, err)
	}
	return nil
}

// cannotUpdate says whether the server refuses to change a stream that is there
// into the one wanted: "invalid configuration" and "update failed".
func cannotUpdate(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && (e.ErrorCode == 10052 || e.ErrorCode == 10069)
}

func (s *Stream) openBucket(ctx context.Context) (err error) {
	if s.kv, err = s.bucket(ctx); err != nil {
		return err
	}
	status, err := s.kv.Status(ctx)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", Bucket, err)
	}
	if status.LimitMarkerTTL() <= 0 {
		return fmt.Errorf("bucket %s: limit_marker_ttl is 0: locks would not end; create it anew", Bucket)
	}
	return nil
}

// bucket opens the bucket, and creates it if there is none.
func (s *Stream) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := s.js.KeyValue(ctx, Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: Bucket, Storage: jetstream.FileStorage, History: 1,
			LimitMarkerTTL: markerTTL, Replicas: s.replicas,
		})
	}
	if errors.Is(err, jetstream.ErrBucketExists) {
		kv, err = s.js.KeyValue(ctx, Bucket)
	}
	return kv, wrap("bucket "+Bucket, err)
}

// conflict says whether a write came too late: somebody else wrote that
// subject. One replica says it with 10071, several with 10164.
func conflict(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && (e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
