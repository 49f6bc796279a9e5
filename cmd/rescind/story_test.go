package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/redislocal"
)

// limit bounds every wait of a story.
const limit = 20 * time.Second

var update = flag.Bool("update", false, "write what is printed into the stories")

func TestMain(m *testing.M) { testscript.Main(clean{m}, map[string]func(){"rescind": main}) }

// clean fails a run that leaves a goroutine behind.
type clean struct{ *testing.M }

func (c clean) Run() int {
	code := c.M.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestStories plays testdata/stories. Beside testscript's own, their commands
// are:
//
//	status CODE COMMAND...     run it; its exit status must be CODE
//	await PATTERN COMMAND...   run it until what it prints matches
//	occupy NAME                take a port; its address is $NAME
//	redis NAME                 start a redis-server; its URL is $NAME
//	serve ARGS...              rescind dev --json ARGS in the background until it serves;
//	                           sets $ASK, $NATS and $REDIS
//	paste NAME                 run the line that serve has printed under this name
//	becomes PATTERN NAME       paste it until what it prints matches
//	assign ROLE                give the user another role, as an administrator would
//	lie FIELD VALUE            have the user's entry in Redis say something else
//	changed N [TENANT]         publish changes of N subjects, as a listener does
//	proxy NAME                 put a proxy before the Redis at $NAME, and itself there
//	spoil                      have it spoil every call of a script
//	mended                     no longer
//	buried N                   wait until so many are dead
//	interrupt                  what Ctrl-C does to serve; it must end with status 0
//	gone                       the Redis of serve is no more
//	empty DIR                  there is nothing in it
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stories", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Values["serve"] = &running{spoiled: new(spoiled)}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "redis" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := exec.LookPath("redis-server")
			if err != nil && os.Getenv("CI") != "" {
				return false, redislocal.ErrNotInstalled
			}
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"proxy": proxy, "changed": noticed, "spoil": spoil, "mended": mended, "buried": buried,
			"status": status, "await": await, "occupy": occupy, "redis": startRedis, "serve": serve,
			"paste": paste, "becomes": becomes, "assign": assign, "lie": lie, "interrupt": interrupt, "gone": gone, "empty": empty,
		},
	})
}

// running is what serve has started.
type running struct {
	cmd       *exec.Cmd
	stderr    bytes.Buffer
	ended     chan struct{}
	err       error  // how it ended; after ended is closed
	simulator string // its address
	token     string // the administrator's
	redisPID  int    // zero if it is the stand-in
	facts     map[string]string
	spoiled   *spoiled // what is between it and Redis
}

func of(ts *testscript.TestScript) *running { return ts.Value("serve").(*running) }

// want fails the story if a command was given the wrong number of words, or !.
func want(ts *testscript.TestScript, neg, ok bool) {
	if neg || !ok {
		ts.Fatalf("wrong use of the command")
	}
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) > 1)
	code := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got := strconv.Itoa(code); got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) > 1)
	until(ts, args[0], func() { _ = ts.Exec(args[1], args[2:]...) }) // what it prints is what counts
}

// until does it again and again until what it prints matches.
func until(ts *testscript.TestScript, expr string, do func()) {
	pattern := regexp.MustCompile("(?m)" + expr)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); time.Now().Before(end); <-tick.C {
		do()
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("within %s it did not print %s", limit, expr)
}

func paste(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	line := of(ts).facts[args[0]]
	if line == "" {
		ts.Fatalf("nothing to paste is called %q", args[0])
	}
	ts.Check(ts.Exec("sh", "-c", line))
}

func becomes(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2)
	until(ts, args[0], func() { paste(ts, neg, args[1:]) })
}

func occupy(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ts.Check(l.Close()) })
	ts.Setenv(args[0], l.Addr().String())
}

func startRedis(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	s, err := redislocal.Start(context.Background(), redislocal.Options{})
	ts.Check(err)
	ts.Defer(func() { ts.Check(s.Stop()) })
	ts.Setenv(args[0], "redis://"+s.Addr+"/0")
}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, of(ts).cmd == nil)
	r := of(ts)
	r.cmd = exec.Command("rescind", append([]string{"dev", "--json"}, args...)...)
	r.cmd.Env = append(os.Environ(), "TMPDIR="+ts.Getenv("TMPDIR"))
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(r.cmd.Start())
	r.ended = make(chan struct{})
	ts.Defer(func() {
		_ = r.cmd.Process.Kill() // it may have ended
		<-r.ended
	})
	facts := make(chan map[string]string, 1)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			var line struct{ Serving map[string]string }
			if json.Unmarshal(s.Bytes(), &line) == nil && line.Serving != nil {
				facts <- line.Serving
			}
		}
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	select {
	case f := <-facts:
		r.learn(ts, f)
	case <-r.ended:
		ts.Fatalf("it ended: %v: %s", r.err, &r.stderr)
	case <-time.After(limit):
		ts.Fatalf("it does not serve within %s", limit)
	}
}

// learn notes where everything is.
func (r *running) learn(ts *testscript.TestScript, facts map[string]string) {
	r.facts = facts
	url, kind, _ := strings.Cut(facts["redis"], " ")
	r.simulator = strings.TrimSuffix(facts["ringcentral"], "/sim/world")
	_, r.token, _ = strings.Cut(facts["ringcentral admin"], "token ")
	ts.Setenv("ASK", strings.TrimSuffix(facts["asking"], "/access/v1/evaluation"))
	ts.Setenv("NATS", facts["nats"])
	ts.Setenv("VAULTKEY", facts["vault key"])
	ts.Setenv("REDIS", url)
	if kind != "(redis-server)" {
		return
	}
	rdb := redis.NewClient(redisOptions(ts))
	defer rdb.Close()
	info, err := rdb.InfoMap(context.Background(), "server").Result()
	ts.Check(err)
	r.redisPID, err = strconv.Atoi(info["Server"]["process_id"])
	ts.Check(err)
}

func redisOptions(ts *testscript.TestScript) *redis.Options {
	o, err := redis.ParseURL(ts.Getenv("REDIS"))
	ts.Check(err)
	return o
}

func assign(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	w := world{simURL: of(ts).simulator, adminAuth: of(ts).token}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	defer http.DefaultClient.CloseIdleConnections()
	ts.Check(w.assign(ctx, args[0]))
}

func lie(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2)
	rdb := redis.NewClient(redisOptions(ts))
	defer rdb.Close()
	added, err := rdb.HSet(context.Background(), cache.Keys{}.Entry(bea), args[0], args[1]).Result()
	ts.Check(err)
	if n, err := rdb.HLen(context.Background(), cache.Keys{}.Entry(bea)).Result(); err != nil || n <= added {
		ts.Fatalf("there was no entry: %v", err)
	}
}

func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	want(ts, neg, len(args) == 0 && r.cmd != nil)
	ts.Check(r.cmd.Process.Signal(os.Interrupt))
	select {
	case <-r.ended:
	case <-time.After(limit):
		ts.Fatalf("it does not end within %s", limit)
	}
	if r.err != nil || r.stderr.Len() > 0 {
		ts.Fatalf("it ended with %v, and said %q", r.err, &r.stderr)
	}
}

// gone: the process of redis-server, or what listened at the address of the
// stand-in. The address of one that ran by itself may be another's by now.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 0)
	if pid := of(ts).redisPID; pid != 0 {
		p, err := os.FindProcess(pid)
		if err == nil && p.Signal(syscall.Signal(0)) == nil {
			ts.Fatalf("process %d of redis-server is alive", pid)
		}
		return
	}
	if c, err := net.Dial("tcp", redisOptions(ts).Addr); err == nil {
		ts.Check(c.Close())
		ts.Fatalf("Redis still listens at %s", ts.Getenv("REDIS"))
	}
}

func empty(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	left, err := os.ReadDir(args[0])
	ts.Check(err)
	for _, e := range left {
		ts.Logf("left: %s", e.Name())
	}
	if len(left) > 0 {
		ts.Fatalf("%d left in %s", len(left), args[0])
	}
}
