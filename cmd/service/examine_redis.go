package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

const oldestRedis = 7 // the first with flags of scripts, and with rights that scripts can ask about

// redis looks at every primary; shut ends the connections.
func (e *exam) redis(ctx context.Context) (shut func()) {
	rdb, err := openRedis(e.cfg.Redis)
	if err != nil {
		e.note(Failure, "redis", err.Error(), "see deploy/config.md")
		return func() {}
	}
	_, e.sentinel, _ = e.cfg.Redis.Sentinels()
	shut = func() { _ = rdb.Close() } // nothing was written
	ctx, cancel := limited(ctx)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		e.unreached("redis", fmt.Errorf("redis.url (user, redis.password): %w", err),
			"redis.url says where it is, redis.password is the worker's")
		return shut
	}
	e.rdb = rdb
	if e.cfg.Redis.StandIn {
		e.note(Warning, "redis", "it is a stand-in: it bounds no memory, and cannot be asked how it is set up",
			"for demonstration only")
		return shut
	}
	all, err := primaries(ctx, rdb)
	if err != nil {
		e.unreached("redis", err, "is redis.cluster right, and are all primaries up?")
		return shut
	}
	for _, one := range all {
		about := "redis"
		if len(all) > 1 {
			about += " " + one.Options().Addr
		}
		e.primary(ctx, about, one)
	}
	e.strangers(ctx, all[0])
	return shut
}

// primaries are those of a cluster, or the one there is.
func primaries(ctx context.Context, rdb redis.UniversalClient) (all []*redis.Client, err error) {
	c, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return []*redis.Client{rdb.(*redis.Client)}, nil
	}
	var mu sync.Mutex
	err = c.ForEachMaster(ctx, func(_ context.Context, one *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, one)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = errors.New("the cluster has no primary")
	}
	slices.SortFunc(all, func(a, b *redis.Client) int { return strings.Compare(a.Options().Addr, b.Options().Addr) })
	return all, err
}

func (e *exam) primary(ctx context.Context, about string, one *redis.Client) {
	info := map[string]string{}
	for _, section := range []string{"server", "replication", "memory"} {
		text, err := one.Info(ctx, section).Result()
		if err != nil {
			e.unreached(about, err, "the user needs +info")
			return
		}
		readInfo(info, text)
	}
	e.redisServer(about, one, info)
	e.redisClock(ctx, about+" clock", one)
	e.memory(about, info)
	e.replicas(about, info)
	e.settings(ctx, about, one)
	e.rights(ctx, about+" rights", one)
}

func (e *exam) redisClock(ctx context.Context, about string, one *redis.Client) {
	before := time.Now()
	at, err := one.Time(ctx).Result()
	if err != nil {
		e.unreached(about, err, "the user needs +time")
		return
	}
	e.skew(about, at, before, time.Now(), cache.ClockSlack)
}

// readInfo adds the lines of a reply of INFO.
func readInfo(info map[string]string, text string) {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
}

func (e *exam) redisServer(about string, one *redis.Client, info map[string]string) {
	major, _, _ := strings.Cut(info["redis_version"], ".")
	n, err := strconv.Atoi(major)
	switch {
	case err != nil:
		e.note(Unknown, about, fmt.Sprintf("version %q", info["redis_version"]), "run Redis 7 or later")
	case n < oldestRedis:
		e.note(Failure, about, "version "+info["redis_version"]+": nothing can be dropped when its memory is full",
			"run Redis 7 or later")
	default:
		e.fine(about, "version %s, %s", info["redis_version"], info["redis_mode"])
	}
	if cluster := info["redis_mode"] == "cluster"; cluster != e.cfg.Redis.Cluster {
		e.note(Failure, about, fmt.Sprintf("it runs as %s, and redis.cluster is %t", info["redis_mode"], e.cfg.Redis.Cluster),
			fmt.Sprintf("set redis.cluster: %t", cluster))
	}
	if role := info["role"]; role != "master" {
		e.note(Failure, about, "it is a replica: nothing can be written there",
			"redis.url must lead to the primary; under Sentinel use redis-sentinel://")
	}
	if one.Options().TLSConfig == nil && !loopback(one.Options().Addr) {
		e.note(Warning, about, "the connection is not encrypted: who listens on the way reads passwords and entries",
			"use rediss://, or a network of their own")
	}
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func (e *exam) memory(about string, info map[string]string) {
	used, err1 := strconv.ParseUint(info["used_memory"], 10, 64)
	most, err2 := strconv.ParseUint(info["maxmemory"], 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		e.note(Unknown, about+" memory", "it does not tell", "the user needs +info")
	case most == 0:
		e.note(Warning, about+" memory", "maxmemory is 0: nothing bounds it, and the machine may kill it",
			"set maxmemory; an entry takes about 2 KB")
	case used*100 >= most*fullShare:
		e.note(Warning, about+" memory", fmt.Sprintf("%s of %s are used: when it is full new answers are not stored",
			size(used), size(most)), "raise maxmemory")
	default:
		e.fine(about+" memory", "%s of %s are used", size(used), size(most))
	}
}

// replicas compares those there are with those that must have a change.
func (e *exam) replicas(about string, info map[string]string) {
	about += " replicas"
	online := 0
	for name, value := range info {
		if strings.HasPrefix(name, "slave") && strings.Contains(value, "state=online") {
			online++
		}
	}
	want := e.cfg.Redis.Replicas
	switch {
	case online < want:
		e.note(Failure, about, fmt.Sprintf("redis.replicas is %d, and %d follow it: no change is acknowledged", want, online),
			"start the replicas, or lower redis.replicas")
	case online > want:
		e.note(Warning, about, fmt.Sprintf("%d follow it, and redis.replicas is %d: one that is promoted may show for "+
			"about a second what was revoked", online, want), fmt.Sprintf("set redis.replicas: %d", online))
	case online > 0:
		e.fine(about, "%d follow it, and must have a change before it is acknowledged", online)
	case e.sentinel:
		e.note(Warning, about, "nothing follows it: Sentinel has nothing to promote", "start a replica")
	}
}

func (e *exam) settings(ctx context.Context, about string, one *redis.Client) {
	all, err := fence.Settings(ctx, one)
	if err != nil {
		e.unreached(about+" settings", err, "the user needs +config|get")
		return
	}
	var good []string
	for _, s := range all {
		if s.OK() {
			good = append(good, fmt.Sprintf("%s %q", s.Name, s.Value))
			continue
		}
		e.note(Failure, about+" settings", fmt.Sprintf("%s is %q: %s", s.Name, s.Value, s.Reason),
			fmt.Sprintf("config set %s %q, and in redis.conf", s.Name, s.Want))
	}
	if len(good) == len(all) {
		e.fine(about+" settings", "%s", strings.Join(good, ", "))
	}
}

// kept says of how many tenants something is kept: that nothing is wrong says little
// where nothing was done yet.
func (e *exam) kept(ctx context.Context) {
	if e.rdb == nil {
		return
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	keys, _ := cache.NewKeys(e.cfg.Redis.Prefix) // Validate has seen it
	var without []fmt.Stringer
	for _, t := range e.homes() {
		n, err := e.rdb.Exists(ctx, keys.Fence(t)).Result()
		if err != nil {
			e.unreached("entries", err, "the user needs +exists on the prefix redis.prefix")
			return
		}
		if n == 0 {
			without = append(without, t)
		}
	}
	switch all := len(e.homes()); {
	case all == 0:
		e.note(Warning, "entries", "no tenant is configured", "add one to providers")
	case len(without) == all:
		e.note(Warning, "entries", "nothing has been kept yet: no worker has fetched or dropped anything in this Redis",
			"ask a worker for something: rescind check; and is it this Redis, with this redis.prefix?")
	case len(without) > 0:
		e.fine("entries", "kept of %d of %d tenants; nothing yet of: %s", all-len(without), all, few(without))
	default:
		e.fine("entries", "kept of %s", counted(all, "tenant", "tenants"))
	}
}

func (e *exam) homes() (all []events.Home) {
	for _, p := range e.cfg.Providers {
		for _, t := range p.Tenants {
			all = append(all, events.Home{Provider: events.Provider(p.Name), Tenant: events.Tenant(t.ID)})
		}
	}
	return all
}
