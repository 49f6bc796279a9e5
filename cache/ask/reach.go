package ask

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// ReachPath is where an operator asks what stands under some tags.
const ReachPath = "/v1/reach"

// The bounds of a reach.
const (
	maxReachBody = 512 << 10
	maxTags      = 1000
	// MaxNamed is how many entries a reach names.
	MaxNamed = 1000
)

const outcomeReached = "reached"

// Operator looks at the cache beside its providers, without changing it.
type Operator interface {
	Compare(context.Context, events.Ref) (refresh.Compared, error)
	Reach(ctx context.Context, h events.Home, named int, tags ...events.Tag) (refresh.Reached, error)
	Tags(context.Context, events.Ref) ([]events.Tag, error)
}

// reaching is the question for what stands under some tags.
type reaching struct {
	Provider string        `json:"provider"`
	Tenant   events.Tenant `json:"tenant"`
	Tags     []string      `json:"tags"`
}

// reached is the answer.
type reached struct {
	Entries []standing `json:"entries"`
	// More says that these are not all.
	More bool `json:"more"`
	// Alive counts all that were found, Calls what it takes at most to fetch them
	// again, and Takes how long the limits need for that, in seconds.
	Alive int     `json:"alive"`
	Calls int     `json:"calls"`
	Takes float64 `json:"takes_s"`
}

// standing is an entry that is alive.
type standing struct {
	Subject  events.Subject  `json:"subject"`
	Resource events.Resource `json:"resource"`
	Until    string          `json:"until"`
	Read     *bool           `json:"read,omitempty"`
}

// errNoOperator says that the two calls for operators are not served.
var errNoOperator = problem{http.StatusNotFound, "operators are not served here"}

// reach says what is alive under some tags.
func (h *Handler) reach(ctx context.Context, body []byte) (reached, error) {
	if h.Operator == nil {
		return reached{}, errNoOperator
	}
	var q reaching
	if err := json.Unmarshal(body, &q); err != nil {
		return reached{}, bad("the body must be an object with provider, tenant and tags: %.200s", err)
	}
	home := events.Home{Provider: h.provider(q.Provider), Tenant: q.Tenant}
	if home.Provider == "" {
		return reached{}, bad("provider is missing: there are %v", h.Providers)
	}
	if err := home.Validate(); err != nil {
		return reached{}, bad("%s", err)
	}
	if len(q.Tags) == 0 || len(q.Tags) > maxTags {
		return reached{}, bad("tags: %d, there must be 1 to %d", len(q.Tags), maxTags)
	}
	tags := make([]events.Tag, len(q.Tags))
	for i, text := range q.Tags {
		var err error
		if tags[i], err = events.ParseTag(text); err != nil {
			return reached{}, bad("tags: %s", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*Wait)
	defer cancel()
	r, err := h.Operator.Reach(ctx, home, MaxNamed, tags...)
	if err != nil {
		return reached{}, err
	}
	return h.tellReach(home, r), nil
}

func (h *Handler) tellReach(home events.Home, r refresh.Reached) reached {
	out := reached{Entries: make([]standing, len(r.Standing)), Alive: r.Alive}
	out.More = r.Cut || r.Alive > len(r.Standing)
	for i, s := range r.Standing {
		out.Entries[i] = standing{Subject: s.Subject, Resource: s.Resource, Until: stamp(s.Until)}
		if s.Told {
			out.Entries[i].Read = &r.Standing[i].Read
		}
	}
	if h.Cost != nil {
		for basis, n := range r.Bases {
			calls, takes := h.Cost(home, basis)
			out.Calls, out.Takes = out.Calls+n*calls, out.Takes+(time.Duration(n)*takes).Seconds()
		}
	}
	return out
}
