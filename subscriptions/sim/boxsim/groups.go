package boxsim

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Group is a group of users. The zero values of the levels mean admins_and_members.
type Group struct {
	ID, Name, Description string
	AllUsers              bool   // the group of all users
	Invitability          string // admins_only, admins_and_members, all_managed_users: who may invite it
	Viewability           string // the same levels: who may see its members
	Created, Modified     time.Time
}

func (g *Group) complete(now time.Time) {
	g.Invitability = cmp.Or(g.Invitability, "admins_and_members")
	g.Viewability = cmp.Or(g.Viewability, "admins_and_members")
	g.Created, g.Modified = now, now
}

// Membership puts a user into a group.
type Membership struct {
	ID, User, Group   string
	Role              string          // member, admin; empty means member
	Permissions       map[string]bool // configurable_permissions of a group's admin; nil: all off
	Created, Modified time.Time
}

var groupStandard = []string{"type", "id", "name", "group_type", "created_at", "modified_at"}

// groupMini is how others mention a group; null for one that is gone.
func (w *world) groupMini(id string) any {
	g := w.groups[id]
	if g == nil {
		return nil
	}
	kind := "managed_group"
	if g.AllUsers {
		kind = "all_users_group"
	}
	return obj{"type": "group", "id": g.ID, "name": g.Name, "group_type": kind}
}

func (c *call) showGroup(g *Group) any {
	all := obj{"created_at": stamp(g.Created), "modified_at": stamp(g.Modified), "provenance": "",
		"external_sync_identifier": "", "description": g.Description, "invitability_level": g.Invitability,
		"member_viewability_level": g.Viewability,
		"permissions":              obj{"can_invite_as_collaborator": c.level(g.ID, g.Invitability)}}
	mini, _ := c.world.groupMini(g.ID).(obj)
	maps.Copy(all, mini)
	return c.pick(all, groupStandard)
}

// level tells whether the caller is of those that a level of the group lets in.
func (c *call) level(group, level string) bool {
	return c.me.senior() || level == "all_managed_users" && !c.me.External ||
		c.leads(group) || level != "admins_only" && c.s.world.inGroup(c.me.ID, group)
}

// leads tells whether the caller is an admin of the group.
func (c *call) leads(group string) bool {
	for _, m := range c.s.world.members {
		if m.Group == group && m.User == c.me.ID && m.Role == "admin" {
			return true
		}
	}
	return false
}

func (c *call) findGroup(w *world) (*Group, error) {
	g := w.groups[c.id()]
	if g == nil || !c.level(g.ID, g.Viewability) {
		return nil, errNotFound("group_id", c.id())
	}
	return g, nil
}

func (c *call) listGroups() (any, error) {
	if err := c.senior(); err != nil {
		return nil, err
	}
	q := strings.ToLower(c.query.Get("filter_term"))
	list := inOrder(c.world.groups, func(g *Group) bool { return strings.HasPrefix(strings.ToLower(g.Name), q) })
	return offset(c, list, bounds{100, 1000}, c.showGroup)
}

func (c *call) readGroup() (any, error) {
	g, err := c.findGroup(c.world)
	if err != nil {
		return nil, err
	}
	return c.showGroup(g), nil
}

type groupBody struct {
	Name, Description *string
	Invitability      *string `json:"invitability_level"`
	Viewability       *string `json:"member_viewability_level"`
}

// putGroup writes what the body names, of a group or a new one.
func (c *call) putGroup(g Group) (any, error) {
	var body groupBody
	if err := c.write(&body); err != nil {
		return nil, err
	}
	set(&g.Name, body.Name)
	set(&g.Description, body.Description)
	set(&g.Invitability, body.Invitability)
	set(&g.Viewability, body.Viewability)
	if g.Name == "" {
		return nil, errParameter("name", "name is required")
	}
	for _, other := range c.s.world.groups {
		if other.Name == g.Name && other.ID != g.ID {
			return nil, errConflict("A group with this name exists")
		}
	}
	put := c.s.putGroup(g, c.me.ID)
	c.world = c.s.world
	return c.showGroup(put), nil
}

func (c *call) createGroup() (any, error) {
	c.status = http.StatusCreated
	return c.putGroup(Group{})
}

func (c *call) updateGroup() (any, error) {
	g, err := c.findGroup(c.s.world)
	if err != nil {
		return nil, err
	}
	return c.putGroup(*g)
}

func (c *call) deleteGroup() (any, error) {
	if err := c.senior(); err != nil {
		return nil, err
	}
	g, err := c.findGroup(c.s.world)
	if err != nil {
		return nil, err
	}
	c.s.removeGroup(g, c.me.ID)
	c.status = http.StatusNoContent
	return nil, nil
}

func (c *call) listGroupMemberships() (any, error) {
	g, err := c.findGroup(c.world)
	if err != nil {
		return nil, err
	}
	return c.listMemberships(func(m *Membership) bool { return m.Group == g.ID })
}

func (c *call) listUserMemberships() (any, error) {
	if c.id() != c.me.ID {
		if _, err := c.findUser(c.world); err != nil {
			return nil, err
		}
	}
	return c.listMemberships(func(m *Membership) bool { return m.User == c.id() })
}

// listMemberships leaves configurable_permissions out, as the vendor does.
func (c *call) listMemberships(keep func(*Membership) bool) (any, error) {
	return offset(c, inOrder(c.world.members, keep), bounds{100, 1000}, func(m *Membership) any {
		return c.world.membership(m)
	})
}

func (w *world) membership(m *Membership) obj {
	return obj{"type": "group_membership", "id": m.ID, "role": m.Role, "user": w.userMini(m.User),
		"group": w.groupMini(m.Group), "created_at": stamp(m.Created), "modified_at": stamp(m.Modified)}
}

// showMembership is the single one, with configurable_permissions.
func (c *call) showMembership(w *world, m *Membership) any {
	all := w.membership(m)
	all["configurable_permissions"] = nil
	if m.Permissions != nil {
		all["configurable_permissions"] = maps.Clone(m.Permissions)
	}
	return c.pick(all, slices.Collect(maps.Keys(all)))
}

// findMembership is for admins of the group, and seniors.
func (c *call) findMembership(w *world) (*Membership, error) {
	m := w.members[c.id()]
	if m == nil {
		return nil, errNotFound("group_membership_id", c.id())
	}
	if !c.me.senior() && !c.leads(m.Group) {
		return nil, errDenied()
	}
	return m, nil
}

func (c *call) readMembership() (any, error) {
	m, err := c.findMembership(c.world)
	if err != nil {
		return nil, err
	}
	return c.showMembership(c.world, m), nil
}

type membershipBody struct {
	User, Group struct{ ID string }
	Role        string
	Permissions *map[string]bool `json:"configurable_permissions"`
}

// onto writes role and permissions; keys that are left out are on.
func (b membershipBody) onto(m *Membership) error {
	m.Role = cmp.Or(b.Role, m.Role, "member")
	if m.Role != "member" && m.Role != "admin" {
		return errParameter("role", "Invalid role")
	}
	if b.Permissions == nil {
		return nil
	}
	m.Permissions = map[string]bool{"can_create_accounts": true, "can_edit_accounts": true,
		"can_instant_login": true, "can_run_reports": true}
	maps.Copy(m.Permissions, *b.Permissions)
	return nil
}

func (c *call) createMembership() (any, error) {
	var body membershipBody
	if err := c.write(&body); err != nil {
		return nil, err
	}
	u, g, w := body.User.ID, body.Group.ID, c.s.world
	if w.users[u] == nil || w.groups[g] == nil {
		return nil, errNotFound("user or group", u+", "+g)
	}
	if w.inGroup(u, g) {
		return nil, errConflict("The user is a member already")
	}
	m := Membership{User: u, Group: g}
	if err := body.onto(&m); err != nil {
		return nil, err
	}
	c.status = http.StatusCreated
	put := c.s.putMembership(m, c.me.ID)
	return c.showMembership(c.s.world, put), nil
}

func (c *call) updateMembership() (any, error) {
	m, err := c.findMembership(c.s.world)
	if err != nil {
		return nil, err
	}
	var body membershipBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	changed := *m
	if err := body.onto(&changed); err != nil {
		return nil, err
	}
	put := c.s.putMembership(changed, c.me.ID)
	return c.showMembership(c.s.world, put), nil
}

func (c *call) deleteMembership() (any, error) {
	m, err := c.findMembership(c.s.world)
	if err != nil {
		return nil, err
	}
	c.s.removeMembership(m, c.me.ID)
	c.status = http.StatusNoContent
	return nil, nil
}
