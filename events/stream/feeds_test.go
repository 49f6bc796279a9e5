package stream_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
)

// feedBound is far longer than a proof is on its way; a watch is made anew
// every tenth of it.
const feedBound = time.Minute

var other = events.Home{Provider: "ringcentral", Tenant: "a.b>*"}

// follow runs the reader's side, stopped at the end or before.
func follow(t *testing.T, s *stream.Stream, o stream.FeedOptions) (f *stream.Feeds, stop func()) {
	t.Helper()
	if o.Feeds == nil {
		o.Feeds = []stream.Followed{
			{Home: home, Kind: events.FeedWebhook, Bound: feedBound}, {Home: other, Kind: events.FeedWebhook, Bound: feedBound},
		}
	}
	f = s.Feeds(o)
	return f, background(t, f.Run)
}

// prover runs the writer's side.
func prover(t *testing.T, s *stream.Stream) (p *stream.Proofs, stop func()) {
	t.Helper()
	p = s.Proofs()
	return p, background(t, p.Run)
}

// proof is one of now, as precise as it is written.
func proof(h events.Home) events.Feed {
	return events.Feed{Home: h, Proof: time.Now().Truncate(time.Millisecond), Sign: events.SignDelivery}
}

func knows(f *stream.Feeds, want events.Feed) func() bool {
	return func() bool {
		_, at := f.Health(want.Home)
		return at.Equal(want.Proof)
	}
}

func wantState(t *testing.T, f *stream.Feeds, h events.Home, want events.FeedState) {
	t.Helper()
	if got, at := f.Health(h); got != want {
		t.Errorf("%s is %s with a proof of %s, want %s", h, got, at, want)
	}
}

func TestAHomeIsAliveIfAllItsFeedsAre(t *testing.T) {
	s, _ := opened(t)
	var ahead atomic.Int64
	f, _ := follow(t, s, stream.FeedOptions{
		Feeds: []stream.Followed{
			{Home: home, Kind: events.FeedWebhook, Bound: feedBound},
			{Home: home, Kind: events.FeedTail, Bound: 2 * feedBound},
		},
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	p, _ := prover(t, s)
	tailed := proof(home)
	tailed.Kind, tailed.Sign, tailed.DelayMS = events.FeedTail, events.SignPoll, 86_500
	p.Note(tailed)
	p.Note(events.Feed{Home: other, Kind: events.FeedTail, Proof: tailed.Proof}) // nobody's
	hooked := proof(home)
	hooked.Proof = hooked.Proof.Add(-time.Second)
	p.Note(hooked)
	eventually(t, "both proofs arrive", knows(f, hooked))
	wantState(t, f, home, events.FeedAlive)
	wantState(t, f, other, events.FeedDoubtful)
	eventually(t, "the delay arrives", func() bool { return f.Delay(home) == 86_500*time.Millisecond })
	if d := f.Delay(other); d != 0 {
		t.Errorf("a delay of %s without a poll", d)
	}
	ahead.Store(int64(feedBound)) // the tail's proof still holds
	wantState(t, f, home, events.FeedDoubtful)
	if d := f.Delay(home); d != 86_500*time.Millisecond {
		t.Errorf("a delay of %s while the polls are alive", d)
	}
	ahead.Store(int64(2 * feedBound))
	if d := f.Delay(home); d != 0 {
		t.Errorf("a delay of %s though the polls are doubtful", d)
	}
}

// A delay is a hint: one too long does not cost the proof of life.
func TestADelayTooLongLosesNoProof(t *testing.T) {
	s, _ := opened(t)
	f, _ := follow(t, s, stream.FeedOptions{
		Feeds: []stream.Followed{{Home: home, Kind: events.FeedTail, Bound: feedBound}},
	})
	p, _ := prover(t, s)
	one := proof(home)
	one.Kind, one.DelayMS = events.FeedTail, math.MaxInt64
	p.Note(one)
	eventually(t, "the proof arrives", knows(f, one))
	if d := f.Delay(home); d != 24*time.Hour {
		t.Errorf("a delay of %s, want a day at most", d)
	}
}

func TestAFeedIsAliveWhileItsProofHolds(t *testing.T) {
	s, _ := opened(t)
	var ahead atomic.Int64
	f, _ := follow(t, s, stream.FeedOptions{
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	p, _ := prover(t, s)
	wantState(t, f, home, events.FeedDoubtful)
	one := proof(home)
	p.Note(one)
	eventually(t, "the proof arrives", knows(f, one))
	wantState(t, f, home, events.FeedAlive)
	wantState(t, f, other, events.FeedDoubtful)
	wantAlive(t, f, 1)
	ahead.Store(int64(feedBound))
	wantState(t, f, home, events.FeedDoubtful)
	wantAlive(t, f, 0)
}

func wantAlive(t *testing.T, f *stream.Feeds, want int) {
	t.Helper()
	text := fmt.Sprintf("# HELP rescind_feed_alive Feeds shown to be alive, one of a kind for each tenant.\n"+
		"# TYPE rescind_feed_alive gauge\nrescind_feed_alive{kind=\"webhook\",provider=\"ringcentral\"} %d\n", want)
	if err := testutil.CollectAndCompare(f, strings.NewReader(text), "rescind_feed_alive"); err != nil {
		t.Error(err)
	}
}

func TestEveryHomeHasAProofOfItsOwn(t *testing.T) {
	s, _ := opened(t)
	f, stop := follow(t, s, stream.FeedOptions{})
	p, _ := prover(t, s)
	first, second := proof(home), proof(other)
	second.Proof = second.Proof.Add(-time.Second)
	p.Note(first)
	p.Note(second)
	p.Note(events.Feed{Home: other, Proof: second.Proof.Add(-time.Second)}) // comes late
	p.Note(proof(events.Home{Provider: "ringcentral", Tenant: "not followed"}))
	eventually(t, "the proof of one", knows(f, first))
	eventually(t, "the proof of the other", knows(f, second))
	wantState(t, f, events.Home{Provider: "ringcentral", Tenant: "not followed"}, events.FeedDoubtful)
	stop()
	again, _ := follow(t, s, stream.FeedOptions{}) // a worker that starts later
	eventually(t, "the proof of one, from the bucket", knows(again, first))
	eventually(t, "the proof of the other, from the bucket", knows(again, second))
}

// A writer's clock that is ahead does not keep a feed alive: its proof is of the
// moment in which the server got it, whenever it is read.
func TestAProofIsNoYoungerThanItsCopy(t *testing.T) {
	s, nc := opened(t)
	f, _ := follow(t, s, stream.FeedOptions{})
	p, _ := prover(t, s)
	wrong := proof(home)
	wrong.Proof = wrong.Proof.Add(time.Hour) // by a clock that is ahead
	p.Note(wrong)
	eventually(t, "the proof arrives", func() bool {
		_, at := f.Health(home)
		return !at.IsZero()
	})
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.FeedBucket)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), "ringcentral."+string(home.Tenant)+".webhook")
	if err != nil {
		t.Fatal(err)
	}
	late, _ := follow(t, s, stream.FeedOptions{})
	right := events.Feed{Home: home, Proof: e.Created()}
	eventually(t, "the proof, at who starts later", knows(late, right))
	if _, at := f.Health(home); at.After(time.Now()) {
		t.Errorf("the proof is of %s, which is to come", at)
	}
}

// What is no proof is passed over.
func TestTheBucketMayHoldAnything(t *testing.T) {
	s, nc := opened(t)
	f, _ := follow(t, s, stream.FeedOptions{})
	p, _ := prover(t, s)
	first, second := proof(home), proof(other)
	p.Note(first)
	eventually(t, "the first proof", knows(f, first))
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.FeedBucket)
	if err != nil {
		t.Fatal(err)
	}
	for key, text := range map[string]string{"x": "", "y": "not JSON", "z": `{"provider":"ringcentral"}`} {
		if _, err := kv.Put(t.Context(), key, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	p.Note(second)
	eventually(t, "the second proof", knows(f, second))
	wantState(t, f, home, events.FeedAlive)
}

// However many proofs there are, their writes keep a distance.
func TestManyProofsAreFewWrites(t *testing.T) {
	s, nc := opened(t)
	p, _ := prover(t, s)
	first := proof(home)
	p.Note(first)
	eventually(t, "the first write", func() bool { return writes(t, nc) > 0 })
	began := time.Now()
	eventually(t, "two more writes", func() bool {
		p.Note(proof(home))
		return writes(t, nc) > 2
	})
	if took := time.Since(began); took < time.Second { // the second comes up to a second after the first
		t.Errorf("two writes within %s", took)
	}
}

// writes is how many there were; none if there is no bucket.
func writes(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	st, err := jetStream(t, nc).Stream(t.Context(), "KV_"+stream.FeedBucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return st.CachedInfo().State.LastSeq
}

// A restart takes the bucket along. Who knew a proof still does, who starts
// then knows none, and both hear of the next.
func TestARestartOfTheServerProvesNothing(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	f, _ := follow(t, s, stream.FeedOptions{})
	p, stop := prover(t, s)
	before := proof(home)
	p.Note(before)
	eventually(t, "the proof before", knows(f, before))
	stop()
	o.restart(t)
	eventually(t, "the server is back", func() bool { return s.Healthy(t.Context()) == nil })
	late, _ := follow(t, s, stream.FeedOptions{})
	if !knows(f, before)() {
		t.Error("a worker has forgotten what it knew")
	}
	p, _ = prover(t, s)
	after := proof(other)
	p.Note(after)
	eventually(t, "the proof after, at who starts", knows(late, after))
	eventually(t, "the proof after, at who was there", knows(f, after))
	if _, at := late.Health(home); !at.IsZero() {
		t.Errorf("a proof of %s has outlived the restart", at)
	}
	wantState(t, late, home, events.FeedDoubtful)
}

// The writer that has lost its bucket makes it anew, and writes all that it
// knows once more.
func TestABucketThatIsLostIsFilledAgain(t *testing.T) {
	s, nc := opened(t)
	p, _ := prover(t, s)
	first, second := proof(home), proof(other)
	p.Note(first)
	eventually(t, "the first write", func() bool { return writes(t, nc) > 0 })
	lose(t, nc)
	p.Note(second)
	eventually(t, "two writes", func() bool { return writes(t, nc) > 1 })
	f, _ := follow(t, s, stream.FeedOptions{})
	eventually(t, "the first proof", knows(f, first))
	eventually(t, "the second proof", knows(f, second))
}

// A watch does not wait for the sequences of a bucket that is no more.
func TestAWatchOutlivesItsBucket(t *testing.T) {
	s, nc := opened(t)
	f, _ := follow(t, s, stream.FeedOptions{})
	first, second := proof(home), proof(other)
	put(t, s, nc, first, 100)
	eventually(t, "the first proof", knows(f, first))
	lose(t, nc)
	put(t, s, nc, second, 1)
	eventually(t, "the second proof", knows(f, second))
}

func lose(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := jetStream(t, nc).DeleteKeyValue(t.Context(), stream.FeedBucket); err != nil {
		t.Fatal(err)
	}
}

// put writes a proof n times, by a writer of its own that makes the bucket.
func put(t *testing.T, s *stream.Stream, nc *nats.Conn, f events.Feed, n int) {
	t.Helper()
	p, stop := prover(t, s)
	p.Note(f)
	eventually(t, "a write", func() bool { return writes(t, nc) > 0 })
	stop()
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.FeedBucket)
	if err != nil {
		t.Fatal(err)
	}
	b, err := events.EncodeFeed(f)
	if err != nil {
		t.Fatal(err)
	}
	for range n - 1 {
		if _, err := kv.Put(t.Context(), "again", b); err != nil {
			t.Fatal(err)
		}
	}
}

// With the server away nobody waits: not who notes, not who asks, not who stops.
func TestFeedsWithoutAServer(t *testing.T) {
	srv := startServer(t, natslocal.Options{})
	s := openOn(t, connect(t, srv))
	f, stopReader := follow(t, s, stream.FeedOptions{})
	p, stopWriter := prover(t, s)
	first := proof(home)
	p.Note(first)
	eventually(t, "the proof", knows(f, first))
	stopServer(t, srv)
	p.Note(proof(home))
	wantState(t, f, home, events.FeedAlive)
	stopReader()
	stopWriter()
}
