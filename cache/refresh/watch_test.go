package refresh_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
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

// A primary that is demoted while a change waits for a replica buries nothing.
func TestDemotionWhileAChangeWaitsForReplicas(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	w.store.Replicas, w.store.ReplicaWait = 1, 5*time.Second
	done := make(chan error, 1)
	go func() { _, err := w.store.Invalidate(w.ctx, home, subject("42")); done <- err }()
	eventually(t, "it waits", func() bool {
		i, err := w.db.Info(w.ctx, "clients").Result()
		return err == nil && strings.Contains(i, "blocked_clients:1")
	})
	w.becomeAnother()
	if err := receive(t, done, "its end"); !errors.Is(err, fence.ErrReplicas) {
		t.Errorf("got %v, want what makes the change come again", err)
	}
}

// Without the right to ask for its history a failover would go unnoticed.
func TestRedisThatDoesNotTellItsHistoryIsRefused(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.Redis(t))
	err := w.db.Do(w.ctx, "acl", "setuser", "worker", "on", "nopass", "~*", "&*", "+@all", "-info").Err()
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: w.db.Addr, Username: "worker", Password: "x"})
	t.Cleanup(func() { rdb.Close() })
	if err := fence.CheckServer(w.ctx, rdb); !errors.Is(err, fence.ErrPolicy) || !strings.Contains(err.Error(), "+info") {
		t.Errorf("got %v", err)
	}
	if err := fence.CheckServer(w.ctx, w.db.UniversalClient); err != nil {
		t.Errorf("with that right: %v", err)
	}
}
