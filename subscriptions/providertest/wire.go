package providertest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// wire carries the provider's calls to the simulator, without a network.
type wire struct {
	ledger *ledger

	mu      sync.Mutex
	vendor  http.Handler
	fault   fault
	flying  int
	calls   []string // "METHOD path" of all that were made
	forms   int      // of these, to a token endpoint
	passed  int      // of these, to the simulator
	unasked int      // of these, without a grant of the budget
	secrets []string // what was seen to be one
}

// fault replies instead of the simulator, or changes its reply. Both nil: neither.
type fault struct {
	// at says which calls it is for.
	at func(*http.Request) bool
	// reply answers; its error is of the network.
	reply func(*http.Request) (*http.Response, error)
	// warp changes the body of a success.
	warp func([]byte) []byte
	// left is how often; below zero: always.
	left int
}

var tokenShape = regexp.MustCompile(`"(?:access_token|refresh_token)"\s*:\s*"([^"]{8,})"`)

// isToken: a form is only sent to a token endpoint.
func isToken(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

func isCall(r *http.Request) bool { return !isToken(r) }
func isAny(*http.Request) bool    { return true }

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer w.landed()
	f := w.took(r)
	if f.reply != nil {
		return f.reply(r)
	}
	resp, err := w.serve(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	w.learn(tokenShape.FindAllStringSubmatch(string(body), -1))
	if f.warp != nil && resp.StatusCode/100 == 2 {
		body = f.warp(body)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// took books a call, and says what is to become of it.
func (w *wire) took(r *http.Request) (f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying++
	w.calls = append(w.calls, r.Method+" "+r.URL.Path)
	if isToken(r) {
		w.forms++
	}
	if w.ledger.granted() < w.flying {
		w.unasked++
	}
	if _, text, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		w.secrets = append(w.secrets, text)
	}
	if w.fault.at != nil && w.fault.left != 0 && w.fault.at(r) {
		w.fault.left--
		f = w.fault
	}
	if f.reply == nil {
		w.passed++
	}
	return f
}

func (w *wire) landed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying--
}

func (w *wire) learn(found [][]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range found {
		w.secrets = append(w.secrets, m[1])
	}
}

// serve lets the simulator answer; one that aborts drops the line.
func (w *wire) serve(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if why := recover(); why == http.ErrAbortHandler {
			resp, err = nil, errors.New("connection lost")
		} else if why != nil {
			panic(why)
		}
	}()
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody // as a server has it
	}
	rec := httptest.NewRecorder()
	w.vendor.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// meet sets a fault, and ends the one before.
func (w *wire) meet(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// lasting says whether there is a fault that does not pass.
func (w *wire) lasting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault.left < 0
}

// tally is how many calls were made so far, and how many of them for tokens.
func (w *wire) tally() (calls, tokens int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls), w.forms
}

// audit fails for calls that were not granted before they were made.
func (w *wire) audit(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unasked > 0 {
		t.Errorf("budget: %d of %d calls were made before they were granted", w.unasked, len(w.calls))
	}
}

// saying replies with a handler.
func saying(h http.HandlerFunc) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		h(rec, r)
		return rec.Result(), nil
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body) // into memory
	}
}
