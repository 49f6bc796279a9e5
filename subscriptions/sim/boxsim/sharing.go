package boxsim

import (
	"cmp"
	"fmt"
	"time"
)

// same is a collaboration of the same principal on the same item.
func (s *Box) same(x Collaboration) *Collaboration {
	for _, y := range s.world.collabs {
		if y.Item == x.Item && y.User == x.User && y.Group == x.Group && y.Email == x.Email {
			return y
		}
	}
	return nil
}

// invite adds a collaboration. Groups and users of the enterprise accept at once, others are asked.
func (s *Box) invite(x Collaboration, by string) *Collaboration {
	s.remember()
	x.ID, x.By, x.Created = cmp.Or(x.ID, s.newID()), by, time.Now()
	x.Modified = x.Created
	if x.Status == "" && x.Email == "" && (x.Group != "" || !s.world.users[x.User].External) {
		x.Status = "accepted"
	}
	if x.Status = cmp.Or(x.Status, "pending"); x.Status == "accepted" {
		x.Acknowledged = x.Created
	}
	s.world.collabs[x.ID] = &x
	s.due(&x)
	s.tell("COLLABORATION_INVITE", "COLLABORATION.CREATED", by, &x)
	if x.Group != "" {
		s.record("GROUP_ADD_ITEM", by, s.world.eventSource(x.Item), s.groupDetails(x.Group))
	}
	return &x
}

func (s *Box) groupDetails(group string) obj {
	g, _ := s.world.groupMini(group).(obj)
	return obj{"group_id": group, "group_name": g["name"]}
}

// putCollaboration replaces one, and tells each thing that became different.
func (s *Box) putCollaboration(x Collaboration, by string) *Collaboration {
	s.remember()
	was := s.world.collabs[x.ID]
	x.Modified = time.Now()
	s.world.collabs[x.ID] = &x
	s.due(&x)
	if was.Status != x.Status && x.Status == "accepted" {
		s.tell("COLLABORATION_ACCEPT", "COLLABORATION.ACCEPTED", by, &x)
	}
	if was.Status != x.Status && x.Status == "rejected" {
		s.tell("", "COLLABORATION.REJECTED", by, &x)
	}
	if was.Role != x.Role {
		s.tell("COLLABORATION_ROLE_CHANGE", "COLLABORATION.UPDATED", by, &x)
	}
	if !was.Expires.Equal(x.Expires) {
		s.tell("UPDATE_COLLABORATION_EXPIRATION", "COLLABORATION.UPDATED", by, &x)
	}
	return &x
}

func (s *Box) removeCollaboration(x *Collaboration, by string) {
	s.remember()
	delete(s.world.collabs, x.ID)
	s.tell("COLLABORATION_REMOVE", "COLLABORATION.REMOVED", by, x)
	if x.Group != "" {
		s.record("GROUP_REMOVE_ITEM", by, s.world.eventSource(x.Item), s.groupDetails(x.Group))
	}
}

// tell reports a collaboration to the enterprise stream and to the webhooks. Folders have such triggers,
// files none.
func (s *Box) tell(kind, trigger, by string, x *Collaboration) {
	it := s.world.items[x.Item]
	if kind != "" {
		s.recordCollaboration(kind, by, x, it)
	}
	if it.Type == "file" && !s.quirks.FileHooks {
		return
	}
	var source any = s.world.collaboration(x)
	if s.quirks.ItemSource {
		source = s.world.itemStandard(it)
	}
	s.trigger(trigger, by, it.ID, notice{source: source})
}

// recordCollaboration has a shape of its own: flat, and with accessible_by on top.
func (s *Box) recordCollaboration(kind, by string, x *Collaboration, it *Item) {
	w := s.world
	source := obj{it.Type + "_id": it.ID, it.Type + "_name": it.Name, "parent": w.itemMini(it.Parent),
		"owned_by": w.userMini(w.owner(it.ID))}
	switch {
	case x.User != "":
		source["user_id"], source["user_name"] = x.User, w.users[x.User].Name
	case x.Email != "":
		source["user_email"] = x.Email
	}
	details := obj{"type": "box://event/additional_details/collaboration", "collab_id": x.ID,
		"role": capital(x.Role), "is_performed_by_admin": by == AdminUser}
	if kind == "COLLABORATION_INVITE" {
		details["invitation_message"] = ""
	}
	event := s.event(kind, by, source, details)
	who := w.grantee(x)
	if u, ok := who.(obj); ok {
		delete(u, "is_active")
	}
	event["accessible_by"] = who
	s.put(event)
}

// capital writes a role as events do.
func capital(role string) string {
	text := []byte(role)
	for i := range text {
		if i == 0 || text[i-1] == ' ' {
			text[i] -= 'a' - 'A'
		}
	}
	return string(text)
}

// due remembers when the next collaboration runs out.
func (s *Box) due(x *Collaboration) {
	if !x.Expires.IsZero() && (s.soonest.IsZero() || x.Expires.Before(s.soonest)) {
		s.soonest = x.Expires
	}
}

// expireCollaborations removes what has run out, silently as the vendor does.
func (s *Box) expireCollaborations(now time.Time) {
	if s.soonest.IsZero() || now.Before(s.soonest) {
		return
	}
	s.soonest = time.Time{}
	for _, x := range s.world.collabs {
		if x.Expires.IsZero() || now.Before(x.Expires) {
			s.due(x)
			continue
		}
		s.remember()
		delete(s.world.collabs, x.ID)
		if s.quirks.ExpiryEvents {
			s.recordCollaboration("COLLABORATION_EXPIRATION", "", x, s.world.items[x.Item])
		}
	}
}

// Invite adds a collaboration and returns its id. Status empty means accepted for groups and users of the
// enterprise, pending for others. By empty means the item's owner.
func (s *Box) Invite(x Collaboration) (string, error) {
	defer s.lock()()
	w := s.world
	stranger := x.User != "" && w.users[x.User] == nil || x.Group != "" && w.groups[x.Group] == nil
	if stranger || w.items[x.Item] == nil {
		return "", fmt.Errorf("collaboration of %q on item %q: %w", x.User+x.Group, x.Item, ErrUnknown)
	}
	if s.same(x) != nil || rank(x.Role) == len(roles) {
		return "", fmt.Errorf("collaboration on item %s: role %q, or one is there already", x.Item, x.Role)
	}
	return s.invite(x, cmp.Or(x.By, w.owner(x.Item))).ID, nil
}

// amend puts a changed copy of a collaboration in its place, by the one that it names.
func (s *Box) amend(id string, edit func(*Collaboration) (by string)) error {
	defer s.lock()()
	x := s.world.collabs[id]
	if x == nil {
		return fmt.Errorf("collaboration %q: %w", id, ErrUnknown)
	}
	changed := *x
	by := edit(&changed)
	s.putCollaboration(changed, cmp.Or(by, s.world.owner(x.Item)))
	return nil
}

// Acknowledge accepts or rejects a pending collaboration, as the invited user.
func (s *Box) Acknowledge(id string, accept bool) error {
	return s.amend(id, func(x *Collaboration) string {
		x.Status, x.Acknowledged = "rejected", time.Now()
		if accept {
			x.Status = "accepted"
		}
		return x.User
	})
}

// SetCollaborationRole changes what a collaboration grants.
func (s *Box) SetCollaborationRole(id, role string) error {
	return s.amend(id, func(x *Collaboration) string { x.Role = role; return "" })
}

// SetExpiry says until when a collaboration lasts; zero: forever. Then it ends without a word.
func (s *Box) SetExpiry(id string, at time.Time) error {
	return s.amend(id, func(x *Collaboration) string { x.Expires = at; return "" })
}

// Uninvite removes a collaboration.
func (s *Box) Uninvite(id string) error {
	defer s.lock()()
	x := s.world.collabs[id]
	if x == nil {
		return fmt.Errorf("collaboration %q: %w", id, ErrUnknown)
	}
	s.removeCollaboration(x, s.world.owner(x.Item))
	return nil
}

// Collaborations lists all of them, ordered by id.
func (s *Box) Collaborations() []Collaboration {
	defer s.lock()()
	var list []Collaboration
	for _, x := range inOrder(s.world.collabs, func(*Collaboration) bool { return true }) {
		list = append(list, *x)
	}
	return list
}
