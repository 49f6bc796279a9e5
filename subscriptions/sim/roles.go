package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Role is a standard or custom role. Scope is the vendor's: Self (the default), Account, AllExtensions,
// Federation, Group, NonUserExtensions, RoleBased, UserExtensions.
type Role struct {
	ID          string    `json:"id"`
	DisplayName string    `json:"displayName"`
	Description string    `json:"description"`
	Scope       string    `json:"scope"`
	Custom      bool      `json:"custom"`
	Hidden      bool      `json:"hidden"`
	Permissions []string  `json:"permissions"` // as listed, not closed
	LastUpdated time.Time `json:"lastUpdated"` // set by PutRole, in whole milliseconds, never twice the same
}

// role is a stored Role with its permissions closed over includedPermissions.
type role struct {
	Role
	closed map[string]bool
}

// putRole adds or replaces.
func (w *world) putRole(b *book, r Role) {
	r.LastUpdated = time.Now().UTC().Truncate(time.Millisecond)
	if old := w.roles[r.ID]; old != nil && !r.LastUpdated.After(old.LastUpdated) {
		r.LastUpdated = old.LastUpdated.Add(time.Millisecond)
	}
	r.Scope = cmp.Or(r.Scope, "Self")
	r.Permissions = slices.Clone(r.Permissions)
	w.roles[r.ID] = &role{Role: r, closed: b.close(r.Permissions)}
}

// roleIDs are in the order of lists.
func (w *world) roleIDs() []string { return slices.SortedFunc(maps.Keys(w.roles), byNumber) }

// PutRole adds a role or replaces it, standard ones too; an empty id gives a new custom role its id, which is
// returned. Editing sends no event unless Quirks.RoleEditHints is set. It errs on an unknown permission.
func (s *RingCentral) PutRole(r Role) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range r.Permissions {
		if _, ok := s.book.byID[p]; !ok {
			return "", fmt.Errorf("permission %q: %w", p, ErrUnknown)
		}
	}
	return s.putRole(r), nil
}

func (s *RingCentral) putRole(r Role) string {
	if r.ID == "" {
		s.lastRole++
		r.ID, r.Custom = strconv.Itoa(s.lastRole), true
	}
	s.remember()
	s.world.putRole(s.book, r)
	if s.quirks.RoleEditHints {
		var changes []ExtensionChange
		for _, id := range s.holders(r.ID) {
			changes = append(changes, ExtensionChange{id, "Update", []string{"Permissions"}})
		}
		s.emitChanges(changes)
	}
	return r.ID
}

// holders are the extensions that have the role.
func (s *RingCentral) holders(roleID string) []string {
	var ids []string
	for _, id := range s.world.ids {
		if slices.Contains(s.world.extensions[id].Roles, roleID) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Role reads a role; it errs when there is none.
func (s *RingCentral) Role(id string) (Role, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.world.roles[id]
	if r == nil {
		return Role{}, fmt.Errorf("role %q: %w", id, ErrUnknown)
	}
	return r.Role, nil
}

// RemoveRole deletes a custom role that nobody has.
func (s *RingCentral) RemoveRole(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkRemoval(id); err != nil {
		return fmt.Errorf("remove role: %w", err)
	}
	s.removeRole(id)
	return nil
}

func (s *RingCentral) checkRemoval(id string) error {
	r := s.world.roles[id]
	switch {
	case r == nil:
		return errNotFound("roleId")
	case !r.Custom || len(s.holders(id)) > 0:
		return errParameter("roleId", id)
	}
	return nil
}

func (s *RingCentral) removeRole(id string) {
	s.remember()
	delete(s.world.roles, id)
}

type roleInfo struct {
	URI            string          `json:"uri"`
	ID             string          `json:"id"`
	DisplayName    string          `json:"displayName"`
	Description    string          `json:"description"`
	SiteCompatible bool            `json:"siteCompatible"`
	Custom         bool            `json:"custom"`
	Scope          string          `json:"scope"`
	Hidden         bool            `json:"hidden"`
	LastUpdated    string          `json:"lastUpdated"`
	Permissions    []permissionRef `json:"permissions,omitzero"` // one of none is shown, one that is left out is not
}

// summary is a role without its permissions, as lists show it.
func (c *call) summary(id string) roleInfo {
	r := c.world.roles[id]
	return roleInfo{URI: c.roleURI(id), ID: id, DisplayName: r.DisplayName, Description: r.Description,
		SiteCompatible: true, Custom: r.Custom, Scope: r.Scope, Hidden: r.Hidden,
		LastUpdated: stamp(r.LastUpdated)}
}

// roleURI is in the account, or in the dictionary when that is asked.
func (c *call) roleURI(id string) string {
	if strings.HasPrefix(c.r.URL.Path, "/restapi/v1.0/dictionary/") {
		return c.base + "/dictionary/user-role/" + id
	}
	return c.accountURI() + "/user-role/" + id
}

func (c *call) roleInfo(id string) roleInfo {
	info := c.summary(id)
	info.Permissions = []permissionRef{}
	for _, p := range c.world.roles[id].Permissions {
		ref := c.permissionRef(p)
		if c.flag("advancedPermissions") {
			ref.Capabilities = &capabilities{Enabled: true, ManageEnabled: true, GrantEnabled: true}
		}
		info.Permissions = append(info.Permissions, ref)
	}
	return info
}

// rolesWhere are the ids of the roles that are wanted.
func (c *call) rolesWhere(want func(*role) bool) []string {
	return slices.DeleteFunc(c.world.roleIDs(), func(id string) bool { return !want(c.world.roles[id]) })
}

func (c *call) listRoles() (any, error) {
	ids := c.rolesWhere(func(r *role) bool { return !c.query.Has("custom") || c.flag("custom") == r.Custom })
	return paged(c, "/account/"+c.s.opts.AccountID+"/user-role", ids, c.summary)
}

func (c *call) listStandardRoles() (any, error) {
	ids := c.rolesWhere(func(r *role) bool { return !r.Custom })
	return paged(c, "/dictionary/user-role", ids, c.summary)
}

func (c *call) readRole() (any, error) {
	id := c.r.PathValue("roleId")
	if c.world.roles[id] == nil {
		return nil, errNotFound("roleId")
	}
	return c.roleInfo(id), nil
}

func (c *call) readStandardRole() (any, error) {
	if r := c.world.roles[c.r.PathValue("roleId")]; r == nil || r.Custom {
		return nil, errNotFound("roleId")
	}
	return c.readRole()
}

// roleBody reads and checks what is written to a role.
func (c *call) roleBody() (Role, error) {
	var body struct {
		DisplayName, Description, Scope string
		Hidden                          bool
		Permissions                     []uriID
	}
	if err := c.decode(&body); err != nil {
		return Role{}, err
	}
	if body.DisplayName == "" || !plain(body.DisplayName, 128) {
		return Role{}, errParameter("displayName", body.DisplayName)
	}
	if !plain(body.Description, 2000) {
		return Role{}, errParameter("description", body.Description)
	}
	if body.Scope != "" && !slices.Contains(roleScopes(), body.Scope) {
		return Role{}, errParameter("scope", body.Scope)
	}
	r := Role{DisplayName: body.DisplayName, Description: body.Description, Scope: body.Scope,
		Hidden: body.Hidden, Custom: true}
	for _, p := range body.Permissions {
		if _, ok := c.s.book.byID[p.ID]; !ok {
			return Role{}, errParameter("permissions.id", p.ID)
		}
		r.Permissions = append(r.Permissions, p.ID)
	}
	return r, nil
}

func roleScopes() []string {
	return []string{"Account", "AllExtensions", "Federation", "Group", "NonUserExtensions", "RoleBased", "Self",
		"UserExtensions"}
}

func plain(text string, limit int) bool {
	return len([]rune(text)) <= limit && !strings.ContainsAny(text, "<>/\"\r\n")
}

func (c *call) createRole() (any, error) {
	r, err := c.roleBody()
	if err != nil {
		return nil, err
	}
	r.ID = c.s.putRole(r)
	c.status, c.world = 201, c.s.world
	return c.roleInfo(r.ID), nil
}

func (c *call) updateRole() (any, error) {
	id := c.r.PathValue("roleId")
	old := c.s.world.roles[id]
	if old == nil {
		return nil, errNotFound("roleId")
	}
	if !old.Custom {
		return nil, errParameter("roleId", id)
	}
	r, err := c.roleBody()
	if err != nil {
		return nil, err
	}
	r.ID = id
	c.s.putRole(r)
	c.world = c.s.world
	return c.roleInfo(id), nil
}

func (c *call) deleteRole() (any, error) {
	id := c.r.PathValue("roleId")
	if err := c.s.checkRemoval(id); err != nil {
		return nil, err
	}
	if !c.flag("validateOnly") {
		c.s.removeRole(id)
	}
	c.status = 204
	return nil, nil
}
