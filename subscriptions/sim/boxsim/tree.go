package boxsim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// editItem puts a changed copy of an item in its place.
func (s *Box) editItem(id string, edit func(*Item)) *Item {
	s.remember()
	it := *s.world.items[id]
	edit(&it)
	it.Etag++
	it.Modified = time.Now()
	s.world.items[id] = &it
	return &it
}

// happened reports what was done to an item: to the enterprise stream, where event is its name there, and to
// the webhooks, whose trigger begins with FILE or FOLDER.
func (s *Box) happened(event, trigger string, it *Item, n notice) {
	by := s.world.owner(it.ID)
	if event != "" {
		s.record(event, by, s.world.eventSource(it.ID), nil)
	}
	if !strings.Contains(trigger, ".") {
		trigger = strings.ToUpper(it.Type) + "." + trigger
	}
	if n.source == nil {
		n.source = s.world.itemStandard(it)
	}
	s.trigger(trigger, by, it.ID, n)
}

// with does something to an item that exists and is of the kind (empty: of any).
func (s *Box) with(id, kind string, do func(*Item)) error {
	defer s.lock()()
	it := s.world.items[id]
	if it == nil || kind != "" && it.Type != kind {
		return fmt.Errorf("item %q: %w", id, ErrUnknown)
	}
	do(it)
	return nil
}

// AddItem adds a folder or a file and returns its id, a new one when it has none. It errs when the id is
// taken, the parent is no folder, or an item on top has no owner.
func (s *Box) AddItem(it Item) (string, error) {
	defer s.lock()()
	w := s.world
	it.Parent = cmp.Or(it.Parent, rootID)
	up := w.items[it.Parent]
	switch {
	case w.items[it.ID] != nil:
		return "", fmt.Errorf("item %s exists", it.ID)
	case it.Parent == rootID && w.users[it.Owner] == nil:
		return "", fmt.Errorf("owner %q: %w", it.Owner, ErrUnknown)
	case it.Parent != rootID && (up == nil || up.Type != "folder"):
		return "", fmt.Errorf("parent %q: %w", it.Parent, ErrUnknown)
	case it.Type != "folder" && it.Type != "file":
		return "", fmt.Errorf("item type %q: %w", it.Type, ErrUnknown)
	}
	s.remember()
	it.ID = cmp.Or(it.ID, s.newID())
	it.Created, it.Modified = time.Now(), time.Now()
	s.world.items[it.ID] = &it
	if it.Type == "file" {
		s.happened("UPLOAD", "UPLOADED", &it, notice{})
	} else {
		s.happened("", "CREATED", &it, notice{})
	}
	return it.ID, nil
}

// Move puts an item into another folder, "0" being the top. What it inherited is lost, what the folder has is
// inherited.
func (s *Box) Move(id, parent string) error {
	defer s.lock()()
	it, up := s.world.items[id], s.world.items[parent]
	if it == nil || parent != rootID && (up == nil || up.Type != "folder") || s.world.under(parent, id) {
		return fmt.Errorf("move item %q to %q: %w", id, parent, ErrUnknown)
	}
	before, owner := s.world.chain(it.Parent), s.world.owner(id)
	from := it.Parent
	it = s.editItem(id, func(it *Item) {
		it.Parent, it.Owner = parent, ""
		if parent == rootID {
			it.Owner = owner
		}
	})
	info := obj{"before": obj{"id": from, "type": "folder"}, "after": obj{"id": parent, "type": "folder"}}
	s.happened("MOVE", "MOVED", it, notice{info: info, also: before})
	if it.Type == "file" {
		s.happened("", "UPLOADED", it, notice{but: before})
	}
	return nil
}

// Rename gives an item another name.
func (s *Box) Rename(id, name string) error {
	return s.with(id, "", func(it *Item) {
		old := it.Name
		it = s.editItem(id, func(it *Item) { it.Name = name })
		s.happened("RENAME", "RENAMED", it, notice{info: obj{"old_name": old}})
	})
}

// mention is all that deliveries tell of an item that is gone.
func mention(it *Item) obj { return obj{"id": it.ID, "type": it.Type} }

// Trash puts an item into the trash, with all that lies in it.
func (s *Box) Trash(id string) error {
	return s.with(id, "", func(it *Item) {
		s.editItem(id, func(it *Item) { it.Trashed = true })
		s.happened("DELETE", "TRASHED", it, notice{source: mention(it)})
	})
}

// Restore takes an item out of the trash.
func (s *Box) Restore(id string) error {
	return s.with(id, "", func(*Item) {
		it := s.editItem(id, func(it *Item) { it.Trashed = false })
		s.happened("UNDELETE", "RESTORED", it, notice{})
	})
}

// Delete deletes an item for good, with all that lies in it and all collaborations. The enterprise stream
// does not mention it.
func (s *Box) Delete(id string) error {
	return s.with(id, "", func(it *Item) { s.remember(); s.deleteItem(it, s.world.owner(id)) })
}

// deleteItem needs the world remembered.
func (s *Box) deleteItem(top *Item, by string) {
	gone := inOrder(s.world.items, func(it *Item) bool { return s.world.under(it.ID, top.ID) })
	s.trigger(strings.ToUpper(top.Type)+".DELETED", by, top.ID, notice{source: mention(top)})
	for _, it := range gone {
		delete(s.world.items, it.ID)
	}
	for id, x := range s.world.collabs {
		if slices.ContainsFunc(gone, func(it *Item) bool { return it.ID == x.Item }) {
			delete(s.world.collabs, id)
		}
	}
}

// Lock locks a file for a user; empty unlocks it.
func (s *Box) Lock(id, user string) error {
	return s.with(id, "file", func(*Item) {
		it := s.editItem(id, func(it *Item) { it.LockedBy = user })
		if user == "" {
			s.happened("UNLOCK", "UNLOCKED", it, notice{})
			return
		}
		s.happened("LOCK", "LOCKED", it, notice{})
	})
}

// Share gives an item a shared link with this access (open, company, collaborators), changes it, or with an
// empty access takes it away.
func (s *Box) Share(id, access string) error {
	return s.with(id, "", func(it *Item) {
		old := it.Link
		it = s.editItem(id, func(it *Item) { it.Link = access })
		switch {
		case access == "":
			s.happened("UNSHARE", "SHARED_LINK.DELETED", it, notice{})
		case old == "":
			s.happened("SHARE", "SHARED_LINK.CREATED", it, notice{})
		default:
			s.happened("ITEM_SHARED_UPDATE", "SHARED_LINK.UPDATED", it, notice{})
		}
	})
}

// Restrict says who may be invited to a folder: whether by owners and co-owners only, and whether from the
// enterprise only. There is no webhook for it.
func (s *Box) Restrict(id string, ownersInvite, enterpriseOnly bool) error {
	return s.with(id, "folder", func(*Item) {
		it := s.editItem(id, func(it *Item) { it.OwnersInvite, it.EnterpriseOnly = ownersInvite, enterpriseOnly })
		s.record("ADVANCED_FOLDER_SETTINGS_UPDATE", s.world.owner(id), s.world.eventSource(it.ID),
			obj{"advancedFolderSettings": obj{"restrictInvites": ownersInvite,
				"restrictToEnterprise": enterpriseOnly}})
	})
}

// Items lists all folders and files, ordered by id.
func (s *Box) Items() []Item {
	defer s.lock()()
	var list []Item
	for _, it := range inOrder(s.world.items, func(*Item) bool { return true }) {
		list = append(list, *it)
	}
	return list
}
