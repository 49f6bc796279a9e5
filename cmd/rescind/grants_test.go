package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

// TestGrantStories plays testdata/grants, each before a NATS of its own, at $NATS.
// Beside testscript's own, their commands are:
//
//	status CODE COMMAND...   as in TestStories
//	mural LIFE               start a simulated Mural at $MURAL, whose refresh tokens live so long
//	consent USER FILE        the user consents; the refresh token is in the file
//	end USER                 the user's consent is taken back
//	poll                     what a worker does: look for changes, with the poller's grant
//	hides FILE...            what was printed last does not hold what is in a file
func TestGrantStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/grants", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			s, err := natslocal.Start(context.Background(), natslocal.Options{Addr: "127.0.0.1:0"})
			if err != nil {
				return err
			}
			e.Defer(func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			})
			e.Setenv("NATS", s.URL())
			e.Values["mural"] = new(*muralsim.Mural)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "mural": startMural, "consent": consent, "end": endConsent, "poll": poll,
			"hides": hides,
		},
	})
}

// simulated is the simulator that the story has started.
func simulated(ts *testscript.TestScript) **muralsim.Mural {
	return ts.Value("mural").(**muralsim.Mural)
}

func startMural(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	life, err := time.ParseDuration(args[0])
	ts.Check(err)
	*simulated(ts) = muralsim.New(muralsim.Options{RefreshLife: life})
	s := httptest.NewServer(*simulated(ts))
	ts.Defer(s.Close)
	ts.Setenv("MURAL", s.URL+"/api/public/v1")
}

func consent(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2)
	_, refresh, err := (*simulated(ts)).Authorize(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(refresh+"\n"), 0o600))
}

func endConsent(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1)
	if (*simulated(ts)).DropGrant(args[0]) == 0 {
		ts.Fatalf("%s had not consented", args[0])
	}
}

func poll(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, false, len(args) == 0)
	var environ []string
	for _, name := range []string{"KEY", "APP_SECRET", "RESCIND_NATS_URL", "RESCIND_PROVIDERS_MURAL_BASE_URL"} {
		environ = append(environ, name+"="+ts.Getenv(name))
	}
	cfg, err := config.Load(ts.MkAbs("rescind.yml"), environ)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	all, shut, err := service.Granters(ctx, cfg, slog.New(slog.DiscardHandler))
	ts.Check(err)
	defer shut()
	_, _, err = all[0].Granter.(subscriptions.Tail).Poll(ctx, nil)
	if errors.Is(err, subscriptions.ErrMisconfigured) != neg || !neg && err != nil {
		ts.Fatalf("the poll: %v", err)
	}
}

func hides(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) > 0)
	printed := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	for _, file := range args {
		if secret := strings.TrimSpace(ts.ReadFile(file)); secret == "" || strings.Contains(printed, secret) {
			ts.Fatalf("it prints what is in %s, or that is empty", file)
		}
	}
}

func TestTheStateOfAGrant(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		grant subscriptions.Grant
		state string
		why   string
	}{
		"does not tell":   {subscriptions.Grant{}, grantAlive, "-"},
		"ends next month": {subscriptions.Grant{Expires: now.AddDate(0, 1, 0)}, grantAlive, "-"},
		"ends in a day":   {subscriptions.Grant{Expires: now.Add(24 * time.Hour)}, grantAlive, "-"},
		"ends sooner": {subscriptions.Grant{Expires: now.Add(24*time.Hour - time.Minute)}, grantDue,
			"it ends in 23h59m"},
		"ends now":     {subscriptions.Grant{Expires: now}, grantDue, "it has ended"},
		"met an error": {subscriptions.Grant{Error: "status 500"}, grantAlive, "the last refresh met: status 500"},
		"dead": {subscriptions.Grant{Dead: "refused\x1b", Died: now, Error: "status 400",
			Expires: now.AddDate(0, 1, 0)}, grantDead, `refused\x1b, since 2026-03-01T12:00:00Z`},
	} {
		t.Run(name, func(t *testing.T) {
			r := rowOf(events.Home{Provider: "mural", Tenant: "w"}, c.grant, now)
			if r.State != c.state || r.why() != c.why {
				t.Errorf("%s, %q; want %s, %q", r.State, r.why(), c.state, c.why)
			}
		})
	}
}

// What a vendor chose does not play with the terminal, and each grant is a line.
func TestGrantsArePlainLines(t *testing.T) {
	const evil = "a\x1b[2J\nb\t"
	rows := make([]grantRow, 3)
	for i := range rows {
		rows[i] = grantRow{Provider: "mural", Tenant: evil, User: events.Subject(strconv.Itoa(i) + evil), Why: evil}
	}
	var b bytes.Buffer
	if err := (grantsListCmd{}).print(terminal{out: &b}, rows); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 4 || strings.ContainsAny(b.String(), "\x1b\t") {
		t.Errorf("%d lines: %q", n, b.String())
	}
}

func TestColumnsThatAreEmptyAreLeftOut(t *testing.T) {
	got := scopeTable([]subscriptions.Scope{{Name: "a", ID: "A", Tabled: true},
		{Name: "b", ID: "B", Needs: []string{"A", "C"}, Tabled: true}})
	want := [][]string{{"SCOPE", "ID", "NEEDS"}, {"a", "A", ""}, {"b", "B", "A C"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
