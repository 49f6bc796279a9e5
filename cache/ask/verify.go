package ask

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// VerifyPath is where an operator asks for an entry, and what the provider says of
// it now.
const VerifyPath = "/v1/verify"

// The levels at which an operator may ask.
const (
	levelCached = "cached" // as any reader: a miss is filled
	levelVerify = "verify" // the provider is asked, and nothing is stored
)

// The outcomes of a verification.
const (
	outcomeMatched  = "matched"
	outcomeDiffered = "differed"
	outcomeChanged  = "changed"
	outcomeMissing  = "missing" // nothing is cached, so nothing is to be compared
	outcomeUnread   = "unread"  // the provider could not be asked
	outcomeShown    = "shown"   // at the level cached
)

// verifying is what an operator asks.
type verifying struct {
	Provider string          `json:"provider"`
	Tenant   events.Tenant   `json:"tenant"`
	Subject  events.Subject  `json:"subject"`
	Resource events.Resource `json:"resource"`
	Level    string          `json:"level"`
}

// verified is the answer. What is null is not there, or not known.
type verified struct {
	Cached      *shownEntry      `json:"cached"`
	Provider    *shownFacts      `json:"provider"`
	Error       string           `json:"error,omitempty"`
	Differences []difference     `json:"differences"`
	Match       bool             `json:"match"`
	Changed     bool             `json:"changed,omitempty"`
	Feed        events.FeedState `json:"feed,omitempty"`
}

// difference is a field of the contract that differs: a grant, why/ and a grant, or
// _covers. What is not there is null.
type difference struct {
	Grant    string  `json:"grant"`
	Cached   *string `json:"cached"`
	Provider *string `json:"provider"`
}

// shownFacts are facts as an operator reads them.
type shownFacts struct {
	Basis  string                 `json:"basis"`
	Covers []cache.Kind           `json:"covers"`
	Grants map[cache.Grant]string `json:"grants"`
	Why    map[cache.Grant]string `json:"why,omitempty"`
	Tags   []string               `json:"tags"`
}

// shownEntry is an entry as an operator reads it.
type shownEntry struct {
	shownFacts
	AsOf      string `json:"as_of"`
	Until     string `json:"until,omitempty"`
	Version   string `json:"version,omitempty"`
	Confirmed bool   `json:"confirmed"`
	// Fetched: it was not cached, and was fetched for this call. Stored is false if
	// it could not be kept.
	Fetched bool `json:"fetched,omitempty"`
	Stored  bool `json:"stored"`
}

// verify tells what is cached and, at that level, what the provider says.
func (h *Handler) verify(ctx context.Context, body []byte) (v verified, outcome string, err error) {
	if h.Operator == nil {
		return v, "", errNoOperator
	}
	var q verifying
	if err := json.Unmarshal(body, &q); err != nil {
		return v, "", bad("the body must be an object with provider, tenant, subject and resource: %.200s", err)
	}
	ref := events.Ref{Subject: q.Subject, Resource: q.Resource}
	ref.Provider, ref.Tenant = h.provider(q.Provider), q.Tenant
	if ref.Provider == "" {
		return v, "", bad("provider is missing: there are %v", h.Providers)
	}
	if err := ref.Validate(); err != nil {
		return v, "", bad("%s", err)
	}
	switch q.Level {
	case levelCached:
		v, err = h.show(ctx, ref)
		outcome = outcomeShown
	case "", levelVerify:
		v, outcome, err = h.compare(ctx, ref)
	default:
		return v, "", bad("level: there are %s and %s", levelCached, levelVerify)
	}
	if h.Feed != nil {
		v.Feed = h.Feed(ref.Home)
	}
	if v.Differences == nil {
		v.Differences = []difference{}
	}
	return v, outcome, err
}

// show tells of an entry as a reader gets it.
func (h *Handler) show(ctx context.Context, ref events.Ref) (v verified, err error) {
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	r, err := h.Filler.Get(ctx, ref)
	if err != nil {
		message, own := explain(err)
		if own {
			return v, err
		}
		v.Error = message
		return v, nil
	}
	v.Cached = shown(r.Entry)
	v.Cached.Fetched, v.Cached.Stored = r.Fetched, r.Stored
	return v, h.tag(ctx, ref, v.Cached)
}

// compare asks the provider too. An error of its own is part of the answer.
func (h *Handler) compare(ctx context.Context, ref events.Ref) (v verified, outcome string, err error) {
	c, err := h.Operator.Compare(ctx, ref)
	if errors.Is(err, refresh.ErrStore) {
		return v, "", err
	}
	if err != nil {
		v.Error, _ = explain(err)
	}
	if c.Cached != nil {
		v.Cached = shown(*c.Cached)
		v.Cached.Stored = true
		if err := h.tag(ctx, ref, v.Cached); err != nil {
			return v, "", err
		}
	}
	if c.Provider != nil {
		facts := factsOf(*c.Provider)
		facts.Tags = texts(c.Tags)
		v.Provider = &facts
	}
	for _, d := range c.Differences {
		v.Differences = append(v.Differences, difference{d.Field, there(d.Cached), there(d.Provider)})
	}
	v.Match, v.Changed = c.Match(), c.Changed
	return v, outcomeOf(c), nil
}

func outcomeOf(c refresh.Compared) string {
	switch {
	case c.Provider == nil:
		return outcomeUnread
	case c.Changed:
		return outcomeChanged
	case c.Cached == nil:
		return outcomeMissing
	case len(c.Differences) > 0:
		return outcomeDiffered
	}
	return outcomeMatched
}

// tag adds what an entry was computed from.
func (h *Handler) tag(ctx context.Context, ref events.Ref, e *shownEntry) error {
	if !e.Stored {
		e.Tags = []string{}
		return nil
	}
	tags, err := h.Operator.Tags(ctx, ref)
	e.Tags = texts(tags)
	return err
}

func shown(e cache.Entry) *shownEntry {
	s := &shownEntry{shownFacts: factsOf(e.Facts), AsOf: stamp(e.AsOf), Until: stamp(e.Until)}
	s.Confirmed = e.Confirmed
	if e.Version != 0 {
		s.Version = e.Version.String()
	}
	return s
}

func factsOf(f cache.Facts) shownFacts {
	s := shownFacts{Basis: f.Basis, Covers: f.Covers, Grants: f.Grants, Why: f.Why}
	if s.Covers == nil {
		s.Covers = []cache.Kind{}
	}
	if s.Grants == nil {
		s.Grants = map[cache.Grant]string{}
	}
	return s
}

func texts(tags []events.Tag) []string {
	all := make([]string, len(tags))
	for i, t := range tags {
		all[i] = t.String()
	}
	return all
}

// there is nil for what is empty.
func there(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
