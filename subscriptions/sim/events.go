package sim

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ExtensionChange is a notice about one extension. EventType is Create, Update or Delete; Hints go with
// Update only: Permissions, Features, Limits, AccountStatus, ExtensionInfo and so on.
type ExtensionChange struct {
	ExtensionID string   `json:"extensionId"`
	EventType   string   `json:"eventType"`
	Hints       []string `json:"hints,omitempty"`
}

// EmitChanges sends notices without changing anything: all of them in one batch to filters on the extension
// list, each on its own to filters on the extension it names.
func (s *RingCentral) EmitChanges(changes ...ExtensionChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emitChanges(slices.Clone(changes))
}

// Emit sends an arbitrary event to every subscription that has this filter, written with real ids.
func (s *RingCentral) Emit(filter string, body map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	happening := uuid.New()
	for _, x := range s.subs {
		if slices.Contains(filterTexts(x.filters), filter) {
			s.notify(x, filter, body, happening)
		}
	}
}

func (s *RingCentral) emitChanges(changes []ExtensionChange) {
	s.expire()
	if len(changes) == 0 || len(s.subs) == 0 {
		return
	}
	byID := make(map[string][]ExtensionChange, len(changes))
	for _, ch := range changes {
		byID[ch.ExtensionID] = append(byID[ch.ExtensionID], ch)
	}
	happening := uuid.New()
	for _, x := range s.subs {
		for _, f := range x.filters {
			if f.list {
				s.notifyList(x, f, changes, happening)
				continue
			}
			for _, ch := range byID[f.extension] {
				if ch.EventType != "Create" {
					s.notify(x, f.text, ch.body(), happening)
				}
			}
		}
	}
}

func (ch ExtensionChange) body() map[string]any {
	body := map[string]any{"extensionId": ch.ExtensionID, "eventType": ch.EventType}
	if len(ch.Hints) > 0 {
		body["hints"] = ch.Hints
	}
	return body
}

func (s *RingCentral) notifyList(x *subscription, f filter, changes []ExtensionChange, happening uuid.UUID) {
	if !s.quirks.FlatListEvents {
		s.notify(x, f.text, map[string]any{"extensions": changes}, happening)
		return
	}
	for _, ch := range changes {
		s.notify(x, f.text, ch.body(), happening)
	}
}

// envelope is a notification.
type envelope struct {
	UUID           string         `json:"uuid"`
	Event          string         `json:"event"`
	Timestamp      string         `json:"timestamp"`
	SubscriptionID string         `json:"subscriptionId"`
	OwnerID        string         `json:"ownerId,omitempty"`
	Body           map[string]any `json:"body,omitempty"`
}

// notify makes a notification for one subscription and sends it, or lets the faults in force have it. The
// world is locked. What goes to a subscription that is not active is lost. The happening is the same for all
// subscriptions that tell of it.
func (s *RingCentral) notify(x *subscription, event string, body map[string]any, happening uuid.UUID) {
	if !x.blacklisted.IsZero() {
		return
	}
	e := envelope{UUID: uuid.NewString(), Event: event, Timestamp: stamp(time.Now()), SubscriptionID: x.id,
		OwnerID: x.owner, Body: body}
	if s.quirks.SharedUUID {
		e.UUID = sharedUUID(happening, event, body)
	}
	if s.quirks.OldTimestamps {
		e.Timestamp = time.Now().UTC().Format("2006-01-02T15:04:05.000-0700")
	}
	if s.quirks.TildeEvents {
		e.Event = strings.Replace(event, "/account/"+s.opts.AccountID, "/account/~", 1)
	}
	if s.quirks.OwnerInBody {
		e.OwnerID = ""
		e.Body = map[string]any{"ownerId": x.owner}
		for k, v := range body {
			e.Body[k] = v
		}
	}
	header := "Verification-Token"
	if s.quirks.ValidationHeader {
		header = "Validation-Token"
	}
	s.post(&delivery{sub: x, envelope: e, header: header})
}

// sharedUUID is that of one notice of a happening, to whichever subscription it goes.
func sharedUUID(happening uuid.UUID, event string, body map[string]any) string {
	text, err := json.Marshal(body)
	if err != nil {
		return happening.String() // it will not be sent either
	}
	return uuid.NewSHA1(happening, append([]byte(event), text...)).String()
}

// post lets the faults in force have the delivery, or sends it. The world is locked.
func (s *RingCentral) post(d *delivery) {
	t, x := s.trouble(Deliveries), d.sub
	if t.drop {
		return
	}
	if t.duplicate {
		again := *d
		d.then = &again
	}
	if t.reorder && x.held == nil {
		x.held = d
		return
	}
	if x.held != nil {
		cmp.Or(d.then, d).then, x.held = x.held, nil
	}
	if t.delay == 0 {
		s.deliver.put(d)
		return
	}
	s.deliver.background(func() {
		if wait(s.deliver.waiting, t.delay) {
			s.deliver.put(d)
		}
	})
}
