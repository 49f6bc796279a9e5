package service

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

const (
	// listingLimit bounds how long the ledgers are waited for.
	listingLimit = 10 * time.Second
	// orderLimit bounds how long an order is waited for.
	orderLimit = stream.MaxCall
	maxOrder   = 64 << 10 // bytes, of an order over HTTP
)

// Subscriptions is what an operator learns and orders of subscriptions, by the tool
// and over HTTP alike. It works wherever NATS can be reached.
type Subscriptions struct {
	Ledgers interface {
		// All returns what is there, all of it or an error.
		All(context.Context) (map[events.Home]stream.Kept, error)
	}
	Calls interface {
		// Ask hands an order to whoever keeps a home's subscriptions;
		// [events.ErrNobody] if nobody does.
		Ask(ctx context.Context, h events.Home, request []byte) (reply []byte, err error)
	}
}

// Subscribed is how the subscriptions of one tenant stand, by its ledger.
type Subscribed struct {
	events.Home
	State events.FeedState `json:"state"`
	// Problem is what keeps the state from being alive, for people; Fault says of
	// which kind it is, if a provider refused something.
	Problem string              `json:"problem,omitempty"`
	Fault   subscriptions.Fault `json:"fault,omitempty"`
	// The times are those of [subscriptions.Ledger].
	Looked    time.Time `json:"looked,omitzero"`
	Proof     time.Time `json:"proof,omitzero"`
	Delivered time.Time `json:"delivered,omitzero"`
	Died      time.Time `json:"died,omitzero"`
	Paused    time.Time `json:"paused,omitzero"`

	Registrations []Registration      `json:"subscriptions"`
	Gaps          []subscriptions.Gap `json:"gaps"` // the last at the end
}

// Registration is one subscription at a provider.
type Registration struct {
	ID  string `json:"id"`
	For string `json:"for"`
	// Serves: it is active, and no filter of it is disabled. Status is the provider's
	// word.
	Serves    bool      `json:"serves"`
	Status    string    `json:"status,omitempty"`
	Made      time.Time `json:"made,omitzero"`
	Renewed   time.Time `json:"renewed,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
	Leaving   time.Time `json:"leaving,omitzero"` // since when another has taken its place
	Delivered time.Time `json:"delivered,omitzero"`
	// SecretMade is when it got the secret that it has; zero if that is the app's.
	SecretMade time.Time `json:"secret_made,omitzero"`
	Filters    []string  `json:"filters,omitempty"`
	Disabled   []string  `json:"disabled,omitempty"`
}

// Ordered is what came of an order for one tenant.
type Ordered struct {
	events.Home
	Do renew.Do `json:"do"`
	// Steps is what was done, or would be; after an Error maybe not all of it.
	Steps []renew.Step `json:"steps"`
	Error string       `json:"error,omitempty"`
	// Now is how it stands after that; nil if nobody has said.
	Now *Subscribed `json:"now,omitempty"`

	status int // of HTTP
}

// AppSecret says whether the order failed because the secrets are not ours to change.
func (o Ordered) AppSecret() bool { return o.status == http.StatusConflict }

// List says how the subscriptions stand of a provider, of all if that is empty; of
// one tenant, or all of the provider's. It is sorted, and asks no listener.
func (s Subscriptions) List(ctx context.Context, p events.Provider, t events.Tenant) ([]Subscribed, error) {
	ctx, cancel := context.WithTimeout(ctx, listingLimit)
	defer cancel()
	all, err := s.Ledgers.All(ctx)
	if err != nil {
		return nil, err
	}
	rows, now := []Subscribed{}, time.Now()
	homes := slices.SortedFunc(maps.Keys(all), func(a, b events.Home) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Tenant, b.Tenant))
	})
	for _, h := range homes {
		if (p == "" || p == h.Provider) && (t == "" || t == h.Tenant) {
			rows = append(rows, readSubscribed(h, all[h].Value, now))
		}
	}
	return rows, nil
}

// readSubscribed is the row of a ledger as it is stored.
func readSubscribed(h events.Home, value []byte, now time.Time) Subscribed {
	l, err := subscriptions.DecodeLedger(value)
	if err != nil || l.Home != h {
		return Subscribed{Home: h, State: events.FeedDoubtful, Problem: "its ledger cannot be read",
			Registrations: []Registration{}, Gaps: []subscriptions.Gap{}}
	}
	return subscribedOf(l, now)
}

func subscribedOf(l subscriptions.Ledger, now time.Time) Subscribed {
	s := Subscribed{
		Home: l.Home, Problem: l.Problem, Fault: l.Fault,
		Looked: l.Looked.UTC(), Proof: l.Proof.UTC(), Delivered: l.Delivered.UTC(), Died: l.Died.UTC(),
		Paused: l.Paused.UTC(), Registrations: []Registration{}, Gaps: []subscriptions.Gap{},
	}
	for _, g := range l.Gaps {
		g.From, g.To = g.From.UTC(), g.To.UTC()
		s.Gaps = append(s.Gaps, g)
	}
	for _, e := range l.Entries {
		s.Registrations = append(s.Registrations, registrationOf(e, now))
	}
	slices.SortFunc(s.Registrations, func(a, b Registration) int {
		return cmp.Or(cmp.Compare(a.For, b.For), cmp.Compare(a.ID, b.ID))
	})
	s.State = events.Feed{Proof: l.Proof, Died: l.Died}.State(now, renew.Bound(renew.DefaultCheck))
	s.doubt()
	return s
}

// doubt finds what a ledger that nobody has written lately does not say.
func (s *Subscribed) doubt() {
	serving := make(map[string]bool) // one that is replaced may be there too
	for _, r := range s.Registrations {
		serving[r.For] = serving[r.For] || r.Serves
	}
	i := slices.IndexFunc(s.Registrations, func(r Registration) bool { return !serving[r.For] })
	if s.State == events.FeedAlive && (i >= 0 || len(s.Registrations) == 0) {
		s.State = events.FeedDoubtful
	}
	switch {
	case s.State == events.FeedAlive || s.Problem != "":
	case i >= 0:
		s.Problem = s.Registrations[i].For + ": " + s.Registrations[i].Trouble()
	case s.Looked.IsZero():
		s.Problem = "nobody has looked after it yet"
	default:
		s.Problem = "not shown to live since the last look, which was at " + s.Looked.Format(time.RFC3339) +
			": does a listener run?"
	}
}

func registrationOf(e subscriptions.Entry, now time.Time) Registration {
	r := Registration{
		ID: e.ID, For: e.Want, Status: e.Status, Made: e.Made.UTC(), Renewed: e.Renewed.UTC(),
		Expires: e.Expires.UTC(), Leaving: e.Leaving.UTC(), Delivered: e.Delivered.UTC(),
		Filters: e.Filters, Disabled: e.Disabled,
	}
	ended := !e.Expires.IsZero() && !e.Expires.After(now)
	r.Serves = e.Active && !e.Over && !ended && len(e.Disabled) == 0
	if e.Serial != 0 {
		r.SecretMade = r.Made
	}
	if ended && e.Active {
		r.Status = "expired"
	}
	return r
}

// Trouble says why it does not serve.
func (r Registration) Trouble() string {
	if len(r.Disabled) > 0 {
		return fmt.Sprintf("filters that are not served: %q", r.Disabled)
	}
	return "not active: " + cmp.Or(r.Status, "the provider gives no reason")
}

// Order has whoever keeps a tenant's subscriptions carry out an order, and waits for
// that, 2 min at most.
func (s Subscriptions) Order(ctx context.Context, h events.Home, do renew.Do) Ordered {
	ctx, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	o := Ordered{Home: h, Do: do, Steps: []renew.Step{}, status: http.StatusOK}
	r, err := s.ask(ctx, h, do)
	switch {
	case err != nil:
		o.status, o.Error = unanswered(h, err)
		return o
	case r.Error == renew.ErrAppSecret.Error():
		o.status = http.StatusConflict
	case r.Error != "":
		o.status = http.StatusBadGateway
	}
	o.Error, o.Steps = r.Error, append(o.Steps, r.Steps...)
	if r.Ledger.Home == h {
		now := subscribedOf(r.Ledger, time.Now())
		o.Now = &now
	}
	return o
}

func (s Subscriptions) ask(ctx context.Context, h events.Home, do renew.Do) (r renew.Report, err error) {
	request, err := json.Marshal(renew.Order{Do: do})
	if err != nil {
		return r, err
	}
	reply, err := s.Calls.Ask(ctx, h, request)
	if err == nil && json.Unmarshal(reply, &r) != nil {
		err = errors.New("the answer cannot be read: is the listener of another version?")
	}
	return r, err
}

// unanswered says why there is no answer, and what to do.
func unanswered(h events.Home, err error) (status int, text string) {
	switch {
	case errors.Is(err, events.ErrNobody):
		return http.StatusServiceUnavailable, fmt.Sprintf("no listener runs for %s, or it cannot be reached: "+
			"start one; if one has just started or ended, try again in 10s", h)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusGatewayTimeout, fmt.Sprintf("no answer about %s in time: the order may be under way "+
			"still; look at the list", h)
	}
	return http.StatusServiceUnavailable, err.Error()
}

// orders are those that an operator may give.
var orders = []renew.Do{renew.DoPlan, renew.DoApply, renew.DoRenew, renew.DoRotate, renew.DoRemove}

// subscriptionsPath is where they stand on the admin port.
const subscriptionsPath = "/v1/subscriptions"

// subscriptionRoutes adds what operators may ask and order at the admin port.
func (l *Listener) subscriptionRoutes(mux *http.ServeMux) {
	d := desk{
		Subscriptions: Subscriptions{Ledgers: l.ledgers, Calls: l.calls},
		token:         l.cfg.Listener.AdminToken, homes: l.homes, log: l.log,
	}
	mux.Handle(subscriptionsPath, d)
	mux.Handle(subscriptionsPath+"/", d)
}

// desk answers operators over HTTP.
type desk struct {
	Subscriptions
	token subscriptions.Secret
	homes []events.Home // that are configured here
	log   *slog.Logger
}

// refusal is why a call is not answered, with its status.
type refusal struct {
	status int
	text   string
	allow  string // the method, if it was another
}

func (r refusal) Error() string { return r.text }

// ServeHTTP admits, then lists or orders.
func (d desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	do, err := d.admit(r)
	if err == nil && do == "" {
		d.list(w, r)
		return
	}
	var h events.Home
	if err == nil {
		h, err = d.target(r)
	}
	var no refusal
	if errors.As(err, &no) {
		d.refuse(w, no)
		return
	}
	// The server's limit is that of its quick answers.
	end := time.Now().Add(orderLimit + stopLimit)
	if err := http.NewResponseController(w).SetWriteDeadline(end); err != nil {
		d.refuse(w, refusal{status: http.StatusInternalServerError, text: "the time to answer cannot be extended"})
		return
	}
	o := d.Order(r.Context(), h, do)
	d.log.InfoContext(r.Context(), "order about subscriptions", "order", string(do),
		"provider", string(h.Provider), "tenant", string(h.Tenant), "status", o.status, "error", o.Error)
	if o.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	answerJSON(w, o.status, o)
}

// admit says what is ordered; nothing: the list is asked for.
func (d desk) admit(r *http.Request) (do renew.Do, err error) {
	if d.token.Empty() {
		return "", refusal{status: http.StatusForbidden, text: "nobody is admitted: set listener.admin_token"}
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !d.token.Equal(given) || !ok {
		return "", refusal{status: http.StatusUnauthorized, text: "a bearer token is required"}
	}
	want := http.MethodGet
	if rest := strings.TrimPrefix(r.URL.Path, subscriptionsPath); rest != "" {
		do, want = renew.Do(strings.TrimPrefix(rest, "/")), http.MethodPost
		if !slices.Contains(orders, do) {
			return "", refusal{status: http.StatusNotFound, text: fmt.Sprintf("there are %s, and below it %s",
				subscriptionsPath, orders)}
		}
	}
	if r.Method != want {
		return "", refusal{http.StatusMethodNotAllowed, want + " is all that is allowed here", want}
	}
	return do, nil
}

// target reads whose subscriptions an order is about.
func (d desk) target(r *http.Request) (h events.Home, err error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return h, refusal{status: http.StatusBadRequest, text: "Content-Type must be application/json"}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxOrder+1))
	switch {
	case err != nil:
		return h, refusal{status: http.StatusBadRequest, text: "the body could not be read"}
	case len(body) > maxOrder:
		return h, refusal{status: http.StatusRequestEntityTooLarge,
			text: fmt.Sprintf("the body exceeds %d bytes", maxOrder)}
	case json.Unmarshal(body, &h) != nil:
		return h, refusal{status: http.StatusBadRequest, text: `the body must be {"provider":"...","tenant":"..."}`}
	}
	if err := h.Validate(); err != nil {
		return h, refusal{status: http.StatusBadRequest, text: err.Error()}
	}
	if !slices.Contains(d.homes, h) {
		return h, refusal{status: http.StatusNotFound, text: fmt.Sprintf("no tenant with webhooks is %s", h)}
	}
	return h, nil
}

func (d desk) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	rows, err := d.List(r.Context(), events.Provider(q.Get("provider")), events.Tenant(q.Get("tenant")))
	if err != nil {
		d.refuse(w, refusal{status: http.StatusServiceUnavailable, text: err.Error()})
		return
	}
	answerJSON(w, http.StatusOK, rows)
}

func (d desk) refuse(w http.ResponseWriter, no refusal) {
	switch no.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", no.allow)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "10")
	}
	answerJSON(w, no.status, map[string]string{"error": no.text})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the asker has gone
}
