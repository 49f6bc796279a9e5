package sim

import (
	"net/url"
	"slices"
	"strconv"
)

type extensionInfo struct {
	ID      int64          `json:"id"` // a number here, a string in events and tokens
	URI     string         `json:"uri"`
	Account *uriID         `json:"account,omitempty"` // in the single read only
	Contact contactInfo    `json:"contact"`
	Number  string         `json:"extensionNumber"`
	Name    string         `json:"name"`
	Status  string         `json:"status"`
	Type    string         `json:"type"`
	Hidden  bool           `json:"hidden"`
	Roles   []assignedRole `json:"roles"`
}

type contactInfo struct {
	FirstName string `json:"firstName"`
	Email     string `json:"email,omitempty"`
}

func (c *call) extensionInfo(id string) extensionInfo {
	e := c.world.extensions[id]
	n, _ := strconv.ParseInt(id, 10, 64) // checked when it was added
	return extensionInfo{ID: n, URI: c.extensionURI(id), Number: e.Number, Name: e.Name, Status: e.Status,
		Type: e.Type, Contact: contactInfo{FirstName: e.Name, Email: e.Email}, Roles: c.assignedRoles(e)}
}

func (c *call) listExtensions() (any, error) {
	var ids []string
	for _, id := range c.world.ids {
		if c.wanted(c.world.extensions[id]) {
			ids = append(ids, id)
		}
	}
	return paged(c, "/account/"+c.s.opts.AccountID+"/extension", ids, c.extensionInfo)
}

// wanted applies the filters of the query.
func (c *call) wanted(e *Extension) bool {
	return among(c.query, "status", e.Status) && among(c.query, "type", e.Type) &&
		among(c.query, "email", e.Email) && among(c.query, "extensionNumber", e.Number)
}

func among(q url.Values, name, value string) bool {
	return !q.Has(name) || slices.Contains(q[name], value)
}

func (c *call) readExtension() (any, error) {
	e, err := c.extension()
	if err != nil {
		return nil, err
	}
	info := c.extensionInfo(e.ID)
	info.Account = &uriID{URI: c.accountURI(), ID: c.s.opts.AccountID}
	return info, nil
}
