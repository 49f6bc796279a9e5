package boxsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Deliveries and Events are the operation names that a fault gives to meet webhook deliveries, or events on
// their way into the enterprise streams, instead of API calls.
const (
	Deliveries = "deliveries"
	Events     = "events"
)

// FaultKind says what goes wrong.
type FaultKind string

// The kinds of faults. Truncate, Status and Stale are for API calls, Duplicate and Reorder for deliveries and
// events, Delay and Drop for all.
const (
	Delay     FaultKind = "delay"     // answered, sent or shown so much later
	Drop      FaultKind = "drop"      // the call has no effect and no answer; the delivery or event is lost
	Status    FaultKind = "status"    // the call has no effect and is refused with Fault.Status
	Truncate  FaultKind = "truncate"  // the call takes effect; half of its reply is sent, then the line is cut
	Stale     FaultKind = "stale"     // reads answer from the world as it was Fault.Delay ago
	Duplicate FaultKind = "duplicate" // sent twice with the same body, or shown twice
	Reorder   FaultKind = "reorder"   // held, and sent after the webhook's next, or shown after the next
)

// Fault is something that goes wrong on request. Durations are the wall's and not divided by Options.Speed.
type Fault struct {
	Operation string        // an operationId, [Deliveries], [Events], or empty: every API call
	Kind      FaultKind     //
	Count     int           // how many times; 0: until cleared
	Delay     time.Duration // for Delay and Stale; for Status what Retry-After tells, 0: 1 s with 429, else none
	Status    int           // for Status
}

type faultJSON struct {
	Operation string    `json:"operation,omitempty"`
	Kind      FaultKind `json:"kind"`
	Count     int       `json:"count,omitempty"`
	Delay     string    `json:"delay,omitempty"`
	Status    int       `json:"status,omitempty"`
}

// MarshalJSON writes the fault as the control endpoint shows it, with the delay as "1.5s".
func (f Fault) MarshalJSON() ([]byte, error) {
	j := faultJSON{Operation: f.Operation, Kind: f.Kind, Count: f.Count, Status: f.Status}
	if f.Delay > 0 {
		j.Delay = f.Delay.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what the control endpoint is sent.
func (f *Fault) UnmarshalJSON(data []byte) error {
	var j faultJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*f = Fault{Operation: j.Operation, Kind: j.Kind, Count: j.Count, Status: j.Status}
	if j.Delay == "" {
		return nil
	}
	d, err := time.ParseDuration(j.Delay)
	f.Delay = d
	return err
}

func (f Fault) check() error {
	apart := f.Operation == Deliveries || f.Operation == Events
	switch f.Kind {
	case Delay, Drop:
	case Duplicate, Reorder:
		if !apart {
			return fmt.Errorf("fault %s: only deliveries and events can have it", f.Kind)
		}
	case Status, Truncate, Stale:
		if apart {
			return fmt.Errorf("fault %s: only API calls can have it", f.Kind)
		}
	default:
		return fmt.Errorf("fault %q: unknown kind", f.Kind)
	}
	if f.Kind == Status && (f.Status < 400 || f.Status > 599) {
		return fmt.Errorf("fault status: %d is no refusal", f.Status)
	}
	if f.Count < 0 || f.Delay < 0 {
		return errors.New("fault: negative count or delay")
	}
	return nil
}

// Fault adds a fault to those in force. It errs on a kind that cannot be, and then adds nothing.
func (s *Box) Fault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	if !s.knows(f.Operation) {
		return fmt.Errorf("fault on %q: no such operation", f.Operation)
	}
	defer s.lock()()
	s.faults = append(s.faults, &f)
	return nil
}

// ClearFaults ends all faults. What was held is sent or shown; what is delayed keeps its delay.
func (s *Box) ClearFaults() {
	defer s.lock()()
	s.faults, s.past = nil, nil
	for _, x := range s.hooks {
		if x.held != nil {
			s.deliver.put(x.held)
			x.held = nil
		}
	}
	s.events.release(time.Now())
}

// Faults lists those in force, oldest first.
func (s *Box) Faults() []Fault {
	defer s.lock()()
	list := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		list = append(list, *f)
	}
	return list
}

// trouble is what the faults in force do to one call, delivery or event.
type trouble struct {
	delay, age, penalty                time.Duration
	status                             int
	truncate, drop, duplicate, reorder bool
}

// trouble collects the faults that meet this operation and counts them down. The world is locked.
func (s *Box) trouble(operation string) trouble {
	var t trouble
	for _, f := range s.faults {
		apart := operation == Deliveries || operation == Events
		if f.Operation != operation && (f.Operation != "" || apart) {
			continue
		}
		t.add(*f)
		if f.Count > 0 {
			f.Count--
			if f.Count == 0 {
				f.Kind = "" // spent
			}
		}
	}
	s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool { return f.Kind == "" })
	return t
}

func (t *trouble) add(f Fault) {
	switch f.Kind {
	case Delay:
		t.delay += f.Delay
	case Stale:
		t.age = max(t.age, f.Delay)
	case Status:
		t.status, t.penalty = f.Status, f.Delay
	case Truncate:
		t.truncate = true
	case Drop:
		t.drop = true
	case Duplicate:
		t.duplicate = true
	case Reorder:
		t.reorder = true
	}
}

// snapshot is the world as it was until a moment.
type snapshot struct {
	until time.Time
	world *world
}

// remember keeps the world as it is before a change, for as long as a stale fault can ask for it. The world
// is locked.
func (s *Box) remember() {
	var age time.Duration
	for _, f := range s.faults {
		if f.Kind == Stale {
			age = max(age, f.Delay)
		}
	}
	if age == 0 {
		return
	}
	now := time.Now()
	s.past = slices.DeleteFunc(s.past, func(p snapshot) bool { return p.until.Before(now.Add(-age)) })
	s.past = append(s.past, snapshot{until: now, world: s.world})
	s.world = s.world.clone()
}

// worldAgo is the world as it was that long ago, as far as it is remembered. The world is locked.
func (s *Box) worldAgo(age time.Duration) *world {
	then := time.Now().Add(-age)
	for _, p := range s.past {
		if age > 0 && p.until.After(then) {
			return p.world
		}
	}
	return s.world
}
