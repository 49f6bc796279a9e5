package model_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/races/model"
	"github.com/rescindhq/rescind/events"
)

// pair is a model and a real server that are asked the same.
type pair struct {
	t      *testing.T
	server *model.Server
	model  *model.Client
	real   redis.UniversalClient
}

func newPair(t *testing.T) *pair {
	t.Helper()
	db := cachetest.Redis(t)
	info, err := db.Info(t.Context(), "replication").Result()
	id := regexp.MustCompile("master_replid:([0-9a-f]{40})").FindStringSubmatch(info)
	if err != nil || id == nil {
		t.Fatal(info, err)
	}
	s := model.New(time.Now(), id[1])
	t.Cleanup(s.Close)
	old := redis.NewClient(&redis.Options{Addr: db.Addr, Protocol: 2}) // scores are texts, as in scripts
	t.Cleanup(func() { old.Close() })
	return &pair{t, s, s.Client(), old}
}

// both runs one command on both and compares the replies.
func (p *pair) both(args ...any) {
	p.t.Helper()
	got, gotErr := p.model.Do(p.t.Context(), args...).Result()
	want, wantErr := p.real.Do(p.t.Context(), args...).Result()
	if args[0] == "PTTL" && about(got, want) {
		return
	}
	if diff := cmp.Diff(shown(args, want, wantErr), shown(args, got, gotErr)); diff != "" {
		p.t.Fatalf("%v: (- redis, + model)\n%s", args, diff)
	}
}

// about says whether two lives are the same but for the two clocks.
func about(got, want any) bool {
	g, _ := got.(int64)
	w, _ := want.(int64)
	return g > 0 && w > 0 && max(g-w, w-g) < 5000
}

// shown is a reply made comparable: of an error its first word, of a hash its
// fields in order.
func shown(args []any, v any, err error) any {
	if err != nil {
		word, _, _ := strings.Cut(err.Error(), " ")
		return "error " + word
	}
	list, isList := v.([]any)
	switch {
	case args[0] == "HGETALL":
		var fields []string
		for i := 0; i+1 < len(list); i += 2 {
			fields = append(fields, fmt.Sprint(list[i], "=", list[i+1]))
		}
		slices.Sort(fields)
		return fields
	case isList && len(list) == 0:
		return "empty"
	}
	return v
}

// command draws a command on few keys, so that types and members collide.
func command(r *rand.Rand) []any {
	key := func() any { return []string{"k1", "k2", "k3"}[r.IntN(3)] }
	name := func() any { return []string{"a", "b", "c", "d:1"}[r.IntN(4)] }
	score := func() any {
		return []string{"0", "1", "-1", "0.5", "0.1", "1763785000123456", "-4503599627370495", "1e20", "3.25",
			"1e-7"}[r.IntN(10)]
	}
	edge := func() any { return []string{"-inf", "+inf", "0", "(1", "1", "1e15", "(0.5", "x"}[r.IntN(8)] }
	rank := func() any { return r.IntN(7) - 3 }
	life := func() any { return []int{100_000, 500_000, 0, -5}[r.IntN(4)] }
	all := [][]any{
		{"SET", key(), name()}, {"SET", key(), name(), "NX", "PX", 100_000},
		{"SET", key(), name(), "PX", 500_000},
		{"GET", key()}, {"DEL", key(), key()}, {"UNLINK", key()}, {"EXISTS", key(), key()}, {"TYPE", key()},
		{"PTTL", key()}, {"PEXPIRE", key(), life()}, {"PEXPIREAT", key(), time.Now().Add(time.Hour).UnixMilli()},
		{"PEXPIREAT", key(), 5}, {"PEXPIRE", key(), "x"}, {"SET", key(), name(), "PX", 0},
		{"SET", key(), name(), "QX"},
		{"HSET", key(), name(), score(), name(), score()}, {"HSET", key(), name()}, {"HGET", key(), name()},
		{"HMGET", key(), name(), name()}, {"HGETALL", key()}, {"ZADD", key(), score(), name(), score(), name()},
		{"ZADD", key(), score(), name()}, {"ZADD", key(), "x", name()}, {"ZREM", key(), name(), name()},
		{"ZSCORE", key(), name()}, {"ZMSCORE", key(), name(), name()}, {"ZCOUNT", key(), edge(), edge()},
		{"ZRANGE", key(), rank(), rank()}, {"ZRANGE", key(), 0, -1, "WITHSCORES"},
		{"ZRANGEBYSCORE", key(), edge(), edge()},
		{"ZRANGEBYSCORE", key(), "-inf", "+inf", "WITHSCORES", "LIMIT", r.IntN(3), 2},
		{"PUBLISH", "c", "m"}, {"PING"}, {"NOSUCH", key()}, {"GET"},
	}
	return all[r.IntN(len(all))]
}

func TestCommandsAreThoseOfRedis(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 6000 {
		p.server.SetClock(time.Now())
		if i%100 == 0 {
			p.both("DEL", "k1", "k2", "k3")
		}
		p.both(command(r)...)
	}
}

// Each is a script; its reply must be Redis's.
func TestScriptsSeeWhatTheySeeInRedis(t *testing.T) {
	t.Parallel()
	scripts := map[string]string{
		"numbers are cut":     "return {1.9, -1.9, 3}",
		"a table ends at nil": "return {1, nil, 3}",
		"true and false":      "return {true, false}",
		"nil":                 "return nil",
		"a status":            "return redis.status_reply('FINE')",
		"an error":            "return redis.error_reply('MY mistake')",
		"a missing value": "return {redis.call('GET', 'none') == false, " +
			"type(redis.call('HMGET', 'none', 'a')[1])}",
		"what PING says":         "return redis.call('PING').ok",
		"what pcall says":        "return type(redis.pcall('NOSUCH').err)",
		"an error in call":       "redis.call('SET', 'k', 'v') redis.call('HGET', 'k', 'f') return 1",
		"an unknown command":     "return redis.call('NOSUCH')",
		"a number as argument":   "redis.call('SET', 'n', 1763785000123456) return redis.call('GET', 'n')",
		"a fraction as argument": "redis.call('SET', 'n', 0.1) return redis.call('GET', 'n')",
		"a boolean as argument":  "return redis.pcall('SET', 'n', true).err ~= nil",
		"keys and arguments":     "return {KEYS[1], ARGV[1], ARGV[2], #KEYS, #ARGV}",
		"format": "return {string.format('%.0f', 1763785000123456), string.format('%.0f', 0.5), " +
			"string.format('%d', 7)}",
		"tonumber": "return {tonumber('1e3'), tonumber(' 7 '), tostring(tonumber('x')), " +
			"tonumber('ff', 16), " +
			"tostring(tonumber(nil)), tonumber('0x10')}",
		"a score comes back whole": "redis.call('ZADD', 'z', 1763785000123456, 'm', -4503599627370495, 'n', " +
			"'0.5', 'o') return redis.call('ZRANGE', 'z', 0, -1, 'WITHSCORES')",
		"a score is a text":  "redis.call('ZADD', 'z', 5, 'm') return type(redis.call('ZSCORE', 'z', 'm'))",
		"the replication id": "return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')",
		"twice the same match": "local a = string.match('ab', 'a(b)') local b = string.match('ab', 'a(b)') " +
			"local c = string.match('abc', '(a)(b)') return {a, b, c, string.match('x', 'y') == nil}",
		"a header":         "#!lua flags=allow-oom\nreturn 7",
		"another engine":   "#!perl\nreturn 7",
		"an odd header":    "#!lua flag\nreturn 7",
		"what is not Lua":  "return return",
		"a Lua error":      "local x = nil return x.y",
		"an integer reply": "return redis.call('EXISTS', 'none')",
	}
	p := newPair(t)
	for name, script := range scripts {
		got, gotErr := p.model.Eval(t.Context(), script, []string{"key"}, "one", 2).Result()
		want, wantErr := p.real.Eval(t.Context(), script, []string{"key"}, "one", 2).Result()
		if diff := cmp.Diff(shown([]any{""}, want, wantErr), shown([]any{""}, got, gotErr)); diff != "" {
			t.Errorf("%s: (- redis, + model)\n%s", name, diff)
		}
		p.both("DEL", "k", "n", "z")
	}
}

// twin is a client of both. The scripts read one clock on both servers, which
// the test drives: a key instead of TIME.
type twin struct {
	*pair
	replies int
}

const clockKey = "{races:1}clock"

func driven(script string) string {
	return strings.ReplaceAll(script, "redis.call('TIME')", "redis.call('HMGET', '"+clockKey+"', 's', 'us')")
}

func (w *twin) ScriptLoad(ctx context.Context, script string) *redis.StringCmd {
	w.model.ScriptLoad(ctx, driven(script))
	return w.real.ScriptLoad(ctx, driven(script))
}

func (w *twin) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	w.t.Helper()
	w.replies++
	got, gotErr := w.model.EvalSha(ctx, sha, keys, args...).Result()
	cmd := w.real.EvalSha(ctx, sha, keys, args...)
	want, wantErr := cmd.Result()
	if diff := cmp.Diff(w.masked(want, wantErr), w.masked(got, gotErr)); diff != "" {
		w.t.Fatalf("keys %v, arguments %v: (- redis, + model)\n%s", keys, args, diff)
	}
	return cmd
}

// masked leaves out of a busy begin how long the other's lease has left.
func (w *twin) masked(v any, err error) any {
	if list, ok := v.([]any); ok && len(list) == 4 && list[0] == "busy" {
		v = list[:3]
	}
	return shown([]any{""}, sortedFields(v), err)
}

// sortedFields puts the fields of a live reply into an order.
func sortedFields(v any) any {
	list, ok := v.([]any)
	if !ok || len(list) < 2 || list[0] != "live" {
		return v
	}
	return []any{"live", list[1], shown([]any{"HGETALL"}, list[2:], nil)}
}

func (w *twin) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return w.real.Eval(ctx, script, keys, args...)
}

func (w *twin) EvalRO(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return w.real.EvalRO(ctx, script, keys, args...)
}

func (w *twin) EvalShaRO(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return w.real.EvalShaRO(ctx, sha, keys, args...)
}

func (w *twin) ScriptExists(ctx context.Context, hashes ...string) *redis.BoolSliceCmd {
	return w.real.ScriptExists(ctx, hashes...)
}

func (w *twin) Ping(ctx context.Context) *redis.StatusCmd { return w.real.Ping(ctx) }

func (w *twin) ZRangeByScore(ctx context.Context, key string, by *redis.ZRangeBy) *redis.StringSliceCmd {
	w.both("ZRANGEBYSCORE", key, by.Min, by.Max)
	return w.real.ZRangeByScore(ctx, key, by)
}

// tick sets the clock of both: a little later, or a little earlier.
func (w *twin) tick(r *rand.Rand) {
	now := time.Now().Add(time.Duration(r.IntN(4000)-1000) * time.Millisecond)
	w.server.SetClock(time.Now())
	w.both("HSET", clockKey, "s", strconv.FormatInt(now.Unix(), 10), "us", strconv.Itoa(now.Nanosecond()/1000))
}

// same compares everything that the two servers hold.
func (w *twin) same() {
	w.t.Helper()
	keys, err := w.real.Keys(w.t.Context(), "*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, key := range keys {
		w.both("TYPE", key)
		w.both("PTTL", key)
		w.both("HGETALL", key)
		w.both("ZRANGE", key, 0, -1, "WITHSCORES")
	}
}

// The store does the same on both, step by step: every reply and every key.
func TestScriptsOfTheFence(t *testing.T) {
	t.Parallel()
	w := &twin{pair: newPair(t)}
	r := rand.New(rand.NewPCG(2, 1))
	store, err := fence.Open(t.Context(), w, cache.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	var leases []*fence.Lease
	for range 600 {
		w.tick(r)
		leases = w.step(r, store, leases)
		w.same()
	}
	t.Logf("%d replies", w.replies)
}

func (w *twin) step(r *rand.Rand, store *fence.Store, leases []*fence.Lease) []*fence.Lease {
	w.t.Helper()
	ctx := w.t.Context()
	var err error
	tags := []events.Tag{events.RoleTag("7"), events.SubjectTag("1"), events.TenantTag}
	switch n := r.IntN(20); {
	case n < 7:
		var b fence.Begun
		name := []cache.Name{"e:1", "e:2", cache.PartName("role:7")}[r.IntN(3)]
		b, err = store.Begin(ctx, home, name, fence.Want{Now: r.IntN(3) == 0})
		if b.Lease != nil {
			leases = append(leases, b.Lease)
		}
	case n < 14 && len(leases) > 0:
		i := r.IntN(len(leases))
		_, err = store.Commit(ctx, leases[i], fence.Fill{
			Fields: []string{"_covers", "permission", "permission/A", "1"}, Tags: tags[:r.IntN(3)],
			Used: []fence.Used{{Name: "role:7", Stamp: leases[r.IntN(len(leases))].Stamp, Tags: tags[:1]}}[:r.IntN(2)],
			Life: cache.DefaultLife,
		})
		leases = slices.Delete(leases, i, i+1)
	case n < 17:
		_, err = store.Invalidate(ctx, home, tags[r.IntN(3)])
	case n < 18 && len(leases) > 0:
		err = store.Release(ctx, leases[0])
	default: // a key is lost
		k := []string{"f", "t:tenant", "t:role:7", "e:1", "l:e:1", "p:role%3A7"}[r.IntN(6)]
		w.both("DEL", cache.Keys{}.Base(home)+k)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return leases
}
