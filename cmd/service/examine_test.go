package service_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
)

// about returns the findings about one thing.
func about(all []service.Finding, what string) (found []service.Finding) {
	for _, f := range all {
		if f.About == what {
			found = append(found, f)
		}
	}
	return found
}

// found fails the test unless there is a finding like that, with a remedy if it is
// not fine.
func found(t *testing.T, all []service.Finding, what string, s service.Severity, text string) {
	t.Helper()
	for _, f := range about(all, what) {
		if f.Severity == s && strings.Contains(f.Text, text) {
			if f.Remedy == "" && s != service.Fine {
				t.Errorf("no remedy: %+v", f)
			}
			return
		}
	}
	t.Errorf("no %s of %q that says %q, but %+v", s, what, text, about(all, what))
}

// leakless fails the test if a secret stands in a finding.
func leakless(t *testing.T, all []service.Finding) {
	t.Helper()
	for _, f := range all {
		for _, s := range []string{clientSecret, verificationToken, addressKey, askToken, vaultKey, adminToken, jwt} {
			if strings.Contains(f.About+f.Text+f.Remedy, s) {
				t.Errorf("a secret stands in what is said of %s", f.About)
			}
		}
	}
}

func (w *world) examine(x service.Examination) []service.Finding {
	w.t.Helper()
	return service.Examine(context.Background(), w.cfg, x)
}

func (w *world) js() jetstream.JetStream {
	w.t.Helper()
	nc, err := nats.Connect(w.nats.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return js
}

// must fails the test if something went wrong on the way.
func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestExamineAWorldThatIsWell(t *testing.T) {
	w := startWorld(t, options{})
	w.told(bea)
	all := w.examine(service.Examination{Providers: true})
	for _, f := range all {
		t.Logf("%-7s %-40s %s", f.Severity, f.About, f.Text)
	}
	if s := service.Worst(all); s != service.Fine && s != service.Warning {
		t.Errorf("the worst is %s", s)
	}
	for _, one := range [][2]string{
		{"nats", "version 2."}, {"nats tls", "on this machine"}, {"jetstream", "on"}, {"nats clock", "its clock is"},
		{"changes", "0 wait"}, {"redis", "version "}, {"redis clock", "its clock is"},
		{"redis settings", `maxmemory-policy "noeviction"`}, {"redis rights", "may do all"},
		{"durability", "or Redis: nothing that is not fetched again"}, {"subscriptions of " + home.String(), "alive: 1 subscription"},
		{"feed of " + home.String() + ", webhook", "alive"}, {"feed of " + home.String() + ", tail", "alive"},
		{"lease subscriptions", "a listener holds it"}, {"lease tail/" + home.String(), "a worker holds it"},
		{"entries", "kept of 1 tenant"}, {"clock of ringcentral", "its clock is"},
	} {
		found(t, all, one[0], service.Fine, one[1])
	}
	found(t, all, "stream CHANGES", service.Warning, "num_replicas is 1")
	found(t, all, "redis memory", service.Warning, "maxmemory is 0")
	leakless(t, all)
}

func TestExamineFindsWhatIsWrongWithStreams(t *testing.T) {
	w := startWorld(t, options{idle: true})
	js, ctx := w.js(), t.Context()
	all := w.examine(service.Examination{})
	found(t, all, "changes", service.Unknown, "no worker has taken any")
	found(t, all, "subscriptions of "+home.String(), service.Unknown, "nothing is noted")
	found(t, all, "feed of "+home.String()+", tail", service.Failure, "nobody has shown it to live")
	found(t, all, "lease subscriptions", service.Unknown, "nobody has had it")
	found(t, all, "entries", service.Warning, "nothing has been kept yet")

	s, err := js.Stream(ctx, stream.Graveyard)
	must(t, err)
	subject := strings.ReplaceAll(s.CachedInfo().Config.Subjects[0], ">", "x")
	_, err = js.Publish(ctx, subject, []byte("bad"))
	must(t, err, js.DeleteStream(ctx, stream.Changes))
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: stream.Changes, Subjects: []string{"perm.change.>"},
		Storage: jetstream.MemoryStorage, MaxBytes: 1000})
	must(t, err, js.DeleteStream(ctx, "KV_"+stream.Bucket))
	all = w.examine(service.Examination{})
	found(t, all, "stream DEAD", service.Failure, "1 could not be handled")
	found(t, all, "stream CHANGES", service.Failure, "storage is memory: a restart loses changes")
	found(t, all, "stream CHANGES", service.Failure, "max_bytes is 1000")
	found(t, all, "stream KV_RESCIND", service.Warning, "there is none")
	found(t, all, "durability", service.Fine, "with a NATS server: every change")

	must(t, js.DeleteStream(ctx, stream.Changes))
	found(t, w.examine(service.Examination{}), "stream CHANGES", service.Unknown, "no service has run")
}

// What is not served any more is told, and who does not serve it.
func TestExamineFindsThatNobodyServes(t *testing.T) {
	w := startWorld(t, options{})
	w.listener.stop(t)
	w.worker.stop(t)
	all := w.examine(service.Examination{})
	found(t, all, "lease subscriptions", service.Failure, "nobody holds it")
	found(t, all, "lease tail/"+home.String(), service.Failure, "nobody holds it")
	found(t, all, "changes", service.Warning, "nobody asks for them")
}

func TestExamineFindsWhatIsWrongWithRedis(t *testing.T) {
	w := startWorld(t, options{idle: true})
	ctx := t.Context()
	for name, value := range map[string]string{
		"maxmemory-policy": "allkeys-lru", "save": "60 1", "maxmemory": "1mb",
	} {
		must(t, w.rdb.ConfigSet(ctx, name, value).Err())
	}
	w.cfg.Redis.Replicas = 2
	all := w.examine(service.Examination{})
	found(t, all, "redis settings", service.Failure, `maxmemory-policy is "allkeys-lru": eviction removes`)
	found(t, all, "redis settings", service.Failure, `save is "60 1"`)
	found(t, all, "redis memory", service.Warning, "1.0 MiB are used")
	found(t, all, "redis replicas", service.Failure, "redis.replicas is 2, and 0 follow it")

	w.cfg.Redis.Cluster = true
	if all := about(w.examine(service.Examination{}), "redis"); service.Worst(all) == service.Fine {
		t.Errorf("one that is no cluster passes for one: %+v", all)
	}
}

// worker and reader are as in deploy/users.acl.example.
const (
	workerRules = "resetchannels &perm:v1:{*}:changed ~perm:v1:* ~budget:* +@connection -@dangerous -@admin " +
		"+cluster|slots +cluster|shards +config|get +info +role +scan +time +wait +eval +evalsha +script|load " +
		"+script|exists +publish +subscribe +unsubscribe +object|idletime +exists +type +del +unlink +pttl +pexpire " +
		"+pexpireat +get +set +hget +hmget +hgetall +hset +zadd +zcount +zmscore +zscore +zrange +zrangebyscore +zrem"
	readerRules = "resetchannels &perm:v1:{*}:changed %R~perm:v1:{*}:e:* +@connection -@dangerous -@admin " +
		"+exists +pttl +hget +hmget +hgetall +subscribe +unsubscribe"
	redisPassword = "redis-password-hunter2"
)

func (w *world) user(name, rules string) {
	w.t.Helper()
	args := []any{"acl", "setuser", name, "reset", "on", ">" + redisPassword}
	for _, r := range strings.Fields(rules) {
		args = append(args, r)
	}
	must(w.t, w.rdb.Do(context.Background(), args...).Err())
}

// What the doctor asks for is what the scripts call, and what the worker's user is
// given where it is deployed.
func TestExamineAsksForAllThatIsNeeded(t *testing.T) {
	asked := map[string]bool{}
	for _, c := range service.NeededCommands() {
		asked[c[0]] = true
		if slices.Contains([]string{"config", "script", "object", "cluster"}, c[0]) {
			asked[c[0]+"|"+c[1]] = true
		}
	}
	call := regexp.MustCompile(`redis\.p?call\('(\w+)'`)
	scripts := 0
	for _, dir := range []string{"../../cache/fence", "../../subscriptions/budget"} {
		files, err := filepath.Glob(dir + "/*.lua")
		must(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			must(t, err)
			for _, m := range call.FindAllStringSubmatch(string(b), -1) {
				scripts++
				if !asked[strings.ToLower(m[1])] {
					t.Errorf("%s calls %s, which is not asked for", f, m[1])
				}
			}
		}
	}
	b, err := os.ReadFile("../../deploy/users.acl.example")
	must(t, err)
	_, line, _ := strings.Cut(string(b), "user worker ")
	line, _, _ = strings.Cut(line, "\n")
	if !strings.HasSuffix(line, strings.TrimPrefix(workerRules, "resetchannels ")) {
		t.Errorf("the rules that these tests use are not those of users.acl.example: %s", line)
	}
	for _, rule := range strings.Fields(line) {
		name, given := strings.CutPrefix(rule, "+")
		if given && name != "eval" && name[0] != '@' && !asked[name] {
			t.Errorf("%s is given and not asked for", rule)
		}
	}
	if scripts < 20 || len(asked) < 20 {
		t.Errorf("%d calls, %d asked for: this test has lost them", scripts, len(asked))
	}
}

func TestExamineAsksWhatUsersMay(t *testing.T) {
	w := startWorld(t, options{idle: true})
	w.user("worker", workerRules)
	w.user("app", readerRules)
	w.cfg.Redis.URL = "redis://worker@" + w.redis.Addr + "/0"
	w.cfg.Redis.Password = subscriptions.NewSecret(redisPassword)
	x := service.Examination{Reader: "redis://app@" + w.redis.Addr, ReaderPassword: subscriptions.NewSecret(redisPassword)}
	all := w.examine(x)
	found(t, all, "redis rights", service.Fine, "may do all")
	found(t, all, "reader", service.Fine, "nothing else")
	found(t, all, "redis strangers", service.Warning, "it lets in")

	for without, want := range map[string]string{
		"+unlink": "unlink perm:v1:", "~budget:*": "get budget:", "&perm:v1:{*}:changed": "publish perm:v1:",
		"+object|idletime": "object idletime", "+scan": "scan 0",
	} {
		w.user("worker", strings.ReplaceAll(" "+workerRules+" ", " "+without+" ", " "))
		found(t, w.examine(service.Examination{}), "redis rights", service.Failure, want)
	}
	for _, without := range []string{"+config|get", "+info", "+eval", "+time"} {
		w.user("worker", strings.ReplaceAll(" "+workerRules+" ", " "+without+" ", " "))
		if all := w.examine(service.Examination{}); !slices.ContainsFunc(all, func(f service.Finding) bool {
			return f.Severity == service.Failure && strings.Contains(f.Remedy, without)
		}) {
			t.Errorf("nobody says that %s is missing: %+v", without, all)
		}
	}
	w.user("worker", workerRules)
	w.user("app", readerRules+" +hdel ~* +@scripting")
	all = w.examine(x)
	found(t, all, "reader", service.Failure, "hdel perm:v1:")
	found(t, all, "reader", service.Failure, "exists perm:v1:{doctor:doctor}:f")
	w.user("app", "~perm:* +hmget +@connection")
	found(t, w.examine(x), "reader", service.Failure, "it may not: hgetall, hget, exists, pttl")

	must(t, w.rdb.Do(t.Context(), "acl", "setuser", "default", "off").Err())
	found(t, w.examine(x), "redis strangers", service.Fine, "nobody gets in")
	w.cfg.Redis.Password = subscriptions.NewSecret("wrong-password-hunter2")
	all = w.examine(x)
	found(t, all, "redis", service.Failure, "WRONGPASS")
	leakless(t, all)
}

// What cannot be reached is not known to be wrong.
func TestExamineWhatCannotBeReached(t *testing.T) {
	w := startWorld(t, options{idle: true})
	w.cfg.NATS.URL, w.cfg.Redis.URL = "nats://user:hunter2@127.0.0.1:1", "redis://127.0.0.1:1/0"
	w.cfg.Providers[0].Plain["base_url"] = "http://127.0.0.1:1"
	all := w.examine(service.Examination{Monitors: []string{"http://user:hunter2@127.0.0.1:1"}, Providers: true,
		Reader: "redis://127.0.0.1:1/0"})
	found(t, all, "nats", service.Unknown, "no servers available")
	for _, what := range []string{"redis", "reader", "nats at http://127.0.0.1:1", "clock of ringcentral"} {
		found(t, all, what, service.Unknown, "refused")
	}
	if s := service.Worst(all); s != service.Unknown {
		t.Errorf("the worst is %s", s)
	}
	for _, f := range all {
		if strings.Contains(f.About+f.Text+f.Remedy, "hunter2") {
			t.Errorf("a secret stands in what is said of %s", f.About)
		}
	}
}

// An examination leaves everything as it was.
func TestExamineChangesNothing(t *testing.T) {
	w := startWorld(t, options{idle: true})
	js, ctx := w.js(), t.Context()
	for _, name := range stream.Names() {
		if err := js.DeleteStream(ctx, name); err != nil && name != "KV_"+stream.FeedBucket {
			t.Fatal(err)
		}
	}
	w.examine(service.Examination{Reader: w.cfg.Redis.URL, Providers: true})
	for name := range js.StreamNames(ctx).Name() {
		t.Errorf("it has made the stream %s", name)
	}
	if keys, err := w.rdb.Keys(ctx, "*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("it has left the keys %v, %v", keys, err)
	}
}

func TestExamineAsksServersWhetherTheySync(t *testing.T) {
	for _, always := range []bool{true, false} {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, HTTPHost: "127.0.0.1", HTTPPort: -1,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: always, NoSigs: true, NoLog: true})
		must(t, err)
		go s.Start()
		if !s.ReadyForConnections(limit) {
			t.Fatal("it does not start")
		}
		w := startWorld(t, options{idle: true})
		all := w.examine(service.Examination{Monitors: []string{"http://" + s.MonitorAddr().String()}})
		about := "nats at http://" + s.MonitorAddr().String()
		if always {
			found(t, all, about, service.Fine, "every write is synced")
			found(t, all, "durability", service.Fine, "with its power: nothing, for")
		} else {
			found(t, all, about, service.Failure, "sync_interval is 2m0s")
			found(t, all, "durability", service.Fine, "with its power: changes that were")
		}
		s.Shutdown()
		s.WaitForShutdown()
	}
}

func TestExamineComparesTheProvidersClock(t *testing.T) {
	for name, tc := range map[string]struct {
		ahead time.Duration
		want  service.Severity
	}{
		"level":        {0, service.Fine},
		"a bit behind": {-5 * time.Second, service.Warning},
		"far ahead":    {time.Hour, service.Failure},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				if r.Header.Get("Authorization") != "" || r.Method != http.MethodHead {
					t.Errorf("%s, with %v", r.Method, r.Header)
				}
				w.Header().Set("Date", time.Now().Add(tc.ahead).UTC().Format(http.TimeFormat))
			}))
			defer vendor.Close()
			w := startWorld(t, options{idle: true, edit: func(c *config.Config) {
				c.Providers[0].Plain["base_url"] = vendor.URL
			}})
			w.examine(service.Examination{})
			if calls != 0 {
				t.Errorf("it was called %d times without being asked", calls)
			}
			found(t, w.examine(service.Examination{Providers: true}), "clock of ringcentral", tc.want, "its clock is")
			if calls != 1 {
				t.Errorf("%d calls, want 1", calls)
			}
		})
	}
}
