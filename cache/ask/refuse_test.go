package ask_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

const (
	someone  = `{"type":"user","id":"42"}`
	reads    = `{"name":"permission/ReadMessages"}`
	anywhere = `{"type":"account","id":"37439510"}`
)

func TestBadQuestions(t *testing.T) {
	b := open(t, nil)
	for name, c := range map[string]struct{ body, says string }{
		"no subject":      {question("", reads, anywhere, ""), "subject.type is missing"},
		"a null subject":  {question("null", reads, anywhere, ""), "subject.type is missing"},
		"no subject type": {question(`{"id":"42"}`, reads, anywhere, ""), "subject.type is missing"},
		"an empty subject type": {question(`{"type":"","id":"42"}`, reads, anywhere, ""),
			"subject.type is missing"},
		"no subject id": {question(`{"type":"user"}`, reads, anywhere, ""), "subject.id is missing"},
		"an empty subject id": {question(`{"type":"user","id":""}`, reads, anywhere, ""),
			"subject.id is missing"},
		"no action":             {question(someone, "", anywhere, ""), "action.name is missing"},
		"no action name":        {question(someone, "{}", anywhere, ""), "action.name is missing"},
		"no resource":           {question(someone, reads, "", ""), "resource.type is missing"},
		"no resource type":      {question(someone, reads, `{"id":"1"}`, ""), "resource.type is missing"},
		"no resource id":        {question(someone, reads, `{"type":"account"}`, ""), "resource.id is missing"},
		"a numeric subject id":  {question(`{"type":"user","id":42}`, reads, anywhere, ""), "not a question"},
		"a subject as a string": {question(`"42"`, reads, anywhere, ""), "not a question"},
		"an action as a list":   {question(someone, `["read"]`, anywhere, ""), "not a question"},
		"a boolean action name": {question(someone, `{"name":true}`, anywhere, ""), "not a question"},
		"a numeric type":        {question(someone, reads, `{"type":1,"id":"1"}`, ""), "not a question"},
		"properties as a string": {question(someone, reads, `{"type":"account","id":"1","properties":"x"}`, ""),
			"not a question"},
		"a context as a string": {question(someone, reads, anywhere, `"now"`), "not a question"},
		"a list":                {"[]", "not a question"},
		"a number":              {"7", "not a question"},
		"null":                  {"null", "subject.type is missing"},
		"an empty body":         {"", "not a question"},
		"a cut body":            {usual[:len(usual)-3], "not a question"},
		"something behind it":   {usual + "{}", "not a question"},
		"no JSON":               {"subject=42", "not a question"},
		"a grant of no kind":    {question(someone, `{"name":"ReadMessages"}`, anywhere, ""), "action.name"},
		"an empty grant":        {question(someone, `{"name":"permission/A+"}`, anywhere, ""), "action.name"},
		"a reserved field":      {question(someone, `{"name":"_until"}`, anywhere, ""), "action.name"},
		"a reason as a grant":   {question(someone, `{"name":"why/feature/Fax"}`, anywhere, ""), "action.name"},
		"too many grants": {question(someone, `{"name":"`+strings.Repeat("scope/a+", 64)+`scope/a"}`, anywhere, ""),
			"65 grants, the limit is 64"},
		"a long subject": {question(`{"type":"user","id":"`+strings.Repeat("x", 257)+`"}`, reads, anywhere, ""),
			"subject"},
		"an item of no tenant": {question(someone, reads, `{"type":"folder","id":"11"}`, ""), "tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, b.post(c.body, nil), http.StatusBadRequest, c.says)
		})
	}
	if len(b.filler.asked) > 0 {
		t.Errorf("the store was asked for %v", b.filler.asked)
	}
}

func TestContentTypeMustBeJSON(t *testing.T) {
	b := open(t, nil)
	for _, ct := range []string{
		"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";",
	} {
		w := b.post(usual, func(r *http.Request) { r.Header.Set("Content-Type", ct) })
		refused(t, w, http.StatusBadRequest, "Content-Type")
	}
	w := b.post(usual, func(r *http.Request) { r.Header.Set("Content-Type", "application/JSON; charset=utf-8") })
	decided(t, w)
}

func TestTheProviderMustBeNamedWhereThereAreSeveral(t *testing.T) {
	b := open(t, func(c *ask.Config) { c.Providers = []events.Provider{"box", "ringcentral"} })
	refused(t, b.post(usual, nil), http.StatusBadRequest, "resource.properties.provider is missing")
	named := question(someone, reads, `{"type":"account","id":"1","properties":{"provider":"box"}}`, "")
	decided(t, b.post(named, nil))
	if got, want := b.filler.asked[0].Provider, events.Provider("box"); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

func TestTokens(t *testing.T) {
	b := open(t, nil)
	for name, given := range map[string]string{
		"none": "", "another": "Bearer another", "a beginning": "Bearer " + token[:10],
		"more": "Bearer " + token + "x", "bare": token, "another scheme": "Basic " + token,
		"a space before": "Bearer  " + token, "empty": "Bearer ",
	} {
		t.Run(name, func(t *testing.T) {
			w := b.post(usual, func(r *http.Request) { r.Header.Set("Authorization", given) })
			refused(t, w, http.StatusUnauthorized, "bearer token")
			if got := w.Header().Get("WWW-Authenticate"); got != "Bearer" {
				t.Errorf("WWW-Authenticate %q, want Bearer", got)
			}
			if strings.Contains(w.Body.String()+b.log.String(), token) {
				t.Error("the token shows")
			}
		})
	}
	if len(b.filler.asked) > 0 {
		t.Errorf("the store was asked for %v", b.filler.asked)
	}
	everybody := open(t, func(c *ask.Config) { c.Token = "" })
	decided(t, everybody.post(usual, func(r *http.Request) { r.Header.Del("Authorization") }))
}

func TestOtherPathsAndMethods(t *testing.T) {
	b := open(t, nil)
	for _, path := range []string{"/", ask.Path + "/", "/access/v1/evaluations", "/access/v1/search/subject"} {
		refused(t, b.post(usual, func(r *http.Request) { r.URL.Path = path }), http.StatusNotFound, ask.Path)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := b.post(usual, func(r *http.Request) { r.Method = method })
		refused(t, w, http.StatusMethodNotAllowed, "posted")
		if got := w.Header().Get("Allow"); got != http.MethodPost {
			t.Errorf("%s: Allow %q, want POST", method, got)
		}
	}
	w := b.post(usual, func(r *http.Request) {
		r.Method = http.MethodGet
		r.Header.Del("Authorization")
	})
	refused(t, w, http.StatusUnauthorized, "") // who may not ask learns nothing else
}

func TestLargeBodies(t *testing.T) {
	b := open(t, nil)
	filled := func(n int) string {
		return usual[:len(usual)-1] + `,"x":"` + strings.Repeat("x", n-len(usual)-7) + `"}`
	}
	if w := b.post(filled(64<<10), nil); w.Code != http.StatusOK {
		t.Errorf("64 KiB: status %d, want 200", w.Code)
	}
	refused(t, b.post(filled(64<<10+1), nil), http.StatusRequestEntityTooLarge, "exceeds 65536 bytes")
}

func TestRequestIDComesBack(t *testing.T) {
	b := open(t, nil)
	for name, send := range map[string]func(*http.Request){
		"answered": nil,
		"refused":  func(r *http.Request) { r.Header.Del("Authorization") },
		"unfound":  func(r *http.Request) { r.URL.Path = "/" },
	} {
		w := b.post(usual, func(r *http.Request) {
			r.Header.Set("X-Request-ID", "Az-09_é")
			if send != nil {
				send(r)
			}
		})
		if got := w.Header().Get("X-Request-ID"); got != "Az-09_é" {
			t.Errorf("%s: X-Request-ID %q", name, got)
		}
	}
	if got, there := b.post(usual, nil).Header()["X-Request-Id"]; there {
		t.Errorf("without one: %q", got)
	}
}

func TestTheStoreIsAway(t *testing.T) {
	for name, err := range map[string]error{
		"refused":   errors.New("dial tcp 10.1.2.3:6379: connection refused"),
		"hanging":   context.DeadlineExceeded,
		"cancelled": context.Canceled,
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, nil)
			b.filler.err = fmt.Errorf("read x: %w: %w", refresh.ErrStore, err)
			w := b.post(usual, nil)
			refused(t, w, http.StatusServiceUnavailable, "store is away")
			if got := w.Header().Get("Retry-After"); got != "1" {
				t.Errorf("Retry-After %q, want 1", got)
			}
			if strings.Contains(w.Body.String(), "6379") {
				t.Errorf("the body tells of the inside: %s", w.Body)
			}
			if got := strings.Count(b.log.String(), "\n"); got != 1 {
				t.Errorf("%d log lines, want 1: %s", got, b.log)
			}
		})
	}
}

// maxRefusal bounds what is said of a bad question, however long that is.
const maxRefusal = 1 << 10

func FuzzQuestion(f *testing.F) {
	f.Add([]byte(usual))
	item := `{"type":"folder","id":"1","properties":{"tenant":"2"}}`
	f.Add([]byte(question(someone, reads, item, `{"time":1}`)))
	f.Add([]byte(question(someone, `{"name":"a/b+c/d"}`, anywhere, "null")))
	f.Add([]byte("\xff{}"))
	long := strings.Repeat("9", 20_000)
	for _, s := range []string{
		`{"context":{"x":` + long + `e999}}`, `{"subject":{"id":` + long + `}}`,
		`{"subject":{"type":"user","id":"` + long + `"}}`, long,
		strings.Repeat(`{"context":`, 5000), question(someone, `{"name":"`+long+`"}`, anywhere, ""),
		question(someone, reads, anywhere, "") + `{"x":1}`, usual[:len(usual)-1] +
			`,"subject":{"type":"user","id":"7"}}`,
		strings.Replace(usual, "42", `\u0000`, 1), strings.Replace(usual, "42", `\ud800`, 1),
		`{"evaluations":[` + usual + `,` + usual + `]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := open(t, nil)
		w := b.post(string(body), nil)
		limit := maxRefusal
		if w.Code == http.StatusOK {
			limit += 6 * len(body) // it names the grants, and JSON writes a byte as \u003c at worst
		}
		if n := w.Body.Len(); n > limit || strings.Contains(w.Body.String()+b.log.String(), token) {
			t.Errorf("%d bytes: %.200s", n, w.Body)
		}
		switch w.Code {
		case http.StatusOK:
			fuzzed(t, b, w)
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			refused(t, w, w.Code, "")
			if len(b.filler.asked) > 0 {
				t.Errorf("refused, but the store was asked for %v", b.filler.asked)
			}
		default:
			t.Errorf("status %d for %q", w.Code, body)
		}
	})
}

// fuzzed wants what was answered to be about one valid entry.
func fuzzed(t *testing.T, b *bench, w *httptest.ResponseRecorder) {
	t.Helper()
	if got := decided(t, w); *got.Decision != (got.Context.State == "granted") {
		t.Errorf("decision %t with state %s", *got.Decision, got.Context.State)
	}
	if len(b.filler.asked) != 1 || b.filler.asked[0].Validate() != nil {
		t.Errorf("asked for %v", b.filler.asked)
	}
}
