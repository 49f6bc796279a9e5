package lookup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

const (
	// DefaultAskTimeout bounds a question to the worker unless configured
	// otherwise: it may have to wait for the provider.
	DefaultAskTimeout = 5 * time.Second
	maxReply          = 1 << 20
	evaluationPath    = "/access/v1/evaluation" // AuthZEN Authorization API 1.0
)

// ErrReply says that the worker's reply is not what the API promises.
var ErrReply = errors.New("unreadable reply")

// StatusError is a refusal by the worker.
type StatusError struct {
	// Status is the HTTP status.
	Status int
	// RetryAfter is how long the worker asks to be left alone; zero if it does
	// not say.
	RetryAfter time.Duration
}

var statusWords = map[int]string{
	http.StatusBadRequest:         "it does not understand the question",
	http.StatusUnauthorized:       "it does not accept the token",
	http.StatusForbidden:          "the token is not allowed to ask this",
	http.StatusNotFound:           "there is no worker under this URL",
	http.StatusTooManyRequests:    "it is asked too often",
	http.StatusServiceUnavailable: "it cannot answer now",
}

// Error says what the status means. It repeats nothing of the reply's body.
func (e *StatusError) Error() string {
	s := "status " + strconv.Itoa(e.Status)
	if words := statusWords[e.Status]; words != "" {
		s += ": " + words
	}
	if e.RetryAfter > 0 {
		s += ", try again in " + e.RetryAfter.String()
	}
	return s
}

// HTTPOptions say how the worker is reached.
type HTTPOptions struct {
	// URL of the worker, http or https, without query or credentials.
	URL string
	// Token is sent as a bearer token if it is not empty. It is never printed.
	Token string `json:"-"`
	// Client makes the calls; nil means one that follows no redirect.
	Client *http.Client
	// Timeout bounds a call, its reply included; zero means [DefaultAskTimeout].
	Timeout time.Duration
}

// Format prints the options without the token, whatever the verb.
func (o HTTPOptions) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{URL:%s Timeout:%s}", o.URL, o.Timeout) // the caller's writer, as fmt does it
}

// HTTP asks the worker by the AuthZEN evaluation API. It is safe for
// concurrent use.
type HTTP struct {
	target    string
	authorize func(http.Header) // keeps the token out of anything that prints
	client    *http.Client
	timeout   time.Duration
}

var _ Asker = (*HTTP)(nil)

// NewHTTP makes an asker. It refuses an unusable URL and a negative timeout.
func NewHTTP(o HTTPOptions) (*HTTP, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, errors.New("new asker: the URL cannot be parsed") // it may hold credentials
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, errors.New("new asker: the URL must begin with http:// or https:// and a host")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("new asker: the URL must have no credentials, query or fragment")
	case o.Timeout < 0:
		return nil, fmt.Errorf("new asker: timeout %s is negative", o.Timeout)
	}
	h := &HTTP{target: strings.TrimRight(u.String(), "/") + evaluationPath, client: o.Client, timeout: o.Timeout}
	h.authorize = func(header http.Header) {
		if o.Token != "" {
			header.Set("Authorization", "Bearer "+o.Token)
		}
	}
	if h.client == nil {
		h.client = &http.Client{CheckRedirect: noRedirect}
	}
	if h.timeout == 0 {
		h.timeout = DefaultAskTimeout
	}
	return h, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Ask asks the worker once. Errors: a [*StatusError]; one that wraps [ErrReply];
// what the network said. A grant whose name holds "+" cannot be asked, because
// "+" joins the grants of a question.
func (h *HTTP) Ask(ctx context.Context, r events.Ref, need ...cache.Grant) (Decision, error) {
	body, err := question(r, need)
	if err != nil {
		return Decision{}, fmt.Errorf("ask worker: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	reply, err := h.post(ctx, body)
	if err != nil {
		return Decision{}, fmt.Errorf("ask worker: %w", err)
	}
	d, err := readReply(reply, need)
	if err != nil {
		return Decision{}, fmt.Errorf("ask worker: %w: %w", ErrReply, err)
	}
	return d, nil
}

func (h *HTTP) post(ctx context.Context, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	h.authorize(req.Header)
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &StatusError{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read reply: %w", err)
	case len(reply) > maxReply:
		return nil, fmt.Errorf("%w: over %d bytes", ErrReply, maxReply)
	}
	return reply, nil
}

// retryAfter reads seconds or an HTTP date (RFC 9110, section 10.2.3); zero if
// it is neither, or over.
func retryAfter(text string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

type entity struct {
	Type       string     `json:"type"`
	ID         string     `json:"id"`
	Properties properties `json:"properties,omitzero"`
}

type properties struct {
	Provider events.Provider `json:"provider"`
	Resource events.Resource `json:"resource,omitempty"`
}

type evaluation struct {
	Subject  entity `json:"subject"`
	Action   action `json:"action"`
	Resource entity `json:"resource"`
}

type action struct {
	Name string `json:"name"`
}

// question writes the body of an evaluation.
func question(r events.Ref, need []cache.Grant) ([]byte, error) {
	if err := valid(r, need); err != nil {
		return nil, err
	}
	names := make([]string, len(need))
	for i, g := range need {
		if strings.Contains(string(g), "+") {
			return nil, fmt.Errorf("grant %q holds a + and cannot be asked over HTTP", g)
		}
		names[i] = string(g)
	}
	return json.Marshal(evaluation{
		Subject:  entity{Type: "user", ID: string(r.Subject)},
		Action:   action{strings.Join(names, "+")},
		Resource: entity{"tenant", string(r.Tenant), properties{r.Provider, r.Resource}},
	})
}
