package boxsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

func TestStatusFaults(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	for status, code := range map[int]string{429: "rate_limit_exceeded", 503: "unavailable", 502: "bad_gateway",
		500: "internal_server_error", 401: "invalid_token", 403: denied, 404: "not_found"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			must(t, w.Fault(boxsim.Fault{Operation: "get_folders_id", Kind: boxsim.Status, Status: status, Count: 1,
				Delay: 1500 * time.Millisecond}))
			w.get(t, token, "/users/me").want(t, 200, "") // another operation
			a := w.get(t, token, projects).want(t, status, code)
			if got := a.head.Get("Retry-After"); got != "2" && (status == 429 || status >= 500) {
				t.Errorf("Retry-After %q", got)
			}
			w.get(t, token, projects).want(t, 200, "")
		})
	}
	if got := w.Calls("get_folders_id"); got != 14 {
		t.Errorf("counted %d calls, want 14", got)
	}
	must(t, w.Fault(boxsim.Fault{Kind: boxsim.Status, Status: 503}))
	for range 3 {
		w.get(t, token, "/users/me").want(t, 503, "unavailable")
	}
	w.ClearFaults()
	w.get(t, token, "/users/me").want(t, 200, "")
}

func TestRateLimit(t *testing.T) {
	w := start(t, boxsim.Options{Limit: 5, Speed: 60}) // a second
	token, other := w.service(t), w.as(t, boxsim.MemberUser)
	for range 5 {
		w.get(t, token, "/users/me", "As-User", boxsim.MemberUser).want(t, 200, "")
	}
	a := w.get(t, token, "/users/me").want(t, 429, "rate_limit_exceeded")
	if got := a.head.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q", got)
	}
	w.get(t, w.service(t), "/users/me").want(t, 429, "rate_limit_exceeded") // it is the user's
	w.get(t, other, "/users/me").want(t, 200, "")
	w.SetQuirks(boxsim.Quirks{TooManyRequests: true, LimitAsUser: true})
	w.get(t, token, "/users/me").want(t, 429, "too_many_requests")
	w.get(t, token, "/users/me", "As-User", boxsim.MemberUser).want(t, 200, "")
	eventually(t, "the next minute", func() bool { return w.get(t, token, "/users/me").status == 200 })
}

func TestTheUsualLimit(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	for range 1000 {
		w.get(t, token, "/users/me?fields=id").want(t, 200, "")
	}
	w.get(t, token, "/users/me").want(t, 429, "rate_limit_exceeded")
}

func TestLateTornAndLostReplies(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	must(t, w.Fault(boxsim.Fault{Operation: "get_users_me", Kind: boxsim.Delay, Count: 1,
		Delay: 50 * time.Millisecond}))
	begin := time.Now()
	if w.get(t, token, "/users/me").want(t, 200, ""); time.Since(begin) < 50*time.Millisecond {
		t.Errorf("took %v", time.Since(begin))
	}
	must(t, w.Fault(boxsim.Fault{Operation: "get_users_me", Kind: boxsim.Truncate, Count: 1}))
	reply, err := http.DefaultClient.Do(w.request(t, token, "GET", "/users/me", nil))
	must(t, err)
	defer reply.Body.Close()
	if body, err := io.ReadAll(reply.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 {
		t.Errorf("torn: %v after %q", err, body)
	}
	must(t, w.Fault(boxsim.Fault{Operation: "delete_collaborations_id", Kind: boxsim.Drop, Count: 1}))
	reply, err = http.DefaultClient.Do(w.request(t, token, "DELETE", "/collaborations/31", nil))
	if err == nil {
		reply.Body.Close()
		t.Errorf("lost: %v", reply.Status)
	}
	w.get(t, token, "/collaborations/31").want(t, 200, "") // had no effect
}

// TestLateProvider answers with the old state for a while after the notice of the change, each kind of read.
func TestLateProvider(t *testing.T) {
	w := start(t, boxsim.Options{})
	const late = 300 * time.Millisecond
	for _, op := range []string{"get_folders_id", "get_users_id", "get_users_id_memberships",
		"get_folders_id_collaborations"} {
		must(t, w.Fault(boxsim.Fault{Operation: op, Kind: boxsim.Stale, Delay: late}))
	}
	token, member, h := w.service(t), w.as(t, boxsim.EditorUser), listen(t, nil)
	w.subscribe(t, token, "folder", boxsim.FolderProjects, h.url, "COLLABORATION.REMOVED")
	state := func() string {
		return fmt.Sprint(w.rights(t, member, drafts) != "none",
			w.get(t, token, "/users/"+boxsim.EditorUser+"?fields=role").json["role"] == "user",
			w.get(t, token, "/users/"+boxsim.EditorUser+"/memberships").ids() == "",
			strings.HasPrefix(w.get(t, token, projects+"/collaborations").ids(), "31"))
	}
	changed := time.Now()
	must(t, w.Uninvite("31"))
	h.next(t, "COLLABORATION.REMOVED")
	must(t, w.SetRole(boxsim.EditorUser, "coadmin"))
	id(t)(w.Join(boxsim.EditorUser, boxsim.GroupSales, "member"))
	if got := state(); got != "true true true true" && time.Since(changed) < late {
		t.Errorf("after the notice: %s", got)
	}
	if got := w.get(t, member, "/files/"+boxsim.FileDraft); got.status != 404 {
		t.Errorf("an operation without the fault is late: %d", got.status)
	}
	eventually(t, "the new answers", func() bool { return state() == "false false false false" })
	if took := time.Since(changed); took < late {
		t.Errorf("new after %v", took)
	}
}

func TestExpiryIsSilentUnlessItIsSaid(t *testing.T) {
	for _, told := range []bool{false, true} {
		w := start(t, boxsim.Options{Quirks: boxsim.Quirks{ExpiryEvents: told, TidyEvents: true}})
		token := w.service(t)
		must(t, w.SetExpiry("31", time.Now().Add(20*time.Millisecond)))
		must(t, w.SetExpiry("33", time.Now().Add(time.Hour)))
		_, now := w.poll(t, token, "admin_logs_streaming", "now", "")
		eventually(t, "the expiry", func() bool { return w.get(t, token, "/collaborations/31").status == 404 })
		page, _ := w.poll(t, token, "admin_logs_streaming", now, "")
		if got := kinds(page); (got == "COLLABORATION_EXPIRATION") != told || !told && got != "" {
			t.Errorf("events: %q", got)
		}
		w.get(t, token, "/collaborations/33").want(t, 200, "")
	}
}

func TestFaultsOfDeliveries(t *testing.T) {
	w := start(t, boxsim.Options{Senders: 1})
	h := listen(t, nil)
	w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, h.url, "FILE.PREVIEWED")
	number := 0
	send := func(faults ...boxsim.FaultKind) {
		for _, kind := range faults {
			must(t, w.Fault(boxsim.Fault{Operation: boxsim.Deliveries, Kind: kind, Count: 1,
				Delay: 30 * time.Millisecond}))
		}
		number++
		must(t, w.Trigger("FILE.PREVIEWED", boxsim.AdminUser, boxsim.FileDraft, nil, map[string]any{"n": number}))
	}
	next := func() string {
		t.Helper()
		return text(at(h.next(t, "FILE.PREVIEWED").json, "additional_info", "n"))
	}
	send(boxsim.Drop)
	send(boxsim.Duplicate)
	if got := next() + next(); got != "22" {
		t.Errorf("duplicate: %s", got)
	}
	send(boxsim.Reorder)
	send()
	if got := next() + next(); got != "43" {
		t.Errorf("reorder: %s", got)
	}
	send(boxsim.Delay)
	send()
	if got := next() + next(); got != "65" {
		t.Errorf("delay: %s", got)
	}
	send(boxsim.Reorder)
	w.ClearFaults()
	if got := next(); got != "7" {
		t.Errorf("released: %s", got)
	}
	h.quiet(t)
}

func TestFaultsThatCannotBe(t *testing.T) {
	w := start(t, boxsim.Options{})
	for _, f := range []boxsim.Fault{
		{Kind: "x"}, {Kind: boxsim.Delay, Operation: "x"}, {Kind: boxsim.Status, Status: 200},
		{Kind: boxsim.Duplicate}, {Kind: boxsim.Stale, Operation: boxsim.Deliveries},
		{Kind: boxsim.Drop, Count: -1},
	} {
		if w.Fault(f) == nil {
			t.Errorf("%+v: no error", f)
		}
	}
	if got := w.Faults(); len(got) != 0 {
		t.Errorf("in force: %v", got)
	}
}

func TestControlEndpoints(t *testing.T) {
	w := start(t, boxsim.Options{})
	control := func(method, path, body string) answer {
		r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
		must(t, err)
		return w.do(t, r)
	}
	const fault = `{"operation":"get_users_me","kind":"delay","count":3,"delay":"2s"}`
	control("POST", "/sim/faults", fault).want(t, 204, "")
	if a := control("POST", "/sim/faults", `{"kind":"x"}`); a.status != 400 {
		t.Errorf("got %d", a.status)
	}
	got, err := json.Marshal(w.Faults())
	if err != nil || string(got) != "["+fault+"]" {
		t.Errorf("in force: %s, %v", got, err)
	}
	control("DELETE", "/sim/faults", "").want(t, 204, "")
	h := listen(t, nil)
	token := w.service(t)
	w.subscribe(t, token, "folder", boxsim.FolderProjects, h.url, "FILE.PREVIEWED")
	a := control("GET", "/sim/world", "")
	for part := range strings.FieldsSeq("987 Ada Projects rescind-dev post_oauth2_token Support") {
		if !strings.Contains(string(a.raw), part) {
			t.Errorf("lacks %q", part)
		}
	}
	for _, secret := range []string{token, "rescind-dev-secret", "sim-primary-key", h.url} {
		if strings.Contains(string(a.raw), secret) {
			t.Errorf("shows %q", secret)
		}
	}
}

func TestCloseWaitsOrCutsOff(t *testing.T) {
	for _, patient := range []bool{true, false} {
		w := start(t, boxsim.Options{})
		arrived, release := make(chan bool), make(chan bool)
		h := listen(t, func() int { arrived <- true; <-release; return 200 })
		w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, h.url, "FOLDER.RENAMED")
		must(t, w.Rename(boxsim.FolderPlans, "x"))
		<-arrived
		ctx, cancel := context.WithCancel(t.Context())
		closed := make(chan error)
		go func() { closed <- w.Close(ctx) }()
		if patient {
			select {
			case err := <-closed:
				t.Fatalf("closed with a delivery in flight: %v", err)
			case release <- true:
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
		} else {
			cancel()
			if err := <-closed; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			release <- true
		}
		cancel()
		must(t, w.Rename(boxsim.FolderPlans, "y")) // lost, not a panic
	}
}
