package boxsim

import (
	"cmp"
	"fmt"
	"maps"
	"time"
)

// putGroup adds or replaces a group.
func (s *Box) putGroup(g Group, by string) *Group {
	s.remember()
	kind, old := "GROUP_EDITED", s.world.groups[g.ID]
	g.complete(time.Now())
	if old == nil {
		kind, g.ID = "GROUP_CREATION", cmp.Or(g.ID, s.newID())
	} else {
		g.Created = old.Created
	}
	s.world.groups[g.ID] = &g
	s.recordGroup(kind, by, &g)
	return &g
}

// recordGroup tells of a group. The shape of its source is a guess.
func (s *Box) recordGroup(kind, by string, g *Group) {
	s.record(kind, by, obj{"type": "group", "id": g.ID, "name": g.Name},
		obj{"group_id": g.ID, "group_name": g.Name})
}

// removeGroup takes its memberships and collaborations along.
func (s *Box) removeGroup(g *Group, by string) {
	s.remember()
	maps.DeleteFunc(s.world.members, func(_ string, m *Membership) bool { return m.Group == g.ID })
	maps.DeleteFunc(s.world.collabs, func(_ string, x *Collaboration) bool { return x.Group == g.ID })
	delete(s.world.groups, g.ID)
	s.recordGroup("GROUP_DELETION", by, g)
}

// putMembership adds or replaces a membership.
func (s *Box) putMembership(m Membership, by string) *Membership {
	s.remember()
	old := s.world.members[m.ID]
	m.Modified = time.Now()
	if old == nil {
		m.ID, m.Created, m.Role = cmp.Or(m.ID, s.newID()), m.Modified, cmp.Or(m.Role, "member")
		s.recordMember("GROUP_ADD_USER", by, &m)
	}
	s.world.members[m.ID] = &m
	was := old != nil && old.Role == "admin"
	switch {
	case m.Role == "admin" && !was:
		s.recordMember("GROUP_ADMIN_CREATED", by, &m)
	case m.Role != "admin" && was:
		s.recordMember("GROUP_ADMIN_DELETED", by, &m)
	case was && !maps.Equal(old.Permissions, m.Permissions):
		s.recordMember("GROUP_ADMIN_PERMISSIONS_UPDATED", by, &m)
	}
	return &m
}

func (s *Box) recordMember(kind, by string, m *Membership) {
	s.record(kind, by, s.world.userMini(m.User),
		obj{"group_id": m.Group, "group_name": s.world.groups[m.Group].Name})
}

func (s *Box) removeMembership(m *Membership, by string) {
	s.remember()
	delete(s.world.members, m.ID)
	if m.Role == "admin" {
		s.recordMember("GROUP_ADMIN_DELETED", by, m)
	}
	s.recordMember("GROUP_REMOVE_USER", by, m)
}

// AddGroup adds a group, or replaces the one with its id, and returns the id, a new one when it has none.
func (s *Box) AddGroup(g Group) string {
	defer s.lock()()
	return s.putGroup(g, AdminUser).ID
}

// DeleteGroup deletes a group with its memberships and collaborations.
func (s *Box) DeleteGroup(id string) error {
	defer s.lock()()
	g := s.world.groups[id]
	if g == nil {
		return fmt.Errorf("group %q: %w", id, ErrUnknown)
	}
	s.removeGroup(g, AdminUser)
	return nil
}

// Join puts a user into a group as member or admin, or changes that, and returns the membership's id.
func (s *Box) Join(user, group, role string) (string, error) {
	defer s.lock()()
	if s.world.users[user] == nil || s.world.groups[group] == nil {
		return "", fmt.Errorf("user %q or group %q: %w", user, group, ErrUnknown)
	}
	m := Membership{User: user, Group: group}
	if old := s.membership(user, group); old != nil {
		m = *old
	}
	m.Role = role
	return s.putMembership(m, AdminUser).ID, nil
}

// Leave takes a user out of a group.
func (s *Box) Leave(user, group string) error {
	defer s.lock()()
	m := s.membership(user, group)
	if m == nil {
		return fmt.Errorf("membership of user %q in group %q: %w", user, group, ErrUnknown)
	}
	s.removeMembership(m, AdminUser)
	return nil
}

func (s *Box) membership(user, group string) *Membership {
	for _, m := range s.world.members {
		if m.User == user && m.Group == group {
			return m
		}
	}
	return nil
}
