package lookup_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

func TestQuestionsThatAreNone(t *testing.T) {
	t.Parallel()
	asker := &answer{Decision: lookup.Decision{State: cache.Granted}}
	c := client(t, cachetest.StandIn(t), lookup.Options{Asker: asker})
	for name, tc := range map[string]struct {
		ref  events.Ref
		need []cache.Grant
		want string
	}{
		"no grant":                   {ref("42", ""), nil, "no grant"},
		"a grant without a kind":     {ref("42", ""), []cache.Grant{read, "ReadMessages"}, "kind/name"},
		"the field of the deadline":  {ref("42", ""), []cache.Grant{"_until"}, "kind/name"},
		"a reason":                   {ref("42", ""), []cache.Grant{"why/x"}, "not why"},
		"no subject":                 {ref("", ""), []cache.Grant{read}, "subject"},
		"a resource that is no text": {ref("42", "\xff"), []cache.Grant{read}, "UTF-8"},
		"no tenant":                  {events.Ref{Subject: "42"}, []cache.Grant{read}, "provider"},
	} {
		d, err := c.Check(t.Context(), tc.ref, tc.need...)
		if d.State != cache.Unknown || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if len(asker.refs) != 0 {
		t.Errorf("the asker was asked %v", asker.refs)
	}
}

func TestAsker(t *testing.T) {
	t.Parallel()
	db := cachetest.StandIn(t)
	store(t, db, ref("42", ""), facts())
	granted := lookup.Decision{State: cache.Granted, Version: 9, Source: lookup.FromWorker}
	for name, tc := range map[string]struct {
		need  []cache.Grant
		state cache.State
		asked int
	}{
		"granted is not asked": {[]cache.Grant{read}, cache.Granted, 0},
		"denied is not asked":  {[]cache.Grant{write}, cache.Denied, 0},
		"unknown is asked":     {[]cache.Grant{read, fax}, cache.Granted, 1},
	} {
		t.Run(name, func(t *testing.T) {
			asker := &answer{Decision: granted}
			d := check(t, client(t, db, lookup.Options{Asker: asker}), ref("42", ""), tc.need...)
			if d.State != tc.state || len(asker.refs) != tc.asked || d.Fault != nil {
				t.Errorf("asked %v, got %+v", asker.refs, d)
			}
			if tc.asked == 0 {
				return
			}
			if asker.refs[0] != ref("42", "") || !cmp.Equal(asker.need, tc.need) || d.Version != 9 {
				t.Errorf("asked %v %v, got %+v", asker.refs, asker.need, d)
			}
		})
	}
}

func TestAnAskerThatFailsDecidesNothing(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	asker := &answer{Decision: lookup.Decision{State: cache.Granted}, err: lost}
	c := client(t, cachetest.StandIn(t), lookup.Options{Asker: asker})
	if d, err := c.Check(t.Context(), ref("42", ""), read); d.State != cache.Unknown || !errors.Is(err, lost) {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestRedisDown(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: closedAddr(t), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { rdb.Close() })
	d, err := client(t, rdb, lookup.Options{}).Check(t.Context(), ref("42", ""), read)
	if d.State != cache.Unknown || err == nil {
		t.Errorf("alone: %+v, %v", d, err)
	}
	asker := &answer{Decision: lookup.Decision{State: cache.Granted}}
	d = check(t, client(t, rdb, lookup.Options{Asker: asker}), ref("42", ""), read)
	if !d.Allowed() || d.Fault == nil {
		t.Errorf("with an asker: %+v", d)
	}
	asker.err = errors.New("lost")
	d, err = client(t, rdb, lookup.Options{Asker: asker}).Check(t.Context(), ref("42", ""), read)
	if d.State != cache.Unknown || !errors.Is(err, asker.err) || !strings.Contains(err.Error(), "read redis") {
		t.Errorf("both down: %+v, %v", d, err)
	}
}

func TestACallerWhoIsGoneAsksNobody(t *testing.T) {
	t.Parallel()
	asker := &answer{Decision: lookup.Decision{State: cache.Granted}}
	c := client(t, cachetest.StandIn(t), lookup.Options{Asker: asker})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, err := c.Check(ctx, ref("42", ""), read)
	if d.State != cache.Unknown || !errors.Is(err, context.Canceled) || len(asker.refs) != 0 {
		t.Errorf("got %+v, %v; asked %v", d, err, asker.refs)
	}
}

func TestARedisThatHangs(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{
		Addr: silentAddr(t), ContextTimeoutEnabled: true, ReadTimeout: time.Hour, DialTimeout: time.Hour,
	})
	t.Cleanup(func() { rdb.Close() })
	for name, tc := range map[string]struct{ caller, own time.Duration }{
		"the timeout ends it": {time.Hour, 50 * time.Millisecond},
		"the caller ends it":  {50 * time.Millisecond, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tc.caller)
			defer cancel()
			began := time.Now()
			d, err := client(t, rdb, lookup.Options{Timeout: tc.own}).Check(ctx, ref("42", ""), read)
			if took := time.Since(began); took > 20*time.Second || took < 50*time.Millisecond {
				t.Errorf("it took %s", took)
			}
			if d.State != cache.Unknown || err == nil {
				t.Errorf("got %+v, %v", d, err)
			}
		})
	}
}

func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// silentAddr takes connections and says nothing.
func silentAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
