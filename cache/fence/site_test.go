package fence_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache/cachetest"
)

// site is the Redis that a machine runs on, one machine at a time.
type site struct {
	cachetest.DB
	hook *meddler
	copy replica // nil where there is none
	lags bool    // the copy gets nothing at the moment
}

// replica is a copy of a site's data.
type replica interface {
	detach() error  // from now on it gets nothing more
	attach() error  // it is as the primary again
	promote() error // it takes the primary's place, which follows it from now on
}

func newSite(db cachetest.DB, r replica) *site {
	s := &site{DB: db, hook: &meddler{}, copy: r}
	s.UniversalClient.(*redis.Client).AddHook(s.hook)
	return s
}

// double gives a stand-in what it lacks: the name of a history, and a replica,
// which is its second database. So failovers cost nothing, and it is known
// exactly what the copy holds.
type double struct {
	mini     *miniredis.Miniredis
	history  atomic.Int64
	detached atomic.Bool
}

func twin(t *testing.T) *site {
	t.Helper()
	db := cachetest.StandIn(t)
	d := &double{mini: db.Mini}
	d.mini.Server().SetPreHook(d.answer)
	return newSite(db, d)
}

func (d *double) answer(c *server.Peer, cmd string, args ...string) bool {
	switch {
	case cmd == "INFO" && len(args) == 1 && args[0] == "replication":
		c.WriteBulk(fmt.Sprintf("role:master\r\nmaster_replid:%013x%027x\r\n", d.history.Load()+1, 0))
	case cmd == "WAIT" && d.detached.Load():
		c.WriteInt(0)
	case cmd == "WAIT":
		c.WriteInt(1)
	default:
		return false
	}
	return true
}

func (d *double) detach() error {
	d.mini.DB(1).FlushDB()
	for _, key := range d.mini.DB(0).Keys() {
		if err := d.mini.Copy(0, key, 1, key); err != nil {
			return err
		}
	}
	d.detached.Store(true)
	return nil
}

func (d *double) attach() error {
	d.detached.Store(false)
	return nil
}

func (d *double) promote() error {
	if d.detached.Load() {
		d.mini.SwapDB(0, 1)
	}
	d.history.Add(1)
	return d.attach()
}

// duo is a real primary and its replica, and a client that goes to whichever is
// the primary, as one of a Sentinel does.
type duo struct {
	ctx   context.Context
	nodes [2]*redis.Client
	addrs [2]string
	at    atomic.Int32 // the primary
}

func openDuo(t *testing.T) *site {
	t.Helper()
	p, r := pair(t)
	d := &duo{
		ctx: t.Context(), addrs: [2]string{p.db.Addr, r.db.Addr},
		nodes: [2]*redis.Client{p.db.UniversalClient.(*redis.Client), r.db.UniversalClient.(*redis.Client)},
	}
	var dialer net.Dialer
	rdb := redis.NewClient(&redis.Options{
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, d.addrs[d.at.Load()])
		},
	})
	t.Cleanup(func() { rdb.Close() })
	return newSite(cachetest.DB{UniversalClient: rdb, Kind: "duo"}, d)
}

func (d *duo) detach() error { return d.nodes[1-d.at.Load()].Do(d.ctx, "replicaof", "no", "one").Err() }

// attach lets the copy follow, and waits until it has all.
func (d *duo) attach() error {
	host, port, err := net.SplitHostPort(d.addrs[d.at.Load()])
	if err != nil {
		return err
	}
	follower := d.nodes[1-d.at.Load()]
	if err := follower.Do(d.ctx, "replicaof", host, port).Err(); err != nil {
		return err
	}
	return within(func() bool {
		info, err := follower.Info(d.ctx, "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
}

func (d *duo) promote() error {
	if err := d.detach(); err != nil {
		return err
	}
	old := d.nodes[d.at.Load()]
	d.at.Store(1 - d.at.Load())
	if err := old.ClientKillByFilter(d.ctx, "TYPE", "normal").Err(); err != nil { // as a Sentinel does
		return err
	}
	return d.attach()
}
