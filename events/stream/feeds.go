package stream

import (
	"cmp"
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

// FeedBucket is the key-value bucket of proofs of life, one key for a home and kind. It
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

// Followed is a feed that somebody relies on.
type Followed struct {
	events.Home
	Kind events.FeedKind
	// Bound is how long a proof of life holds.
	Bound time.Duration
}

func (f Followed) id() feedID { return feedID{f.Home, f.Kind} }

// feedID is a home's feed.
type feedID struct {
	events.Home
	kind events.FeedKind
}

func idOf(f events.Feed) feedID { return feedID{f.Home, cmp.Or(f.Kind, events.FeedWebhook)} }

// FeedOptions say which feeds are followed.
type FeedOptions struct {
	// Feeds are followed; of others nothing is remembered.
	Feeds []Followed
	// Log receives a line when a feed's state changes; nil discards them.
	Log *slog.Logger
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// Feeds knows which feeds are alive. It is a [prometheus.Collector] of
//
//	rescind_feed_alive{provider,kind}      how many tenants' feeds are alive
//	rescind_tail_delay_seconds{provider}   how late a poll may tell of a change that nothing else
//	                                       tells of, the longest of all tenants
type Feeds struct {
	s     *Stream
	o     FeedOptions
	alive *prometheus.Desc
	delay *prometheus.Desc
	every time.Duration               // a watch is made anew
	told  map[feedID]events.FeedState // of Run alone

	mu     sync.RWMutex
	proofs map[feedID]proven // has a key for every feed
}

// proven is a proof of life as it was heard.
type proven struct {
	at    time.Time
	delay time.Duration
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
		s: s, o: o, proofs: map[feedID]proven{}, told: map[feedID]events.FeedState{}, every: time.Hour,
		alive: prometheus.NewDesc("rescind_feed_alive", "Feeds shown to be alive, one of a kind for each tenant.",
			[]string{"provider", "kind"}, nil),
		delay: prometheus.NewDesc("rescind_tail_delay_seconds",
			"How late a poll may tell of a change that nothing else tells of, the longest of all tenants.",
			[]string{"provider"}, nil),
	}
	for _, one := range o.Feeds {
		f.proofs[one.id()] = proven{}
		f.every = min(f.every, one.Bound/watchesPerBound)
	}
	return f
}

// Health is the state of a home: alive if all its feeds are, with the proof that
// ends first, zero if one has none. It is answered from memory: whatever keeps
// the proofs away, they grow old, and a feed is doubtful once its proof is older
// than its bound. A home without feeds is doubtful.
func (f *Feeds) Health(h events.Home) (state events.FeedState, proof time.Time) {
	state = events.FeedDoubtful
	var ends time.Time
	for _, one := range f.o.Feeds {
		if one.Home != h {
			continue
		}
		s, at := f.health(one)
		if s != events.FeedAlive {
			return s, at
		}
		if end := at.Add(one.Bound); ends.IsZero() || end.Before(ends) {
			state, proof, ends = s, at, end
		}
	}
	return state, proof
}

// Delay is how late a change of a home may come that only a poll finds, as who
// polls has last told; zero if it has not, or if the polls are doubtful.
func (f *Feeds) Delay(h events.Home) time.Duration {
	for _, one := range f.o.Feeds {
		if one.Home != h || one.Kind != events.FeedTail {
			continue
		}
		if state, _ := f.health(one); state != events.FeedAlive {
			return 0 // what was promised does not hold
		}
		f.mu.RLock()
		defer f.mu.RUnlock()
		return f.proofs[one.id()].delay
	}
	return 0
}

func (f *Feeds) health(one Followed) (events.FeedState, time.Time) {
	f.mu.RLock()
	proof := f.proofs[one.id()].at
	f.mu.RUnlock()
	return events.Feed{Proof: proof}.State(f.o.Now(), one.Bound), proof
}

// Run follows the proofs until ctx ends, then returns nil.
func (f *Feeds) Run(ctx context.Context) error {
	for trouble := false; ; {
		err := f.watch(ctx, f.every)
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
	if known, ours := f.proofs[idOf(feed)]; ours && at.After(known.at) {
		f.proofs[idOf(feed)] = proven{at, delayOf(feed)}
	}
}

// maxDelay is the longest delay that is told.
const maxDelay = 24 * time.Hour

func delayOf(f events.Feed) time.Duration {
	return time.Duration(min(max(f.DelayMS, 0), maxDelay.Milliseconds())) * time.Millisecond
}

// tell logs what has changed.
func (f *Feeds) tell(ctx context.Context) {
	for _, one := range f.o.Feeds {
		state, proof := f.health(one)
		if f.told[one.id()] == state {
			continue
		}
		f.told[one.id()] = state
		level := slog.LevelInfo
		if state != events.FeedAlive {
			level = slog.LevelWarn
		}
		f.o.Log.Log(ctx, level, "feed", "provider", one.Provider, "tenant", one.Tenant, "kind", one.Kind,
			"state", state, "proof", proof)
	}
}

// Describe is for the registry.
func (f *Feeds) Describe(descs chan<- *prometheus.Desc) {
	descs <- f.alive
	descs <- f.delay
}

// Collect is for the registry.
func (f *Feeds) Collect(metrics chan<- prometheus.Metric) {
	type group struct{ provider, kind string }
	alive := map[group]int{}
	for _, one := range f.o.Feeds {
		g := group{string(one.Provider), string(one.Kind)}
		alive[g] += 0
		if state, _ := f.health(one); state == events.FeedAlive {
			alive[g]++
		}
	}
	for g, n := range alive {
		metrics <- prometheus.MustNewConstMetric(f.alive, prometheus.GaugeValue, float64(n), g.provider, g.kind)
	}
	longest := map[events.Provider]time.Duration{}
	for _, one := range f.o.Feeds {
		if one.Kind == events.FeedTail {
			longest[one.Provider] = max(longest[one.Provider], f.Delay(one.Home))
		}
	}
	for p, by := range longest {
		metrics <- prometheus.MustNewConstMetric(f.delay, prometheus.GaugeValue, by.Seconds(), string(p))
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

// feedKey cannot be confused: the parts are escaped, dots included.
func feedKey(id feedID) string {
	return strings.Join([]string{nameToken(string(id.Provider)), nameToken(string(id.Tenant)), string(id.kind)}, ".")
}
