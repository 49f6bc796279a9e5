package boxsim

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Item is a folder or a file. One on top has an owner, whose is all that lies in it.
type Item struct {
	ID, Type, Name    string // type: folder, file
	Parent            string // id of a folder; "0": on top
	Owner             string // of one on top
	Link              string // access of the shared link: open, company, collaborators; empty: none
	LockedBy          string // a user; empty: nobody
	Trashed           bool
	OwnersInvite      bool // can_non_owners_invite is false
	EnterpriseOnly    bool // is_collaboration_restricted_to_enterprise
	Etag              int
	Created, Modified time.Time
}

var (
	itemMini     = []string{"type", "id", "sequence_id", "etag", "name", "sha1", "file_version"}
	itemStandard = append([]string{"created_at", "modified_at", "description", "size", "path_collection",
		"created_by", "modified_by", "trashed_at", "purged_at", "content_created_at", "content_modified_at",
		"owned_by", "shared_link", "folder_upload_email", "parent", "item_status", "item_collection"}, itemMini...)
)

// itemMini is how others mention an item; null for one that is gone.
func (w *world) itemMini(id string) any {
	if id == rootID {
		return obj{"type": "folder", "id": rootID, "sequence_id": nil, "etag": nil, "name": "All Files"}
	}
	it := w.items[id]
	if it == nil {
		return nil
	}
	etag := strconv.Itoa(it.Etag)
	all := obj{"type": it.Type, "id": it.ID, "sequence_id": etag, "etag": etag, "name": it.Name}
	if it.Type == "file" {
		sum := sha1.Sum([]byte(it.ID))
		digest := hex.EncodeToString(sum[:])
		all["sha1"] = digest
		all["file_version"] = obj{"type": "file_version", "id": "7" + it.ID, "sha1": digest}
	}
	return all
}

// eventSource is how the enterprise stream shows an item.
func (w *world) eventSource(id string) any {
	it := w.items[id]
	if it == nil {
		return nil
	}
	return obj{"item_type": it.Type, "item_id": it.ID, "item_name": it.Name, "parent": w.itemMini(it.Parent),
		"owned_by": w.userMini(w.owner(id))}
}

// itemStandard is an item as its owner sees it.
func (w *world) itemStandard(it *Item) obj {
	return w.item(it, func(*Item) bool { return true })
}

// item is the standard form, with only those parents that the viewer sees.
func (w *world) item(it *Item, sees func(*Item) bool) obj {
	all, _ := w.itemMini(it.ID).(obj)
	way := []any{w.itemMini(rootID)}
	for _, up := range slices.Backward(w.chain(it.Parent)) {
		if sees(up) {
			way = append(way, w.itemMini(up.ID))
		}
	}
	owner, state := w.userMini(w.owner(it.ID)), "active"
	if w.trashed(it.ID) {
		state = "trashed"
	}
	for _, at := range []string{"created_at", "content_created_at"} {
		all[at] = stamp(it.Created)
	}
	for _, at := range []string{"modified_at", "content_modified_at"} {
		all[at] = stamp(it.Modified)
	}
	all["trashed_at"], all["purged_at"], all["description"], all["size"] = nil, nil, "", 629644
	all["path_collection"] = obj{"total_count": len(way), "entries": way}
	all["created_by"], all["modified_by"], all["owned_by"] = owner, owner, owner
	all["shared_link"], all["parent"], all["item_status"] = it.sharedLink(), way[len(way)-1], state
	if it.Type == "folder" {
		all["folder_upload_email"] = nil
	}
	return all
}

func (it *Item) linkURL() string {
	sum := sha1.Sum([]byte("link" + it.ID))
	return "https://acme.app.box.com/s/" + hex.EncodeToString(sum[:])
}

func (it *Item) sharedLink() any {
	if it.Link == "" {
		return nil
	}
	return obj{"url": it.linkURL(), "download_url": nil, "vanity_url": nil, "vanity_name": nil,
		"access": it.Link, "effective_access": it.Link, "effective_permission": "can_download",
		"unshared_at": nil, "is_password_enabled": false, "download_count": 0, "preview_count": 0,
		"permissions": obj{"can_download": true, "can_preview": true, "can_edit": false}}
}

// whole is an item with all fields that can be asked for, as the caller sees it.
func (c *call) whole(it *Item) obj {
	all := c.world.item(it, func(up *Item) bool { return c.roleOf(c.world, up.ID) != "" })
	role := c.roleOf(c.world, it.ID)
	rights := c.world.permissions(c.me, it, role)
	all["permissions"] = rights
	all["tags"], all["is_externally_owned"], all["classification"] = []any{}, false, nil
	all["watermark_info"] = obj{"is_watermarked": false}
	all["is_accessible_via_shared_link"] = it.Link != ""
	all["has_collaborations"] = false
	chain := c.world.chain(it.ID)
	for _, x := range c.world.collabs {
		if within(chain, x.Item) {
			all["has_collaborations"] = true
			break
		}
	}
	names := roles[min(max(rank(role), 0), len(roles)):]
	if rights["can_invite_collaborator"] != true {
		names = []string{}
	}
	if it.Type == "file" {
		simple := func(r string) bool { return r == "editor" || r == "viewer" }
		names = slices.DeleteFunc(slices.Clone(names), func(r string) bool { return !simple(r) })
		all["lock"], all["extension"] = c.lockOf(it), strings.TrimPrefix(path.Ext(it.Name), ".")
		all["is_package"], all["comment_count"], all["version_number"] = false, 0, "1"
	} else {
		all["can_non_owners_invite"] = !c.world.ownersInvite(it.ID)
		all["can_non_owners_view_collaborators"] = true
		all["is_collaboration_restricted_to_enterprise"] = c.world.enterpriseOnly(it.ID)
		all["allowed_shared_link_access_levels"] = []string{"open", "company", "collaborators"}
		all["sync_state"] = "not_synced"
	}
	all["allowed_invitee_roles"] = names
	return all
}

func (c *call) lockOf(it *Item) any {
	if it.LockedBy == "" {
		return nil
	}
	return obj{"type": "lock", "id": "5" + it.ID, "created_by": c.world.userMini(it.LockedBy),
		"created_at": stamp(it.Modified), "is_download_prevented": false}
}

// located checks the id in the path, and finds the item.
func (c *call) located(kind string) (*Item, error) {
	if _, err := strconv.ParseUint(c.id(), 10, 63); err != nil {
		return nil, refuse(http.StatusMethodNotAllowed, "method_not_allowed", "Method Not Allowed")
	}
	return c.find(c.world, kind, c.id())
}

func (c *call) readFile() (any, error) {
	it, err := c.located("file")
	if err != nil || c.unchanged(it) {
		return nil, err
	}
	return c.pick(c.whole(it), itemStandard), nil
}

// unchanged answers 304 when the caller has this version.
func (c *call) unchanged(it *Item) bool {
	same := strings.Trim(c.r.Header.Get("If-None-Match"), `"`) == strconv.Itoa(it.Etag)
	if same {
		c.status = http.StatusNotModified
	}
	return same
}

func (c *call) readFolder() (any, error) {
	if c.id() == rootID {
		return c.pick(c.root(), itemStandard), nil
	}
	it, err := c.located("folder")
	if err != nil || c.unchanged(it) {
		return nil, err
	}
	all := c.whole(it)
	if c.query.Get("fields") == "" || c.named("item_collection") {
		all["item_collection"] = c.firstItems()
	}
	return c.pick(all, itemStandard), nil
}

// root is the folder 0 of the caller.
func (c *call) root() obj {
	all, _ := c.world.itemMini(rootID).(obj)
	all["path_collection"] = obj{"total_count": 0, "entries": []any{}}
	all["parent"], all["item_status"], all["shared_link"] = nil, "active", nil
	all["owned_by"], all["created_by"] = c.world.userMini(c.me.ID), nil
	all["permissions"] = c.world.permissions(c.me, &Item{Type: "folder"}, "owner")
	all["item_collection"] = c.firstItems()
	return all
}

// firstItems are the first hundred children, in their mini form.
func (c *call) firstItems() obj {
	list := c.children()
	part := list[:min(len(list), 100)]
	return obj{"total_count": len(list), "offset": 0, "limit": 100,
		"order":   []obj{{"by": "type", "direction": "ASC"}, {"by": "name", "direction": "ASC"}},
		"entries": shown(part, func(it *Item) any { return c.world.itemMini(it.ID) })}
}

// children are what the caller sees in a folder; in the folder 0 all that is on top for the caller.
func (c *call) children() []*Item {
	list := inOrder(c.world.items, func(it *Item) bool {
		if it.Trashed || c.world.trashed(it.ID) || c.roleOf(c.world, it.ID) == "" {
			return false
		}
		if c.id() != rootID {
			return it.Parent == c.id()
		}
		return it.Parent == rootID || c.roleOf(c.world, it.Parent) == ""
	})
	slices.SortStableFunc(list, func(a, b *Item) int {
		return cmp.Or(strings.Compare(b.Type, a.Type), strings.Compare(a.Name, b.Name))
	})
	return list
}

func (c *call) listItems() (any, error) {
	if c.id() != rootID {
		if _, err := c.located("folder"); err != nil {
			return nil, err
		}
	}
	list := c.children()
	show := func(it *Item) any {
		if c.query.Get("fields") == "" {
			return c.world.itemMini(it.ID)
		}
		return c.pick(c.whole(it), itemMini)
	}
	if c.query.Get("usemarker") == "true" {
		slices.SortFunc(list, func(a, b *Item) int { return byNumber(a.ID, b.ID) })
		return marked(c, list, bounds{100, 1000}, func(it *Item) string { return it.ID }, show)
	}
	return offset(c, list, bounds{100, 1000}, show)
}
