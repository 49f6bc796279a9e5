package boxsim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// wire carries deliveries without a network, so that time can be simulated.
type wire struct {
	mu     sync.Mutex
	status int
	came   []string    // triggers
	at     []time.Time // when
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var body struct{ Trigger string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.came, w.at = append(w.came, body.Trigger), append(w.at, time.Now())
	return &http.Response{StatusCode: w.status, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// take gives what came since it was last asked, once all is quiet.
func (w *wire) take() (came []string, at []time.Time) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	came, at = w.came, w.at
	w.came, w.at = nil, nil
	return came, at
}

// virtual runs a test in simulated time, with a webhook on the folder of projects.
func virtual(t *testing.T, status int, run func(*testing.T, *boxsim.Box, *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{status: status}
		s := boxsim.New(boxsim.Options{Transport: w})
		body, err := json.Marshal(webhookBody("folder", boxsim.FolderProjects, "https://a.example/x",
			"FOLDER.RENAMED"))
		must(t, err)
		r := httptest.NewRequest(http.MethodPost, "/2.0/webhooks", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+s.IssueToken(boxsim.ServiceUser))
		reply := httptest.NewRecorder()
		s.ServeHTTP(reply, r)
		if reply.Code != http.StatusCreated {
			t.Fatalf("%d %s", reply.Code, reply.Body)
		}
		run(t, s, w)
		must(t, s.Close(context.Background()))
	})
}

// TestTwelveRetriesInTwoHours, and nothing after that.
func TestTwelveRetriesInTwoHours(t *testing.T) {
	virtual(t, http.StatusServiceUnavailable, func(t *testing.T, s *boxsim.Box, w *wire) {
		begin := time.Now()
		must(t, s.Rename(boxsim.FolderPlans, "x"))
		time.Sleep(24 * time.Hour)
		came, at := w.take()
		if len(came) != 13 || at[0].Sub(begin) != 0 || at[12].Sub(begin) != 2*time.Hour {
			t.Fatalf("%d attempts: %v", len(came), at)
		}
		for n := range 12 {
			if gap := at[n+1].Sub(at[n]); gap != 10*time.Minute {
				t.Errorf("retry %d after %v", n+1, gap)
			}
		}
	})
}

// TestCleanUp: 30 days without a success, and a trigger more than 14 days after the
// last one.
func TestCleanUp(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		status         int
		triggered, now time.Duration
		gone           bool
	}{
		"failing for 30 days":               {500, 15 * day, 30 * day, true},
		"failing for 29 days":               {500, 15 * day, 29 * day, false},
		"not triggered after the 14th day":  {500, 14 * day, 60 * day, false},
		"never triggered":                   {500, 0, 60 * day, false},
		"failed after a success on day 15":  {200, 15 * day, 40 * day, false},
		"triggered late, after the 30 days": {500, 45 * day, 46 * day, true},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, c.status, func(t *testing.T, s *boxsim.Box, w *wire) {
				time.Sleep(c.triggered)
				if c.triggered > 0 {
					must(t, s.Rename(boxsim.FolderPlans, "x"))
				}
				time.Sleep(c.now - c.triggered)
				w.take()
				if gone := len(s.Webhooks()) == 0; gone != c.gone {
					t.Errorf("gone %t", gone)
				}
				came, _ := w.take()
				if c.gone != (len(came) == 1 && came[0] == "WEBHOOK.DELETED") || !c.gone && len(came) > 0 {
					t.Errorf("came %q", came)
				}
			})
		})
	}
}

// TestASilentDeletion: nothing is said, and nothing is tried again.
func TestASilentDeletion(t *testing.T) {
	virtual(t, http.StatusServiceUnavailable, func(t *testing.T, s *boxsim.Box, w *wire) {
		must(t, s.Rename(boxsim.FolderPlans, "x"))
		if came, _ := w.take(); len(came) != 1 {
			t.Fatalf("came %q", came)
		}
		must(t, s.LoseWebhook(s.Webhooks()[0].ID))
		must(t, s.Rename(boxsim.FolderPlans, "y"))
		time.Sleep(3 * time.Hour)
		if came, _ := w.take(); len(came) != 0 || len(s.Webhooks()) != 0 {
			t.Errorf("came %q, %d webhooks", came, len(s.Webhooks()))
		}
		if s.LoseWebhook("1") == nil || s.EndSession("1") == nil {
			t.Error("no error for one that is not there")
		}
	})
}

func TestASilentDeletionOverHTTP(t *testing.T) {
	w := start(t, boxsim.Options{})
	id := w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, "http://127.0.0.1:1/x", "FOLDER.RENAMED")
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, w.url+"/sim/webhooks/"+id, http.NoBody)
		must(t, err)
		if a := w.do(t, r); a.status != want {
			t.Errorf("got %d, want %d", a.status, want)
		}
	}
}

// TestTheSessionOfOneWebhook ends for that one, until it is made anew.
func TestTheSessionOfOneWebhook(t *testing.T) {
	w := start(t, boxsim.Options{Senders: 1})
	token, h, other := w.service(t), listen(t, nil), listen(t, nil)
	id := w.subscribe(t, token, "folder", boxsim.FolderProjects, h.url, "FOLDER.RENAMED")
	w.subscribe(t, token, "folder", boxsim.FolderPlans, other.url, "FOLDER.RENAMED")
	must(t, w.EndSession(id))
	must(t, w.Rename(boxsim.FolderPlans, "x"))
	n := h.next(t, "NO_ACTIVE_SESSION")
	if text(at(n.json, "webhook", "id")) != id || n.json["source"] != nil {
		t.Errorf("got %s", n.raw)
	}
	other.next(t, "FOLDER.RENAMED")
	w.call(t, token, "PUT", "/webhooks/"+id, map[string]any{"address": h.url}).want(t, 200, "")
	must(t, w.Rename(boxsim.FolderPlans, "y"))
	h.next(t, "NO_ACTIVE_SESSION")
	w.call(t, token, "DELETE", "/webhooks/"+id, nil).want(t, 204, "")
	w.subscribe(t, token, "folder", boxsim.FolderProjects, h.url, "FOLDER.RENAMED")
	must(t, w.Rename(boxsim.FolderPlans, "z"))
	h.next(t, "FOLDER.RENAMED")
}

func TestFewerWebhooksAllowed(t *testing.T) {
	w := start(t, boxsim.Options{MaxWebhooks: 1})
	token := w.service(t)
	w.subscribe(t, token, "folder", boxsim.FolderProjects, "http://127.0.0.1:1/x", "FOLDER.RENAMED")
	more := webhookBody("folder", boxsim.FolderPlans, "http://127.0.0.1:1/x", "FOLDER.RENAMED")
	a := w.call(t, token, "POST", "/webhooks", more).want(t, 400, "bad_request")
	if !strings.Contains(string(a.raw), "limit") {
		t.Errorf("got %s", a.raw)
	}
	w.SetQuirks(boxsim.Quirks{BareRefusals: true})
	a = w.call(t, token, "POST", "/webhooks", more).want(t, 400, "bad_request")
	if a.json["context_info"] != nil {
		t.Errorf("not bare: %s", a.raw)
	}
	w.call(t, w.as(t, boxsim.OwnerUser), "POST", "/webhooks", more).want(t, 201, "") // another user
}

// TestAddressesThatCannotBeReached, of which one is made so later.
func TestAddressesThatCannotBeReached(t *testing.T) {
	w := start(t, boxsim.Options{RequireHTTPS: true})
	token := w.service(t)
	create := func(address string) answer {
		t.Helper()
		return w.call(t, token, "POST", "/webhooks",
			webhookBody("folder", boxsim.FolderPlans, address, "FOLDER.MOVED"))
	}
	for _, address := range []string{"https://127.0.0.1/", "https://10.1.2.3/", "https://[fd00::1]/",
		"https://[::1]/", "https://localhost/", "https://hooks/", "https://API.box.com/"} {
		if a := create(address); a.status != 400 || !strings.Contains(string(a.raw), `"address"`) {
			t.Errorf("%s: %d %s", address, a.status, a.raw)
		}
	}
	w.SetUnreachable("a.example")
	create("https://a.example/").want(t, 400, "bad_request")
	w.SetUnreachable()
	id := text(create("https://a.example/").want(t, 201, "").json["id"])
	w.SetUnreachable("a.example") // what is there stays
	triggers := map[string]any{"triggers": []string{"FILE.MOVED"}}
	w.call(t, token, "PUT", "/webhooks/"+id, triggers).want(t, 200, "")
	w.call(t, token, "PUT", "/webhooks/"+id, map[string]any{"address": "https://a.example/"}).
		want(t, 400, "bad_request")
}

func TestWebhooksWithoutTheScope(t *testing.T) {
	w := start(t, boxsim.Options{})
	id := w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, "http://127.0.0.1:1/x", "FOLDER.RENAMED")
	narrow := w.as(t, boxsim.ServiceUser, "root_readwrite")
	for method, path := range map[string]string{"GET": "/webhooks", "POST": "/webhooks",
		"PUT": "/webhooks/" + id, "DELETE": "/webhooks/" + id} {
		w.call(t, narrow, method, path, map[string]any{}).want(t, 403, "insufficient_scope")
	}
}
