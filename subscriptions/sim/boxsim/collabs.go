package boxsim

import (
	"net/http"
	"slices"
	"time"
)

// Collaboration lets a user or a group, or whoever owns an address, into an item and all that lies in it.
type Collaboration struct {
	ID, Item                        string
	User, Group                     string    // one of them; or Email
	Email                           string    // an address without an account: stays pending
	Role                            string    // see the vendor's list; spaces, no underscores
	Status                          string    // accepted, pending, rejected; only accepted grants
	Expires                         time.Time // zero: never. Not divided by Options.Speed
	By                              string    // who made it
	Created, Modified, Acknowledged time.Time
}

// collaboration is everything about one, as a world has it.
func (w *world) collaboration(x *Collaboration) obj {
	all := obj{"type": "collaboration", "id": x.ID, "role": x.Role, "status": x.Status, "is_access_only": false,
		"item": nil, "app_item": nil, "invite_email": nil, "accessible_by": w.grantee(x),
		"expires_at": stampOrNull(x.Expires), "acknowledged_at": stampOrNull(x.Acknowledged),
		"created_by": w.userMini(x.By), "created_at": stamp(x.Created), "modified_at": stamp(x.Modified)}
	if x.Status != "pending" {
		all["item"] = w.itemMini(x.Item)
	}
	if x.Email != "" {
		all["invite_email"] = x.Email
	}
	return all
}

// grantee is who a collaboration lets in; null for an address without an account.
func (w *world) grantee(x *Collaboration) any {
	if x.Group != "" {
		return w.groupMini(x.Group)
	}
	u, ok := w.userMini(x.User).(obj)
	if !ok {
		return nil
	}
	u["is_active"] = w.users[x.User].live()
	return u
}

func (c *call) showCollaboration(x *Collaboration) any {
	all := c.world.collaboration(x)
	names := []string{}
	for name := range all {
		names = append(names, name)
	}
	return c.pick(all, names)
}

// findCollaboration is for who sees the item, and for who is let in.
func (c *call) findCollaboration(w *world) (*Collaboration, error) {
	x := w.collabs[c.id()]
	if x == nil || x.User != c.me.ID && c.roleOf(w, x.Item) == "" {
		return nil, errNotFound("collab", c.id())
	}
	return x, nil
}

func (c *call) readCollaboration() (any, error) {
	x, err := c.findCollaboration(c.world)
	if err != nil {
		return nil, err
	}
	return c.showCollaboration(x), nil
}

// listPending lists the invitations of the caller, the only ones that can be asked for.
func (c *call) listPending() (any, error) {
	if status := c.query.Get("status"); status != "pending" {
		return nil, errParameter("status", "Invalid value '"+status+"'")
	}
	list := inOrder(c.world.collabs, func(x *Collaboration) bool {
		return x.User == c.me.ID && x.Status == "pending"
	})
	return offset(c, list, bounds{100, 1000}, c.showCollaboration)
}

func (c *call) listGroupCollaborations() (any, error) {
	if err := c.senior(); err != nil {
		return nil, err
	}
	g, err := c.findGroup(c.world)
	if err != nil {
		return nil, err
	}
	list := inOrder(c.world.collabs, func(x *Collaboration) bool { return x.Group == g.ID })
	return offset(c, list, bounds{100, 1000}, c.showCollaboration)
}

func (c *call) listFolderCollaborations() (any, error) { return c.listItemCollaborations("folder") }

func (c *call) listFileCollaborations() (any, error) { return c.listItemCollaborations("file") }

// listItemCollaborations has those made on the item itself, and the ones it inherits.
func (c *call) listItemCollaborations(kind string) (any, error) {
	it, err := c.find(c.world, kind, c.id())
	if err != nil {
		return nil, err
	}
	chain := c.world.chain(it.ID)
	list := inOrder(c.world.collabs, func(x *Collaboration) bool { return within(chain, x.Item) })
	id := func(x *Collaboration) string { return x.ID }
	return marked(c, list, bounds{100, 1000}, id, c.showCollaboration)
}

type collaborationBody struct {
	Item       struct{ Type, ID string }
	Accessible struct{ Type, ID, Login string } `json:"accessible_by"`
	Role       string
	Status     string
	Expires    *time.Time `json:"expires_at"`
}

// grantable refuses roles that the caller cannot give, and that the item cannot have.
func (c *call) grantable(it *Item, role string) error {
	if !slices.Contains(roles, role) {
		return errParameter("role", "Invalid role")
	}
	if it.Type == "file" && role != "editor" && role != "viewer" {
		return errParameter("role", "A file has editors and viewers only")
	}
	if !c.can(it, "can_invite_collaborator") || rank(role) < rank(c.roleOf(c.s.world, it.ID)) {
		return errDenied()
	}
	return nil
}

func (c *call) createCollaboration() (any, error) {
	var body collaborationBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	it, err := c.find(c.s.world, body.Item.Type, body.Item.ID)
	if err != nil {
		return nil, err
	}
	if err := c.grantable(it, body.Role); err != nil {
		return nil, err
	}
	x := Collaboration{Item: it.ID, Role: body.Role}
	set(&x.Expires, body.Expires)
	if err := c.invited(&x, body); err != nil {
		return nil, err
	}
	if c.s.same(x) != nil {
		return nil, refuse(http.StatusBadRequest, "user_already_collaborator", "User is already a collaborator")
	}
	put := c.s.invite(x, c.me.ID)
	c.status, c.world = http.StatusCreated, c.s.world
	return c.showCollaboration(put), nil
}

// invited finds out whom the body means, and whether the caller may let them in.
func (c *call) invited(x *Collaboration, body collaborationBody) error {
	w, who := c.s.world, body.Accessible
	if who.Type == "group" {
		g := w.groups[who.ID]
		if g == nil {
			return errNotFound("accessible_by", who.ID)
		}
		if !c.level(g.ID, g.Invitability) {
			return errDenied()
		}
		x.Group = g.ID
		return nil
	}
	for _, u := range w.users {
		if u.ID == who.ID || who.Login != "" && u.Login == who.Login {
			x.User = u.ID
		}
	}
	if x.User == "" && who.Login == "" {
		return errNotFound("accessible_by", who.ID)
	}
	if x.User == "" {
		x.Email = who.Login
	}
	outside := x.User == "" || w.users[x.User].External
	if outside && w.enterpriseOnly(x.Item) {
		return refuse(http.StatusForbidden, "forbidden_by_policy", "Collaborators of other enterprises are refused")
	}
	return nil
}

func (c *call) updateCollaboration() (any, error) {
	x, err := c.findCollaboration(c.s.world)
	if err != nil {
		return nil, err
	}
	var body collaborationBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Role == "owner" {
		return c.handOver(x)
	}
	changed := *x
	if err := c.acknowledge(&changed, body.Status); err != nil {
		return nil, err
	}
	if err := c.amend(&changed, body); err != nil {
		return nil, err
	}
	put := c.s.putCollaboration(changed, c.me.ID)
	c.world = c.s.world
	return c.showCollaboration(put), nil
}

// acknowledge accepts or rejects, which only the invited can.
func (c *call) acknowledge(x *Collaboration, status string) error {
	switch status {
	case "", x.Status:
		return nil
	case "accepted", "rejected":
	default:
		return errParameter("status", "Invalid status")
	}
	if x.User != c.me.ID || x.Status != "pending" {
		return errDenied()
	}
	x.Status, x.Acknowledged = status, time.Now()
	return nil
}

// amend changes role and expiry, where the collaboration was made.
func (c *call) amend(x *Collaboration, body collaborationBody) error {
	if body.Role == "" && body.Expires == nil {
		return nil
	}
	role := body.Role
	if role == "" {
		role = x.Role
	}
	if err := c.grantable(c.s.world.items[x.Item], role); err != nil {
		return err
	}
	x.Role = role
	set(&x.Expires, body.Expires)
	return nil
}

// handOver makes the collaborator the owner: the collaboration is replaced by one of the former owner's.
func (c *call) handOver(x *Collaboration) (any, error) {
	it := c.s.world.items[x.Item]
	if it.Owner == "" || it.Owner != c.me.ID || x.User == "" || x.Status != "accepted" {
		return nil, errDenied()
	}
	c.s.removeCollaboration(x, c.me.ID)
	c.s.editItem(it.ID, func(i *Item) { i.Owner = x.User })
	c.s.invite(Collaboration{Item: it.ID, User: c.me.ID, Role: "co-owner"}, c.me.ID)
	c.status = http.StatusNoContent
	return nil, nil
}

func (c *call) deleteCollaboration() (any, error) {
	x, err := c.findCollaboration(c.s.world)
	if err != nil {
		return nil, err
	}
	if x.User != c.me.ID && !c.can(c.s.world.items[x.Item], "can_invite_collaborator") {
		return nil, errDenied()
	}
	c.s.removeCollaboration(x, c.me.ID)
	c.status = http.StatusNoContent
	return nil, nil
}
