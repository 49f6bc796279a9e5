package ask_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "the-token-of-those-who-ask"

// usual is a question that can be answered.
const usual = `{"subject":{"type":"user","id":"42"},"action":{"name":"permission/ReadMessages"},` +
	`"resource":{"type":"account","id":"37439510"}}`

// filler is a scripted store, and remembers what it was asked.
type filler struct {
	mu     sync.Mutex
	result refresh.Result
	err    error
	asked  []events.Ref
}

func (f *filler) Get(_ context.Context, ref events.Ref) (refresh.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, ref)
	return f.result, f.err
}

// entry is one that lives for another minute.
func entry() refresh.Result {
	now := time.Now().Truncate(time.Millisecond)
	return refresh.Result{Stored: true, Entry: cache.Entry{
		AsOf: now, Until: now.Add(time.Minute), Version: 1_700_000_000_000_001, Confirmed: true,
		Facts: cache.Facts{
			Basis: "authz-profile", Covers: []cache.Kind{cache.Permission, cache.Scope, cache.Feature},
			Grants: map[cache.Grant]string{
				"permission/ReadMessages": "Self", "scope/ReadMessages": "*", "feature/SMS": "a=b",
			},
			Why: map[cache.Grant]string{"feature/Fax": "AccountLimitation", "role/owner": "nobody tells"},
		},
	}}
}

// bench is a handler under test.
type bench struct {
	*ask.Handler
	filler  *filler
	log     *bytes.Buffer
	metrics *prometheus.Registry
}

func open(t testing.TB, change func(*ask.Config)) *bench {
	t.Helper()
	b := &bench{filler: &filler{result: entry()}, log: new(bytes.Buffer), metrics: prometheus.NewRegistry()}
	c := ask.Config{
		Filler: b.filler, Token: token, Providers: []events.Provider{"ringcentral"},
		Registerer: b.metrics, Log: slog.New(slog.NewJSONHandler(b.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	b.Handler = ask.New(c)
	return b
}

// post sends a body as those who ask would, unless change makes it differ.
func (b *bench) post(body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, ask.Path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// reply is what an answer says.
type reply struct {
	Decision *bool `json:"decision"`
	Context  struct {
		State     string            `json:"state"`
		AsOf      string            `json:"as_of"`
		Until     string            `json:"until"`
		Version   string            `json:"version"`
		Basis     string            `json:"basis"`
		Covers    []string          `json:"covers"`
		Confirmed *bool             `json:"confirmed"`
		Width     map[string]string `json:"width"`
		Missing   []string          `json:"missing"`
		Reason    map[string]string `json:"reason"`
		Message   string            `json:"message"`
	} `json:"context"`
}

// decided reads an answer with status 200.
func decided(t *testing.T, w *httptest.ResponseRecorder) reply {
	t.Helper()
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	var r reply
	if err := d.Decode(&r); err != nil {
		t.Fatalf("answer: %v", err)
	}
	if r.Decision == nil {
		t.Fatal("the answer has no decision")
	}
	return r
}

// refused wants a status and a JSON string that says why.
func refused(t *testing.T, w *httptest.ResponseRecorder, status int, says string) {
	t.Helper()
	if w.Code != status || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %s, want %d, application/json", w.Code, w.Header().Get("Content-Type"), status)
	}
	var text string
	if err := json.Unmarshal(w.Body.Bytes(), &text); err != nil || text == "" {
		t.Errorf("body %q is no JSON string: %v", w.Body, err)
	}
	if !strings.Contains(text, says) {
		t.Errorf("body %q does not say %q", text, says)
	}
}

// question builds a body from the four entities as JSON; an empty one is left out.
func question(subject, action, resource, ctx string) string {
	var parts []string
	for _, p := range [][2]string{
		{"subject", subject}, {"action", action}, {"resource", resource}, {"context", ctx},
	} {
		if p[1] != "" {
			parts = append(parts, `"`+p[0]+`":`+p[1])
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}
