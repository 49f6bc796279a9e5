package ask_test

import (
	"context"
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

func TestGranted(t *testing.T) {
	b := open(t, nil)
	both := `{"name":"permission/ReadMessages+scope/ReadMessages"}`
	got := decided(t, b.post(question(someone, both, anywhere, ""), nil))
	e := b.filler.result
	yes := true
	want := reply{Decision: &yes}
	want.Context.State, want.Context.Basis, want.Context.Version = "granted", "authz-profile", "1700000000000001"
	want.Context.AsOf = e.AsOf.UTC().Format("2006-01-02T15:04:05.000Z")
	want.Context.Until = e.Until.UTC().Format("2006-01-02T15:04:05.000Z")
	want.Context.Covers, want.Context.Confirmed = []string{"permission", "scope", "feature"}, &yes
	want.Context.Width = map[string]string{"permission/ReadMessages": "Self", "scope/ReadMessages": "*"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	asked := []events.Ref{{Home: events.Home{Provider: "ringcentral", Tenant: "37439510"}, Subject: "42"}}
	if diff := cmp.Diff(asked, b.filler.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestStates(t *testing.T) {
	for name, c := range map[string]struct {
		action, state string
		missing       []string
		reason        map[string]string
	}{
		"absent and covered": {"permission/EditUsers", "denied", []string{"permission/EditUsers"}, nil},
		"absent, with a reason": {"feature/Fax", "denied", []string{"feature/Fax"},
			map[string]string{"feature/Fax": "AccountLimitation"}},
		"one of two denied": {"permission/ReadMessages+permission/X", "denied",
			[]string{"permission/X"}, nil},
		"of a kind not read": {"role/1", "unknown", nil, nil},
		"of a kind not read, with a reason": {"role/owner", "unknown", nil,
			map[string]string{"role/owner": "nobody tells"}},
		"one of two not read":        {"permission/ReadMessages+role/1", "unknown", nil, nil},
		"denied whatever is unknown": {"role/1+permission/X", "denied", []string{"permission/X"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := decided(t, open(t, nil).post(question(someone, `{"name":"`+c.action+`"}`, anywhere, ""), nil))
			if *got.Decision || got.Context.State != c.state {
				t.Errorf("decision %t, state %s, want false, %s", *got.Decision, got.Context.State, c.state)
			}
			if diff := cmp.Diff(c.missing, got.Context.Missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.reason, got.Context.Reason); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
			if hasMessage := got.Context.Message != ""; hasMessage != (c.state == "unknown") {
				t.Errorf("message %q with state %s", got.Context.Message, c.state)
			}
		})
	}
}

// later is how a provider says when it may be asked again.
type later struct{ until time.Time }

func (l later) Error() string      { return "rate limited" }
func (l later) RetryAt() time.Time { return l.until }

func TestWhatIsNotKnownIsUnknown(t *testing.T) {
	until := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	secret := "grant=client-secret-hunter2"
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"rate limited": {fmt.Errorf("fill: %w", later{until}), "2031-02-03T04:05:06Z"},
		"no provider":  {fmt.Errorf("fill: %w", refresh.ErrNoReader), refresh.ErrNoReader.Error()},
		"too slow":     {fmt.Errorf("get: %w", context.DeadlineExceeded), "did not answer in time"},
		"ended":        {fmt.Errorf("get: %w", context.Canceled), "did not answer in time"},
		"broken":       {errors.New(secret), "could not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, nil)
			b.filler.err = c.err
			w := b.post(usual, nil)
			text := w.Body.String()
			got := decided(t, w)
			if *got.Decision || got.Context.State != "unknown" || !strings.Contains(got.Context.Message, c.says) {
				t.Errorf("decision %t, state %s, message %q, want unknown and %q",
					*got.Decision, got.Context.State, got.Context.Message, c.says)
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("the provider's error shows: %s", text)
			}
		})
	}
}

func TestAnEntryThatIsOverIsUnknown(t *testing.T) {
	b := open(t, nil)
	b.filler.result.Until = time.Now().Add(-time.Millisecond)
	if got := decided(t, b.post(usual, nil)); *got.Decision || got.Context.State != "unknown" {
		t.Errorf("decision %t, state %s, want unknown", *got.Decision, got.Context.State)
	}
	b.filler.result.Until = time.Now().Add(cache.Ceiling + time.Minute) // another clock wrote that
	if got := decided(t, b.post(usual, nil)); *got.Decision {
		t.Error("granted beyond the ceiling")
	}
}

func TestAnAnswerThatIsNotKeptIsJudgedAllTheSame(t *testing.T) {
	b := open(t, nil)
	e := entry()
	b.filler.result = refresh.Result{Fetched: true, Entry: cache.Entry{Facts: e.Facts, AsOf: e.AsOf}}
	got := decided(t, b.post(usual, nil))
	if !*got.Decision || got.Context.Until != "" || got.Context.Version != "" {
		t.Errorf("decision %t, until %q, version %q", *got.Decision, got.Context.Until, got.Context.Version)
	}
	if !strings.Contains(got.Context.Message, "not kept") {
		t.Errorf("message %q", got.Context.Message)
	}
}

func TestWhichEntryIsMeant(t *testing.T) {
	home := events.Home{Provider: "ringcentral", Tenant: "7"}
	for name, c := range map[string]struct {
		resource string
		want     events.Ref
	}{
		"a tenant":      {`{"type":"tenant","id":"7"}`, events.Ref{Home: home, Subject: "42"}},
		"an account":    {`{"type":"account","id":"7"}`, events.Ref{Home: home, Subject: "42"}},
		"an enterprise": {`{"type":"enterprise","id":"7"}`, events.Ref{Home: home, Subject: "42"}},
		"a workspace":   {`{"type":"workspace","id":"7"}`, events.Ref{Home: home, Subject: "42"}},
		"an item": {`{"type":"folder","id":"11","properties":{"tenant":"7"}}`,
			events.Ref{Home: home, Subject: "42", Resource: "folder:11"}},
		"a named provider": {`{"type":"account","id":"7","properties":{"provider":"box"}}`,
			events.Ref{Home: events.Home{Provider: "box", Tenant: "7"}, Subject: "42"}},
		"a resource in a tenant": {`{"type":"account","id":"7","properties":{"resource":"room:1"}}`,
			events.Ref{Home: home, Subject: "42", Resource: "room:1"}},
		"a tenant besides the account's id": {`{"type":"account","id":"7","properties":{"tenant":"8"}}`,
			events.Ref{Home: home, Subject: "42"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, nil)
			decided(t, b.post(question(someone, reads, c.resource, ""), nil))
			if diff := cmp.Diff([]events.Ref{c.want}, b.filler.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownFieldsAndLooseContextAreIgnored(t *testing.T) {
	b := open(t, nil)
	for _, body := range []string{
		question(someone, reads, anywhere, `{"time":"2025-06-27T18:03-07:00"}`),
		question(someone, reads, anywhere, `{"time":7,"deep":{"er":[null]}}`),
		question(someone, reads, anywhere, "null"),
		question(`{"type":"user","id":"42","properties":{"role":"admin"},"more":1}`, reads, anywhere, ""),
		question(someone, `{"name":"permission/ReadMessages","properties":{"soft":true}}`, anywhere, ""),
		question(someone, reads, `{"type":"account","id":"7","properties":{"status":"archived"},"x":[]}`, ""),
		usual[:len(usual)-1] + `,"options":{"evaluations_semantic":"x"},"other":null}`,
	} {
		if got := decided(t, b.post(body, nil)); !*got.Decision {
			t.Errorf("%s: state %s, want granted", body, got.Context.State)
		}
	}
}

// The same question gets the same answer, and the outcomes are counted.
func TestOutcomesAreCounted(t *testing.T) {
	b := open(t, nil)
	b.post(usual, nil)
	b.post(usual, nil)
	b.post(question(someone, `{"name":"permission/X"}`, anywhere, ""), nil)
	b.post("", nil)
	b.filler.err = errors.New("broken")
	b.post(usual, nil)
	b.filler.err = refresh.ErrStore
	b.post(usual, nil)
	want := map[string]float64{"granted": 2, "denied": 1, "refused": 1, "unknown": 1, "failed": 1}
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got, seconds := map[string]float64{}, uint64(0)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "rescind_asks_total":
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			case "rescind_ask_seconds":
				seconds = m.GetHistogram().GetSampleCount()
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rescind_asks_total (-want +got):\n%s", diff)
	}
	if seconds != 6 {
		t.Errorf("rescind_ask_seconds counted %d, want 6", seconds)
	}
}

// slow is a store that waits for the asker's patience to end.
type slow struct{}

func (slow) Get(ctx context.Context, _ events.Ref) (refresh.Result, error) {
	<-ctx.Done()
	return refresh.Result{}, fmt.Errorf("get: %w", context.Cause(ctx))
}

func TestAnAskerWhoLeavesHoldsNothingUp(t *testing.T) {
	b := open(t, func(c *ask.Config) { c.Filler = slow{} })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := decided(t, b.post(usual, func(r *http.Request) { *r = *r.WithContext(ctx) }))
	if got.Context.State != "unknown" {
		t.Errorf("state %s, want unknown", got.Context.State)
	}
}
