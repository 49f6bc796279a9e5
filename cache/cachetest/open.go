package cachetest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache/redislocal"
)

// DB is a Redis that belongs to one test.
type DB struct {
	redis.UniversalClient
	// Kind is "stand-in", "redis" or "cluster".
	Kind string
	// Addr is host:port.
	Addr string
	// Mini is the stand-in itself, to drive its clock; nil elsewhere.
	Mini *miniredis.Miniredis
	// Server is the process; nil for the stand-in.
	Server *redislocal.Server
}

// Each runs a test on every kind there is, beside other tests.
func Each(t *testing.T, test func(t *testing.T, db DB)) {
	t.Helper()
	t.Parallel()
	run := func(kind string, open func(t *testing.T) DB) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
	run("stand-in", func(t *testing.T) DB { return StandIn(t) })
	run("redis", func(t *testing.T) DB { return Redis(t) })
	run("cluster", func(t *testing.T) DB { return Cluster(t) })
}

// StandIn opens a stand-in whose clock stands still unless the test drives it.
func StandIn(t testing.TB) DB {
	t.Helper()
	m := miniredis.RunT(t)
	m.SetTime(time.Now())
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { rdb.Close() })
	return DB{UniversalClient: rdb, Kind: "stand-in", Addr: m.Addr(), Mini: m}
}

// Redis spawns a redis-server for the test.
func Redis(t testing.TB, args ...string) DB {
	t.Helper()
	s := spawn(t, redislocal.Options{Args: args})
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr})
	t.Cleanup(func() { rdb.Close() })
	return DB{UniversalClient: rdb, Kind: "redis", Addr: s.Addr, Server: s}
}

// Cluster spawns a cluster of one node for the test.
func Cluster(t testing.TB) DB {
	t.Helper()
	s := spawn(t, redislocal.Options{Cluster: true})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.Addr}})
	t.Cleanup(func() { rdb.Close() })
	return DB{UniversalClient: rdb, Kind: "cluster", Addr: s.Addr, Server: s}
}

func spawn(t testing.TB, o redislocal.Options) *redislocal.Server {
	t.Helper()
	s, err := redislocal.Start(context.Background(), o)
	switch {
	case errors.Is(err, redislocal.ErrNotInstalled) && os.Getenv("CI") == "":
		t.Skip("SKIPPED, NOT PROVEN: redis-server is not installed; this test needs the real one")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}
