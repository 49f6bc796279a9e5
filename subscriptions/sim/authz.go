package sim

import (
	"maps"
	"net/url"
	"slices"
)

type grantInfo struct {
	Permission permissionRef `json:"permission"`
	Role       uriID         `json:"effectiveRole"`
	Scopes     []string      `json:"scopes"`
}

type profileInfo struct {
	URI         string      `json:"uri"`
	Permissions []grantInfo `json:"permissions"`
}

type checkInfo struct {
	URI        string     `json:"uri"`
	Successful bool       `json:"successful"`
	Details    *grantInfo `json:"details,omitempty"`
}

// scope is how far a role carries a permission. Group is a scope of roles that profiles do not know.
func (b *book) scope(permission, roleScope string) string {
	if own := b.byID[permission].Scope; own != "" {
		return own
	}
	if roleScope == "Group" {
		return "RoleBased"
	}
	return roleScope
}

// scopesOf is how far an extension holds a permission, over all its roles; empty: not at all.
func (w *world) scopesOf(b *book, extensionID, permission string) []string {
	e := w.extensions[extensionID]
	if e == nil {
		return nil
	}
	var scopes []string
	for _, id := range e.Roles {
		if r := w.roles[id]; r != nil && r.closed[permission] {
			scopes = append(scopes, b.scope(permission, r.Scope))
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

func (s *RingCentral) scopesOf(extensionID, permission string) []string {
	return s.world.scopesOf(s.book, extensionID, permission)
}

// reaches tells whether scopes go beyond oneself.
func reaches(scopes []string) bool {
	return slices.ContainsFunc(scopes, func(x string) bool { return x != "Self" })
}

// Permissions are the effective permissions of an extension: id to scopes.
func (s *RingCentral) Permissions(extensionID string) map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world.permissions(s.book, extensionID)
}

func (w *world) permissions(b *book, extensionID string) map[string][]string {
	all := map[string][]string{}
	e := w.extensions[extensionID]
	if e == nil {
		return all
	}
	for _, id := range e.Roles {
		if r := w.roles[id]; r != nil {
			for p := range r.closed {
				all[p] = append(all[p], b.scope(p, r.Scope))
			}
		}
	}
	for p, scopes := range all {
		slices.Sort(scopes)
		all[p] = slices.Compact(scopes)
	}
	return all
}

// grant is how an extension holds a permission; the effective role is the first that gives it.
func (c *call) grant(e *Extension, permission string, scopes []string) grantInfo {
	g := grantInfo{Permission: c.permissionRef(permission), Scopes: scopes}
	for _, id := range e.Roles {
		if r := c.world.roles[id]; r != nil && r.closed[permission] {
			g.Role = uriID{URI: c.base + "/dictionary/user-role/" + id, ID: id}
			if r.Custom {
				g.Role.URI = c.accountURI() + "/user-role/" + id
			}
			return g
		}
	}
	return g
}

// subject is whose profile is asked for, and on whom: the owner of the token unless ForeignProfiles is set.
func (c *call) subject() (e *Extension, target string, err error) {
	e, err = c.extension()
	if err != nil {
		return nil, "", err
	}
	if e.ID != c.who.owner && !c.quirks.ForeignProfiles {
		return nil, "", errForeign()
	}
	target = c.query.Get("targetExtensionId")
	if target == "" || target == "~" {
		return e, e.ID, nil
	}
	if c.world.extensions[target] == nil {
		return nil, "", errParameter("targetExtensionId", target)
	}
	return e, target, nil
}

func (c *call) readProfile() (any, error) {
	e, target, err := c.subject()
	if err != nil {
		return nil, err
	}
	profile := profileInfo{URI: c.extensionURI(e.ID) + "/authz-profile?targetExtensionId=" + target,
		Permissions: []grantInfo{}}
	held := c.world.permissions(c.s.book, e.ID)
	for _, p := range slices.Sorted(maps.Keys(held)) {
		if target == e.ID || reaches(held[p]) {
			profile.Permissions = append(profile.Permissions, c.grant(e, p, held[p]))
		}
	}
	return profile, nil
}

// checkProfile answers 200 whether or not the permission is held. An unknown permission is one not held.
func (c *call) checkProfile() (any, error) {
	e, target, err := c.subject()
	if err != nil {
		return nil, err
	}
	p := c.query.Get("permissionId")
	if p == "" {
		return nil, errParameter("permissionId", p)
	}
	query := url.Values{"permissionId": {p}, "targetExtensionId": {target}}.Encode()
	check := checkInfo{URI: c.extensionURI(e.ID) + "/authz-profile/check?" + query}
	scopes := c.world.scopesOf(c.s.book, e.ID, p)
	if len(scopes) > 0 && (target == e.ID || reaches(scopes)) {
		g := c.grant(e, p, scopes)
		check.Successful, check.Details = true, &g
	}
	return check, nil
}
