package ask_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/events"
)

const (
	exchanged = `{"access_token":"1!hunter2","expires_in":60}`
	telling   = `{"tenant":"987","subject":"42","reply":` + exchanged + `}`
)

// taker takes tokens, and remembers what it was told.
type taker struct {
	told []string
	err  error
}

func (k *taker) take(ctx context.Context, h events.Home, s events.Subject, reply []byte) (
	events.Resource, time.Time, error,
) {
	if _, bounded := ctx.Deadline(); !bounded {
		k.err = errors.New("no deadline")
	}
	k.told = append(k.told, fmt.Sprintf("%s %s %s", h, s, reply))
	return "token:00ff", time.Date(2031, 2, 3, 4, 5, 6, 7e6, time.UTC), k.err
}

// tells opens a handler that takes tokens.
func tells(t testing.TB, change func(*ask.Config)) (*bench, *taker) {
	t.Helper()
	k := &taker{}
	return open(t, func(c *ask.Config) {
		c.Tokens = k.take
		if change != nil {
			change(c)
		}
	}), k
}

// toTokens sends what is posted where tokens are told of.
func toTokens(r *http.Request) { r.URL.Path = ask.TokensPath }

func TestATokenIsTold(t *testing.T) {
	b, k := tells(t, nil)
	w := b.post(telling, toTokens)
	var got map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	want := map[string]string{"resource": "token:00ff", "until": "2031-02-03T04:05:06.007Z"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ringcentral/987 42 " + exchanged}, k.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	b.post(`{"provider":"box","tenant":"987","subject":"42","reply":7}`, toTokens)
	if got, want := k.told[1], "box/987 42 7"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if n := outcome(t, b, "told"); n != 2 {
		t.Errorf("%g outcomes told, want 2", n)
	}
	if len(b.filler.asked) > 0 {
		t.Errorf("the store was asked for %v", b.filler.asked)
	}
}

// outcome counts one.
func outcome(t *testing.T, b *bench, word string) (n float64) {
	t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "rescind_asks_total" && m.GetLabel()[0].GetValue() == word {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func TestWhatIsToldIsRefused(t *testing.T) {
	b, k := tells(t, nil)
	for name, c := range map[string]struct{ body, says string }{
		"no tenant":         {`{"subject":"42","reply":{}}`, "tenant"},
		"no subject":        {`{"tenant":"987","reply":{}}`, "subject"},
		"no reply":          {`{"tenant":"987","subject":"42"}`, "reply is missing"},
		"a numeric subject": {`{"tenant":"987","subject":42,"reply":{}}`, "must be an object"},
		"a list":            {`["hunter2"]`, "must be an object"},
		"a cut body":        {telling[:len(telling)-8], "must be an object"},
		"nothing":           {"", "must be an object"},
		"a long subject": {`{"tenant":"987","subject":"` + strings.Repeat("x", 257) + `","reply":{}}`,
			"257 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			w := b.post(c.body, toTokens)
			refused(t, w, http.StatusBadRequest, c.says)
			if strings.Contains(w.Body.String()+b.log.String(), "hunter2") {
				t.Errorf("the token shows: %s%s", w.Body, b.log)
			}
		})
	}
	several, _ := tells(t, func(c *ask.Config) { c.Providers = []events.Provider{"box", "mural"} })
	refused(t, several.post(telling, toTokens), http.StatusBadRequest, "provider is missing: there are [box mural]")
	if len(k.told) > 0 {
		t.Errorf("told: %q", k.told)
	}
}

func TestTellingHasTheRulesOfAsking(t *testing.T) {
	b, k := tells(t, nil)
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"another token":        {func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401},
		"another method":       {func(r *http.Request) { r.Method = http.MethodPut }, 405},
		"another content type": {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 400},
		"a path below":         {func(r *http.Request) { r.URL.Path += "/x" }, 404},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, b.post(telling, func(r *http.Request) { toTokens(r); c.change(r) }), c.status, "")
		})
	}
	long := telling[:len(telling)-1] + `,"x":"` + strings.Repeat("x", 64<<10) + `"}`
	refused(t, b.post(long, toTokens), http.StatusRequestEntityTooLarge, "exceeds 65536 bytes")
	if len(k.told) > 0 {
		t.Errorf("told: %q", k.told)
	}
	refused(t, open(t, nil).post(telling, toTokens), http.StatusNotFound, "no provider here")
}

func TestATokenIsNotTaken(t *testing.T) {
	b, k := tells(t, nil)
	k.err = fmt.Errorf("put: %w", &ask.Refusal{Err: errors.New("expires_in is odd")})
	refused(t, b.post(telling, toTokens), http.StatusBadRequest, "expires_in is odd")
	k.err = errors.New("dial tcp 10.1.2.3:4222: connection refused")
	w := b.post(telling, toTokens)
	refused(t, w, http.StatusServiceUnavailable, "store is away")
	if w.Header().Get("Retry-After") != "1" || strings.Contains(w.Body.String(), "4222") {
		t.Errorf("header %v, body %s", w.Header(), w.Body)
	}
	if !strings.Contains(b.log.String(), "4222") || strings.Contains(b.log.String(), "hunter2") {
		t.Errorf("log %s", b.log)
	}
	if n := outcome(t, b, "told"); n != 0 {
		t.Errorf("%g outcomes told", n)
	}
}

// reasoned is an error with words for who asks.
type reasoned struct{}

func (reasoned) Error() string   { return "inside" }
func (reasoned) Explain() string { return "tell it first" }

func TestAReaderMayExplainItself(t *testing.T) {
	b := open(t, nil)
	b.filler.err = fmt.Errorf("fill: %w", reasoned{})
	if got := decided(t, b.post(usual, nil)); got.Context.State != "unknown" ||
		got.Context.Message != "tell it first" {
		t.Errorf("state %s, message %q", got.Context.State, got.Context.Message)
	}
}
