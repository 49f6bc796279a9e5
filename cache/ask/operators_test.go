package ask_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// operator is a scripted one, and remembers what it was asked.
type operator struct {
	compared refresh.Compared
	reached  refresh.Reached
	tags     []events.Tag
	err      error
	asked    []string
}

func (o *operator) Compare(_ context.Context, r events.Ref) (refresh.Compared, error) {
	o.asked = append(o.asked, "compare "+r.String())
	return o.compared, o.err
}

func (o *operator) Reach(
	ctx context.Context, h events.Home, named int, tags ...events.Tag,
) (refresh.Reached, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return refresh.Reached{}, errors.New("no deadline")
	}
	o.asked = append(o.asked, fmt.Sprintf("reach %s %d %v", h, named, tags))
	return o.reached, o.err
}

func (o *operator) Tags(_ context.Context, r events.Ref) ([]events.Tag, error) {
	return o.tags, nil
}

// operated opens a handler that serves operators.
func operated(t testing.TB, change func(*ask.Config)) (*bench, *operator) {
	t.Helper()
	o := &operator{tags: []events.Tag{events.SubjectTag("42"), events.TenantTag}}
	return open(t, func(c *ask.Config) {
		c.Operator = o
		c.Cost = func(h events.Home, basis string) (int, time.Duration) {
			calls := map[string]int{"user": 2, "": 4}[basis]
			return calls, time.Duration(calls) * time.Second / 2
		}
		c.Feed = func(events.Home) events.FeedState { return events.FeedAlive }
		if change != nil {
			change(c)
		}
	}), o
}

// at sends what is posted to a path.
func at(path string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = path } }

// says wants an answer with status 200 that is this JSON.
func (b *bench) says(t *testing.T, path, body, want string) {
	t.Helper()
	w := b.post(body, at(path))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var got, wanted any
	if err := errors.Join(json.Unmarshal(w.Body.Bytes(), &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReachIsTold(t *testing.T) {
	b, o := operated(t, nil)
	until := time.Date(2031, 2, 3, 4, 5, 6, 7e6, time.UTC)
	home := events.Home{Provider: "ringcentral", Tenant: "987"}
	o.reached = refresh.Reached{
		Standing: []refresh.Standing{
			{Ref: events.Ref{Home: home, Subject: "42"}, Until: until, Read: true, Told: true},
			{Ref: events.Ref{Home: home, Subject: "42", Resource: "folder:11"}, Until: until, Told: true},
			{Ref: events.Ref{Home: home, Subject: "43"}, Until: until},
		},
		Alive: 3, Bases: map[string]int{"user": 2, "": 1},
	}
	const entries = `[{"subject":"42","resource":"","until":"2031-02-03T04:05:06.007Z","read":true},
		{"subject":"42","resource":"folder:11","until":"2031-02-03T04:05:06.007Z","read":false},
		{"subject":"43","resource":"","until":"2031-02-03T04:05:06.007Z"}]`
	question := `{"tenant":"987","tags":["role:7","tenant"]}`
	b.says(t, ask.ReachPath, question, `{"entries":`+entries+`,"more":false,"alive":3,"calls":8,"takes_s":4}`)
	o.reached.Alive = 5
	b.says(t, ask.ReachPath, question, `{"entries":`+entries+`,"more":true,"alive":5,"calls":8,"takes_s":4}`)
	o.reached = refresh.Reached{Cut: true}
	b.says(t, ask.ReachPath, question, `{"entries":[],"more":true,"alive":0,"calls":0,"takes_s":0}`)
	if want := "reach ringcentral/987 1000 [role:7 tenant]"; o.asked[0] != want {
		t.Errorf("asked %q, want %q", o.asked[0], want)
	}
	if n := outcome(t, b, "reached"); n != 3 {
		t.Errorf("%g outcomes reached, want 3", n)
	}
}

// compared is an entry, and a provider that says something else.
func compared() refresh.Compared {
	e := entry().Entry
	e.AsOf = time.Date(2031, 2, 3, 4, 5, 6, 7e6, time.UTC)
	e.Until = e.AsOf.Add(time.Minute)
	facts := cache.Facts{Basis: "assigned-roles", Grants: map[cache.Grant]string{"scope/ReadMessages": "*"}}
	return refresh.Compared{
		Cached: &e, Provider: &facts, Tags: []events.Tag{events.AppTag, events.SubjectTag("42")},
		Differences: []refresh.Difference{{Field: "_covers", Cached: "permission"}, {Field: "feature/SMS", Provider: "a=b"}},
	}
}

const (
	whole = `{"tenant":"987","subject":"42","resource":"folder:11"}`
	shown = `{"as_of":"2031-02-03T04:05:06.007Z","until":"2031-02-03T04:06:06.007Z","version":"1700000000000001",
		"confirmed":true,"stored":true,"basis":"authz-profile","covers":["permission","scope","feature"],
		"grants":{"permission/ReadMessages":"Self","scope/ReadMessages":"*","feature/SMS":"a=b"},
		"why":{"feature/Fax":"AccountLimitation","role/owner":"nobody tells"},"tags":["subject:42","tenant"]}`
	now = `{"basis":"assigned-roles","covers":[],"grants":{"scope/ReadMessages":"*"},"tags":["app","subject:42"]}`
)

func TestAVerificationIsTold(t *testing.T) {
	const differ = `[{"grant":"_covers","cached":"permission","provider":null},
		{"grant":"feature/SMS","cached":null,"provider":"a=b"}]`
	for name, c := range map[string]struct {
		change        func(*refresh.Compared)
		err           error
		says, outcome string
	}{
		"a difference": {nil, nil, `{"cached":` + shown + `,"provider":` + now + `,"differences":` + differ +
			`,"match":false,"feed":"alive"}`, "differed"},
		"none": {func(c *refresh.Compared) { c.Differences = nil }, nil, `{"cached":` + shown + `,"provider":` + now +
			`,"differences":[],"match":true,"feed":"alive"}`, "matched"},
		"nothing cached": {func(c *refresh.Compared) { c.Cached, c.Differences = nil, nil }, nil,
			`{"cached":null,"provider":` + now + `,"differences":[],"match":false,"feed":"alive"}`, "missing"},
		"changed": {func(c *refresh.Compared) { c.Changed, c.Differences = true, nil }, nil, `{"cached":` + shown +
			`,"provider":` + now + `,"differences":[],"match":false,"changed":true,"feed":"alive"}`, "changed"},
		"unread": {func(c *refresh.Compared) { c.Provider, c.Differences = nil, nil }, refresh.ErrNoReader,
			`{"cached":` + shown + `,"provider":null,"error":"no provider is configured for this tenant",
			"differences":[],"match":false,"feed":"alive"}`, "unread"},
	} {
		t.Run(name, func(t *testing.T) {
			b, o := operated(t, nil)
			o.compared, o.err = compared(), c.err
			if c.change != nil {
				c.change(&o.compared)
			}
			b.says(t, ask.VerifyPath, whole, c.says)
			if n := outcome(t, b, c.outcome); n != 1 {
				t.Errorf("%g outcomes %s, want 1", n, c.outcome)
			}
			if diff := cmp.Diff([]string{"compare ringcentral/987/42/folder:11"}, o.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if len(b.filler.asked) > 0 {
				t.Errorf("filled: %v", b.filler.asked)
			}
		})
	}
}

func TestTheLevelCachedIsAnOrdinaryReading(t *testing.T) {
	const question = `{"tenant":"987","subject":"42","level":"cached"}`
	b, o := operated(t, nil)
	b.filler.result.Entry = *compared().Cached
	b.says(t, ask.VerifyPath, question, `{"cached":`+shown+`,"provider":null,"differences":[],"match":false,"feed":"alive"}`)
	b.filler.result.Fetched, b.filler.result.Stored, b.filler.result.Version = true, false, 0
	b.filler.result.Until = time.Time{}
	once := strings.NewReplacer(`"until":"2031-02-03T04:06:06.007Z","version":"1700000000000001",`, "",
		`"stored":true`, `"stored":false,"fetched":true`, `["subject:42","tenant"]`, `[]`).Replace(shown)
	b.says(t, ask.VerifyPath, question, `{"cached":`+once+`,"provider":null,"differences":[],"match":false,"feed":"alive"}`)
	b.filler.err = reasoned{}
	b.says(t, ask.VerifyPath, question,
		`{"cached":null,"provider":null,"error":"tell it first","differences":[],"match":false,"feed":"alive"}`)
	if len(o.asked) > 0 || len(b.filler.asked) != 3 {
		t.Errorf("compared %q, filled %v", o.asked, b.filler.asked)
	}
	if n := outcome(t, b, "shown"); n != 3 {
		t.Errorf("%g outcomes shown, want 3", n)
	}
	b.filler.err = fmt.Errorf("get: %w", refresh.ErrStore)
	refused(t, b.post(question, at(ask.VerifyPath)), http.StatusServiceUnavailable, "store is away")
}

func TestWhatOperatorsAskIsRefused(t *testing.T) {
	b, o := operated(t, nil)
	tags := func(n int) string { return `["app"` + strings.Repeat(`,"app"`, n-1) + `]` }
	for name, c := range map[string]struct{ path, body, says string }{
		"no tags":           {ask.ReachPath, `{"tenant":"987"}`, "1 to 1000"},
		"too many tags":     {ask.ReachPath, `{"tenant":"987","tags":` + tags(1001) + `}`, "1001"},
		"no tag":            {ask.ReachPath, `{"tenant":"987","tags":["role"]}`, "has no id"},
		"no tenant":         {ask.ReachPath, `{"tags":["app"]}`, "tenant"},
		"a list":            {ask.ReachPath, `[]`, "must be an object"},
		"no subject":        {ask.VerifyPath, `{"tenant":"987"}`, "subject"},
		"no tenant at all":  {ask.VerifyPath, `{"subject":"42"}`, "tenant"},
		"no object":         {ask.VerifyPath, `7`, "must be an object"},
		"an unknown level":  {ask.VerifyPath, `{"tenant":"987","subject":"42","level":"live"}`, "there are cached and verify"},
		"a numeric subject": {ask.VerifyPath, `{"tenant":"987","subject":42}`, "must be an object"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, b.post(c.body, at(c.path)), http.StatusBadRequest, c.says) })
	}
	several, _ := operated(t, func(c *ask.Config) { c.Providers = nil })
	for path, body := range map[string]string{ask.ReachPath: `{"tenant":"987","tags":["app"]}`, ask.VerifyPath: whole} {
		refused(t, several.post(body, at(path)), http.StatusBadRequest, "provider is missing")
		refused(t, open(t, nil).post(body, at(path)), http.StatusNotFound, "not served here")
		refused(t, b.post(body, func(r *http.Request) { at(path)(r); r.Header.Del("Authorization") }), 401, "bearer")
		refused(t, b.post(body, func(r *http.Request) { at(path)(r); r.Method = http.MethodGet }), 405, "posted")
		refused(t, b.post(body, func(r *http.Request) { at(path)(r); r.Header.Del("Content-Type") }), 400, "Content-Type")
		long := body[:len(body)-1] + `,"x":"` + strings.Repeat("x", 512<<10) + `"}`
		refused(t, b.post(long, at(path)), http.StatusRequestEntityTooLarge, "exceeds")
	}
	if len(o.asked) > 0 {
		t.Errorf("asked %q", o.asked)
	}
	b.says(t, ask.ReachPath, `{"tenant":"987","tags":`+tags(1000)+`}`, `{"entries":[],"more":false,"alive":0,"calls":0,"takes_s":0}`)
	o.err = fmt.Errorf("%w: dial tcp 10.1.2.3", refresh.ErrStore)
	for path, body := range map[string]string{ask.ReachPath: `{"tenant":"987","tags":["app"]}`, ask.VerifyPath: whole} {
		refused(t, b.post(body, at(path)), http.StatusServiceUnavailable, "store is away")
	}
}
