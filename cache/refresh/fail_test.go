package refresh_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// later is a provider's rate limit.
type later struct{ at time.Time }

func (e later) Error() string      { return "rate limited" }
func (e later) RetryAt() time.Time { return e.at }

func TestReaderErrorIsNoDenial(t *testing.T) {
	each(t, func(w *world) {
		for name, broken := range map[string]error{
			"broken": errors.New("teapot"), "rate limited": later{time.Now().Add(time.Minute)},
		} {
			w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
				return grants("*"), broken
			})
			r, err := w.filler().Get(w.ctx, ref("42"))
			if !errors.Is(err, broken) || r.Stored || r.Fetched || r.Facts.Judge(read) != cache.Unknown {
				w.t.Errorf("%s: got %+v, %v", name, r, err)
			}
			if r.Judge(time.Now(), read) != cache.Unknown {
				w.t.Errorf("%s: the entry says %s", name, r.Judge(time.Now(), read))
			}
			w.wantNoEntry("42")
			w.wantNoLease()
		}
	})
}

func TestErrorIsSharedByWhoWaits(t *testing.T) {
	each(t, func(w *world) {
		release, teapot := make(chan struct{}), errors.New("teapot")
		w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
			return cache.Answer{}, errors.Join(until(ctx, release), teapot)
		})
		f := w.filler()
		errs := make(chan error, 10)
		for range 10 {
			go func() { _, err := f.Get(w.ctx, ref("42")); errs <- err }()
		}
		eventually(w.t, "a fetch", func() bool { return w.provider.asked(ref("42")) == 1 })
		close(release)
		for range 10 {
			if err := receive(w.t, errs, "error"); !errors.Is(err, teapot) {
				w.t.Errorf("got %v", err)
			}
		}
		w.provider.always("*")
		if r := w.get(f, "42"); !r.Stored {
			w.t.Errorf("after it was mended: %+v", r)
		}
	})
}

func TestFactsThatBreakTheContract(t *testing.T) {
	each(t, func(w *world) {
		many := map[cache.Grant]string{}
		for i := range cache.MaxFields + 1 {
			many[cache.NewGrant(cache.Permission, strconv.Itoa(i))] = "*"
		}
		tags := make([]events.Tag, 1001)
		for i := range tags {
			tags[i] = events.RoleTag(strconv.Itoa(i))
		}
		for name, a := range map[string]cache.Answer{
			"an empty width":    grants(""),
			"a grant of nobody": {Facts: cache.Facts{Grants: map[cache.Grant]string{"Read": "*"}}},
			"a kind called why": {Facts: cache.Facts{Grants: map[cache.Grant]string{"why/Read": "*"}}},
			"a covered nothing": {Facts: cache.Facts{Covers: []cache.Kind{"a,b"}}},
			"a bad reason":      {Facts: cache.Facts{Why: map[cache.Grant]string{"_until": "1"}}},
			"too many grants":   {Facts: cache.Facts{Grants: many}},
		} {
			w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) { return a, nil })
			r, err := w.filler().Get(w.ctx, ref("42"))
			if err == nil || r.Fetched || r.Judge(time.Now(), read) != cache.Unknown {
				w.t.Errorf("%s: got %+v, %v", name, r, err)
			}
			w.wantNoEntry("42")
			w.wantNoLease()
		}
		// More tags than an entry may carry: it cannot be stored, but it is right.
		w.provider.always("*", tags...)
		if r := w.get(w.filler(), "42"); r.Stored || r.Grants[read] != "*" {
			w.t.Errorf("too many tags: got %+v", r)
		}
		w.wantNoLease()
	})
}

func TestRefsAndTenantsOfNobody(t *testing.T) {
	w := open(t, cachetest.StandIn(t))
	f := w.filler()
	if _, err := f.Get(w.ctx, ref("")); !errors.Is(err, events.ErrID) {
		t.Errorf("no subject: %v", err)
	}
	other := events.Ref{Home: events.Home{Provider: "box", Tenant: "1"}, Subject: "42"}
	if _, err := f.Get(w.ctx, other); !errors.Is(err, refresh.ErrNoReader) {
		t.Errorf("no provider: %v", err)
	}
}

func TestLifeIsBounded(t *testing.T) {
	for life, good := range map[time.Duration]bool{
		0: true, -1: false, cache.MinLife - 1: false, cache.MinLife: true,
		cache.Ceiling: true, cache.Ceiling + 1: false,
	} {
		f, err := refresh.NewFiller(refresh.Config{Life: life})
		if good != (err == nil) {
			t.Errorf("life %s: %v", life, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

func TestProvidersOwnEndOfTheRights(t *testing.T) {
	each(t, func(w *world) {
		for name, c := range map[string]struct {
			left   time.Duration
			stored bool
		}{"soon": {20 * time.Second, true}, "far": {time.Hour, true}, "over": {-time.Second, false}} {
			end := time.Now().Add(c.left).Truncate(time.Millisecond)
			w.provider.says(func(context.Context, events.Ref, cache.Session) (cache.Answer, error) {
				a := grants("*")
				a.Expires = end
				return a, nil
			})
			r := w.get(w.filler(), name)
			if r.Stored != c.stored || r.Until.After(end) || r.Until.After(r.AsOf.Add(cache.DefaultLife)) {
				w.t.Errorf("%s: got %+v, the rights end %s", name, r, end)
			}
			if _, ok := w.entry(ref(name)); ok != c.stored {
				w.t.Errorf("%s: readable %v, want %v", name, ok, c.stored)
			}
		}
	})
}

func TestUnreadableEntryIsFetchedAgain(t *testing.T) {
	each(t, func(w *world) {
		f := w.filler()
		w.get(f, "42")
		for field, value := range map[string]string{
			"No Grant": "*", cache.FieldUntil: "soon", cache.FieldVersion: "-1",
		} {
			if err := w.db.HSet(w.ctx, w.keys.Entry(ref("42")), field, value).Err(); err != nil {
				w.t.Fatal(err)
			}
			if r := w.get(f, "42"); !r.Fetched || !r.Stored || r.Grants[read] != "*" {
				w.t.Errorf("%s: %s: got %+v", field, value, r)
			}
			w.wantEntry("42", "*")
		}
	})
}

func TestRedisAwayIsAnErrorAndNoDenial(t *testing.T) {
	t.Parallel()
	w := open(t, cachetest.StandIn(t))
	w.impatient()
	f := w.filler()
	began, release := make(chan struct{}, 1), make(chan struct{})
	w.provider.says(func(ctx context.Context, _ events.Ref, _ cache.Session) (cache.Answer, error) {
		began <- struct{}{}
		return grants("*"), until(ctx, release)
	})
	answers := make(chan error, 1)
	go func() { _, err := f.Get(w.ctx, ref("42")); answers <- err }()
	receive(t, began, "fetch")
	w.db.Mini.Close()
	close(release)
	if err := receive(t, answers, "answer"); err == nil || !refresh.Outage(err) {
		t.Errorf("redis went away during the fetch: %v", err)
	}
	r, err := f.Get(w.ctx, ref("43"))
	if err == nil || !refresh.Outage(err) || r.Judge(time.Now(), read) != cache.Unknown {
		t.Errorf("redis is away: %+v, %v", r, err)
	}
	if w.provider.asked(ref("43")) != 0 {
		t.Error("the provider was asked for what cannot be fenced")
	}
	if err := w.db.Mini.Restart(); err != nil {
		t.Fatal(err)
	}
	if r := w.get(f, "43"); !r.Stored {
		t.Errorf("redis is back: %+v", r)
	}
}

func TestOutage(t *testing.T) {
	for text, want := range map[string]bool{
		"LOADING Redis is loading the dataset in memory":                      true,
		"READONLY You can't write against a read only replica.":               true,
		"CLUSTERDOWN Hash slot not served":                                    true,
		"MASTERDOWN Link with MASTER is down":                                 true,
		"TRYAGAIN Multiple keys request during rehashing of slot":             true,
		"OOM command not allowed when used memory > 'maxmemory'.":             true,
		"BUSY Redis is busy running a script.":                                true,
		"NOAUTH Authentication required.":                                     true,
		"WRONGPASS invalid username-password pair or user is disabled.":       true,
		"NOPERM this user has no permissions to run the 'evalsha' command":    true,
		"NOREPLICAS Not enough good replicas to write.":                       true,
		"MISCONF Redis is configured to save RDB snapshots":                   true,
		"MOVED 3999 127.0.0.1:6381":                                           true,
		"ASK 3999 127.0.0.1:6381":                                             true,
		"ERR max number of clients reached":                                   true,
		"ERR unknown command 'EVALSHA'":                                       false,
		"ERR user_script:1: attempt to index a nil value":                     false,
		"WRONGTYPE Operation against a key holding the wrong kind of value":   false,
		"CROSSSLOT Keys in request don't hash to the same slot":               false,
		"ERR Error running script: OOM in the middle of the text is no proof": false,
	} {
		t.Run(strings.Fields(text)[0], func(t *testing.T) {
			err := said(t, text)
			if got := refresh.Outage(fmt.Errorf("invalidate: %w", err)); got != want {
				t.Errorf("%v: outage %v, want %v", err, got, want)
			}
		})
	}
	for name, err := range map[string]error{
		"end of file": io.EOF, "cut off": io.ErrUnexpectedEOF, "closed": redis.ErrClosed,
		"refused": &net.OpError{Op: "dial", Err: errors.New("connection refused")},
		"timeout": context.DeadlineExceeded, "ended": context.Canceled, "no name": &net.DNSError{},
	} {
		if !refresh.Outage(fmt.Errorf("invalidate: %w", err)) {
			t.Errorf("%s: not an outage", name)
		}
	}
	if refresh.Outage(redis.Nil) {
		t.Error("nothing found: an outage")
	}
}

// said is the error that the client makes of a server's reply.
func said(t *testing.T, text string) error {
	t.Helper()
	server, client := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		in := bufio.NewReader(server)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if strings.EqualFold(strings.TrimSpace(line), "ping") {
				_, err = fmt.Fprintf(server, "-%s\r\n", text)
			} else if strings.EqualFold(strings.TrimSpace(line), "hello") {
				_, err = fmt.Fprint(server, "-ERR unknown command 'HELLO'\r\n")
			}
			if err != nil {
				return
			}
		}
	}()
	dials := 0
	rdb := redis.NewClient(&redis.Options{
		MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if dials++; dials > 1 {
				return nil, errors.New("one connection is enough")
			}
			return client, nil
		},
	})
	err := rdb.Ping(t.Context()).Err()
	rdb.Close()
	receive(t, done, "end of the server")
	if err == nil || err.Error() != text {
		t.Fatalf("the client says %v, want %s", err, text)
	}
	return err
}
