package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// tried is a home that nobody has: what is tried of rights is tried on it.
var tried = events.Ref{Home: events.Home{Provider: "doctor", Tenant: "doctor"}, Subject: "doctor"}

// needed are the commands that the worker and its scripts use, as users.acl.example
// allows them. Those of data are tried on an entry and on a budget.
var needed = struct{ data, other [][]string }{
	data: [][]string{
		{"exists", "K"}, {"type", "K"}, {"del", "K"}, {"unlink", "K"}, {"pttl", "K"}, {"pexpire", "K", "1"},
		{"pexpireat", "K", "1"}, {"get", "K"}, {"set", "K", "1"}, {"hget", "K", "f"}, {"hmget", "K", "f"},
		{"hgetall", "K"}, {"hset", "K", "f", "1"}, {"zadd", "K", "1", "m"}, {"zcount", "K", "0", "1"},
		{"zmscore", "K", "m"}, {"zscore", "K", "m"}, {"zrange", "K", "0", "1"}, {"zrangebyscore", "K", "0", "1"},
		{"zrem", "K", "m"}, {"object", "idletime", "K"},
	},
	other: [][]string{
		{"time"}, {"scan", "0"}, {"role"}, {"info", "replication"}, {"config", "get", "save"}, {"wait", "0", "1"},
		{"evalsha", "0", "0"}, {"script", "load", "return 1"}, {"script", "exists", "0"}, {"publish", "C", "m"},
		{"subscribe", "C"}, {"unsubscribe", "C"}, {"cluster", "slots"}, {"cluster", "shards"},
	},
}

// mayNot asks what this user may not do, and does nothing: it lists what is
// refused.
const mayNot = `#!lua flags=no-writes
local refused = {}
for i, command in ipairs(cjson.decode(ARGV[1])) do
  local ok, may = pcall(redis.acl_check_cmd, unpack(command))
  if ok and not may then table.insert(refused, i) end
end
return refused`

// rights asks whether the worker's user may do what the worker does.
func (e *exam) rights(ctx context.Context, about string, one *redis.Client) {
	keys, err := cache.NewKeys(e.cfg.Redis.Prefix)
	if err != nil {
		e.note(Failure, about, err.Error(), "mend redis.prefix")
		return
	}
	commands := neededOf(keys)
	b, err := json.Marshal(commands)
	if err != nil {
		e.note(Unknown, about, err.Error(), "")
		return
	}
	refused, err := one.Eval(ctx, mayNot, nil, b).Int64Slice()
	switch {
	case err != nil:
		e.unreached(about, err, "the user needs +eval; see deploy/users.acl.example")
	case len(refused) == 0:
		e.fine(about, "the worker's user may do all that the worker does")
	default:
		var names []string
		for _, i := range refused {
			names = append(names, strings.Join(commands[i-1], " "))
		}
		e.note(Failure, about, "the worker's user may not: "+strings.Join(names, "; "),
			"compare its line with deploy/users.acl.example")
	}
}

// neededOf puts keys and a channel in.
func neededOf(keys cache.Keys) (all [][]string) {
	on := []string{keys.Entry(tried), "budget:{doctor:doctor}:doctor:s"}
	put := func(command []string, key string) []string {
		command = slices.Clone(command)
		for i, word := range command {
			switch word {
			case "K":
				command[i] = key
			case "C":
				command[i] = keys.Changed(tried.Home)
			}
		}
		return command
	}
	for _, key := range on {
		for _, command := range needed.data {
			all = append(all, put(command, key))
		}
	}
	for _, command := range needed.other {
		all = append(all, put(command, ""))
	}
	return all
}

// strangers tries to come in without a password.
func (e *exam) strangers(ctx context.Context, one *redis.Client) {
	o := *one.Options()
	if loopback(o.Addr) && o.Username == "" && o.Password == "" {
		return // on this machine alone, and meant so
	}
	anybody := redis.NewClient(&redis.Options{Addr: o.Addr, TLSConfig: o.TLSConfig, Dialer: o.Dialer,
		MaxRetries: -1, ContextTimeoutEnabled: true})
	defer anybody.Close()
	if err := anybody.Ping(ctx).Err(); err != nil {
		e.fine("redis strangers", "nobody gets in without a password")
		return
	}
	e.note(Warning, "redis strangers", "it lets in who has no password: who reaches it may forge entries",
		"user default off, and users as in deploy/users.acl.example")
}

// reader tries what an application may do, and what it may not.
func (e *exam) reader(ctx context.Context) {
	if e.Reader == "" {
		return
	}
	o, err := redis.ParseURL(e.Reader)
	if err != nil {
		e.note(Failure, "reader", "not a redis:// or rediss:// address", "--reader is such as redis://app@redis:6379/0")
		return
	}
	if !e.ReaderPassword.Empty() {
		o.Password = e.ReaderPassword.Reveal()
	}
	o.MaxRetries, o.ContextTimeoutEnabled = -1, true
	rdb := redis.NewClient(o)
	defer rdb.Close()
	ctx, cancel := limited(ctx)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		e.unreached("reader", err, "RESCIND_READER_PASSWORD is its password")
		return
	}
	keys, _ := cache.NewKeys(e.cfg.Redis.Prefix) // Validate has seen it
	e.readerRights(ctx, rdb, keys)
}

// readerRights tries each on what is not there: were it allowed, nothing came of it.
func (e *exam) readerRights(ctx context.Context, rdb *redis.Client, keys cache.Keys) {
	key := keys.Entry(tried)
	var lacks, has []string
	for _, command := range [][]any{
		{"hmget", key, cache.FieldUntil}, {"hgetall", key}, {"hget", key, cache.FieldUntil}, {"exists", key}, {"pttl", key},
	} {
		if err := rdb.Do(ctx, command...).Err(); err != nil && !errors.Is(err, redis.Nil) {
			lacks = append(lacks, fmt.Sprint(command[0]))
		}
	}
	for _, command := range [][]any{
		{"hdel", key, cache.FieldUntil}, {"unlink", key}, {"pexpire", key, 1}, {"eval", "return 1", 0},
		{"exists", keys.Fence(tried.Home)}, {"config", "get", "save"}, {"publish", keys.Changed(tried.Home), ""},
	} {
		if err := rdb.Do(ctx, command...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			has = append(has, strings.TrimSpace(fmt.Sprintln(command...)))
		}
	}
	remedy := "compare its line with that of app in deploy/users.acl.example"
	if len(lacks) > 0 {
		e.note(Failure, "reader", "it may not: "+strings.Join(lacks, ", "), remedy)
	}
	if len(has) > 0 {
		e.note(Failure, "reader", "it may do what no reader should, such as to drop or forge: "+strings.Join(has, "; "), remedy)
	}
	if len(lacks)+len(has) == 0 {
		e.fine("reader", "it may read entries and nothing else")
	}
}
