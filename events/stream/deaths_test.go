package stream_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// death is one of now.
func death(h events.Home) events.Feed {
	return events.Feed{Home: h, Died: time.Now().Truncate(time.Millisecond), Cause: "removed over there"}
}

func is(f *stream.Feeds, h events.Home, want events.FeedState) func() bool {
	return func() bool {
		state, _ := f.Health(h)
		return state == want
	}
}

// lines is a log that many may write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		n := 0
		for _, p := range parts {
			if strings.Contains(line, p) {
				n++
			}
		}
		if n == len(parts) {
			return true
		}
	}
	return false
}

func wantStates(t *testing.T, f *stream.Feeds, kind events.FeedKind, alive, doubtful, dead int) {
	t.Helper()
	text := "# HELP rescind_feed_state Feeds in each state, one of a kind for each tenant.\n# TYPE rescind_feed_state gauge\n"
	for state, n := range map[string]int{"alive": alive, "doubtful": doubtful, "dead": dead} {
		text += fmt.Sprintf("rescind_feed_state{kind=%q,provider=\"ringcentral\",state=%q} %d\n", kind, state, n)
	}
	if err := testutil.CollectAndCompare(f, strings.NewReader(text), "rescind_feed_state"); err != nil {
		t.Error(err)
	}
}

// A death is heard, told with its cause, outlasts every bound, and ends with a
// later proof.
func TestAFeedIsDeadUntilItIsProvenAlive(t *testing.T) {
	s, _ := opened(t)
	var ahead atomic.Int64
	var log lines
	const bound = time.Hour // so that nothing is told because the watch is made anew
	f, _ := follow(t, s, stream.FeedOptions{
		Feeds: []stream.Followed{
			{Home: home, Kind: events.FeedWebhook, Bound: bound}, {Home: other, Kind: events.FeedWebhook, Bound: bound},
		},
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	p, _ := prover(t, s)
	first := proof(home)
	p.Note(first)
	eventually(t, "the proof arrives", knows(f, first))
	wantStates(t, f, events.FeedWebhook, 1, 1, 0)
	gone := death(home)
	gone.Died = gone.Died.Add(time.Millisecond)
	p.Note(gone)
	eventually(t, "the death arrives", is(f, home, events.FeedDead))
	wantStates(t, f, events.FeedWebhook, 0, 1, 1)
	wantAlive(t, f, 0)
	eventually(t, "the cause is told", func() bool {
		return log.has("level=WARN", "msg=feed", "tenant="+string(home.Tenant), "state=dead", `cause="removed over there"`)
	})
	if _, at := f.Health(home); !at.Equal(first.Proof) {
		t.Errorf("its last proof is %s, want %s", at, first.Proof)
	}
	ahead.Store(int64(2 * bound))
	wantState(t, f, home, events.FeedDead)
	wantState(t, f, other, events.FeedDoubtful)
	ahead.Store(int64(25 * time.Hour)) // so the server keeps it no more
	wantState(t, f, home, events.FeedDoubtful)
	ahead.Store(0)
	again := proof(home)
	again.Proof = gone.Died.Add(time.Millisecond)
	p.Note(again)
	eventually(t, "it lives again", is(f, home, events.FeedAlive))
	eventually(t, "which is told", func() bool { return log.has("level=INFO", "msg=feed", "state=alive") })
	wantAlive(t, f, 1)
}

func TestADeathBeforeTheLastProofChangesNothing(t *testing.T) {
	s, nc := opened(t)
	f, _ := follow(t, s, stream.FeedOptions{})
	here, _ := prover(t, s)
	there, _ := prover(t, s) // of another process, that has heard of no proof
	first := proof(home)
	here.Note(first)
	eventually(t, "the proof arrives", knows(f, first))
	old := death(home)
	old.Died = first.Proof.Add(-time.Second)
	here.Note(old)
	second := proof(other)
	here.Note(second)
	eventually(t, "what was noted next arrives", knows(f, second))
	if n := writes(t, nc); n != 2 {
		t.Errorf("%d writes of two proofs", n)
	}
	there.Note(old)
	eventually(t, "the death is written", func() bool { return writes(t, nc) == 3 })
	late, _ := follow(t, s, stream.FeedOptions{}) // hears of the death last
	eventually(t, "the proof, at who starts later", knows(late, first))
	third := proof(other)
	third.Proof = third.Proof.Add(time.Millisecond)
	here.Note(third)
	eventually(t, "what came after the death", func() bool { return knows(f, third)() && knows(late, third)() })
	wantState(t, f, home, events.FeedAlive)
	wantState(t, late, home, events.FeedAlive)
}

func TestAHomeIsAsItsWorstFeed(t *testing.T) {
	s, _ := opened(t)
	for name, feeds := range map[string][]events.FeedKind{
		"webhook first": {events.FeedWebhook, events.FeedTail},
		"tail first":    {events.FeedTail, events.FeedWebhook},
	} {
		t.Run(name, func(t *testing.T) {
			h := events.Home{Provider: "ringcentral", Tenant: events.Tenant(name)}
			f, _ := follow(t, s, stream.FeedOptions{Feeds: []stream.Followed{
				{Home: h, Kind: feeds[0], Bound: feedBound}, {Home: h, Kind: feeds[1], Bound: feedBound},
			}})
			p, _ := prover(t, s)
			gone := death(h)
			gone.Kind = events.FeedTail
			p.Note(gone)
			eventually(t, "dead beside a doubtful one", is(f, h, events.FeedDead))
			hooked := proof(h)
			p.Note(hooked)
			eventually(t, "the other's proof arrives", func() bool {
				return testutil.CollectAndCompare(f, strings.NewReader("# HELP rescind_feed_alive Feeds shown to be alive, "+
					"one of a kind for each tenant.\n# TYPE rescind_feed_alive gauge\n"+
					"rescind_feed_alive{kind=\"tail\",provider=\"ringcentral\"} 0\n"+
					"rescind_feed_alive{kind=\"webhook\",provider=\"ringcentral\"} 1\n"), "rescind_feed_alive") == nil
			})
			wantState(t, f, h, events.FeedDead)
			if _, at := f.Health(h); !at.IsZero() {
				t.Errorf("with a proof of %s, which is the other's", at)
			}
			tailed := proof(h)
			tailed.Kind, tailed.Proof = events.FeedTail, gone.Died.Add(time.Millisecond)
			p.Note(tailed)
			eventually(t, "both alive", is(f, h, events.FeedAlive))
		})
	}
}

// A bucket that is lost and filled again brings no death back that was over.
func TestADeathThatIsOverIsNotWrittenAgain(t *testing.T) {
	s, nc := opened(t)
	p, _ := prover(t, s)
	gone, again := death(home), proof(home)
	again.Proof = gone.Died.Add(time.Millisecond)
	stays := death(other)
	p.Note(gone)
	eventually(t, "a death is written", func() bool { return writes(t, nc) == 1 })
	p.Note(again)
	eventually(t, "a proof is written", func() bool { return writes(t, nc) == 2 })
	lose(t, nc)
	p.Note(stays)
	eventually(t, "what is known is written again", func() bool { return writes(t, nc) == 2 })
	f, _ := follow(t, s, stream.FeedOptions{})
	eventually(t, "the proof", knows(f, again))
	eventually(t, "the other's death", is(f, other, events.FeedDead))
	if n := writes(t, nc); n != 2 {
		t.Errorf("%d writes, want the proof and the other's death", n)
	}
	p.Note(stays)
	eventually(t, "noted again, it is written again", func() bool { return writes(t, nc) == 3 })
}

// The writer's clock is not believed: a death is no younger than its copy, so that
// a proof can end it.
func TestADeathIsNoYoungerThanItsCopy(t *testing.T) {
	s, _ := opened(t)
	f, _ := follow(t, s, stream.FeedOptions{})
	there, _ := prover(t, s)
	gone := death(home)
	gone.Died = gone.Died.Add(time.Hour)
	there.Note(gone)
	eventually(t, "the death arrives", is(f, home, events.FeedDead))
	here, _ := prover(t, s)
	here.Note(proof(home))
	eventually(t, "it lives again", is(f, home, events.FeedAlive))
}
