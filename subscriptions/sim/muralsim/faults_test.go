package muralsim_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

var rateHeaders = []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
	"X-RateLimit-App-Limit", "X-RateLimit-App-Remaining", "X-RateLimit-App-Reset"}

// rates are the six headers; -1 stands for one that is not there.
func (a answer) rates(t testing.TB) (n [6]int) {
	t.Helper()
	for i, name := range rateHeaders {
		n[i] = -1
		if text := a.head.Get(name); text != "" {
			var err error
			n[i], err = strconv.Atoi(text)
			must(t, err)
		}
	}
	return n
}

func TestRateOfAUser(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: 3, Speed: 0.1}) // in 10 s
	w.AddApp(muralsim.App{ClientID: "second", Secret: "s", Scopes: muralsim.AllScopes()})
	first := w.as(t, "u1")
	code := w.visit(t, "/", "client_id", "second").Get("code")
	var second tokens
	w.exchange(t, code, "client_id", "second", "client_secret", "s").want(t, 200, "").into(t, &second)

	n := w.get(t, first, "/users/me").want(t, 200, "").rates(t)
	same(t, "limits and remains", [4]int{3, 2, 10000, 9999}, [4]int{n[0], n[1], n[3], n[4]})
	now := int(time.Now().Unix())
	if n[2] <= now || n[2] > now+11 || n[5] <= n[2] || n[5] > now+601 {
		t.Errorf("resets %d and %d, now %d", n[2], n[5], now)
	}
	n = w.get(t, second.Access, "/users/me").want(t, 200, "").rates(t)
	same(t, "another app", [2]int{1, 9999}, [2]int{n[1], n[4]})
	w.get(t, first, "/users/me").want(t, 200, "")
	refused := w.get(t, first, "/users/me").want(t, 429, "RATE_LIMIT_EXCEEDED")
	n = refused.rates(t)
	same(t, "refused", [2]int{0, 9998}, [2]int{n[1], n[4]})
	same(t, "Retry-After", "", refused.head.Get("Retry-After"))
	w.get(t, w.as(t, "u2"), "/users/me").want(t, 200, "")

	w.SetQuirks(muralsim.Quirks{RetryAfter: true})
	after, err := strconv.Atoi(w.get(t, first, "/users/me").head.Get("Retry-After"))
	if err != nil || after < 1 || after > 10 {
		t.Errorf("Retry-After: %d, %v", after, err)
	}
}

func TestRateOfAnApp(t *testing.T) {
	w := start(t, muralsim.Options{AppLimit: 2, Speed: 300}) // in 200 ms
	for _, user := range []string{"u1", "u2"} {
		w.get(t, w.as(t, user), "/users/me").want(t, 200, "")
	}
	token := w.as(t, "u3")
	n := w.get(t, token, "/users/me").want(t, 429, "RATE_LIMIT_EXCEEDED").rates(t)
	same(t, "remains", [2]int{25, 0}, [2]int{n[1], n[4]})
	eventually(t, "the window ends", func() bool { return w.get(t, token, "/users/me").status == 200 })

	slow := start(t, muralsim.Options{AppLimit: 1, UserLimit: 1, Quirks: muralsim.Quirks{RetryAfter: true}})
	token = slow.as(t, "u1")
	slow.get(t, token, "/users/me").want(t, 200, "")
	after, err := strconv.Atoi(slow.get(t, token, "/users/me").head.Get("Retry-After"))
	if err != nil || after < 30 || after > 60 {
		t.Errorf("both limits passed, and Retry-After is %d, %v", after, err)
	}
}

func TestNoRatesForStrangers(t *testing.T) {
	w := start(t, muralsim.Options{AppLimit: 3})
	token := w.as(t, "u1")
	none := [6]int{-1, -1, -1, -1, -1, -1}
	same(t, "no token", none, w.get(t, "", "/users/me").want(t, 401, "UNAUTHORIZED").rates(t))
	same(t, "the token page", none, w.renew(t, "x").want(t, 400, "invalid_grant").rates(t))
	w.ExpireTokens("u1")
	same(t, "an old token", none, w.get(t, token, "/users/me").want(t, 401, "TOKEN_EXPIRED").rates(t))
	n := w.get(t, w.as(t, "u1", "users:read"), "/users/me").want(t, 403, "FORBIDDEN").rates(t)
	same(t, "a forbidden call", 2, n[4])
	w.ExpireTokens("u1")
	unlimited := start(t, muralsim.Options{UserLimit: -1, AppLimit: -1})
	n = unlimited.get(t, unlimited.as(t, "u1"), "/users/me").want(t, 200, "").rates(t)
	same(t, "no limits", [2]int{1_000_000, 1_000_000}, [2]int{n[0], n[3]})
}

func TestFaultsOfCalls(t *testing.T) {
	w := start(t, muralsim.Options{})
	token := w.as(t, "u1")
	for status, code := range map[int]string{401: "TOKEN_EXPIRED", 403: "FORBIDDEN", 404: "NOT_FOUND",
		429: "RATE_LIMIT_EXCEEDED", 500: "INTERNAL_SERVER_ERROR", 503: "INTERNAL_SERVER_ERROR"} {
		must(t, w.Fault(muralsim.Fault{Operation: "getCurrentMember", Kind: muralsim.Status, Status: status,
			Count: 1, Delay: 90 * time.Second}))
		w.get(t, token, "/workspaces").want(t, 200, "")
		n := w.get(t, token, "/users/me").want(t, status, code).rates(t)
		if far := n[2] - int(time.Now().Unix()); status == 429 && (n[1] != 0 || far < 89 || far > 92) {
			t.Errorf("429: %d remain, for %d s", n[1], far)
		}
		w.get(t, token, "/users/me").want(t, 200, "")
	}
	must(t, w.Fault(muralsim.Fault{Kind: muralsim.Status, Status: 500}))
	w.renew(t, "x").want(t, 500, "server_error")
	w.get(t, token, "/users/me").want(t, 500, "INTERNAL_SERVER_ERROR")
	w.ClearFaults()
	w.get(t, token, "/users/me").want(t, 200, "")
	same(t, "calls", 14, w.Calls("getCurrentMember"))
	same(t, "calls", 6, w.AllCalls()["getWorkspaces"])
}

func TestALostTokenReply(t *testing.T) {
	w := start(t, muralsim.Options{})
	_, refresh, err := w.Authorize("u1")
	must(t, err)
	must(t, w.Fault(muralsim.Fault{Operation: "token", Kind: muralsim.Drop, Count: 1}))
	head := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	body := "client_id=rescind-dev&client_secret=rescind-dev-secret&grant_type=refresh_token&refresh_token=" +
		refresh
	if a, err := w.ask(t, head, http.MethodPost, pages+"/token", body); err == nil {
		t.Fatalf("a reply came: %d %s", a.status, a.raw)
	}
	w.renew(t, refresh).want(t, 400, "invalid_grant") // the call had its effect
}

func TestADelayEndsWithTheClient(t *testing.T) {
	w := start(t, muralsim.Options{})
	token := w.as(t, "u1")
	must(t, w.Fault(muralsim.Fault{Kind: muralsim.Delay, Delay: 30 * time.Millisecond, Count: 1}))
	begin := time.Now()
	w.get(t, token, "/users/me").want(t, 200, "")
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("took %v", took)
	}
	must(t, w.Fault(muralsim.Fault{Kind: muralsim.Delay, Delay: time.Hour}))
	w.client.Timeout = 50 * time.Millisecond // that the server closes shows that the call ended
	if _, err := w.ask(t, http.Header{}, "GET", v1+"/users/me", nil); err == nil {
		t.Error("a reply came")
	}
}

func TestStaleReads(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	owner := w.as(t, "u1")
	const late = 300 * time.Millisecond
	must(t, w.Fault(muralsim.Fault{Operation: "getMuralUsers", Kind: muralsim.Stale, Delay: late}))
	old, fresh := []string{"u1 owner facilitator", "u2 facilitator"}, []string{"u1 owner facilitator"}
	begin := time.Now()
	must(t, w.RemoveMuralMember(plan, "u2"))
	must(t, w.SetRoomMember(openRoom, "u4", muralsim.RoomMember{}))
	if got := w.members(t, owner, plan); time.Since(begin) < late {
		same(t, "at once", old, got)
	}
	same(t, "elsewhere", []string{"u1", "u2", "u3", "u4", "u6"}, w.get(t, owner, atOpen+"/users").ids(t))
	eventually(t, "the change shows", func() bool { return len(w.members(t, owner, plan)) == 1 })
	if took := time.Since(begin); took < late {
		t.Errorf("it showed after %v", took)
	}
	same(t, "in the end", fresh, w.members(t, owner, plan))
}

func TestFaultsThatCannotBe(t *testing.T) {
	w := start(t, muralsim.Options{})
	for _, f := range []muralsim.Fault{{Kind: "strange"}, {Kind: muralsim.Status, Status: 200},
		{Kind: muralsim.Delay, Count: -1}, {Kind: muralsim.Drop, Operation: "nothing"}} {
		if w.Fault(f) == nil {
			t.Errorf("accepted %+v", f)
		}
	}
	same(t, "in force", 0, len(w.Faults()))
}

func (w *world) sim(t testing.TB, method, path, body string) answer {
	t.Helper()
	a, err := w.ask(t, http.Header{}, method, "/sim/"+path, body)
	must(t, err)
	return a
}

func TestControlOverHTTP(t *testing.T) {
	w := start(t, muralsim.Options{UserLimit: -1})
	token := w.as(t, "u2")
	fault := `{"operation":"getMuralUsers","kind":"delay","delay":"1.5s","count":3}`
	same(t, "fault", 204, w.sim(t, "POST", "faults", fault).status)
	same(t, "faults", []muralsim.Fault{{Operation: "getMuralUsers", Kind: muralsim.Delay,
		Delay: 1500 * time.Millisecond, Count: 3}}, w.Faults())
	if a := w.sim(t, "GET", "faults", ""); !strings.Contains(string(a.raw), `"delay": "1.5s"`) {
		t.Errorf("got %s", a.raw)
	}
	same(t, "no faults", 204, w.sim(t, "DELETE", "faults", "").status)
	same(t, "faults", 0, len(w.Faults()))

	for _, order := range []string{`{"do":"suspend","user":"u4"}`, `{"do":"restore","user":"u4"}`,
		`{"do":"signIn","user":"u4"}`,
		`{"do":"setWorkspaceRole","workspace":"rescind1234","user":"u4","role":"guest"}`,
		`{"do":"removeMuralMember","mural":"` + plan + `","user":"u2"}`, `{"do":"expireNext"}`,
		`{"do":"removeRoomMember","room":1650000000002,"user":"u5"}`, `{"do":"deleteMural","mural":"` + aMap + `"}`,
		`{"do":"deleteRoom","room":1650000000002}`, `{"do":"setScopes","scopes":["identity:read"]}`} {
		if a := w.sim(t, "POST", "control", order); a.status != 204 {
			t.Errorf("%s: %d %s", order, a.status, a.raw)
		}
	}
	same(t, "murals", []string{"1650000000011"}, w.get(t, token, space+"/murals").ids(t))
	if a := w.sim(t, "GET", "world", ""); a.status != 200 || strings.Contains(string(a.raw), "secret") ||
		!strings.Contains(string(a.raw), "ann@rescind.test") {
		t.Errorf("world: %d %s", a.status, a.raw)
	}
	w.sim(t, "POST", "control", `{"do":"expireTokens","user":"u2"}`)
	w.get(t, token, "/users/me").want(t, 401, "TOKEN_EXPIRED")
	w.sim(t, "POST", "control", `{"do":"dropGrant","user":"u2"}`)
	w.get(t, token, "/users/me").want(t, 401, "UNAUTHORIZED")
	w.sim(t, "POST", "control", `{"do":"deleteApp","app":"rescind-dev"}`)
	w.renew(t, "x").want(t, 400, "invalid_client")
	for _, order := range []string{`{"do":"dance"}`, `{"do":"accept","refCode":"x"}`, `{"do":"suspend"}`, `{`} {
		same(t, order, 400, w.sim(t, "POST", "control", order).status)
	}
	if err := w.DeleteRoom(privateRoom); !errors.Is(err, muralsim.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}
