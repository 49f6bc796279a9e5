package lookup

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
)

// reply is what the worker answers; the context is ours.
type reply struct {
	Decision *bool `json:"decision"`
	Context  struct {
		State     string                 `json:"state"`
		AsOf      time.Time              `json:"as_of"`
		Until     time.Time              `json:"until"`
		Version   string                 `json:"version"`
		Basis     string                 `json:"basis"`
		Covers    []cache.Kind           `json:"covers"`
		Confirmed bool                   `json:"confirmed"`
		Width     map[cache.Grant]string `json:"width"`
		Missing   []cache.Grant          `json:"missing"`
		Reason    map[cache.Grant]string `json:"reason"`
		Message   string                 `json:"message"`
	} `json:"context"`
}

// readReply reads a decision. Unknown members are ignored. Its errors repeat
// nothing of the body, as those of encoding/json and time would.
func readReply(body []byte, need []cache.Grant) (Decision, error) {
	var r reply
	if err := json.Unmarshal(body, &r); err != nil {
		return Decision{}, errors.New("it is no JSON, or a member has another type")
	}
	if r.Decision == nil {
		return Decision{}, errors.New("it has no decision")
	}
	c := r.Context
	d := Decision{
		State: stateOf(*r.Decision, c.State), AsOf: c.AsOf, Until: c.Until, Basis: c.Basis, Covers: c.Covers,
		Confirmed: c.Confirmed, Widths: c.Width, Missing: c.Missing, Reasons: c.Reason, Message: c.Message,
		Source: FromWorker,
	}
	if c.Version != "" {
		v, err := cache.ParseVersion(c.Version)
		if err != nil {
			return Decision{}, errors.New("its version is no number up to 2^53")
		}
		d.Version = v
	}
	if d.State == cache.Denied && len(need) == 1 {
		d.Missing = slices.Clone(need)
	}
	return d, nil
}

// stateOf believes a state only if the decision agrees with it.
func stateOf(decision bool, state string) cache.State {
	switch {
	case decision && state == cache.Granted.String():
		return cache.Granted
	case !decision && state == cache.Denied.String():
		return cache.Denied
	}
	return cache.Unknown
}
