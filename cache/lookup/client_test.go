package lookup_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/events"
)

const (
	read  cache.Grant = "permission/ReadMessages"
	write cache.Grant = "permission/EditMessages"
	scope cache.Grant = "scope/ReadAccounts"
	fax   cache.Grant = "feature/FaxSending"
)

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

func ref(subject events.Subject, resource events.Resource) events.Ref {
	return events.Ref{Home: home, Subject: subject, Resource: resource}
}

func facts() cache.Facts {
	return cache.Facts{
		Basis: "authz-profile", Covers: []cache.Kind{cache.Permission, cache.Scope},
		Grants: map[cache.Grant]string{read: "Self", scope: cache.Unlimited},
		Why:    map[cache.Grant]string{write: "the role forbids it", "role/owner": "nobody tells"},
	}
}

// store writes an entry as life does: begin, commit.
func store(t testing.TB, rdb redis.UniversalClient, r events.Ref, f cache.Facts) fence.Outcome {
	t.Helper()
	s, err := fence.Open(t.Context(), rdb, cache.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	fields, err := f.Fields()
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Begin(t.Context(), r.Home, cache.EntryName(r), fence.Want{Now: true})
	if err != nil || b.Lease == nil {
		t.Fatalf("begin: %+v, %v", b, err)
	}
	o, err := s.Commit(t.Context(), b.Lease, fence.Fill{
		Fields: fields, Tags: []events.Tag{events.SubjectTag(r.Subject)}, Life: time.Minute,
	})
	if err != nil || !o.Stored {
		t.Fatalf("commit: %+v, %v", o, err)
	}
	return o
}

// raw writes an entry as nobody should: fields over a sound one, "-" removes.
func raw(t testing.TB, rdb redis.UniversalClient, r events.Ref, over map[string]string) {
	t.Helper()
	fields := map[string]string{
		cache.FieldAsOf: millis(-time.Second), cache.FieldUntil: millis(time.Minute), cache.FieldVersion: "7",
		cache.FieldCovers: "permission,scope", cache.FieldConfirmed: "1", cache.FieldBasis: "test",
		string(read): "*",
	}
	for k, v := range over {
		fields[k] = v
	}
	var args []any
	for k, v := range fields {
		if v != "-" {
			args = append(args, k, v)
		}
	}
	if err := rdb.HSet(t.Context(), cache.Keys{}.Entry(r), args...).Err(); err != nil {
		t.Fatal(err)
	}
}

func millis(fromNow time.Duration) string {
	return strconv.FormatInt(time.Now().Add(fromNow).UnixMilli(), 10)
}

func client(t testing.TB, rdb lookup.Reader, o lookup.Options) *lookup.Client {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second // a slow machine is not what is tested
	}
	c, err := lookup.New(rdb, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func check(t testing.TB, c *lookup.Client, r events.Ref, need ...cache.Grant) lookup.Decision {
	t.Helper()
	d, err := c.Check(t.Context(), r, need...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// answer is an asker that remembers what it was asked.
type answer struct {
	lookup.Decision
	err  error
	mu   sync.Mutex
	refs []events.Ref
	need []cache.Grant
}

func (a *answer) Ask(_ context.Context, r events.Ref, need ...cache.Grant) (lookup.Decision, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refs, a.need = append(a.refs, r), need
	return a.Decision, a.err
}

func TestCheck(t *testing.T) {
	cases := map[string]struct {
		need    []cache.Grant
		state   cache.State
		widths  map[cache.Grant]string
		missing []cache.Grant
		reasons map[cache.Grant]string
	}{
		"one granted": {
			need: []cache.Grant{read}, state: cache.Granted, widths: map[cache.Grant]string{read: "Self"},
		},
		"all granted": {
			need: []cache.Grant{read, scope}, state: cache.Granted,
			widths: map[cache.Grant]string{read: "Self", scope: "*"},
		},
		"one denied, with the reason": {
			need: []cache.Grant{write}, state: cache.Denied, missing: []cache.Grant{write},
			reasons: map[cache.Grant]string{write: "the role forbids it"},
		},
		"one of several denied": {
			need: []cache.Grant{read, "scope/EditAccounts"}, state: cache.Denied,
			missing: []cache.Grant{"scope/EditAccounts"}, widths: map[cache.Grant]string{read: "Self"},
		},
		"a kind that was not read": {need: []cache.Grant{fax}, state: cache.Unknown},
		"a kind that was not read, with the reason": {
			need: []cache.Grant{"role/owner"}, state: cache.Unknown,
			reasons: map[cache.Grant]string{"role/owner": "nobody tells"},
		},
		"granted and not read": {
			need: []cache.Grant{read, fax}, state: cache.Unknown, widths: map[cache.Grant]string{read: "Self"},
		},
		"denied and not read": {
			need: []cache.Grant{fax, write}, state: cache.Denied, missing: []cache.Grant{write},
			reasons: map[cache.Grant]string{write: "the role forbids it"},
		},
	}
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		o := store(t, db, ref("42", ""), facts())
		c := client(t, db, lookup.Options{})
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				got := check(t, c, ref("42", ""), tc.need...)
				want := lookup.Decision{
					State: tc.state, AsOf: o.AsOf, Until: o.Until, Version: o.Version, Confirmed: o.Confirmed,
					Basis: "authz-profile", Covers: []cache.Kind{cache.Permission, cache.Scope},
					Widths: tc.widths, Missing: tc.missing, Reasons: tc.reasons, Source: lookup.FromCache,
				}
				ignore := cmpopts.IgnoreFields(lookup.Decision{}, "Message")
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), ignore); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got.Allowed() != (tc.state == cache.Granted) {
					t.Errorf("allowed %t in state %s", got.Allowed(), got.State)
				}
				if (got.Message == "") == (tc.state == cache.Unknown) {
					t.Errorf("state %s with message %q", got.State, got.Message)
				}
			})
		}
	})
}

// unknowns are changes to a sound entry after which it must not be believed.
var unknowns = map[string]map[string]string{
	"no deadline":                   {cache.FieldUntil: "-"},
	"expired by its own deadline":   {cache.FieldUntil: millis(-time.Second)},
	"a deadline beyond the ceiling": {cache.FieldUntil: millis(cache.Ceiling + cache.ClockSlack + time.Hour)},
	"an empty width":                {string(read): ""},
	"a kind that was not read":      {string(read): "-", cache.FieldCovers: "scope"},
	"a kind whose name begins so":   {string(read): "-", cache.FieldCovers: "permissions,per"},
	"nothing read at all":           {string(read): "-", cache.FieldCovers: "-"},
}

var broken = map[string]map[string]string{
	"a deadline that is no number": {cache.FieldUntil: "tomorrow"},
	"an empty deadline":            {cache.FieldUntil: ""},
	"a negative deadline":          {cache.FieldUntil: "-1"},
	"a deadline in nanoseconds":    {cache.FieldUntil: "1800000000000000000"},
	"no as-of":                     {cache.FieldAsOf: "-"},
	"no version":                   {cache.FieldVersion: "-"},
	"a version that is too large":  {cache.FieldVersion: "9007199254740993"},
}

func TestUnknown(t *testing.T) {
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		c := client(t, db, lookup.Options{})
		r := ref("sound", "")
		raw(t, db, r, nil)
		if d := check(t, c, r, read); !d.Allowed() {
			t.Fatalf("a sound entry: %+v", d)
		}
		if d := check(t, c, ref("nobody", ""), read); d.State != cache.Unknown || d.Message == "" {
			t.Errorf("missing: %+v", d)
		}
		for name, over := range unknowns {
			r := ref(events.Subject(name), "")
			raw(t, db, r, over)
			if d := check(t, c, r, read); d.State != cache.Unknown || d.Message == "" {
				t.Errorf("%s: %+v", name, d)
			}
		}
		for name, over := range broken {
			r := ref(events.Subject(name), "")
			raw(t, db, r, over)
			d, err := c.Check(t.Context(), r, read)
			if d.State != cache.Unknown || !errors.Is(err, cache.ErrUnreadable) {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
		}
	})
}

func TestAKeyOfAnotherType(t *testing.T) {
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		r := ref("42", "")
		if err := db.Set(t.Context(), cache.Keys{}.Entry(r), "granted", 0).Err(); err != nil {
			t.Fatal(err)
		}
		d, err := client(t, db, lookup.Options{}).Check(t.Context(), r, read)
		if d.State != cache.Unknown || err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("got %+v, %v", d, err)
		}
	})
}

func TestADroppedEntryIsUnknown(t *testing.T) {
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		r := ref("42", "")
		store(t, db, r, facts())
		c := client(t, db, lookup.Options{})
		if d := check(t, c, r, read); !d.Allowed() {
			t.Fatalf("got %+v", d)
		}
		s, err := fence.Open(t.Context(), db.UniversalClient, cache.Keys{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Invalidate(t.Context(), home, events.SubjectTag("42")); err != nil {
			t.Fatal(err)
		}
		if d := check(t, c, r, read, write); d.State != cache.Unknown {
			t.Errorf("got %+v", d)
		}
	})
}

func TestIdsAreNotConfused(t *testing.T) {
	refs := []events.Ref{
		ref("a:b", ""), ref("a", "b"), ref("a%3Ab", ""), ref("{x}", "}"), ref("e", ""), ref("Größe/ü", "日本語"),
		ref("\x00\n\x7f", " "), ref(events.Subject(strings.Repeat("ü", events.MaxID/2)), "*"),
	}
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		own := func(i int) cache.Grant { return cache.NewGrant(cache.Permission, "n"+strconv.Itoa(i)) }
		for i, r := range refs {
			store(t, db, r, cache.Facts{
				Basis: "test", Covers: []cache.Kind{cache.Permission}, Grants: map[cache.Grant]string{own(i): "*"},
			})
		}
		c := client(t, db, lookup.Options{})
		for i, r := range refs {
			for j := range refs {
				if d := check(t, c, r, own(j)); d.Allowed() != (i == j) || d.State == cache.Unknown {
					t.Errorf("%q as %q: %s", r, refs[j], d.State)
				}
			}
		}
	})
}

// counter counts the commands that pass a client.
type counter struct {
	mu    sync.Mutex
	names []string
}

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(cmds...)
		return next(ctx, cmds)
	}
}

func (c *counter) count(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		c.names = append(c.names, cmd.Name())
	}
}

func TestOneRoundTrip(t *testing.T) {
	cachetest.Each(t, func(t *testing.T, db cachetest.DB) {
		store(t, db, ref("42", ""), facts())
		seen := &counter{}
		db.AddHook(seen)
		check(t, client(t, db, lookup.Options{}), ref("42", ""), read, write, scope, fax)
		if diff := cmp.Diff([]string{"hmget"}, seen.names); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	})
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	db := cachetest.StandIn(t)
	store(t, db, ref("42", ""), facts())
	for prefix, want := range map[string]cache.State{"other": cache.Unknown, "perm": cache.Granted} {
		d := check(t, client(t, db, lookup.Options{Prefix: prefix}), ref("42", ""), read)
		if d.State != want {
			t.Errorf("prefix %s reads %+v", prefix, d)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	deaf := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	deafCluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { deaf.Close(); deafCluster.Close() })
	for name, tc := range map[string]struct {
		rdb  lookup.Reader
		o    lookup.Options
		want string
	}{
		"a prefix with a brace":              {nil, lookup.Options{Prefix: "a{"}, "prefix"},
		"a negative timeout":                 {nil, lookup.Options{Timeout: -1}, "negative"},
		"a client deaf to deadlines":         {deaf, lookup.Options{}, "ContextTimeoutEnabled"},
		"a cluster client deaf to deadlines": {deafCluster, lookup.Options{}, "ContextTimeoutEnabled"},
	} {
		if c, err := lookup.New(tc.rdb, tc.o); c != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, tc := range map[string]struct {
		asOf time.Time
		ok   func(time.Duration) bool
	}{
		"a minute old":         {now.Add(-time.Minute), func(d time.Duration) bool { return d == time.Minute }},
		"from a clock ahead":   {now.Add(time.Second), func(d time.Duration) bool { return d == 0 }},
		"nothing known at all": {time.Time{}, func(d time.Duration) bool { return d > 100*365*24*time.Hour }},
	} {
		if got := (lookup.Decision{AsOf: tc.asOf}).Age(now); !tc.ok(got) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if (lookup.Decision{}).Allowed() || (lookup.Decision{State: cache.Denied}).Allowed() {
		t.Error("allowed without a grant")
	}
}
