package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Extension is a principal of the account. Status is the vendor's: Enabled, Disabled, Frozen, NotActivated,
// Unassigned; Type too: User, Department and so on. Empty means Enabled, User.
type Extension struct {
	ID       string             `json:"id"` // decimal digits
	Number   string             `json:"number"`
	Name     string             `json:"name"`
	Email    string             `json:"email"`
	Type     string             `json:"type"`
	Status   string             `json:"status"`
	Roles    []string           `json:"roles"`              // ids; empty: role 3
	Features map[string]Feature `json:"features,omitempty"` // by id; differing from the defaults
}

func (e *Extension) live() bool { return e != nil && e.Status == "Enabled" }

// world is what can change. What its maps hold is replaced, never modified, so a clone is cheap and a pointer
// out of it stays valid.
type world struct {
	extensions map[string]*Extension
	ids        []string // of extensions, in order
	roles      map[string]*role
}

func (w *world) clone() *world {
	return &world{extensions: maps.Clone(w.extensions), ids: slices.Clone(w.ids), roles: maps.Clone(w.roles)}
}

// byNumber orders decimal ids as numbers.
func byNumber(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) }

// putExtension adds or replaces. It tells whether the extension is new.
func (w *world) putExtension(e Extension) bool {
	e.Type, e.Status = cmp.Or(e.Type, "User"), cmp.Or(e.Status, "Enabled")
	e.Roles, e.Features = slices.Clone(e.Roles), maps.Clone(e.Features)
	if len(e.Roles) == 0 {
		e.Roles = []string{"3"}
	}
	_, known := w.extensions[e.ID]
	w.extensions[e.ID] = &e
	if known {
		return false
	}
	at, _ := slices.BinarySearchFunc(w.ids, e.ID, byNumber)
	w.ids = slices.Insert(w.ids, at, e.ID)
	return true
}

func (w *world) checkExtension(e Extension) error {
	if n, err := strconv.ParseInt(e.ID, 10, 64); err != nil || n <= 0 {
		return fmt.Errorf("extension %q: the id is no positive number", e.ID)
	}
	return w.checkRoles(e.Roles)
}

func (w *world) checkRoles(ids []string) error {
	for _, id := range ids {
		if w.roles[id] == nil {
			return fmt.Errorf("role %q: %w", id, ErrUnknown)
		}
	}
	return nil
}

// ErrUnknown is what the methods of RingCentral return, wrapped, for an extension, role or permission that
// does not exist.
var ErrUnknown = errors.New("unknown")

// AddExtensions adds extensions, all in one Create event. It errs, and adds none, when an id is no number, is
// taken, or has an unknown role.
func (s *RingCentral) AddExtensions(list ...Extension) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list {
		if err := s.world.checkExtension(e); err != nil {
			return err
		}
		if s.world.extensions[e.ID] != nil {
			return fmt.Errorf("extension %s exists", e.ID)
		}
	}
	s.remember()
	changes := make([]ExtensionChange, 0, len(list))
	for _, e := range list {
		if s.world.putExtension(e) {
			changes = append(changes, ExtensionChange{ExtensionID: e.ID, EventType: "Create"})
		}
	}
	s.emitChanges(changes)
	return nil
}

// RemoveExtension deletes an extension: its sessions end and a Delete event is sent.
func (s *RingCentral) RemoveExtension(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.world.extensions[id] == nil {
		return fmt.Errorf("extension %q: %w", id, ErrUnknown)
	}
	s.remember()
	delete(s.world.extensions, id)
	s.world.ids = slices.DeleteFunc(s.world.ids, func(x string) bool { return x == id })
	s.endSessions(id)
	s.emitChanges([]ExtensionChange{{ExtensionID: id, EventType: "Delete"}})
	return nil
}

// SetStatus enables, disables or freezes an extension, with the hint ExtensionInfo. Unless Enabled its
// sessions end.
func (s *RingCentral) SetStatus(id, status string) error {
	err := s.edit(id, []string{"ExtensionInfo"}, func(e *Extension) { e.Status = status })
	if err == nil && status != "Enabled" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endSessions(id)
	}
	return err
}

// AssignRoles replaces the roles of an extension, as PUT assigned-role does, with the hints Permissions and
// Features.
func (s *RingCentral) AssignRoles(id string, roles ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(roles) == 0 {
		return fmt.Errorf("extension %q: at least one role", id)
	}
	if err := s.world.checkRoles(roles); err != nil {
		return err
	}
	return s.assign(id, roles)
}

// assign replaces the roles. The world is locked.
func (s *RingCentral) assign(id string, roles []string) error {
	return s.replace(id, []string{"Permissions", "Features"}, func(e *Extension) { e.Roles = roles })
}

// SetFeature gives an extension a feature that differs from the default table, or adds one to its list, with
// the hint Features.
func (s *RingCentral) SetFeature(id string, f Feature) error {
	return s.edit(id, []string{"Features"}, func(e *Extension) {
		e.Features = maps.Clone(e.Features)
		if e.Features == nil {
			e.Features = map[string]Feature{}
		}
		e.Features[f.ID] = f
	})
}

func (s *RingCentral) edit(id string, hints []string, change func(*Extension)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(id, hints, change)
}

// replace puts a changed copy in the extension's place and sends the hints. The world is locked.
func (s *RingCentral) replace(id string, hints []string, change func(*Extension)) error {
	old := s.world.extensions[id]
	if old == nil {
		return fmt.Errorf("extension %q: %w", id, ErrUnknown)
	}
	s.remember()
	e := *old
	change(&e)
	s.world.putExtension(e)
	s.emitChanges([]ExtensionChange{{ExtensionID: id, EventType: "Update", Hints: hints}})
	return nil
}

// Extensions lists all of them, ordered by id.
func (s *RingCentral) Extensions() []Extension {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Extension, 0, len(s.world.ids))
	for _, id := range s.world.ids {
		list = append(list, *s.world.extensions[id])
	}
	return list
}
