package sim

import (
	"net/http"
	"slices"
)

type assignedRole struct {
	URI            string `json:"uri"`
	ID             string `json:"id"`
	DisplayName    string `json:"displayName"`
	AutoAssigned   bool   `json:"autoAssigned"`
	SiteCompatible bool   `json:"siteCompatible"`
	SiteRestricted bool   `json:"siteRestricted"`
}

type assignedInfo struct {
	URI     string         `json:"uri"`
	Records []assignedRole `json:"records"`
}

type holderInfo struct {
	URI         string         `json:"uri"`
	ExtensionID string         `json:"extensionId"`
	Roles       []assignedRole `json:"roles"`
}

// assignedRoles are the roles of an extension; hidden ones only with showHidden=true.
func (c *call) assignedRoles(e *Extension) []assignedRole {
	list := []assignedRole{}
	for _, id := range e.Roles {
		if r := c.world.roles[id]; r != nil && (!r.Hidden || c.flag("showHidden")) {
			list = append(list, assignedRole{URI: c.accountURI() + "/user-role/" + id, ID: id,
				DisplayName: r.DisplayName, SiteCompatible: true})
		}
	}
	return list
}

func (c *call) readAssigned() (any, error) {
	e, err := c.extension()
	if err != nil {
		return nil, err
	}
	return assignedInfo{URI: c.extensionURI(e.ID) + "/assigned-role", Records: c.assignedRoles(e)}, nil
}

func (c *call) listAssigned() (any, error) {
	return paged(c, "/account/"+c.s.opts.AccountID+"/assigned-role", c.world.ids, func(id string) holderInfo {
		return holderInfo{URI: c.extensionURI(id) + "/assigned-role", ExtensionID: id,
			Roles: c.assignedRoles(c.world.extensions[id])}
	})
}

// updateAssigned replaces all roles. At least one is needed, and only users' roles can be edited.
func (c *call) updateAssigned() (any, error) {
	c.world = c.s.world
	e, err := c.extension()
	if err != nil {
		return nil, err
	}
	if e.Type != "User" {
		return nil, &apiError{status: http.StatusForbidden, code: "CMN-403",
			message: "This feature is not available for this extension type"}
	}
	var body struct{ Records []uriID }
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range body.Records {
		if c.world.roles[r.ID] == nil {
			return nil, errParameter("records.id", r.ID)
		}
		if !slices.Contains(ids, r.ID) {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil, errParameter("records", "")
	}
	if err := c.s.assign(e.ID, ids); err != nil {
		return nil, err
	}
	c.world = c.s.world
	return c.readAssigned()
}
