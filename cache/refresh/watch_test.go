package refresh_test

import (
	"net"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/events"
)

// becomeAnother has a Redis start another history with the data it has, as a
// replica does that is promoted.
func (w *world) becomeAnother() {
	w.t.Helper()
	for _, args := range [][]any{{"replicaof", "127.0.0.1", "1"}, {"replicaof", "no", "one"}} {
		if err := w.db.Do(w.ctx, args...).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestWatchDrainsAfterAFailover(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.Redis(t)).site()
	elsewhere := events.Ref{Home: tenant(7), Subject: "43"}
	s.stored(ref("42"))
	s.stored(elsewhere)
	s.background(s.worker().Watch)
	eventually(t, "the first look", func() bool { return s.log.has("redis is watched") })
	s.becomeAnother()
	eventually(t, "both tenants drained", func() bool {
		_, one := s.entry(ref("42"))
		_, other := s.entry(elsewhere)
		return !one && !other
	})
	eventually(t, "a refresh of each", func() bool { return s.info().Queued == 2 })
	s.stored(ref("42"))
	if !s.log.has("redis is another than before") {
		t.Error("the log does not say why")
	}
}

func TestWatchDrainsAtStart(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.Redis(t)).site()
	s.stored(ref("42"))
	s.becomeAnother() // while no worker runs
	stop := s.background(s.worker().Watch)
	eventually(t, "the tenant drained", func() bool { _, ok := s.entry(ref("42")); return !ok })
	stop()
}

// A stand-in has no history: what it holds stays.
func TestWatchOverAStandIn(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.StandIn(t)).site()
	s.stored(ref("42"))
	stop := s.background(s.worker().Watch)
	stop()
	s.wantEntry("42", "*")
}

// Without its replica the primary still drops, for every change that comes;
// none is acknowledged, and none dies, until the replica has them.
func TestChangesWaitForReplicas(t *testing.T) {
	t.Parallel()
	s := open(t, cachetest.Redis(t)).site()
	s.stored(ref("42"))
	s.stored(ref("43"))
	s.store.Replicas, s.store.ReplicaWait = 1, 10*time.Millisecond
	s.apply(s.worker().Apply)
	s.publish(changeOf(home, "a", subject("42")))
	eventually(t, "the first dropped", func() bool { _, ok := s.entry(ref("42")); return !ok })
	s.publish(changeOf(home, "b", subject("43")))
	eventually(t, "the second dropped", func() bool { _, ok := s.entry(ref("43")); return !ok })
	if info := s.info(); info.InFlight != 2 || info.Dead != 0 {
		t.Errorf("%+v: want two unacknowledged, none dead", info)
	}
	host, port, err := net.SplitHostPort(s.db.Addr)
	if err != nil {
		t.Fatal(err)
	}
	cachetest.Redis(t, "--replicaof", host+" "+port)
	s.settled()
	if n := s.info().Dead; n != 0 {
		t.Errorf("%d dead", n)
	}
}
