package listen_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/listen"
)

// fakeDoor does as it is told.
type fakeDoor struct {
	verify    func(subscriptions.Delivery) (subscriptions.Reply, error)
	translate func(subscriptions.Delivery) (events.Change, bool, error)
}

func (d fakeDoor) Verify(x subscriptions.Delivery) (subscriptions.Reply, error) {
	if d.verify == nil {
		return subscriptions.Reply{}, nil
	}
	return d.verify(x)
}

func (fakeDoor) Origin(subscriptions.Delivery) subscriptions.Origin { return subscriptions.Origin{} }

func (d fakeDoor) Translate(x subscriptions.Delivery) (events.Change, bool, error) {
	if d.translate == nil {
		return change(events.SubjectTag("42")), true, nil
	}
	return d.translate(x)
}

func change(tags ...events.Tag) events.Change {
	return events.Change{ID: changeID("u"), Home: home, Tags: tags, Source: events.Webhook}
}

// verifying and translating are doors whose one step ends so.
func verifying(err error) fakeDoor {
	return fakeDoor{verify: func(subscriptions.Delivery) (subscriptions.Reply, error) {
		return subscriptions.Reply{}, err
	}}
}

func translating(c events.Change, ok bool, err error) fakeDoor {
	return fakeDoor{translate: func(subscriptions.Delivery) (events.Change, bool, error) { return c, ok, err }}
}

// panicking is a door that panics in the first step which it does not have.
type panicking struct{ first subscriptions.Door }

func (d panicking) Verify(x subscriptions.Delivery) (subscriptions.Reply, error) {
	return d.first.Verify(x)
}

func (panicking) Origin(subscriptions.Delivery) subscriptions.Origin { return subscriptions.Origin{} }

func (panicking) Translate(x subscriptions.Delivery) (events.Change, bool, error) {
	panic(fmt.Errorf("at %s", x.Body))
}

func replying(size int) fakeDoor {
	return fakeDoor{verify: func(subscriptions.Delivery) (subscriptions.Reply, error) {
		return subscriptions.Reply{Header: map[string]string{"X-Echo": strings.Repeat("e", size)}}, nil
	}}
}

// memory keeps what is published, or fails.
type memory struct {
	err  error
	got  []events.Change
	seen bool
}

func (m *memory) Publish(_ context.Context, c events.Change) (bool, error) {
	if m.err != nil {
		return false, m.err
	}
	m.got = append(m.got, c)
	return m.seen, nil
}

// deliver asks a handler directly.
func deliver(t *testing.T, d subscriptions.Door, p listen.Publisher) (*http.Response, line) {
	t.Helper()
	log := &journal{}
	h, err := listen.New(listen.Config{Publisher: p, Log: slog.New(slog.NewJSONHandler(log, nil)),
		Doors: []listen.Door{{Home: home, Path: part, Door: d}}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, listen.Address("http://l", home, part), strings.NewReader("BODY"))
	h.ServeHTTP(w, r)
	lines := log.lines(t)
	if len(lines) != 1 || strings.Contains(log.String(), "BODY") {
		t.Fatalf("logged %s", log)
	}
	return w.Result(), lines[0]
}

func TestWhatADoorSaysDecidesTheAnswer(t *testing.T) {
	foreign := change(events.TenantTag)
	foreign.Tenant = "another"
	for name, c := range map[string]struct {
		door    subscriptions.Door
		publish memory
		status  int
		outcome string
		level   string
	}{
		"a change": {door: fakeDoor{}, status: 200, outcome: "published", level: "INFO"},
		"a change seen before": {door: fakeDoor{}, publish: memory{seen: true}, status: 200,
			outcome: "duplicate", level: "INFO"},
		"no change": {door: translating(events.Change{}, false, nil), status: 200, outcome: "nothing",
			level: "INFO"},
		"refused": {door: verifying(fmt.Errorf("%w: BODY", subscriptions.ErrRefused)), status: 401,
			outcome: "refused", level: "WARN"},
		"unreadable when it is verified": {door: verifying(fmt.Errorf("%w: BODY", subscriptions.ErrUnreadable)),
			status: 400, outcome: "unreadable", level: "WARN"},
		"an error of no family when it is verified": {door: verifying(errors.New("BODY")), status: 401,
			outcome: "refused", level: "WARN"},
		"unreadable": {door: translating(events.Change{}, false, subscriptions.ErrUnreadable), status: 400,
			outcome: "unreadable", level: "WARN"},
		"an error of no family": {door: translating(events.Change{}, false, errors.New("BODY")), status: 400,
			outcome: "unreadable", level: "WARN"},
		"a change of nothing": {door: translating(change(), true, nil), status: 400, outcome: "unreadable",
			level: "WARN"},
		"a change of another tenant": {door: translating(foreign, true, nil), status: 400, outcome: "unreadable",
			level: "WARN"},
		"a reply without room": {door: replying(1000), status: 400, outcome: "unreadable", level: "WARN"},
		"no acknowledgement": {door: fakeDoor{}, publish: memory{err: errors.New("no responders")}, status: 503,
			outcome: "unpublished", level: "ERROR"},
		"a panic when it is verified": {door: panicking{}, status: 500, outcome: "panicked", level: "ERROR"},
		"a panic when it is translated": {door: panicking{fakeDoor{}}, status: 500, outcome: "panicked",
			level: "ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.publish
			resp, l := deliver(t, c.door, &p)
			if resp.StatusCode != c.status || l.Outcome != c.outcome || l.Level != c.level {
				t.Errorf("got %d and %+v, want %d %s %s", resp.StatusCode, l, c.status, c.outcome, c.level)
			}
			wantAnswer(t, resp)
			if stored := c.outcome == "published" || c.outcome == "duplicate"; (len(p.got) == 1) != stored {
				t.Errorf("published %v", p.got)
			}
		})
	}
}

// wantAnswer holds an answer against what every one of its status looks like.
func wantAnswer(t *testing.T, resp *http.Response) {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := http.StatusText(resp.StatusCode) + "\n"
	if resp.StatusCode == http.StatusOK {
		want = "{}"
		if got := resp.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type %q", got)
		}
	}
	if string(body) != want {
		t.Errorf("body %q, want %q", body, want)
	}
	wait := resp.StatusCode == http.StatusServiceUnavailable
	if again := resp.Header.Get("Retry-After"); (again != "") != wait {
		t.Errorf("Retry-After %q", again)
	}
}

func TestRepliesAreEchoed(t *testing.T) {
	resp, l := deliver(t, replying(700), &memory{})
	if resp.StatusCode != 200 || len(resp.Header.Get("X-Echo")) != 700 || l.Outcome != "published" {
		t.Errorf("%d %v %+v", resp.StatusCode, resp.Header, l)
	}
}

// A change that no message can hold would be refused for ever.
func TestAChangeTooLargeForAMessageIsTheTenants(t *testing.T) {
	var narrow, wide []events.Tag
	for i := range events.MaxTags {
		narrow = append(narrow, events.SubjectTag(events.Subject(fmt.Sprint(400130394008+i))))
		wide = append(wide, events.SubjectTag(events.Subject(fmt.Sprintf("%0200d", i))))
	}
	for name, c := range map[string]struct{ tags, want []events.Tag }{
		"as many as there may be": {narrow, narrow},
		"and long":                {wide, []events.Tag{events.TenantTag}},
		"long when written":       {nasty(2000), []events.Tag{events.TenantTag}},
		"few and nasty":           {nasty(10), nasty(10)},
	} {
		t.Run(name, func(t *testing.T) {
			p := &memory{}
			resp, _ := deliver(t, translating(change(c.tags...), true, nil), p)
			if resp.StatusCode != 200 || len(p.got) != 1 {
				t.Fatalf("status %d, %d changes", resp.StatusCode, len(p.got))
			}
			if diff := cmp.Diff(c.want, p.got[0].Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%.300s", diff)
			}
			if b, err := events.Encode(p.got[0]); err != nil || len(b) > 1<<20-8<<10 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

// nasty tags grow six times when they are written.
func nasty(n int) []events.Tag {
	var tags []events.Tag
	for i := range n {
		tags = append(tags, events.SubjectTag(events.Subject(fmt.Sprintf("%d%s", i, strings.Repeat("\x01", 120)))))
	}
	return tags
}

func TestNewRefuses(t *testing.T) {
	door := listen.Door{Home: home, Path: part, Door: fakeDoor{}}
	other := door
	other.Home.Tenant = "2"
	for name, change := range map[string]func(*listen.Config){
		"no publisher":        func(c *listen.Config) { c.Publisher = nil },
		"no log":              func(c *listen.Config) { c.Log = nil },
		"a negative limit":    func(c *listen.Config) { c.MaxBody = -1 },
		"a negative wait":     func(c *listen.Config) { c.PublishWait = -1 },
		"no home":             func(c *listen.Config) { c.Doors[0].Home.Provider = "" },
		"no door":             func(c *listen.Config) { c.Doors[0].Door = nil },
		"a part to guess":     func(c *listen.Config) { c.Doors[0].Path = part[:20] },
		"a part with a slash": func(c *listen.Config) { c.Doors[0].Path = part + "/x" },
		"a home twice":        func(c *listen.Config) { c.Doors = append(c.Doors, c.Doors[0]) },
		"a part twice":        func(c *listen.Config) { c.Doors = append(c.Doors, other) },
		"metrics twice": func(c *listen.Config) {
			c.Registerer = prometheus.NewRegistry()
			if _, err := listen.New(*c); err != nil {
				t.Errorf("the first time: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := listen.Config{Publisher: &memory{}, Log: slog.New(slog.DiscardHandler), Doors: []listen.Door{door}}
			change(&c)
			_, err := listen.New(c)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the part is told: %v", err)
			}
		})
	}
}

// Two tenants of one provider, and a provider with a name that needs escaping.
func TestEachAddressLeadsToItsTenant(t *testing.T) {
	homes := []events.Home{home, {Provider: "ringcentral", Tenant: "2"}, {Provider: "rc/ä b", Tenant: "2"}}
	var got []events.Home
	var cfg listen.Config
	parts := subscriptions.NewSecret("key")
	for _, h := range homes {
		cfg.Doors = append(cfg.Doors, listen.Door{Home: h, Path: subscriptions.AddressPart(parts, h),
			Door: fakeDoor{translate: func(d subscriptions.Delivery) (events.Change, bool, error) {
				got = append(got, d.Home)
				return events.Change{}, false, nil
			}}})
	}
	cfg.Publisher, cfg.Log = &memory{}, slog.New(slog.DiscardHandler)
	h, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range homes {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost,
			listen.Address("https://l.example/", x, subscriptions.AddressPart(parts, x)), nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d", x, w.Code)
		}
	}
	if diff := cmp.Diff(homes, got); diff != "" {
		t.Errorf("homes (-want +got):\n%s", diff)
	}
}
