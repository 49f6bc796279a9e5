package deploy_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

const base = "perm:v1:{ringcentral:37439510}:"

// redisServer runs redis-server with redis.conf and users.acl as secrets.sh
// makes it, and returns a client for each user.
func redisServer(t *testing.T) (worker, app, nobody *redis.Client) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("SKIPPED, NOT PROVEN: redis-server is not installed; this test needs the real one")
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := secrets(t)
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	var output strings.Builder
	cmd := exec.Command(path, "redis.conf", "--bind", host, "--port", port,
		"--dir", t.TempDir(), "--aclfile", dir+"/users.acl", "--daemonize", "no")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	worker = client(t, addr, "worker", envFile(t, dir+"/worker.env")["REDIS_PASSWORD"])
	app = client(t, addr, "app", envFile(t, dir+"/app.env")["REDIS_PASSWORD"])
	nobody = client(t, addr, "", "")
	eventually(t, "redis-server answers", func() bool { return worker.Ping(t.Context()).Err() == nil })
	return worker, app, nobody
}

func client(t *testing.T, addr, user, password string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Username: user, Password: password, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually polls until it is so, at most 10 s.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

// TestWorkerMayDoItsWork goes through all that touches Redis.
func TestWorkerMayDoItsWork(t *testing.T) {
	worker, app, _ := redisServer(t)
	ctx := t.Context()
	if err := fence.CheckServer(ctx, worker); err != nil {
		t.Errorf("the settings that the worker asks for: %v", err)
	}
	store, err := fence.Open(ctx, worker, cache.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	if !store.OOMSafe() {
		t.Error("the scripts were loaded without headers")
	}
	messages := app.Subscribe(ctx, cache.Keys{}.Changed(home))
	defer messages.Close()
	if _, err := messages.Receive(ctx); err != nil {
		t.Fatalf("the app subscribes: %v", err)
	}
	ref := events.Ref{Home: home, Subject: "42"}
	fill(t, store, cache.EntryName(ref), events.RoleTag("7"))
	fill(t, store, cache.PartName("role:7"), events.RoleTag("7"))
	key := cache.Keys{}.Entry(ref)
	got, err := app.HMGet(ctx, key, "_covers", "permission/Read").Result()
	if err != nil || len(got) != 2 || got[0] != "permission" || got[1] != "*" {
		t.Errorf("the app reads %v, %v", got, err)
	}
	in, err := store.Invalidate(ctx, home, events.RoleTag("7"))
	if err != nil || len(in.Alive) != 1 {
		t.Errorf("invalidate: %+v, %v", in, err)
	}
	for _, why := range []string{"stored", "dropped"} {
		if m, err := messages.ReceiveMessage(ctx); err != nil || m.Payload != key {
			t.Errorf("message after it was %s: %v, %v", why, m, err)
		}
	}
	loseAnIndex(t, store, worker, ref)
	shareCalls(t, worker)
}

// fill stores an entry or part by begin and commit; before, it takes a lease
// and gives it back.
func fill(t *testing.T, store *fence.Store, name cache.Name, tags ...events.Tag) {
	t.Helper()
	for _, give := range []bool{true, false} {
		b, err := store.Begin(t.Context(), home, name, fence.Want{Now: true})
		if err != nil || b.Lease == nil {
			t.Fatalf("begin %s: %+v, %v", name, b, err)
		}
		if give {
			err = store.Release(t.Context(), b.Lease)
		} else {
			var o fence.Outcome
			o, err = store.Commit(t.Context(), b.Lease, fence.Fill{
				Fields: []string{"_covers", "permission", "_basis", "test", "permission/Read", "*"},
				Tags:   tags, Life: time.Minute,
			})
			if !o.Stored {
				t.Errorf("commit %s: %+v", name, o)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// loseAnIndex makes the fence list its indexes, which it does outside scripts.
func loseAnIndex(t *testing.T, store *fence.Store, worker *redis.Client, ref events.Ref) {
	t.Helper()
	fill(t, store, cache.EntryName(ref), events.RoleTag("7"))
	if err := worker.Unlink(t.Context(), cache.Keys{}.Index(home, events.TenantTag)).Err(); err != nil {
		t.Fatal(err)
	}
	in, err := store.Invalidate(t.Context(), home, events.TenantTag)
	if err != nil || !in.Drained {
		t.Errorf("invalidate with a lost index: %+v, %v", in, err)
	}
}

// shareCalls goes through the budget: one call that is granted, one that must
// wait, a reply that tells all there is to tell, and what an operator looks at.
func shareCalls(t *testing.T, worker *redis.Client) {
	t.Helper()
	ctx := cache.WithCaller(t.Context(), "e:42")
	b, err := budget.Open(ctx, worker, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	lane := subscriptions.Lane{Provider: home.Provider, Identity: "37439510:42", Group: "light"}
	usual := subscriptions.Window{Calls: 1, Length: time.Minute}
	c, err := b.Take(ctx, lane, usual)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // as a newcomer, and as one that waits
		var later *subscriptions.Later
		if _, err := b.Take(ctx, lane, usual); !errors.As(err, &later) {
			t.Errorf("a second call: %v", err)
		}
	}
	c.Done(ctx, subscriptions.Said{Limit: 9, Window: 2 * time.Minute, Told: true, Penalty: time.Hour})
	all, err := b.Standings(ctx, home.Provider)
	if err != nil || len(all) != 1 || all[0].Used != 9 || all[0].Closed.IsZero() {
		t.Errorf("the lane stands as %+v, %v", all, err)
	}
}

type command []any

func (c command) String() string {
	var words []string
	for _, w := range c {
		words = append(words, w.(string))
	}
	return strings.Join(words, " ")
}

// words makes a command of a line, see [users].
func words(line string) command {
	var c command
	for _, w := range strings.Fields(line) {
		c = append(c, strings.Replace(w, "~", base, 1))
	}
	return c
}

// refused says whether the user may not, whatever else would come of it.
func refused(t *testing.T, c *redis.Client, line string) bool {
	t.Helper()
	err := c.Do(t.Context(), words(line)...).Err()
	return err != nil && strings.HasPrefix(err.Error(), "NOPERM")
}

// users is what each may and may not; ~ stands for the keys of the tenant.
var users = map[string]struct{ may, never []string }{
	"app": {[]string{
		"hmget ~e:42 _until", "hget ~e:42 f", "hgetall ~e:42", "exists ~e:42", "pttl ~e:42:folder", "ping",
		"client setname x", "client id", "hello 3",
	}, []string{
		"hset ~e:42 f y", "del ~e:42", "unlink ~e:42", "pexpire ~e:42 1", "rename ~e:42 ~e:43", "get ~e:42",
		"hmget ~f n", "hmget ~l:e:42 nonce", "hgetall ~p:a", "zrange ~t:role:7 0 -1", "exists ~f", "exists ~t:e:42",
		"exists ~t:tenant", "exists ~e:42 ~p:a", "pttl ~l:e:42", "exists budget:x",
		"exists other", "hget perm:v1:x:e:42 f",
		"keys *", "scan 0", "dbsize", "flushall", "flushdb", "eval return 0", "evalsha x 0", "script load x",
		"function list", "config get maxmemory", "config set maxmemory 1", "info", "acl list", "acl whoami",
		"client list", "client kill 1.1.1.1:1", "client pause 1", "client tracking on bcast", "monitor",
		"publish ~changed x", "subscribe other", "psubscribe *", "ssubscribe ~changed", "shutdown",
		"replicaof no one", "object idletime ~e:42", "multi",
	}},
	"worker": {[]string{
		"config get save", "info server", "info replication", "info memory", "role", "time", "wait 0 1", "ping",
		"object idletime ~e:42", "hgetall ~e:42", "hset budget:x f 1", "pexpire budget:x 1", "script exists x",
		"publish ~changed x", "scan 0",
	}, []string{
		"flushall", "flushdb", "keys *", "keys ~*", "config set save x", "config rewrite", "acl list",
		"acl setuser x", "get other", "hset other f 1", "del perm:v2:x", "publish other x", "psubscribe *",
		"shutdown", "monitor", "save", "bgsave", "replicaof no one", "client kill 1.1.1.1:1",
		"client list", "migrate h 1 k 0 1", "function flush", "script flush", "restore ~e:1 0 x",
	}},
}

func TestUsers(t *testing.T) {
	worker, app, nobody := redisServer(t)
	ctx := t.Context()
	for key, value := range map[string]string{"~e:42": "x", "~p:a": "x"} {
		if err := worker.Do(ctx, words("hset "+key+" f "+value)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range users {
		user := map[string]*redis.Client{"app": app, "worker": worker}[name]
		for _, line := range tc.may {
			if err := user.Do(ctx, words(line)...).Err(); err != nil && !errors.Is(err, redis.Nil) {
				t.Errorf("%s: %s: %v", name, words(line), err)
			}
		}
		for _, line := range tc.never {
			if !refused(t, user, line) {
				t.Errorf("%s: %s is not refused", name, words(line))
			}
		}
	}
	if err := nobody.Ping(ctx).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
	// A script is bound to the user's keys as well.
	err := worker.Eval(ctx, "return redis.call('GET', 'other')", nil).Err()
	if err == nil || !strings.Contains(err.Error(), "access") {
		t.Errorf("a script that reads another key: %v", err)
	}
}
