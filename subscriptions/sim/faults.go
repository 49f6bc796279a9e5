package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Deliveries is the operation name that a fault gives to meet webhook deliveries instead of API calls.
const Deliveries = "deliveries"

// FaultKind says what goes wrong.
type FaultKind string

// The kinds of faults. Those of deliveries need Operation [Deliveries], the others anything else; Delay
// serves both.
const (
	Delay     FaultKind = "delay"     // a call is answered, a delivery sent, so much later
	Status    FaultKind = "status"    // the call has no effect and is refused with Fault.Status (429, 5xx, 401)
	Refuse    FaultKind = "refuse"    // likewise with the vendor's Fault.Code, such as SUB-524
	Truncate  FaultKind = "truncate"  // the call takes effect; half of its reply is sent, then the line is cut
	Stale     FaultKind = "stale"     // reads answer from the world as it was Fault.Delay ago
	Drop      FaultKind = "drop"      // the delivery is lost
	Duplicate FaultKind = "duplicate" // the delivery is sent twice, with the same uuid
	Reorder   FaultKind = "reorder"   // the delivery is held, and sent after the subscription's next one
)

// Fault is something that goes wrong on request. Durations are the wall's and not divided by Options.Speed.
type Fault struct {
	Operation string        // an operationId of the vendor's description, [Deliveries], or empty: every API call
	Kind      FaultKind     //
	Count     int           // how many times; 0: until cleared
	Delay     time.Duration // for Delay and Stale; for Status 429 the penalty told, 0: the vendor's 60 s
	Status    int           // for Status
	Code      string        // for Refuse: a code of registrations
}

type faultJSON struct {
	Operation string    `json:"operation,omitempty"`
	Kind      FaultKind `json:"kind"`
	Count     int       `json:"count,omitempty"`
	Delay     string    `json:"delay,omitempty"`
	Status    int       `json:"status,omitempty"`
	Code      string    `json:"code,omitempty"`
}

// MarshalJSON writes the fault as the control endpoint shows it, with the delay as "1.5s".
func (f Fault) MarshalJSON() ([]byte, error) {
	j := faultJSON{Operation: f.Operation, Kind: f.Kind, Count: f.Count, Status: f.Status, Code: f.Code}
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
	*f = Fault{Operation: j.Operation, Kind: j.Kind, Count: j.Count, Status: j.Status, Code: j.Code}
	if j.Delay == "" {
		return nil
	}
	d, err := time.ParseDuration(j.Delay)
	f.Delay = d
	return err
}

func (f Fault) check() error {
	switch f.Kind {
	case Delay:
	case Drop, Duplicate, Reorder:
		if f.Operation != Deliveries {
			return fmt.Errorf("fault %s: only deliveries can have it", f.Kind)
		}
	case Status, Refuse, Truncate, Stale:
		if f.Operation == Deliveries {
			return fmt.Errorf("fault %s: deliveries cannot have it", f.Kind)
		}
	default:
		return fmt.Errorf("fault %q: unknown kind", f.Kind)
	}
	if f.Kind == Status && (f.Status < 400 || f.Status > 599) {
		return fmt.Errorf("fault status: %d is no refusal", f.Status)
	}
	if f.Kind == Refuse && refusals[f.Code] == 0 {
		return fmt.Errorf("fault refuse: unknown code %q", f.Code)
	}
	if f.Count < 0 || f.Delay < 0 {
		return errors.New("fault: negative count or delay")
	}
	return nil
}

// Fault adds a fault to those in force. It errs on a kind that cannot be, and then adds nothing.
func (s *RingCentral) Fault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	if !s.knows(f.Operation) {
		return fmt.Errorf("fault on %q: no such operation", f.Operation)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	return nil
}

// ClearFaults ends all faults. Deliveries that were held are sent; delayed ones keep their delay.
func (s *RingCentral) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.past = nil, nil
	for _, sub := range s.subs {
		if held := sub.held; held != nil {
			sub.held = nil
			s.deliver.put(held)
		}
	}
}

// Faults lists those in force, oldest first.
func (s *RingCentral) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		list = append(list, *f)
	}
	return list
}

// trouble is what the faults in force do to one call or delivery.
type trouble struct {
	delay, age, penalty                time.Duration
	status                             int
	code                               string
	truncate, drop, duplicate, reorder bool
}

// trouble collects the faults that meet this operation and counts them down. The world is locked.
func (s *RingCentral) trouble(operation string) trouble {
	var t trouble
	for _, f := range s.faults {
		if f.Operation != operation && (f.Operation != "" || operation == Deliveries) {
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
	case Refuse:
		t.code = f.Code
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
func (s *RingCentral) remember() {
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
func (s *RingCentral) worldAgo(age time.Duration) *world {
	then := time.Now().Add(-age)
	for _, p := range s.past {
		if age > 0 && p.until.After(then) {
			return p.world
		}
	}
	return s.world
}
