package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
)

// FeedBucket is the key-value bucket of proofs of life, one key for a home. It
// is in memory, as hints are: a proof costs no write to a disk, and what a
// restart of the server takes along reads as doubtful.
const FeedBucket = "FEEDS"

const (
	feedTTL   = 24 * time.Hour // a proof that old says no more than none
	feedLimit = 2 * time.Second
	// watchesPerBound is how often a watch is made anew while a proof holds,
	// whether or not it seems to work: one whose bucket was lost and came back
	// would wait for a sequence that is far away.
	watchesPerBound = 10
)

// errWatchEnded says that the watch was ended from the other side.
var errWatchEnded = errors.New("watch ended")

// FeedOptions say whose feeds are followed.
type FeedOptions struct {
	// Homes are followed; of others nothing is remembered.
	Homes []events.Home
	// Bound is how long a proof of life holds.
	Bound time.Duration
	// Log receives a line when a feed's state changes; nil discards them.
	Log *slog.Logger
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// Feeds knows which feeds are alive. It is a [prometheus.Collector] of
//
//	rescind_feed_alive{provider}  how many tenants' feeds are alive
type Feeds struct {
	s     *Stream
	o     FeedOptions
	alive *prometheus.Desc
	told  map[events.Home]events.FeedState // of Run alone

	mu     sync.RWMutex
	proofs map[events.Home]time.Time // has a key for every home
}

// Feeds makes no call and starts nothing: until [Feeds.Run] has heard of them,
// all feeds are doubtful.
func (s *Stream) Feeds(o FeedOptions) *Feeds {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f := &Feeds{
		s: s, o: o, proofs: map[events.Home]time.Time{}, told: map[events.Home]events.FeedState{},
		alive: prometheus.NewDesc("rescind_feed_alive", "Feeds shown to be alive, one for each tenant.",
			[]string{"provider"}, nil),
	}
	for _, h := range o.Homes {
		f.proofs[h] = time.Time{}
	}
	return f
}

// Health is the state of a home's feed and its last proof of life, zero if none
// is known. It is answered from memory: whatever keeps the proofs away, they
// grow old, and the feed is doubtful once they are older than the bound.
func (f *Feeds) Health(h events.Home) (state events.FeedState, proof time.Time) {
	f.mu.RLock()
	proof = f.proofs[h]
	f.mu.RUnlock()
	return events.Feed{Home: h, Proof: proof}.State(f.o.Now(), f.o.Bound), proof
}

// Run follows the proofs until ctx ends, then returns nil.
func (f *Feeds) Run(ctx context.Context) error {
	for trouble := false; ; {
		err := f.watch(ctx, f.o.Bound/watchesPerBound)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !trouble {
			f.o.Log.WarnContext(ctx, "proofs of life cannot be read", "error", err)
		}
		trouble = err != nil
		f.tell(ctx)
		if trouble && !pause(ctx, feedPause) {
			return nil
		}
	}
}

// watch follows the bucket for a while, from the last proof of every home.
func (f *Feeds) watch(ctx context.Context, d time.Duration) error {
	kv, err := f.s.feedBucket(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", FeedBucket, err)
	}
	defer stopWatch(w)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return fmt.Errorf("watch bucket %s: %w", FeedBucket, errWatchEnded)
			}
			if e != nil { // which says that these were the last ones known
				f.note(e)
			}
		}
	}
}

// stopWatch takes what is still coming, lest the watch waits for its reader.
func stopWatch(w jetstream.KeyWatcher) {
	_ = w.Stop() // it has ended already, or ends with the connection
	end := time.NewTimer(feedLimit)
	defer end.Stop()
	for {
		select {
		case _, ok := <-w.Updates():
			if !ok {
				return
			}
		case <-end.C:
			return
		}
	}
}

// note takes a proof over if it is later than the one known. It is no younger
// than the server's copy, nor than this moment, whatever the writer's clock is.
func (f *Feeds) note(e jetstream.KeyValueEntry) {
	feed, err := events.DecodeFeed(e.Value())
	if err != nil {
		f.o.Log.Debug("proof of life", "key", e.Key(), "error", err)
		return
	}
	at, now := feed.Proof, f.o.Now()
	if e.Created().Before(at) {
		at = e.Created()
	}
	at = now.Add(-max(0, now.Sub(at))) // with the monotonic clock of this process
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ours := f.proofs[feed.Home]; ours && at.After(known) {
		f.proofs[feed.Home] = at
	}
}

// tell logs what has changed.
func (f *Feeds) tell(ctx context.Context) {
	for _, h := range f.o.Homes {
		state, proof := f.Health(h)
		if f.told[h] == state {
			continue
		}
		f.told[h] = state
		level := slog.LevelInfo
		if state != events.FeedAlive {
			level = slog.LevelWarn
		}
		f.o.Log.Log(ctx, level, "feed", "provider", h.Provider, "tenant", h.Tenant, "state", state, "proof", proof)
	}
}

// Describe is for the registry.
func (f *Feeds) Describe(descs chan<- *prometheus.Desc) { descs <- f.alive }

// Collect is for the registry.
func (f *Feeds) Collect(metrics chan<- prometheus.Metric) {
	alive := map[events.Provider]int{}
	for _, h := range f.o.Homes {
		alive[h.Provider] += 0
		if state, _ := f.Health(h); state == events.FeedAlive {
			alive[h.Provider]++
		}
	}
	for p, n := range alive {
		metrics <- prometheus.MustNewConstMetric(f.alive, prometheus.GaugeValue, float64(n), string(p))
	}
}

// feedBucket opens the bucket, and creates it if there is none.
func (s *Stream) feedBucket(ctx context.Context) (jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, feedLimit)
	defer cancel()
	kv, err := s.js.KeyValue(ctx, FeedBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: FeedBucket, Storage: jetstream.MemoryStorage, History: 1, TTL: feedTTL, Replicas: s.replicas,
		})
	}
	if errors.Is(err, jetstream.ErrBucketExists) {
		kv, err = s.js.KeyValue(ctx, FeedBucket)
	}
	return kv, wrap("bucket "+FeedBucket, err)
}

// feedKey cannot be confused: both parts are escaped, dots included.
func feedKey(h events.Home) string {
	return strings.Join([]string{nameToken(string(h.Provider)), nameToken(string(h.Tenant))}, ".")
}
