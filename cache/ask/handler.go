package ask

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// Path of the evaluation call.
const Path = "/access/v1/evaluation"

var paths = []string{Path, TokensPath, ReachPath, VerifyPath}

// The bounds of a question.
const (
	maxBody   = 64 << 10
	maxGrants = 64
	// Wait is how long a question waits for the provider.
	Wait = 5 * time.Second
)

// Filler gets an entry, fetching it on a miss.
type Filler interface {
	Get(context.Context, events.Ref) (refresh.Result, error)
}

// Config of a [Handler].
type Config struct {
	Filler Filler
	// Token that askers must bear; empty means that everybody may ask, which
	// is for loopback only.
	Token string
	// Providers that are configured; a question need not name the only one.
	Providers []events.Provider
	// Feed, if set, says whether changes of a tenant reach us; it must not wait.
	Feed func(events.Home) events.FeedState
	// Delay, if set, says how late a change may come that only a poll finds; zero
	// if there is none or it is not known. It must not wait.
	Delay func(events.Home) time.Duration
	// Tokens takes what is told of tokens; nil: nobody takes it.
	Tokens TokenTaker
	// Operator serves the two calls for operators; nil: they are not served. Cost, if
	// set, says how many calls it takes at most to fetch one entry of a basis again,
	// and how long the usual limits need for that; the basis is empty where it is not
	// known.
	Operator   Operator
	Cost       func(h events.Home, basis string) (calls int, takes time.Duration)
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Handler answers questions.
type Handler struct {
	Config
	token [sha256.Size]byte
	asks  *prometheus.CounterVec
	took  prometheus.Histogram
}

// New makes a handler and registers its metrics.
func New(c Config) *Handler {
	h := &Handler{
		Config: c, token: sha256.Sum256([]byte(c.Token)),
		asks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rescind_asks_total", Help: "Questions by outcome: granted, denied, unknown, refused, failed; told is of tokens. Of operators: " +
				"reached, shown, matched, differed, changed, missing, unread.",
		}, []string{"outcome"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rescind_ask_seconds", Help: "Time to answer a question, a fetch included.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}),
	}
	c.Registerer.MustRegister(h.asks, h.took)
	return h
}

// problem is an error of the call, with its status and what the asker may read.
type problem struct {
	status int
	text   string
}

func (p problem) Error() string { return p.text }

func bad(format string, args ...any) error {
	return problem{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// ServeHTTP admits, reads, evaluates, answers.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if id := r.Header.Get("X-Request-ID"); id != "" {
		w.Header().Set("X-Request-ID", id)
	}
	answer, outcome, err := h.serve(r)
	if err != nil {
		var p problem
		if !errors.As(err, &p) {
			p = problem{http.StatusServiceUnavailable, "the store is away, ask again"}
			w.Header().Set("Retry-After", "1")
			h.Log.WarnContext(r.Context(), "ask", "error", err)
		}
		if p.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		if p.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		outcome = "refused"
		if p.status >= 500 {
			outcome = "failed"
		}
		reply(w, p.status, p.text)
	} else {
		reply(w, http.StatusOK, answer)
	}
	h.asks.WithLabelValues(outcome).Inc()
	if r.URL.Path == ReachPath || r.URL.Path == VerifyPath {
		return // nobody's action waits for these
	}
	h.took.Observe(time.Since(start).Seconds())
}

// serve gives the answer and the word for it.
func (h *Handler) serve(r *http.Request) (answer any, outcome string, err error) {
	if err := h.admit(r); err != nil {
		return nil, "", err
	}
	body, err := read(r)
	if err != nil {
		return nil, "", err
	}
	switch r.URL.Path {
	case TokensPath:
		t, err := h.tell(r.Context(), body)
		return t, outcomeTold, err
	case ReachPath:
		t, err := h.reach(r.Context(), body)
		return t, outcomeReached, err
	case VerifyPath:
		v, outcome, err := h.verify(r.Context(), body)
		return v, outcome, err
	}
	d, err := h.answer(r.Context(), body)
	return d, d.Context.State, err
}

func (h *Handler) answer(ctx context.Context, body []byte) (decision, error) {
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return decision{}, bad("the body is not a question: %.200s", err) // it may quote a number, however long
	}
	ref, need, err := h.resolve(q)
	if err != nil {
		return decision{}, err
	}
	d, err := h.evaluate(ctx, ref, need)
	if h.Feed != nil {
		d.Context.Feed = h.Feed(ref.Home)
	}
	if h.Delay != nil {
		d.Context.Delay = h.Delay(ref.Home).Seconds()
	}
	return d, err
}

func (h *Handler) admit(r *http.Request) error {
	if !slices.Contains(paths, r.URL.Path) {
		return problem{http.StatusNotFound, "there are only " + strings.Join(paths, ", ")}
	}
	if h.Token != "" {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(sum[:], h.token[:]) != 1 || !ok {
			return problem{http.StatusUnauthorized, "a bearer token is required"}
		}
	}
	if r.Method != http.MethodPost {
		return problem{http.StatusMethodNotAllowed, "questions and tokens are posted"}
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return bad("Content-Type must be application/json")
	}
	return nil
}

func read(r *http.Request) ([]byte, error) {
	most := int64(maxBody)
	if r.URL.Path == ReachPath {
		most = maxReachBody
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, bad("the body could not be read")
	}
	if int64(len(body)) > most {
		return nil, problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body exceeds %d bytes", most)}
	}
	return body, nil
}

func (h *Handler) evaluate(ctx context.Context, ref events.Ref, need []cache.Grant) (decision, error) {
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	res, err := h.Filler.Get(ctx, ref)
	if err != nil {
		message, own := explain(err)
		if own {
			return decision{}, err
		}
		var d decision
		d.Context.State, d.Context.Message = cache.Unknown.String(), message
		return d, nil
	}
	return decide(res, need), nil
}

// explain says in our words why nothing is known, or in those that the reader has
// for who asks; own is true if the trouble is not the provider's.
func explain(err error) (message string, own bool) {
	var later interface{ RetryAt() time.Time }
	var said interface{ Explain() string }
	switch {
	case errors.Is(err, refresh.ErrStore): // also if it let us wait too long
		return "", true
	case errors.As(err, &later):
		return "the provider limits our rate, ask again after " + later.RetryAt().UTC().Format(time.RFC3339), false
	case errors.As(err, &said):
		return said.Explain(), false
	case errors.Is(err, refresh.ErrNoReader):
		return refresh.ErrNoReader.Error(), false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "the provider did not answer in time", false
	}
	return "the provider could not be read", false
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the asker has gone
}
