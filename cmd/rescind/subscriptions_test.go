package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
)

// rescind runs a command here and returns what it prints.
func rescind(args ...string) (code int, out, problems string) {
	var o, e bytes.Buffer
	code = run(args, terminal{&o, &e})
	return code, o.String(), e.String()
}

// startNATS starts one that is empty.
func startNATS(t *testing.T) string {
	t.Helper()
	s, err := natslocal.Start(t.Context(), natslocal.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s.URL()
}

// note stores ledgers as a listener does.
func note(t *testing.T, url string, all ...subscriptions.Ledger) {
	t.Helper()
	nc, err := stream.Connect(t.Context(), stream.ConnectOptions{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s, err := stream.Open(t.Context(), nc, stream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		b, err := subscriptions.EncodeLedger(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ledgers().Save(t.Context(), l.Home, b, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// The list is of what is noted, no listener runs; nobody's names play with the
// terminal.
func TestSubscriptionsAreListedForPeople(t *testing.T) {
	url, now, day := startNATS(t), time.Now(), 24*time.Hour
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	entry := subscriptions.Entry{ID: "s1", Want: "account", Active: true}
	young, old, odd := entry, entry, entry
	young.ID, young.Serial, young.Made, young.Expires = "s\x1b1", 7, now.Add(-40*day), now.Add(6*day+time.Hour)
	young.Delivered = now.Add(-5*time.Minute - 30*time.Second)
	old.ID, old.Want = "w1", "folder:1"
	odd.ID, odd.Expires = "s2", now.Add(30*time.Minute+30*time.Second)
	home := func(p events.Provider, tenant events.Tenant) events.Home {
		return events.Home{Provider: p, Tenant: tenant}
	}
	note(t, url,
		subscriptions.Ledger{Home: home("ringcentral", "1"), Proof: now.Add(-90 * time.Second),
			Entries: []subscriptions.Entry{young},
			Gaps: []subscriptions.Gap{{From: then, To: then.Add(42 * time.Second), Cause: "no \x1b listener ran",
				Mended: subscriptions.Swept}}},
		subscriptions.Ledger{Home: home("ringcentral", "t\"1\x1b[2J\r\n"), Proof: now.Add(-2*time.Hour - time.Minute),
			Looked: then, Entries: []subscriptions.Entry{odd}},
		subscriptions.Ledger{Home: home("box", "9"), Proof: now.Add(-3*time.Hour - time.Minute),
			Died:  then.AddDate(10, 0, 0),
			Fault: subscriptions.FaultAddress, Problem: "no \x1b route", Entries: []subscriptions.Entry{old}},
	)
	code, out, problems := rescind("subscriptions", "list", "--nats", url)
	if code != 1 || problems != "" {
		t.Errorf("exit status %d, %s", code, problems)
	}
	want := `PROVIDER     TENANT           FOR       ID      STATE     EXPIRES  DELIVERED  PROVEN  SECRET
box          9                folder:1  w1      dead      -        -          3h ago  -
ringcentral  1                account   s\x1b1  alive     in 6d    5m ago     1m ago  40d ago
ringcentral  t\"1\x1b[2J\r\n  account   s2      doubtful  in 30m   -          2h ago  -

box 9: dead since 2036-01-02T03:04:05Z: address not reachable: no \x1b route
ringcentral 1: last gap 2026-01-02T03:04:05Z to 2026-01-02T03:04:47Z (42s): no \x1b listener ran; swept
ringcentral t\"1\x1b[2J\r\n: doubtful: not shown to live since the last look, which was at ` +
		"2026-01-02T03:04:05Z: does a listener run?\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("- want, + got:\n%s", diff)
	}
}

// Without a ledger there is nothing to list, and without a listener nothing to order.
func TestWhereNobodyHasLookedAfterSubscriptions(t *testing.T) {
	url := startNATS(t)
	expect := func(want int, says string, args ...string) {
		t.Helper()
		code, out, problems := rescind(append(args, "--nats", url)...)
		if code != want || !strings.Contains(out+problems, says) {
			t.Errorf("%v: exit status %d, %s%s; want %d, %q", args, code, out, problems, want, says)
		}
	}
	expect(1, "no listener has run with this NATS", "subscriptions", "list")
	expect(1, "no listener has run with this NATS", "subscriptions", "apply")
	note(t, url) // opens the streams
	expect(0, "there are no subscriptions", "subscriptions", "list")
	expect(1, "nothing is noted of any tenant", "subscriptions", "plan")
	expect(1, "nothing is noted of box: ", "subscriptions", "list", "box")
	expect(1, "--every", "subscriptions", "watch", "--every", "1ms")
	expect(1, "provider and tenant must be named", "subscriptions", "remove", "box", "", "--yes")
	note(t, url, subscriptions.Ledger{Home: events.Home{Provider: "box", Tenant: "9"}})
	expect(1, "box 9: FAILED: no listener runs for box/9", "subscriptions", "plan")
	expect(1, "box 9: doubtful: nobody has looked after it yet", "subscriptions", "list")
	url = "://"
	expect(1, "--nats or --config say where it is", "subscriptions", "list")
}

func TestHowNATSIsReached(t *testing.T) {
	dir := t.TempDir()
	file := func(name, nats string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("nats: "+nats+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("T_PASSWORD", "hunter2")
	user := file("user.yml", `{url: "tls://f:4222", user: fred, password: "env:T_PASSWORD", tls_ca: ca.pem}`)
	creds := file("creds.yml", `{url: "nats://f:4222", credentials: f.creds}`)
	bare := file("bare.yml", `{}`)
	for name, c := range map[string]struct {
		flags natsFlags
		want  stream.ConnectOptions
		says  string
	}{
		"nothing is said": {natsFlags{}, stream.ConnectOptions{}, ""},
		"flags": {natsFlags{Nats: "nats://g", User: "g", Password: "hunter2g", TLSCA: "g.pem"},
			stream.ConnectOptions{URL: "nats://g", User: "g", Password: "hunter2g", CAFile: "g.pem"}, ""},
		"a file": {natsFlags{Config: user},
			stream.ConnectOptions{URL: "tls://f:4222", User: "fred", Password: "hunter2", CAFile: "ca.pem"}, ""},
		"a file that says nothing": {natsFlags{Config: bare}, stream.ConnectOptions{URL: "nats://127.0.0.1:4222"}, ""},
		"another server": {natsFlags{Config: user, Nats: "tls://g"},
			stream.ConnectOptions{URL: "tls://g", User: "fred", Password: "hunter2", CAFile: "ca.pem"}, ""},
		"another authority": {natsFlags{Config: user, TLSCA: "g.pem"},
			stream.ConnectOptions{URL: "tls://f:4222", User: "fred", Password: "hunter2", CAFile: "g.pem"}, ""},
		"credentials instead of a user": {natsFlags{Config: user, Credentials: "g.creds"},
			stream.ConnectOptions{URL: "tls://f:4222", CredentialsFile: "g.creds", CAFile: "ca.pem"}, ""},
		"a user instead of credentials": {natsFlags{Config: creds, User: "g", Password: "hunter2g"},
			stream.ConnectOptions{URL: "nats://f:4222", User: "g", Password: "hunter2g"}, ""},
		"a password for nobody": {natsFlags{Config: creds, Password: "hunter2g"},
			stream.ConnectOptions{URL: "nats://f:4222", CredentialsFile: "f.creds"}, ""},
		"both": {natsFlags{User: "g", Credentials: "g.creds"},
			stream.ConnectOptions{User: "g", CredentialsFile: "g.creds"}, ""},
		"a password that is not there": {natsFlags{Config: file("gone.yml", `{user: fred, password: "env:T_NONE"}`)},
			stream.ConnectOptions{}, "nats.password: environment variable T_NONE is not set"},
		"a password without a user": {natsFlags{Config: file("nobody.yml", `{password: "env:T_PASSWORD"}`)},
			stream.ConnectOptions{}, "nats.user"},
		"no file":     {natsFlags{Config: filepath.Join(dir, "none.yml")}, stream.ConnectOptions{}, "none.yml"},
		"a bad field": {natsFlags{Config: file("bad.yml", `{urll: x}`)}, stream.ConnectOptions{}, "nats.urll"},
	} {
		t.Run(name, func(t *testing.T) {
			checkOptions(t, c.flags, c.want, c.says)
		})
	}
}

func checkOptions(t *testing.T, f natsFlags, want stream.ConnectOptions, says string) {
	t.Helper()
	got, err := f.options()
	if says != "" {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want %q", err, says)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	got.Log = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("- want, + got:\n%s", diff)
	}
}

func TestWhatWatchTells(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	one := service.Registration{ID: "s1", For: "account", Serves: true, Expires: at}
	row := func(change func(*service.Subscribed)) service.Subscribed {
		s := service.Subscribed{State: events.FeedAlive, Registrations: []service.Registration{one}}
		change(&s)
		return s
	}
	with := func(change func(*service.Registration)) service.Subscribed {
		r := one
		change(&r)
		return row(func(s *service.Subscribed) { s.Registrations = []service.Registration{r} })
	}
	before := row(func(s *service.Subscribed) { s.Gaps = []subscriptions.Gap{{From: at, To: at}} })
	for name, c := range map[string]struct {
		is   service.Subscribed
		want []string
	}{
		"it only got older": {row(func(s *service.Subscribed) { s.Proof, s.Looked, s.Gaps = at, at, before.Gaps }), nil},
		"dead": {row(func(s *service.Subscribed) { s.State, s.Problem = events.FeedDead, "refused" }),
			[]string{"it was alive; refused"}},
		"doubtful": {row(func(s *service.Subscribed) { s.State = events.FeedDoubtful }), []string{"it was alive"}},
		"limited":  {row(func(s *service.Subscribed) { s.Problem = "later" }), []string{"problem: later"}},
		"another": {with(func(r *service.Registration) { r.ID = "s2" }), []string{
			"subscription s2 for account is new, and ends 2026-01-02T03:04:05Z", "subscription s1 for account is gone"}},
		"renewed": {with(func(r *service.Registration) { r.Renewed = at }),
			[]string{"subscription s1 for account was renewed, and ends 2026-01-02T03:04:05Z"}},
		"replaced": {with(func(r *service.Registration) { r.Leaving = at }),
			[]string{"subscription s1 for account is replaced, and goes soon"}},
		"stopped": {with(func(r *service.Registration) { r.Serves, r.Status = false, "Blacklisted" }),
			[]string{"subscription s1 for account does not serve: not active: Blacklisted"}},
		"delivered": {row(func(s *service.Subscribed) { s.Delivered = at }), []string{"delivered at 2026-01-02T03:04:05Z"}},
		"a gap": {row(func(s *service.Subscribed) {
			s.Gaps = append(s.Gaps, before.Gaps[0], subscriptions.Gap{From: at, To: at.Add(90 * time.Second), Cause: "gone",
				Mended: subscriptions.Followed})
		}), []string{"gap 2026-01-02T03:04:05Z to 2026-01-02T03:05:35Z (1m): gone; followed by the tail"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, changes(before, c.is, true)); diff != "" {
				t.Errorf("- want, + got:\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff([]string{"1 subscription"}, changes(service.Subscribed{}, before, false)); diff != "" {
		t.Errorf("at first: - want, + got:\n%s", diff)
	}
}

func TestTimesInWords(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "0s ago", 59 * time.Second: "in 59s", -time.Minute: "1m ago", -90 * time.Minute: "1h ago",
		47 * time.Hour: "in 47h", 6*24*time.Hour + 23*time.Hour: "in 6d", -400 * 24 * time.Hour: "400d ago",
	} {
		if got := distance(now.Add(d), now); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if got := distance(time.Time{}, now); got != "-" {
		t.Errorf("never: %q", got)
	}
}

// People copy from --help: the story runs each line that stands there.
func TestTheStoryRunsTheExamples(t *testing.T) {
	story, err := os.ReadFile("testdata/stories/subscriptions.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, help := range []string{
		subscriptionsListCmd{}.Help(), subscriptionsPlanCmd{}.Help(), subscriptionsApplyCmd{}.Help(),
		subscriptionsRenewCmd{}.Help(), subscriptionsRotateCmd{}.Help(), subscriptionsRemoveCmd{}.Help(),
		subscriptionsWatchCmd{}.Help(),
	} {
		_, examples, found := strings.Cut(help, "Examples:\n")
		if !found {
			t.Errorf("no examples in %q", help)
		}
		for line := range strings.Lines(examples) {
			if line = strings.TrimSpace(line); !strings.Contains(string(story), "\nexec "+line) {
				t.Errorf("not run: %s", line)
			}
		}
	}
}
