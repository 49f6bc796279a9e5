package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
)

// FeedBucket is the key-value bucket of proofs of life, one key for a home and kind,
// and of deaths, one more: neither can hide the other, whoever writes last, and who
// knows of no deaths keeps the proof. It is in memory, as hints are: a proof costs
// no write to a disk, and what a restart of the server takes along reads as doubtful.
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
//	rescind_feed_alive{provider,kind}         how many tenants' feeds are alive
//	rescind_feed_state{provider,kind,state}   how many are in each state, none included
//	rescind_tail_delay_seconds{provider}      how late a poll may tell of a change that nothing
//	                                          else tells of, the longest of all tenants
type Feeds struct {
	s     *Stream
	o     FeedOptions
	alive *prometheus.Desc
	state *prometheus.Desc
	delay *prometheus.Desc
	every time.Duration               // a watch is made anew
	told  map[feedID]events.FeedState // of Run alone

	mu     sync.RWMutex
	proofs map[feedID]proven // has a key for every feed
}

// proven is what was heard of a feed: its last proof of life, and its last death.
type proven struct {
	at    time.Time
	delay time.Duration
	died  time.Time
	doubt bool
	cause string
	until time.Time // the server keeps the death
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
		state: prometheus.NewDesc("rescind_feed_state", "Feeds in each state, one of a kind for each tenant.",
			[]string{"provider", "kind", "state"}, nil),
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

// states are those of a feed, the worst at the end.
func states() []events.FeedState {
	return []events.FeedState{events.FeedAlive, events.FeedDoubtful, events.FeedDead}
}

func worse(a, b events.FeedState) bool { return slices.Index(states(), a) > slices.Index(states(), b) }

// Health is the state of the worst of a home's feeds: dead, then doubtful, then
// alive; with the proof of that one, of several the proof that ends first, zero if
// one has none. It is answered from memory: whatever keeps the proofs away, they
// grow old, and a feed is doubtful once its proof is older than its bound. One that
// is dead stays so until a later proof, or until its death was not told again for a
// day. A home without feeds is doubtful.
func (f *Feeds) Health(h events.Home) (state events.FeedState, proof time.Time) {
	var ends time.Time
	for _, one := range f.o.Feeds {
		if one.Home != h {
			continue
		}
		s, at := f.health(one)
		end := at.Add(one.Bound)
		if state == "" || worse(s, state) || s == state && end.Before(ends) {
			state, proof, ends = s, at, end
		}
	}
	return cmp.Or(state, events.FeedDoubtful), proof
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
		return f.known(one.id()).delay
	}
	return 0
}

func (f *Feeds) health(one Followed) (events.FeedState, time.Time) {
	known, now := f.known(one.id()), f.o.Now()
	if now.After(known.until) {
		known.died = time.Time{}
	}
	return events.Feed{Proof: known.at, Died: known.died, Doubt: known.doubt}.State(now, one.Bound), known.at
}

func (f *Feeds) known(id feedID) proven {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.proofs[id]
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
		for _, one := range f.o.Feeds {
			f.tell(ctx, one)
		}
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
				f.note(ctx, e)
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

// note takes a statement over if it is later than the one known of its sort, and
// tells at once of what has died or lives again.
func (f *Feeds) note(ctx context.Context, e jetstream.KeyValueEntry) {
	feed, err := events.DecodeFeed(e.Value())
	if err != nil {
		f.o.Log.Debug("proof of life", "key", e.Key(), "error", err)
		return
	}
	if !f.take(feed, e.Created()) {
		return
	}
	is := func(one Followed) bool { return one.id() == idOf(feed) }
	if i := slices.IndexFunc(f.o.Feeds, is); i >= 0 {
		f.tell(ctx, f.o.Feeds[i])
	}
}

// take says whether the feed has died, be it alive again.
func (f *Feeds) take(feed events.Feed, created time.Time) (turned bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known, ours := f.proofs[idOf(feed)]
	died := !feed.Died.IsZero()
	at := f.heard(feed, created)
	switch {
	case !ours:
		return false
	case died && !at.Round(0).Before(known.died.Round(0)):
		known.died, known.doubt, known.cause = at, feed.Doubt, feed.Cause
		known.until = created.Add(feedTTL)
	case !died && at.After(known.at):
		known.at, known.delay = at, delayOf(feed)
	}
	f.proofs[idOf(feed)] = known
	return !known.died.IsZero()
}

// heard is when a statement was made, with the monotonic clock of this process: it
// is no younger than the server's copy, nor than this moment, whatever the writer's
// clock is.
func (f *Feeds) heard(feed events.Feed, created time.Time) time.Time {
	at, now := feed.Proof, f.o.Now()
	if !feed.Died.IsZero() {
		at = feed.Died
	}
	if created.Before(at) {
		at = created
	}
	return now.Add(-max(0, now.Sub(at)))
}

// maxDelay is the longest delay that is told.
const maxDelay = 24 * time.Hour

func delayOf(f events.Feed) time.Duration {
	return time.Duration(min(max(f.DelayMS, 0), maxDelay.Milliseconds())) * time.Millisecond
}

// tell logs a state that is new.
func (f *Feeds) tell(ctx context.Context, one Followed) {
	state, proof := f.health(one)
	if f.told[one.id()] == state {
		return
	}
	f.told[one.id()] = state
	args := []any{"provider", one.Provider, "tenant", one.Tenant, "kind", one.Kind, "state", state, "proof", proof}
	level := slog.LevelInfo
	if state != events.FeedAlive {
		level = slog.LevelWarn
	}
	if known := f.known(one.id()); state != events.FeedAlive && known.died.After(known.at) {
		args = append(args, "died", known.died, "cause", known.cause)
	}
	f.o.Log.Log(ctx, level, "feed", args...)
}

// Describe is for the registry.
func (f *Feeds) Describe(descs chan<- *prometheus.Desc) {
	descs <- f.alive
	descs <- f.state
	descs <- f.delay
}

// Collect is for the registry.
func (f *Feeds) Collect(metrics chan<- prometheus.Metric) {
	type group struct{ provider, kind string }
	in := map[group]map[events.FeedState]int{}
	for _, one := range f.o.Feeds {
		g := group{string(one.Provider), string(one.Kind)}
		if in[g] == nil {
			in[g] = map[events.FeedState]int{}
		}
		state, _ := f.health(one)
		in[g][state]++
	}
	for g, n := range in {
		alive := float64(n[events.FeedAlive])
		metrics <- prometheus.MustNewConstMetric(f.alive, prometheus.GaugeValue, alive, g.provider, g.kind)
		for _, s := range states() {
			metrics <- prometheus.MustNewConstMetric(f.state, prometheus.GaugeValue, float64(n[s]), g.provider, g.kind,
				string(s))
		}
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
func feedKey(f events.Feed) string {
	id := idOf(f)
	parts := []string{nameToken(string(id.Provider)), nameToken(string(id.Tenant)), string(id.kind)}
	if !f.Died.IsZero() {
		parts = append(parts, "died")
	}
	return strings.Join(parts, ".")
}
