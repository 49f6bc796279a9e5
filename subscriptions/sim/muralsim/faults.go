package muralsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// FaultKind says what goes wrong.
type FaultKind string

// The kinds of faults.
const (
	Delay  FaultKind = "delay"  // the call is answered so much later
	Status FaultKind = "status" // the call has no effect and is refused with Fault.Status
	Drop   FaultKind = "drop"   // the call takes effect, and the line is cut instead of a reply
	Stale  FaultKind = "stale"  // reads answer from the world as it was Fault.Delay ago
)

// Fault is something that goes wrong on request. Durations are the wall's and not divided by Options.Speed.
// A stale fault knows only changes that were made while one was in force.
type Fault struct {
	Operation string        // as in [Mural.Calls]; empty: every one
	Kind      FaultKind     //
	Count     int           // how many times; 0: until cleared
	Delay     time.Duration // for Delay and Stale; for Status 429 how far off the Reset is, 0: one window
	Status    int           // for Status; 401 is TOKEN_EXPIRED, on the OAuth pages 400 is invalid_grant
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
	switch f.Kind {
	case Delay, Status, Drop, Stale:
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

// Fault adds a fault to those in force. It errs on a kind or operation that cannot be, and then adds nothing.
func (m *Mural) Fault(f Fault) error {
	if err := errors.Join(f.check(), m.unknownOperation(f.Operation)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, &f)
	return nil
}

// ClearFaults ends all faults. Calls that are being delayed keep their delay.
func (m *Mural) ClearFaults() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults, m.past = nil, nil
}

// Faults lists those in force, oldest first.
func (m *Mural) Faults() []Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Fault, 0, len(m.faults))
	for _, f := range m.faults {
		list = append(list, *f)
	}
	return list
}

// trouble is what the faults in force do to one call.
type trouble struct {
	delay, age, penalty time.Duration
	status              int
	drop                bool
}

// trouble collects the faults that meet this operation and counts them down. The world is locked.
func (m *Mural) trouble(operation string) trouble {
	var t trouble
	for _, f := range m.faults {
		if f.Operation != operation && f.Operation != "" {
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
	m.faults = slices.DeleteFunc(m.faults, func(f *Fault) bool { return f.Kind == "" })
	return t
}

func (t *trouble) add(f Fault) {
	switch f.Kind {
	case Delay:
		t.delay += f.Delay
	case Status:
		t.status, t.penalty = f.Status, f.Delay
	case Drop:
		t.drop = true
	case Stale:
		t.age = max(t.age, f.Delay)
	}
}

// snapshot is the world as it was until a moment.
type snapshot struct {
	until time.Time
	world *world
}

// remember keeps the world as it is before a change, for as long as a stale fault can ask for it. The world
// is locked.
func (m *Mural) remember() {
	var age time.Duration
	for _, f := range m.faults {
		if f.Kind == Stale {
			age = max(age, f.Delay)
		}
	}
	if age == 0 {
		return
	}
	now := time.Now()
	m.past = slices.DeleteFunc(m.past, func(p snapshot) bool { return p.until.Before(now.Add(-age)) })
	m.past = append(m.past, snapshot{until: now, world: m.world})
	m.world = m.world.clone()
}

// worldAgo is the world as it was that long ago, as far as it is remembered. The world is locked.
func (m *Mural) worldAgo(age time.Duration) *world {
	then := time.Now().Add(-age)
	for _, p := range m.past {
		if age > 0 && p.until.After(then) {
			return p.world
		}
	}
	return m.world
}
