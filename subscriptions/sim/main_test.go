package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/rescindhq/rescind/subscriptions/sim"
	"go.uber.org/goleak"
)

const (
	account = "37439510"
	admin   = "256440016"
	user    = "8475874957"
	other   = "8798797945"
	queue   = "74953947939"
	v1      = "/restapi/v1.0"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vendor is the vendor's description. Answers are held against it; requests are not, since many tests send
// bad ones.
type vendor struct {
	doc    *openapi3.T
	router routers.Router
}

// loadVendor reads testdata/ringcentral.openapi.json: a cut of github tylerlong/ringcentral-open-api-parser,
// rc-public-openapi.yml at 57b864b66aeffb2db9956e0a2f552dfcbdea4e28.
func loadVendor(t testing.TB) *vendor {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("testdata/ringcentral.openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil
	// A defect of the description: it allows 20 characters, but ids are UUIDs of 36.
	doc.Components.Parameters["SubscriptionId"].Value.Schema.Value.MaxLength = nil
	forbidExtras(doc)
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &vendor{doc, router}
}

// forbidExtras makes a field that the description does not know an error, so that a misspelt one is found.
// Error bodies have extras by nature, events an ownerId that the description puts elsewhere.
func forbidExtras(doc *openapi3.T) {
	no := false
	for name, s := range doc.Components.Schemas {
		open := s.Value.AdditionalProperties.Has == nil && s.Value.AdditionalProperties.Schema == nil
		natural := strings.Contains(name, "Error") || strings.Contains(name, "Event")
		if open && len(s.Value.Properties) > 0 && !natural {
			s.Value.AdditionalProperties.Has = &no
		}
	}
}

func (v *vendor) check(r *http.Request, status int, head http.Header, body []byte) error {
	if status >= 400 {
		var got any
		if err := json.Unmarshal(body, &got); err != nil {
			return err
		}
		if err := v.doc.Components.Schemas["ApiErrorResponseModel"].Value.VisitJSON(got); err != nil {
			return err
		}
	}
	route, params, err := v.router.FindRoute(r)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r, PathParams: params, Route: route},
		Status: status, Header: head, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: status < 400},
	})
}

// world is a simulator behind a server, whose every answer is checked against the vendor's description.
type world struct {
	*sim.RingCentral
	url    string
	vendor *vendor
	client *http.Client
}

func start(t testing.TB, opts sim.Options) *world {
	t.Helper()
	s := sim.NewRingCentral(opts)
	server := httptest.NewServer(s)
	s.SetBaseURL(server.URL)
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &world{s, server.URL, loadVendor(t), http.DefaultClient}
}

// free lifts all rate limits.
func free() map[string]sim.Limit {
	none := sim.Limit{Calls: -1}
	return map[string]sim.Limit{"light": none, "medium": none, "heavy": none, "auth": none}
}

// answer is a reply of the simulator.
type answer struct {
	status int
	head   http.Header
	raw    []byte
	json   map[string]any
}

// call makes a request with a bearer token. A string body is sent as it is, nil is none, others as JSON.
func (w *world) call(t testing.TB, token, method, path string, body any) answer {
	t.Helper()
	var reader io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.do(t, r)
}

func (w *world) get(t testing.TB, token, path string) answer {
	t.Helper()
	return w.call(t, token, http.MethodGet, v1+path, nil)
}

func (w *world) do(t testing.TB, r *http.Request) answer {
	t.Helper()
	reply, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	a := answer{status: reply.StatusCode, head: reply.Header}
	if a.raw, err = io.ReadAll(reply.Body); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(r.URL.Path, "/restapi") && a.errorCode(t) != "CMN-120" {
		if err := w.vendor.check(r, a.status, a.head, a.raw); err != nil {
			t.Errorf("%s %s: not as the vendor describes it: %v\n%s", r.Method, r.URL.Path, err, a.raw)
		}
		if a.head.Get("RCRequestId") == "" {
			t.Errorf("%s %s: no RCRequestId", r.Method, r.URL.Path)
		}
	}
	return a
}

// errorCode fills json and returns errors[0].errorCode, if any.
func (a *answer) errorCode(t testing.TB) string {
	t.Helper()
	if len(a.raw) > 0 && a.json == nil {
		if err := json.Unmarshal(a.raw, &a.json); err != nil {
			t.Fatalf("not JSON: %v: %s", err, a.raw)
		}
	}
	list, _ := a.json["errors"].([]any)
	if len(list) == 0 {
		return ""
	}
	first, _ := list[0].(map[string]any)
	code, _ := first["errorCode"].(string)
	return code
}

// want checks status and inner error code; an empty code means a success.
func (a answer) want(t testing.TB, status int, code string) answer {
	t.Helper()
	if got := a.errorCode(t); a.status != status || got != code {
		t.Fatalf("got %d %q, want %d %q: %s", a.status, got, status, code, a.raw)
	}
	return a
}

// into decodes the answer.
func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.raw, v); err != nil {
		t.Fatalf("decode %s: %v", a.raw, err)
	}
}

// form posts to an OAuth endpoint with Basic credentials.
func (w *world) form(t testing.TB, path, id, secret string, form url.Values) answer {
	t.Helper()
	body := strings.NewReader(form.Encode())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	return w.do(t, r)
}

type token struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ExpiresIn int    `json:"expires_in"`
	Scope     string `json:"scope"`
	Owner     string `json:"owner_id"`
	Session   string `json:"session_id"`
}

func (w *world) grant(t testing.TB, form url.Values) answer {
	t.Helper()
	return w.form(t, "/restapi/oauth/token", "rescind-dev", "rescind-dev-secret", form)
}

func jwtGrant() url.Values {
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"assertion": {"sim-service-jwt"}}
}

func (w *world) login(t testing.TB) token {
	t.Helper()
	var tok token
	w.grant(t, jwtGrant()).want(t, 200, "").into(t, &tok)
	return tok
}

// as is a token of an extension with all scopes.
func (w *world) as(t testing.TB, extension string) string {
	t.Helper()
	access := w.IssueToken(extension, []string{"ReadAccounts", "SubscriptionWebhook", "RoleManagement"})
	if access == "" {
		t.Fatalf("no token for %s", extension)
	}
	return access
}

// eventually polls a condition, for at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// notice is a notification as a webhook sees it.
type notice struct {
	head http.Header
	raw  []byte
	json struct {
		UUID, Event, Timestamp, SubscriptionID, OwnerID string
		Body                                            map[string]any
	}
}

// hook is a webhook.
type hook struct {
	url     string
	notices chan notice
	server  *httptest.Server
}

// listen starts a webhook. The handler, when given, answers in place of the good behaviour.
func listen(t testing.TB, handler http.HandlerFunc) *hook {
	t.Helper()
	h := &hook{notices: make(chan notice, 10000)}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler != nil {
			handler(w, r)
			return
		}
		h.accept(w, r)
	}))
	h.url = h.server.URL + "/hook?s=1"
	t.Cleanup(h.server.Close)
	return h
}

func (h *hook) accept(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if v := r.Header.Get("Validation-Token"); v != "" {
		w.Header().Set("Validation-Token", v)
	}
	n := notice{head: r.Header}
	n.raw, _ = io.ReadAll(r.Body)
	if len(n.raw) > 0 && json.Unmarshal(n.raw, &n.json) == nil {
		h.notices <- n
	}
}

// next waits for a notification.
func (h *hook) next(t testing.TB) notice {
	t.Helper()
	select {
	case n := <-h.notices:
		return n
	case <-time.After(10 * time.Second):
		t.Fatal("no notification")
		return notice{}
	}
}

// quiet fails if there is a notification that nobody asked for. Call it when all that was sent has arrived.
func (h *hook) quiet(t testing.TB) {
	t.Helper()
	select {
	case n := <-h.notices:
		t.Fatalf("unexpected notification: %s", n.raw)
	default:
	}
}

func filters(texts ...string) []string {
	for i, text := range texts {
		if !strings.HasPrefix(text, "/restapi") {
			texts[i] = v1 + text
		}
	}
	return texts
}

func subscribe(address string, expiresIn int, texts ...string) map[string]any {
	body := map[string]any{"eventFilters": filters(slices.Clone(texts)...), "deliveryMode": map[string]any{
		"transportType": "WebHook", "address": address, "verificationToken": "hook-secret"}}
	if expiresIn > 0 {
		body["expiresIn"] = expiresIn
	}
	return body
}

type subscription struct {
	ID, Status, CreationTime, ExpirationTime string
	ExpiresIn                                int
	EventFilters                             []string
	DisabledFilters                          []struct{ Filter, Reason, Message string }
	BlacklistedData                          *struct{ BlacklistedAt, Reason string }
}

// subscribed creates a subscription that must succeed.
func (w *world) subscribed(t testing.TB, token string, body map[string]any) subscription {
	t.Helper()
	var x subscription
	w.call(t, token, http.MethodPost, v1+"/subscription", body).want(t, 200, "").into(t, &x)
	return x
}
