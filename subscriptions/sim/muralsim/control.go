package muralsim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// Control is the body of POST /sim/control. Do names what is to be done, and the other fields are its
// arguments:
//
//	signIn, suspend, restore, dropGrant, expireTokens   user
//	setScopes                                           scopes
//	deleteApp                                           app
//	deleteRoom                                          room
//	deleteMural                                         mural
//	setWorkspaceRole                                    workspace, user, role
//	removeRoomMember                                    room, user
//	removeMuralMember                                   mural, user
//	accept                                              refCode
//	expireNext
type Control struct {
	Do        string   `json:"do"`
	User      string   `json:"user,omitempty"`
	Role      string   `json:"role,omitempty"`
	App       string   `json:"app,omitempty"`
	Workspace string   `json:"workspace,omitempty"`
	Room      int64    `json:"room,omitempty"`
	Mural     string   `json:"mural,omitempty"`
	RefCode   string   `json:"refCode,omitempty"`
	Scopes    []string `json:"scopes,omitempty"`
}

func (m *Mural) obey(c Control) error {
	switch c.Do {
	case "signIn":
		return m.SignIn(c.User)
	case "suspend":
		return m.Suspend(c.User)
	case "restore":
		return m.Restore(c.User)
	case "dropGrant":
		m.DropGrant(c.User)
	case "expireTokens":
		m.ExpireTokens(c.User)
	case "setScopes":
		m.SetScopes(c.Scopes...)
	case "deleteApp":
		m.DeleteApp(c.App)
	case "deleteRoom":
		return m.DeleteRoom(c.Room)
	case "deleteMural":
		return m.DeleteMural(c.Mural)
	case "setWorkspaceRole":
		return m.SetWorkspaceRole(c.Workspace, c.User, c.Role)
	case "removeRoomMember":
		return m.RemoveRoomMember(c.Room, c.User)
	case "removeMuralMember":
		return m.RemoveMuralMember(c.Mural, c.User)
	case "accept":
		return m.Accept(c.RefCode)
	case "expireNext":
		m.ExpireNext()
	default:
		return fmt.Errorf("control %q: %w", c.Do, ErrUnknown)
	}
	return nil
}

func (m *Mural) control(w http.ResponseWriter, r *http.Request) {
	var c Control
	m.done(w, m.read(w, r, &c, func() error { return m.obey(c) }))
}

func (m *Mural) addFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	m.done(w, m.read(w, r, &f, func() error { return m.Fault(f) }))
}

func (m *Mural) read(w http.ResponseWriter, r *http.Request, v any, do func() error) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err == nil {
		err = do()
	}
	return err
}

func (m *Mural) done(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (m *Mural) dropFaults(w http.ResponseWriter, _ *http.Request) {
	m.ClearFaults()
	w.WriteHeader(http.StatusNoContent)
}

func (m *Mural) showFaults(w http.ResponseWriter, _ *http.Request) { m.show(w, m.Faults()) }

// showWorld describes the world to humans: no secrets, no tokens.
func (m *Mural) showWorld(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	live := map[string][]string{}
	for _, g := range m.grants {
		if !g.ended {
			live[g.client+" by "+g.user] = g.scopes
		}
	}
	view := struct {
		Users      []*User             `json:"users"`
		Workspaces []*Workspace        `json:"workspaces"`
		Rooms      []*Room             `json:"rooms"`
		Murals     []*Board            `json:"murals"`
		Apps       []string            `json:"apps"`
		Grants     map[string][]string `json:"grants"`
		Calls      map[string]int      `json:"calls"`
	}{sorted(m.world.users), sorted(m.world.workspaces), sorted(m.world.rooms), sorted(m.world.murals),
		slices.Sorted(maps.Keys(m.apps)), live, maps.Clone(m.calls)}
	m.mu.Unlock()
	m.show(w, view)
}

// sorted lists what a map holds in the order of its keys. What the world's maps hold is never modified, so it
// may be read without the lock.
func sorted[K int64 | string, V any](from map[K]V) []V {
	list := make([]V, 0, len(from))
	for _, k := range slices.Sorted(maps.Keys(from)) {
		list = append(list, from[k])
	}
	return list
}

func (m *Mural) show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		m.log.Debug("write answer", "error", err)
	}
}
