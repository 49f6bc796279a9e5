package ask

import (
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/refresh"
	"github.com/rescindhq/rescind/events"
)

// question is an evaluation request, as far as we read it.
type question struct {
	Subject *struct {
		Type *string `json:"type"`
		ID   *string `json:"id"`
	} `json:"subject"`
	Action *struct {
		Name *string `json:"name"`
	} `json:"action"`
	Resource *struct {
		Type       *string `json:"type"`
		ID         *string `json:"id"`
		Properties struct {
			Provider string `json:"provider"`
			Tenant   string `json:"tenant"`
			Resource string `json:"resource"`
		} `json:"properties"`
	} `json:"resource"`
	Context map[string]any `json:"context"`
}

// tenantTypes are the words by which vendors call a tenant.
var tenantTypes = []string{"tenant", "account", "enterprise", "workspace"}

// decision is an evaluation response.
type decision struct {
	Decision bool    `json:"decision"`
	Context  details `json:"context"`
}

type details struct {
	State     string           `json:"state"`
	AsOf      string           `json:"as_of,omitempty"`
	Until     string           `json:"until,omitempty"`
	Version   string           `json:"version,omitempty"`
	Basis     string           `json:"basis,omitempty"`
	Covers    []cache.Kind     `json:"covers,omitempty"`
	Confirmed bool             `json:"confirmed"`
	Feed      events.FeedState `json:"feed,omitempty"`
	// Delay is how late a change may come that only a poll finds, in seconds.
	Delay   float64                `json:"delay_s,omitempty"`
	Width   map[cache.Grant]string `json:"width,omitempty"`
	Missing []cache.Grant          `json:"missing,omitempty"`
	Reason  map[cache.Grant]string `json:"reason,omitempty"`
	Message string                 `json:"message,omitempty"`
}

// missing names a required attribute that a question lacks.
func (q question) missing() string {
	switch {
	case q.Subject == nil || q.Subject.Type == nil || *q.Subject.Type == "":
		return "subject.type"
	case q.Subject.ID == nil || *q.Subject.ID == "":
		return "subject.id"
	case q.Action == nil || q.Action.Name == nil || *q.Action.Name == "":
		return "action.name"
	case q.Resource == nil || q.Resource.Type == nil || *q.Resource.Type == "":
		return "resource.type"
	case q.Resource.ID == nil || *q.Resource.ID == "":
		return "resource.id"
	}
	return ""
}

// resolve finds out which entry is meant and which grants are needed.
func (h *Handler) resolve(q question) (events.Ref, []cache.Grant, error) {
	if m := q.missing(); m != "" {
		return events.Ref{}, nil, bad("%s is missing", m)
	}
	props := q.Resource.Properties
	ref := events.Ref{Subject: events.Subject(*q.Subject.ID)}
	ref.Provider, ref.Tenant = h.provider(props.Provider), events.Tenant(props.Tenant)
	if ref.Provider == "" {
		return events.Ref{}, nil, bad("resource.properties.provider is missing: there are %v", h.Providers)
	}
	if slices.Contains(tenantTypes, *q.Resource.Type) {
		ref.Tenant, ref.Resource = events.Tenant(*q.Resource.ID), events.Resource(props.Resource)
	} else {
		ref.Resource = events.Resource(*q.Resource.Type + ":" + *q.Resource.ID)
	}
	if err := ref.Validate(); err != nil {
		return events.Ref{}, nil, bad("%s", err)
	}
	var need []cache.Grant
	for name := range strings.SplitSeq(*q.Action.Name, "+") {
		g, err := cache.ParseGrant(name)
		if err != nil {
			return events.Ref{}, nil, bad("action.name: %s", err)
		}
		need = append(need, g)
	}
	if len(need) > maxGrants {
		return events.Ref{}, nil, bad("action.name: %d grants, the limit is %d", len(need), maxGrants)
	}
	return ref, need, nil
}

// provider is the one named, or the only one there is.
func (h *Handler) provider(name string) events.Provider {
	if name == "" && len(h.Providers) == 1 {
		return h.Providers[0]
	}
	return events.Provider(name)
}

// decide judges an entry that was just read or fetched.
func decide(r refresh.Result, need []cache.Grant) decision {
	state := r.Judge(time.Now(), need...)
	if !r.Stored {
		state = r.Facts.Judge(need...) // for who waited, and kept for nobody
	}
	d := decision{Decision: state == cache.Granted, Context: details{
		State: state.String(), AsOf: stamp(r.AsOf), Until: stamp(r.Until), Basis: r.Basis,
		Covers: r.Covers, Confirmed: r.Confirmed,
	}}
	if r.Version != 0 {
		d.Context.Version = r.Version.String()
	}
	d.Context.explain(r.Facts, need)
	switch {
	case state == cache.Unknown:
		d.Context.Message = "not all of these kinds could be read"
	case !r.Stored:
		d.Context.Message = "not kept: changes came faster than it could be stored"
	}
	return d
}

// explain tells of each grant how wide it is, or that it is denied, and why it is
// denied or unknown.
func (d *details) explain(f cache.Facts, need []cache.Grant) {
	d.Width, d.Reason = map[cache.Grant]string{}, map[cache.Grant]string{}
	for _, g := range need {
		switch f.Judge(g) {
		case cache.Granted:
			d.Width[g] = f.Grants[g]
		case cache.Denied:
			d.Missing = append(d.Missing, g)
		}
		if why := f.Why[g]; why != "" {
			d.Reason[g] = why // of what is granted there is none
		}
	}
}

// stamp writes a time with milliseconds; none if it is zero.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
