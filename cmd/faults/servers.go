package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// openNATS starts a cluster; clients reach every server by its proxy.
func (w *world) openNATS(ctx context.Context) error {
	var routes []string
	for i := range nodes {
		name := fmt.Sprintf("nats-%d", i+1)
		store, err := w.storeDir(name)
		if err != nil {
			return err
		}
		p, err := w.newPart(name)
		if err != nil {
			return err
		}
		if err := w.shield(p); err != nil {
			return err
		}
		p.args = w.self(partNATS, store+".conf")
		w.nats, routes = append(w.nats, p), append(routes, fmt.Sprintf("%q", "nats://"+p.second))
	}
	for _, p := range w.nats {
		_, err := w.write(p.name+".conf", fmt.Sprintf(`
server_name: %s
listen: %q
client_advertise: %q
jetstream { store_dir: %q, sync_interval: always, max_memory_store: 64MB, max_file_store: 64MB }
cluster { name: faults, listen: %q, routes: [%s] }
`, p.name, p.addr, p.proxy.addr, filepath.Join(w.dir, p.name), p.second, strings.Join(routes, ", ")))
		if err != nil {
			return err
		}
	}
	return startAll(ctx, w.nats...)
}

// downAfter is after how long Sentinel takes a server for dead.
const downAfter = 1500 * time.Millisecond

// openRedis starts a primary, its replica and the Sentinel. All of them, and
// the workers, reach each server by its proxy.
func (w *world) openRedis(ctx context.Context) error {
	for _, name := range []string{"redis-1", "redis-2"} {
		if err := w.addRedis(name); err != nil {
			return err
		}
	}
	w.redis[1].args = append(w.redis[1].args, replicaOf(w.redis[0])...)
	if err := startAll(ctx, w.redis...); err != nil {
		return err
	}
	if err := w.openSentinel(ctx); err != nil {
		return err
	}
	w.follow = newFollower(w.sentinel.addr, map[string]string{
		w.redis[0].proxy.addr: w.redis[0].addr, w.redis[1].proxy.addr: w.redis[1].addr,
	})
	w.onClose(w.follow.close)
	watch, stop := context.WithCancel(context.Background())
	w.watchers.Go(func() { _ = w.follow.run(watch) }) // it ends without an error
	w.onClose(func() error { stop(); w.watchers.Wait(); return nil })
	return await(ctx, startLimit, "Redis has its replica", func(ctx context.Context) (bool, error) {
		return w.replicated(ctx), nil
	})
}

func (w *world) addRedis(name string) error {
	p, err := w.newPart(name)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return err
	}
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := w.shield(p); err != nil {
		return err
	}
	_, announced, err := net.SplitHostPort(p.proxy.addr)
	if err != nil {
		return err
	}
	p.args = []string{w.redisServer, "--bind", host, "--port", port, "--dir", dir, "--save", "",
		"--appendonly", "no", "--maxmemory-policy", "noeviction", "--repl-diskless-sync", "yes",
		"--repl-diskless-sync-delay", "0", "--replica-announce-ip", host, "--replica-announce-port", announced}
	p.env = w.clockEnv()
	p.ready = answersPing(p.addr)
	w.redis = append(w.redis, p)
	return w.setClock(0)
}

// answersPing says whether a Redis answers, be it that it is loading.
func answersPing(addr string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialTimeout: time.Second})
		defer c.Close()
		return c.Ping(ctx).Err() == nil
	}
}

func replicaOf(p *part) []string {
	host, port, _ := net.SplitHostPort(p.proxy.addr) // an address of a listener
	return []string{"--replicaof", host + " " + port}
}

// demote sees to it that a server that is dead comes back as a replica if
// Sentinel has made the other one the primary.
func (w *world) demote(p *part) {
	if p.alive() {
		return
	}
	for i, arg := range p.args {
		if arg == "--replicaof" {
			p.args = p.args[:i:i]
			break
		}
	}
	for _, other := range w.redis {
		if other != p && other.proxy.addr == w.follow.primary() {
			p.args = append(p.args, replicaOf(other)...)
		}
	}
}

func (w *world) openSentinel(ctx context.Context) (err error) {
	if w.sentinel, err = w.newPart("sentinel"); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(w.sentinel.addr)
	if err != nil {
		return err
	}
	primaryHost, primaryPort, err := net.SplitHostPort(w.redis[0].proxy.addr)
	if err != nil {
		return err
	}
	path, err := w.write("sentinel.conf", fmt.Sprintf(`
bind %s
port %s
dir %q
sentinel monitor %s %s %s 1
sentinel down-after-milliseconds %[4]s %[7]d
sentinel failover-timeout %[4]s 3000
`, host, port, w.dir, primaryName, primaryHost, primaryPort, downAfter.Milliseconds()))
	if err != nil {
		return err
	}
	w.sentinel.args = []string{w.redisServer, path, "--sentinel"}
	w.sentinel.ready = answersPing(w.sentinel.addr)
	return w.sentinel.start(ctx)
}

// replicated says whether Sentinel could fail over: the primary has its replica
// in step and Sentinel knows of it.
func (w *world) replicated(ctx context.Context) bool {
	c, err := w.follow.client()
	if err != nil {
		return false
	}
	info, err := c.InfoMap(ctx, "replication").Result()
	if err != nil || !strings.Contains(info["Replication"]["slave0"], "state=online") {
		return false
	}
	known, err := w.follow.sentinel.Replicas(ctx, primaryName).Result()
	return err == nil && len(known) == 1 && known[0]["flags"] == "slave" &&
		known[0]["master-link-status"] == "ok"
}

// primary is the Redis that Sentinel names.
func (w *world) primary() (*part, error) {
	addr := w.follow.primary()
	for _, p := range w.redis {
		if p.proxy.addr == addr {
			return p, nil
		}
	}
	return nil, errors.New("sentinel names no primary")
}
