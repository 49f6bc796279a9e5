package sim

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// filter is an event filter of a subscription, with ~ expanded (except in reminders, which keep it).
type filter struct {
	text                string
	extension           string // of .../extension/{id}; empty: another kind
	list                bool   // .../extension
	threshold, interval time.Duration
}

func (f filter) reminder() bool { return f.interval > 0 }

type disabledFilter struct {
	Filter  string `json:"filter"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func filterTexts(list []filter) []string {
	texts := make([]string, 0, len(list))
	for _, f := range list {
		texts = append(texts, f.text)
	}
	return texts
}

const reminderPrefix = "/restapi/v1.0/subscription/~?"

// filters parses what was asked for. Those the caller has no right to are set aside: the call succeeds
// without them.
func (c *call) filters(texts []string, seconds int) (granted []filter, refused []disabledFilter, err error) {
	if len(texts) == 0 {
		return nil, nil, errParameter("eventFilters", "")
	}
	reminders := 0
	for _, text := range texts {
		f, err := c.filter(text, seconds)
		if err != nil {
			return nil, nil, err
		}
		if f.reminder() {
			reminders++
		}
		if d := c.disables(f); d != nil {
			refused = append(refused, *d)
			continue
		}
		granted = append(granted, f)
	}
	if reminders == len(texts) {
		return nil, nil, errSubscription(http.StatusBadRequest, "SUB-515",
			"Subscription containing only reminder filter is not allowed")
	}
	return granted, refused, nil
}

// disables says why a filter is set aside; nil when it is not.
func (c *call) disables(f filter) *disabledFilter {
	if reason := c.s.disabled[f.text]; reason != "" {
		return &disabledFilter{f.text, reason, disabledOnRequest}
	}
	if f.reminder() {
		return nil
	}
	if !c.who.has("ReadAccounts") {
		return &disabledFilter{f.text, "SUB-411", "Application permission [ReadAccounts] is missing"}
	}
	foreign := !strings.Contains(f.text, "/extension/"+c.who.owner+"/")
	if strings.Contains(f.text, "/presence") && foreign && len(c.s.scopesOf(c.who.owner, "HUD")) == 0 {
		return &disabledFilter{f.text, "SUB-412", "Extension permission [HUD] is missing"}
	}
	return nil
}

const disabledOnRequest = "Disabled on request"

// DisableFilter sets a filter aside for a reason, such as SUB-412: where it is asked for from now on, and in
// the subscriptions that have it. It is written with real ids, a reminder as it was asked for. Without a
// reason it is served again, where it is asked for anew: by an update, for one.
func (s *RingCentral) DisableFilter(text, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled[text] = reason
	if reason == "" {
		return
	}
	for _, x := range s.subs {
		kept := slices.DeleteFunc(slices.Clone(x.filters), func(f filter) bool { return f.text == text })
		if len(kept) < len(x.filters) {
			x.disabled = append(x.disabled, disabledFilter{text, reason, disabledOnRequest})
		}
		x.filters = kept
	}
}

func (c *call) filter(text string, seconds int) (filter, error) {
	if query, ok := strings.CutPrefix(text, reminderPrefix); ok {
		return reminder(text, query, seconds)
	}
	invalid := errSubscription(http.StatusBadRequest, "SUB-508", "Event filter ["+text+"] is invalid")
	rest, ok := strings.CutPrefix(text, "/restapi/v1.0/account/")
	account, rest, _ := strings.Cut(rest, "/")
	if !ok {
		return filter{}, invalid
	}
	if account != "~" && account != c.s.opts.AccountID {
		return filter{}, errSubscription(http.StatusForbidden, "SUB-406",
			"Not allowed subscribe for events to extensions of other account")
	}
	prefix := "/restapi/v1.0/account/" + c.s.opts.AccountID + "/"
	switch {
	case rest == "extension":
		return filter{text: prefix + rest, list: true}, nil
	case rest == "directory/entries", rest == "telephony/sessions", rest == "presence":
		return filter{text: prefix + rest}, nil
	}
	rest, ok = strings.CutPrefix(rest, "extension/")
	id, tail, deeper := strings.Cut(rest, "/")
	if !ok || deeper && !known(tail) {
		return filter{}, invalid
	}
	return c.extensionFilter(prefix, id, tail)
}

// known are the deeper filters of an extension that may be asked for; the simulator itself sends no events on
// them.
func known(tail string) bool {
	tail, _, _ = strings.Cut(tail, "?")
	switch tail {
	case "grant", "presence", "presence/line", "message-store", "telephony/sessions", "favorite":
		return true
	}
	return false
}

func (c *call) extensionFilter(prefix, id, tail string) (filter, error) {
	if id == "~" {
		id = c.who.owner
	}
	if c.s.world.extensions[id] == nil {
		return filter{}, errSubscription(http.StatusForbidden, "SUB-408", "Not allowed subscribe for unknown user")
	}
	if tail == "" {
		return filter{text: prefix + "extension/" + id, extension: id}, nil
	}
	return filter{text: prefix + "extension/" + id + "/" + tail}, nil
}

// reminder checks the bounds: threshold at most half of the life, interval at most half of threshold. The
// vendor's lower bound, the period of its reminder job, is not known; one second here.
func reminder(text, query string, seconds int) (filter, error) {
	invalid := errSubscription(http.StatusBadRequest, "SUB-516", "Invalid reminder parameters")
	q, err := url.ParseQuery(query)
	if err != nil {
		return filter{}, invalid
	}
	threshold, err1 := strconv.Atoi(q.Get("threshold"))
	interval, err2 := strconv.Atoi(q.Get("interval"))
	if err1 != nil || err2 != nil || interval < 1 || interval*2 > threshold || threshold*2 > seconds {
		return filter{}, invalid
	}
	return filter{text: text, threshold: time.Duration(threshold) * time.Second,
		interval: time.Duration(interval) * time.Second}, nil
}
