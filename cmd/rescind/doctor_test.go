package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/redislocal"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
)

// ward is a Redis with a budget, as workers use it.
type ward struct {
	url    string
	shared *budget.Shared
}

func openWard(t *testing.T) ward {
	t.Helper()
	s, err := redislocal.StartStandIn("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr})
	t.Cleanup(func() {
		if err := errors.Join(rdb.Close(), s.Stop()); err != nil {
			t.Error(err)
		}
	})
	shared, err := budget.Open(t.Context(), rdb, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return ward{"redis://" + s.Addr + "/0", shared}
}

// ask takes calls of a limit of 50 a minute for as many callers, each once; what
// is granted comes to said.
func (w ward) ask(t *testing.T, callers int, said subscriptions.Said) {
	t.Helper()
	lane := subscriptions.Lane{Provider: "ringcentral", Identity: "37439510:256440016", Group: "light"}
	for i := range callers {
		ctx := cache.WithCaller(context.Background(), "e:"+strconv.Itoa(i))
		c, err := w.shared.Take(ctx, lane, subscriptions.Window{Calls: 50, Length: time.Minute})
		var later *subscriptions.Later
		if err != nil && !errors.As(err, &later) {
			t.Fatal(err)
		}
		if err == nil {
			c.Done(ctx, said)
		}
	}
}

// diagnose looks with a configuration that gives the worker these settings.
func diagnose(t *testing.T, redisURL, worker string) diagnosis {
	t.Helper()
	cfg, err := config.Parse([]byte("redis: {url: \""+redisURL+"\"}\nworker: {"+worker+"}\n"+
		"providers: {ringcentral: {kind: ringcentral, tenants: [{id: \"37439510\"}]}}"), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := diagnosis{Findings: []service.Finding{}}
	d.look(t.Context(), cfg)
	return d
}

func TestDoctorSaysWhetherLimitsSuffice(t *testing.T) {
	for name, tc := range map[string]struct {
		callers int
		said    subscriptions.Said
		worker  string
		code    int
		want    string // begins the finding
	}{
		"nobody asked":             {0, subscriptions.Said{}, "", 0, ""},
		"few":                      {40, subscriptions.Said{}, "", 0, ""},
		"stretched":                {100, subscriptions.Said{}, "", 0, ""},
		"not allowed to stretch":   {100, subscriptions.Said{}, "max_life: 1m", 1, "entries need to live 2m"},
		"long enough anyway":       {100, subscriptions.Said{}, "life: 4m, max_life: 4m", 0, ""},
		"more than a limit allows": {201, subscriptions.Said{}, "", 1, "201 calls were asked for to keep"},
		"a limit that was learnt": {201, subscriptions.Said{Limit: 100, Window: time.Minute},
			"", 0, ""},
		"a penalty": {1, subscriptions.Said{Penalty: time.Minute}, "", 1, "closed for 1m because"},
	} {
		t.Run(name, func(t *testing.T) {
			w := openWard(t)
			w.ask(t, tc.callers, tc.said)
			d := diagnose(t, w.url, tc.worker)
			if got := code(d.verdict()); got != tc.code {
				t.Errorf("exit status %d, want %d", got, tc.code)
			}
			var got string
			for _, f := range d.Findings {
				got += f.Text
				if f.About != "ringcentral 37439510, 256440016, light" || f.Severity != service.Failure || f.Remedy == "" {
					t.Errorf("finding %+v", f)
				}
			}
			if !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if lanes := min(tc.callers, 1); len(d.Lanes) != lanes || lanes == 1 && d.Lanes[0].Busy != tc.callers {
				t.Errorf("lanes %+v", d.Lanes)
			}
		})
	}
}

func code(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 0
}

func TestDoctorThatCannotTell(t *testing.T) {
	d := diagnose(t, "redis://127.0.0.1:1/0", "")
	if got := code(d.verdict()); got != 2 || d.Lanes != nil || len(d.Findings) != 1 ||
		d.Findings[0].Severity != service.Unknown {
		t.Errorf("exit status %d, %+v", got, d)
	}
	d.find("x", service.Failure, "y", "z")
	if got := code(d.verdict()); got != 1 {
		t.Errorf("exit status %d although there is something to mend", got)
	}
}

// What people are shown is bounded, and begins with what matters most; programs
// are shown all.
func TestDoctorShowsTheBusiestFirst(t *testing.T) {
	d := diagnosis{Lives: &lives{60, 300}, Lanes: []lane{}, Findings: []service.Finding{}}
	for i := range 25 {
		d.Lanes = append(d.Lanes, lane{Identity: strconv.Itoa(i), Limit: 50, Window: 60, Busy: i, Needs: 10,
			Waiting: map[string]int{"upkeep": 1, "readers": 2}})
	}
	d.order()
	var people, programs bytes.Buffer
	if err := errors.Join(doctorCmd{}.print(terminal{out: &people}, d),
		doctorCmd{JSON: true}.print(terminal{out: &programs}, d)); err != nil {
		t.Fatal(err)
	}
	text := people.String()
	if n := strings.Count(text, "50/1m  0     2 readers, 1 upkeep"); n != shownLanes {
		t.Errorf("%d lanes are shown, want %d:\n%s", n, shownLanes, text)
	}
	inOrder := strings.Index(text, "  24 ") < strings.Index(text, "  23 ")
	if !strings.Contains(text, "and 5 that need less") || !inOrder {
		t.Errorf("it prints\n%s", text)
	}
	var back diagnosis
	err := json.Unmarshal(programs.Bytes(), &back)
	if err != nil || len(back.Lanes) != 25 || back.Lanes[0].Busy != 24 {
		t.Errorf("%d lanes, %v", len(back.Lanes), err)
	}
}

// A finding is a line with its remedy under it, whatever others have put in; the last
// line says how bad it is.
func TestDoctorPrintsFindings(t *testing.T) {
	for name, tc := range map[string]struct {
		all  []service.Severity
		last string
		code int
	}{
		"nothing":       {nil, "all is well", 0},
		"fine":          {[]service.Severity{service.Fine}, "all is well", 0},
		"a risk":        {[]service.Severity{service.Fine, service.Warning}, "nothing to mend; 1 to know of", 0},
		"cannot tell":   {[]service.Severity{service.Warning, service.Unknown}, "1 that cannot be told, 1 to know of", 2},
		"all there are": {[]service.Severity{service.Unknown, service.Failure, service.Failure}, "2 to mend, 1 that cannot be told", 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := diagnosis{Lives: &lives{60, 300}}
			for _, s := range tc.all {
				d.find("redis", s, "it says\n\x1b[31mred", "do this")
			}
			var out bytes.Buffer
			if err := (doctorCmd{}).print(terminal{out: &out}, d); err != nil {
				t.Fatal(err)
			}
			text := out.String()
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if got := lines[len(lines)-1]; got != tc.last || code(d.verdict()) != tc.code {
				t.Errorf("%q and status %d, want %q and %d", got, code(d.verdict()), tc.last, tc.code)
			}
			if n := strings.Count(text, "redis  it says  [31mred\n                -> do this\n"); n != len(tc.all) {
				t.Errorf("%d findings are shown:\n%s", n, text)
			}
		})
	}
}

// Of a fleet of many tenants people are shown what is not well.
func TestDoctorShowsWhatIsNotWell(t *testing.T) {
	d := diagnosis{Lives: &lives{60, 300}}
	for i := range 100 {
		s := service.Fine
		if i == 42 {
			s = service.Failure
		}
		d.find("feed of tenant "+strconv.Itoa(i), s, "text", "")
	}
	var people, programs bytes.Buffer
	if err := errors.Join(doctorCmd{}.print(terminal{out: &people}, d),
		doctorCmd{JSON: true}.print(terminal{out: &programs}, d)); err != nil {
		t.Fatal(err)
	}
	want := "ok       99 of 100, which are not shown\nfail     feed of tenant 42  text\n"
	if !strings.HasPrefix(people.String(), want) || strings.Count(people.String(), "feed") != 1 {
		t.Errorf("it prints\n%s", &people)
	}
	if n := strings.Count(programs.String(), `"about"`); n != 100 {
		t.Errorf("programs are shown %d", n)
	}
}
