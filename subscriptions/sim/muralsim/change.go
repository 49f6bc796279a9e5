package muralsim

import (
	"fmt"
	"slices"
)

// PutUser adds a user, or replaces the one with its id.
func (m *Mural) PutUser(u User) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remember()
	m.world.users[u.ID] = &u
}

// PutWorkspace adds a workspace, or replaces the one with its id. It errs on an unknown user.
func (m *Mural) PutWorkspace(ws Workspace) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ws.Members = clone(ws.Members)
	if err := known(m, ws.Members, ws.CreatedBy); err != nil {
		return err
	}
	m.remember()
	m.world.workspaces[ws.ID] = &ws
	return nil
}

// PutRoom adds a room, or replaces the one with its id; no UpdatedBy means CreatedBy. It errs on an
// unknown workspace or user.
func (m *Mural) PutRoom(r Room) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Members = clone(r.Members)
	if r.UpdatedBy == "" {
		r.UpdatedBy, r.UpdatedOn = r.CreatedBy, r.CreatedOn
	}
	if m.world.workspaces[r.WorkspaceID] == nil {
		return fmt.Errorf("workspace %q: %w", r.WorkspaceID, ErrUnknown)
	}
	if err := known(m, r.Members, r.CreatedBy, r.UpdatedBy); err != nil {
		return err
	}
	m.remember()
	m.world.rooms[r.ID] = &r
	return nil
}

// AddMural adds a mural to its room, and returns its id. Workspace, id, link, times and whatever else is
// empty are filled in; a setting that is empty is none. It errs on an unknown room or user.
func (m *Mural) AddMural(b Board) (id string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b.Members = clone(b.Members)
	r := m.world.rooms[b.RoomID]
	if r == nil {
		return "", fmt.Errorf("room %d: %w", b.RoomID, ErrUnknown)
	}
	if err := known(m, b.Members, b.CreatedBy); err != nil {
		return "", err
	}
	for _, setting := range []*string{&b.Visitors, &b.WorkspaceMembers} {
		if *setting == "" {
			*setting = "none"
		}
	}
	m.remember()
	return m.world.putMural(r.WorkspaceID, m.newID(), b).ID, nil
}

// known checks users. The world is locked.
func known[V any](m *Mural, members map[string]V, others ...string) error {
	for id := range members {
		others = append(others, id)
	}
	for _, id := range others {
		if m.world.users[id] == nil {
			return fmt.Errorf("user %q: %w", id, ErrUnknown)
		}
	}
	return nil
}

// Suspend stops a user from getting new tokens; those there are serve until they expire.
func (m *Mural) Suspend(user string) error { return m.setSuspended(user, true) }

// Restore undoes Suspend. Grants are as before.
func (m *Mural) Restore(user string) error { return m.setSuspended(user, false) }

func (m *Mural) setSuspended(user string, suspended bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.world.users[user]
	if old == nil {
		return fmt.Errorf("user %q: %w", user, ErrUnknown)
	}
	m.remember()
	u := *old
	u.Suspended = suspended
	m.world.users[user] = &u
	return nil
}

// SetWorkspaceRole makes a user [Admin], [Member] or [Guest] of a workspace. With an empty role the user
// leaves it, with all its rooms and murals.
func (m *Mural) SetWorkspaceRole(workspace, user, role string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := known[string](m, nil, user); err != nil {
		return err
	}
	if !slices.Contains([]string{"", Admin, Member, Guest}, role) {
		return fmt.Errorf("role %q: %w", role, ErrUnknown)
	}
	if role != "" {
		return m.editWorkspace(workspace, func(ws *Workspace) { ws.Members[user] = role })
	}
	for id, r := range m.world.rooms {
		if r.WorkspaceID == workspace && r.has(user) {
			if err := m.removeRoomMember(id, user); err != nil {
				return err
			}
		}
	}
	return m.editWorkspace(workspace, func(ws *Workspace) { delete(ws.Members, user) })
}

// SetRoomMember lets a user into a room, or changes what the user may do there.
func (m *Mural) SetRoomMember(room int64, user string, may RoomMember) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.setRoomMember(room, user, may)
}

func (m *Mural) setRoomMember(room int64, user string, may RoomMember) error {
	if err := known[string](m, nil, user); err != nil {
		return err
	}
	return m.editRoom(room, func(r *Room) { r.Members[user] = may })
}

// RemoveRoomMember takes a user out of a room and of its murals.
func (m *Mural) RemoveRoomMember(room int64, user string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removeRoomMember(room, user)
}

func (m *Mural) removeRoomMember(room int64, user string) error {
	for id, b := range m.world.murals {
		if b.RoomID != room || !b.has(user) {
			continue
		}
		if err := m.editMural(id, func(b *Board) { delete(b.Members, user) }); err != nil {
			return err
		}
	}
	return m.editRoom(room, func(r *Room) { delete(r.Members, user) })
}

// SetMuralMember gives a user an entry in a mural, or changes it. Who is not in the mural's room becomes a
// restricted member of it.
func (m *Mural) SetMuralMember(mural, user string, may BoardMember) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.setMuralMember(mural, user, may)
}

func (m *Mural) setMuralMember(mural, user string, may BoardMember) error {
	if err := known[string](m, nil, user); err != nil {
		return err
	}
	if err := m.editMural(mural, func(b *Board) { b.Members[user] = may }); err != nil {
		return err
	}
	room := m.world.murals[mural].RoomID
	if m.world.rooms[room].has(user) {
		return nil
	}
	return m.editRoom(room, func(r *Room) { r.Members[user] = RoomMember{Restricted: true} })
}

// RemoveMuralMember takes a user's entry out of a mural. A restricted member of the room without another
// mural there leaves the room.
func (m *Mural) RemoveMuralMember(mural, user string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removeMuralMember(mural, user)
}

func (m *Mural) removeMuralMember(mural, user string) error {
	if err := m.editMural(mural, func(b *Board) { delete(b.Members, user) }); err != nil {
		return err
	}
	room := m.world.murals[mural].RoomID
	if !m.world.rooms[room].Members[user].Restricted {
		return nil
	}
	for _, b := range m.world.murals {
		if b.RoomID == room && b.has(user) {
			return nil
		}
	}
	return m.editRoom(room, func(r *Room) { delete(r.Members, user) })
}

// SetVisitors sets what visitors and workspace members may do with a mural: read, write or none.
func (m *Mural) SetVisitors(mural, visitors, workspaceMembers string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !isPermission(&visitors) || !isPermission(&workspaceMembers) {
		return fmt.Errorf("permissions %q, %q: %w", visitors, workspaceMembers, ErrUnknown)
	}
	return m.editMural(mural, func(b *Board) { b.Visitors, b.WorkspaceMembers = visitors, workspaceMembers })
}

// DeleteMural deletes a mural.
func (m *Mural) DeleteMural(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deleteMural(id)
}

func (m *Mural) deleteMural(id string) error {
	if m.world.murals[id] == nil {
		return fmt.Errorf("mural %q: %w", id, ErrUnknown)
	}
	m.remember()
	delete(m.world.murals, id)
	return nil
}

// DeleteRoom deletes a room and its murals.
func (m *Mural) DeleteRoom(id int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deleteRoom(id)
}

func (m *Mural) deleteRoom(id int64) error {
	if m.world.rooms[id] == nil {
		return fmt.Errorf("room %d: %w", id, ErrUnknown)
	}
	m.remember()
	delete(m.world.rooms, id)
	for mural, b := range m.world.murals {
		if b.RoomID == id {
			delete(m.world.murals, mural)
		}
	}
	return nil
}
