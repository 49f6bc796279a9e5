package boxsim

import "slices"

// roles are those of a collaboration, the highest first. Who has several has the highest.
var roles = []string{"co-owner", "editor", "viewer uploader", "previewer uploader", "viewer", "previewer",
	"uploader"}

// granted says which fields of permissions a role makes true. The actions are the vendor's, their mapping to
// fields a guess.
var granted = map[string][]string{
	"co-owner": {"can_preview", "can_download", "can_upload", "can_comment", "can_share", "can_rename",
		"can_delete", "can_invite_collaborator", "can_set_share_access"},
	"editor": {"can_preview", "can_download", "can_upload", "can_comment", "can_share", "can_rename",
		"can_delete", "can_invite_collaborator", "can_set_share_access"},
	"viewer uploader":    {"can_preview", "can_download", "can_upload", "can_comment", "can_share"},
	"previewer uploader": {"can_preview", "can_upload", "can_comment"},
	"viewer":             {"can_preview", "can_download", "can_comment", "can_share"},
	"previewer":          {"can_preview", "can_comment"},
	"uploader":           {"can_upload"},
}

var (
	folderRights = []string{"can_download", "can_upload", "can_rename", "can_delete", "can_share",
		"can_invite_collaborator", "can_set_share_access"}
	fileRights = append([]string{"can_preview", "can_comment", "can_annotate", "can_view_annotations_all",
		"can_view_annotations_self"}, folderRights...)
)

// rank orders roles, the owner first; what is no role comes last.
func rank(role string) int {
	if role == "owner" {
		return -1
	}
	if n := slices.Index(roles, role); n >= 0 {
		return n
	}
	return len(roles)
}

// chain is an item and what it lies in, up to the top; empty when there is no such item.
func (w *world) chain(id string) []*Item {
	var list []*Item
	for it := w.items[id]; it != nil; it = w.items[it.Parent] {
		list = append(list, it)
	}
	return list
}

// within tells whether an item is one of the chain.
func within(chain []*Item, id string) bool {
	return slices.ContainsFunc(chain, func(it *Item) bool { return it.ID == id })
}

// under tells whether an item is the given one or lies in it.
func (w *world) under(id, top string) bool { return within(w.chain(id), top) }

// owner is who has what the item lies in; empty when nobody is left.
func (w *world) owner(id string) string {
	chain := w.chain(id)
	if len(chain) == 0 {
		return ""
	}
	return chain[len(chain)-1].Owner
}

// trashed tells whether the item lies in the trash, by itself or with what it lies in.
func (w *world) trashed(id string) bool {
	return slices.ContainsFunc(w.chain(id), func(it *Item) bool { return it.Trashed })
}

// inGroup tells whether a user is a member of a group.
func (w *world) inGroup(user, group string) bool {
	for _, m := range w.members {
		if m.User == user && m.Group == group {
			return true
		}
	}
	return false
}

// reaches tells whether a collaboration grants something to a user.
func (w *world) reaches(x *Collaboration, user string) bool {
	return x.Status == "accepted" && (x.User == user || x.Group != "" && w.inGroup(user, x.Group))
}

// role is the highest that a user has on an item, by what was granted there or above, directly or through
// groups; empty for none.
func (w *world) role(user, item string) string {
	if user == w.owner(item) {
		return "owner"
	}
	chain, best := w.chain(item), ""
	for _, x := range w.collabs {
		if rank(x.Role) < rank(best) && within(chain, x.Item) && w.reaches(x, user) {
			best = x.Role
		}
	}
	return best
}

// permissions are what a user with this role may do with an item.
func (w *world) permissions(u *User, it *Item, role string) obj {
	if role == "owner" {
		role = "co-owner"
	}
	may := func(field string) bool { return slices.Contains(granted[role], field) && !w.capped(u, it, field) }
	names := folderRights
	if it.Type == "file" {
		names = fileRights
	}
	all := make(obj, len(names))
	for _, name := range names {
		switch name {
		case "can_annotate", "can_view_annotations_all", "can_view_annotations_self":
			all[name] = may("can_comment")
		case "can_invite_collaborator":
			all[name] = may(name) && (role == "co-owner" || !w.ownersInvite(it.ID))
		default:
			all[name] = may(name)
		}
	}
	return all
}

// capped tells whether a user's status, or somebody else's lock, takes a right away.
func (w *world) capped(u *User, it *Item, field string) bool {
	changes := field == "can_rename" || field == "can_delete"
	switch {
	case changes && (u.Status == "cannot_delete_edit" || u.Status == "cannot_delete_edit_upload"):
		return true
	case field == "can_upload" && u.Status == "cannot_delete_edit_upload":
		return true
	}
	return (changes || field == "can_upload") && it.LockedBy != "" && it.LockedBy != u.ID
}

// ownersInvite tells whether only owners and co-owners may invite to an item, by itself or what it lies in.
func (w *world) ownersInvite(id string) bool {
	return slices.ContainsFunc(w.chain(id), func(it *Item) bool { return it.OwnersInvite })
}

// enterpriseOnly is the same for collaborators of other enterprises, who may not be invited.
func (w *world) enterpriseOnly(id string) bool {
	return slices.ContainsFunc(w.chain(id), func(it *Item) bool { return it.EnterpriseOnly })
}

// roleOf is the caller's role on an item. A Global Content Manager, an administrator's token with the scope
// enterprise_content, sees everything; a downscoped token nothing outside its resource.
func (c *call) roleOf(w *world, item string) string {
	if r := c.token.resource; r != "" && !w.under(item, r) {
		return ""
	}
	role := w.role(c.me.ID, item)
	if role == "" && c.me.senior() && c.token.has("enterprise_content") {
		return "viewer"
	}
	return role
}

// find is an item as the caller sees it in a world: hidden things are not there.
func (c *call) find(w *world, kind, id string) (*Item, error) {
	it := w.items[id]
	if it == nil || it.Type != kind || c.roleOf(w, id) == "" {
		return nil, errNotFound(kind+"_id", id)
	}
	if w.trashed(id) {
		return nil, refuse(404, "trashed", "Item is trashed")
	}
	return it, nil
}

// can tells whether the caller has a right on an item now.
func (c *call) can(it *Item, right string) bool {
	w := c.s.world
	return w.permissions(c.me, it, c.roleOf(w, it.ID))[right] == true
}
