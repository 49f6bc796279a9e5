package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

const adminToken = "admin-token-hunter2"

// kept are ledgers that lie there.
type kept map[events.Home]stream.Kept

func (k kept) All(context.Context) (map[events.Home]stream.Kept, error) { return k, nil }

// keep writes ledgers.
func keep(t *testing.T, all ...subscriptions.Ledger) kept {
	t.Helper()
	k := kept{}
	for _, l := range all {
		b, err := subscriptions.EncodeLedger(l)
		if err != nil {
			t.Fatal(err)
		}
		k[l.Home] = stream.Kept{Value: b, Revision: 1}
	}
	return k
}

// keeper answers orders.
type keeper func(context.Context, events.Home, renew.Order) ([]byte, error)

func (k keeper) Ask(ctx context.Context, h events.Home, request []byte) ([]byte, error) {
	var o renew.Order
	if err := json.Unmarshal(request, &o); err != nil {
		return nil, err
	}
	return k(ctx, h, o)
}

// reports answers always the same.
func reports(t *testing.T, r renew.Report) keeper {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context, events.Home, renew.Order) ([]byte, error) { return b, nil }
}

// fails answers never.
func fails(err error) keeper {
	return func(context.Context, events.Home, renew.Order) ([]byte, error) { return nil, err }
}

func TestTheStateOfSubscriptions(t *testing.T) {
	now := time.Now()
	serves := subscriptions.Entry{ID: "s1", Want: "account", Active: true, Made: now, Expires: now.Add(time.Hour)}
	with := func(change func(*subscriptions.Entry)) []subscriptions.Entry {
		e := serves
		change(&e)
		return []subscriptions.Entry{e}
	}
	for name, c := range map[string]struct {
		ledger  subscriptions.Ledger
		want    events.FeedState
		problem string
	}{
		"proven just now": {subscriptions.Ledger{Proof: now, Entries: []subscriptions.Entry{serves}}, "alive", ""},
		"one is being replaced": {subscriptions.Ledger{Proof: now, Entries: append(
			with(func(e *subscriptions.Entry) { e.ID, e.Active = "s0", false }), serves)}, "alive", ""},
		"proven long ago": {subscriptions.Ledger{Proof: now.Add(-time.Hour), Looked: now.Add(-time.Hour),
			Entries: []subscriptions.Entry{serves}}, "doubtful", "does a listener run?"},
		"proven, and one has ended since": {subscriptions.Ledger{Proof: now, Entries: with(
			func(e *subscriptions.Entry) { e.Expires = now.Add(-time.Second) })}, "doubtful", "account: not active: expired"},
		"proven, and one has said that it is over": {subscriptions.Ledger{Proof: now, Entries: with(
			func(e *subscriptions.Entry) { e.Over, e.Status = true, "over" })}, "doubtful", "account: not active: over"},
		"a filter is disabled": {subscriptions.Ledger{Proof: now, Entries: with(
			func(e *subscriptions.Entry) { e.Disabled = []string{"roles"} })}, "doubtful", `account: filters that are not`},
		"none is there": {subscriptions.Ledger{Proof: now, Looked: now}, "doubtful", "does a listener run?"},
		"never looked":  {subscriptions.Ledger{}, "doubtful", "nobody has looked"},
		"dead": {subscriptions.Ledger{Proof: now.Add(-time.Second), Died: now, Problem: "refused",
			Fault: subscriptions.FaultRight}, "dead", "refused"},
		"alive again": {subscriptions.Ledger{Died: now.Add(-time.Minute), Proof: now,
			Entries: []subscriptions.Entry{serves}}, "alive", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.ledger.Home = home
			rows, err := service.Subscriptions{Ledgers: keep(t, c.ledger)}.List(t.Context(), "", "")
			if err != nil || len(rows) != 1 {
				t.Fatalf("%d rows, %v", len(rows), err)
			}
			if got := rows[0]; got.State != c.want || !strings.Contains(got.Problem, c.problem) ||
				(c.problem == "") != (got.Problem == "") {
				t.Errorf("%s: %q; want %s: %q", got.State, got.Problem, c.want, c.problem)
			}
		})
	}
}

// What is listed is chosen, sorted, and says when there is nothing to be read.
func TestSubscriptionsAreListedInOrder(t *testing.T) {
	ledger := func(p events.Provider, tenant events.Tenant, entries ...subscriptions.Entry) subscriptions.Ledger {
		return subscriptions.Ledger{Home: events.Home{Provider: p, Tenant: tenant}, Entries: entries}
	}
	all := keep(t, ledger("ringcentral", "2"), ledger("ringcentral", "1"), ledger("box", "9",
		subscriptions.Entry{ID: "b", Want: "y"}, subscriptions.Entry{ID: "c", Want: "x"}, subscriptions.Entry{ID: "a", Want: "y"}))
	odd := events.Home{Provider: "mural", Tenant: "m"}
	all[odd] = stream.Kept{Value: []byte(`{"provider":"box","tenant":"9"}`)}
	s := service.Subscriptions{Ledgers: all}
	for asked, want := range map[events.Home]string{
		{}:                             "box/9 xc ya yb mural/m ringcentral/1 ringcentral/2",
		{Provider: "box"}:              "box/9 xc ya yb",
		{Tenant: "2"}:                  "ringcentral/2",
		{Provider: "box", Tenant: "1"}: "",
	} {
		rows, err := s.List(t.Context(), asked.Provider, asked.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, r := range rows {
			words = append(words, r.Home.String())
			for _, one := range r.Registrations {
				words = append(words, one.For+one.ID)
			}
			if r.Home == odd && r.Problem != "its ledger cannot be read" {
				t.Errorf("%s: %q", odd, r.Problem)
			}
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%v: %q, want %q", asked, got, want)
		}
	}
}

// An order that nobody answers ends after two minutes.
func TestAnOrderHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service.Subscriptions{Calls: keeper(func(ctx context.Context, _ events.Home, _ renew.Order) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})}
		start := time.Now()
		o := s.Order(t.Context(), home, renew.DoApply)
		if took := time.Since(start); took != 2*time.Minute || !strings.Contains(o.Error, "may be under way") {
			t.Errorf("after %s: %q", took, o.Error)
		}
	})
}

// call is one call of the admin port.
type call struct {
	method, path, token, body string
}

func (c call) do(t *testing.T, client *http.Client, base string) (resp *http.Response, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", c.token)
	}
	if resp, err = client.Do(r); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestWhoIsAdmittedToSubscriptions(t *testing.T) {
	const list, plan, bearer = service.SubscriptionsPath, service.SubscriptionsPath + "/plan", "Bearer " + adminToken
	const ours = `{"provider":"ringcentral","tenant":"` + account + `"}`
	for name, c := range map[string]struct {
		call
		status int
		says   string
		header string // must be set
	}{
		"no token":          {call{"GET", list, "", ""}, 401, "bearer token", "Www-Authenticate"},
		"another token":     {call{"GET", list, bearer + "x", ""}, 401, "bearer token", "Www-Authenticate"},
		"no bearer":         {call{"POST", plan, adminToken, ours}, 401, "bearer token", "Www-Authenticate"},
		"no such thing":     {call{"POST", list + "/explode", bearer, ours}, 404, "plan apply renew rotate remove", ""},
		"a listener's word": {call{"POST", list + "/over", bearer, ours}, 404, "plan apply", ""},
		"nothing below":     {call{"POST", list + "/", bearer, ours}, 404, "plan apply", ""},
		"a tenant that is not here": {call{"POST", plan, bearer, `{"provider":"ringcentral","tenant":"1"}`}, 404,
			"ringcentral/1", ""},
		"a list that is posted": {call{"POST", list, bearer, ours}, 405, "GET", "Allow"},
		"an order that is got":  {call{"GET", plan, bearer, ""}, 405, "POST", "Allow"},
		"no JSON":               {call{"POST", plan, bearer, "provider"}, 400, "the body must be", ""},
		"no tenant":             {call{"POST", plan, bearer, `{"provider":"box"}`}, 400, "tenant", ""},
		"too much":              {call{"POST", plan, bearer, strings.Repeat(" ", 64<<10) + ours}, 413, "65536", ""},
		"all is well":           {call{"POST", plan, bearer, ours}, 200, `"steps":[]`, ""},
		"a list":                {call{"GET", list, bearer, ""}, 200, `[]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := service.Subscriptions{Ledgers: kept{}, Calls: reports(t, renew.Report{})}
			server := httptest.NewServer(service.NewDesk(s, adminToken, []events.Home{home}, slog.New(slog.DiscardHandler)))
			defer server.Close()
			resp, body := c.do(t, server.Client(), server.URL)
			if resp.StatusCode != c.status || !strings.Contains(body, c.says) || !json.Valid([]byte(body)) {
				t.Errorf("%d %s; want %d, %q", resp.StatusCode, body, c.status, c.says)
			}
			if c.header != "" && resp.Header.Get(c.header) == "" {
				t.Errorf("no %s", c.header)
			}
			if strings.Contains(body, adminToken) {
				t.Error("the token is repeated")
			}
		})
	}
}

func TestWithoutATokenNobodyIsAdmitted(t *testing.T) {
	server := httptest.NewServer(service.NewDesk(service.Subscriptions{Ledgers: kept{}}, "", nil,
		slog.New(slog.DiscardHandler)))
	defer server.Close()
	for _, token := range []string{"", "Bearer ", "Bearer x"} {
		resp, body := call{"GET", service.SubscriptionsPath, token, ""}.do(t, server.Client(), server.URL)
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "set listener.admin_token") {
			t.Errorf("%q: %d %s", token, resp.StatusCode, body)
		}
	}
}

func TestWhatBecomesOfAnOrder(t *testing.T) {
	step := renew.Step{Verb: renew.Create, Want: "account", Why: "there is none"}
	for name, c := range map[string]struct {
		keeper keeper
		status int
		says   string
	}{
		"done":                    {reports(t, renew.Report{Steps: []renew.Step{step}}), 200, `"verb":"create"`},
		"the provider says no":    {reports(t, renew.Report{Steps: []renew.Step{step}, Error: "refused"}), 502, `"error":"refused"`},
		"the secret is the app's": {reports(t, renew.Report{Error: renew.ErrAppSecret.Error()}), 409, "the app's"},
		"nobody keeps it":         {fails(events.ErrNobody), 503, "no listener runs for ringcentral/" + account},
		"no connection":           {fails(errors.New("nats: reconnecting")), 503, "reconnecting"},
		"too late":                {fails(context.DeadlineExceeded), 504, "may be under way"},
		"another version": {keeper(func(context.Context, events.Home, renew.Order) ([]byte, error) { return []byte("?"), nil }),
			503, "another version"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			server := httptest.NewServer(service.NewDesk(service.Subscriptions{Calls: c.keeper}, adminToken,
				[]events.Home{home}, slog.New(slog.NewTextHandler(&log, nil))))
			resp, body := call{"POST", service.SubscriptionsPath + "/apply", "Bearer " + adminToken,
				`{"provider":"ringcentral","tenant":"` + account + `"}`}.do(t, server.Client(), server.URL)
			server.Close()
			if resp.StatusCode != c.status || !strings.Contains(body, c.says) || !strings.Contains(body, `"do":"apply"`) {
				t.Errorf("%d %s; want %d, %q", resp.StatusCode, body, c.status, c.says)
			}
			if got := resp.Header.Get("Retry-After") != ""; got != (c.status == 503) {
				t.Errorf("Retry-After: %t", got)
			}
			if !strings.Contains(log.String(), "order=apply provider=ringcentral tenant="+account) {
				t.Errorf("logged: %s", &log)
			}
		})
	}
}

// A server that hurries its callers lets an order take its time.
func TestAnOrderOutlastsTheServersLimits(t *testing.T) {
	const limits = 100 * time.Millisecond
	slow := keeper(func(ctx context.Context, _ events.Home, _ renew.Order) ([]byte, error) {
		select {
		case <-time.After(4 * limits): // longer than the limits is the point
			return json.Marshal(renew.Report{})
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	server := httptest.NewUnstartedServer(service.NewDesk(service.Subscriptions{Calls: slow}, adminToken,
		[]events.Home{home}, slog.New(slog.DiscardHandler)))
	server.Config.ReadTimeout, server.Config.WriteTimeout = limits, limits
	server.Start()
	defer server.Close()
	resp, body := call{"POST", service.SubscriptionsPath + "/apply", "Bearer " + adminToken,
		`{"provider":"ringcentral","tenant":"` + account + `"}`}.do(t, server.Client(), server.URL)
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// Every listener answers, whoever keeps the subscriptions.
func TestEveryListenerTakesOrders(t *testing.T) {
	w := startWorld(t, options{edit: func(c *config.Config) {
		c.Listener.AdminToken = subscriptions.NewSecret(adminToken)
	}})
	other := *w.cfg
	other.Listener.Addr = freeAddr(t)
	it, err := service.NewListener(t.Context(), &other, w.logger("listener"))
	if err != nil {
		t.Fatal(err)
	}
	second := run(t, it)
	before := w.expect(bea, cache.Granted, abroad)
	var answers []service.Ordered
	for _, l := range []*service.Listener{w.listener.it, second.it} {
		resp, body := call{"POST", service.SubscriptionsPath + "/rotate", "Bearer " + adminToken,
			`{"provider":"ringcentral","tenant":"` + account + `"}`}.do(t, w.client, "http://"+l.AdminAddr())
		var o service.Ordered
		if err := json.Unmarshal([]byte(body), &o); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		answers = append(answers, o)
	}
	for i, o := range answers {
		if len(o.Steps) == 0 || o.Steps[0].Verb != renew.Replace || o.Now == nil || o.Now.State != events.FeedAlive {
			t.Errorf("order %d: %+v", i, o)
		}
	}
	made := slices.DeleteFunc(answers[0].Now.Registrations, func(r service.Registration) bool {
		return !r.Leaving.IsZero()
	})
	if len(made) != 1 || !slices.ContainsFunc(answers[1].Steps, func(s renew.Step) bool { return s.ID == made[0].ID }) {
		t.Errorf("the second order did not replace what the first has made: %+v, %+v", made, answers[1].Steps)
	}
	w.assign(bea, lesserRole)
	w.refreshed(bea, before) // by a delivery that bears the new secret
	var lists []string
	for _, l := range []*service.Listener{w.listener.it, second.it} {
		_, body := call{"GET", service.SubscriptionsPath, "Bearer " + adminToken, ""}.
			do(t, w.client, "http://"+l.AdminAddr())
		lists = append(lists, body)
	}
	if diff := cmp.Diff(lists[0], lists[1]); diff != "" || !strings.Contains(lists[0], `"state":"alive"`) {
		t.Errorf("the lists differ, or are none:\n%s", diff)
	}
	if leaks := leaked(w, strings.Join(lists, "")); len(leaks) > 0 {
		t.Errorf("it shows %v", leaks)
	}
}
