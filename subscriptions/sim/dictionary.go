package sim

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
)

//go:embed world.json
var worldJSON []byte

const adminID = "256440016"

// permission is an entry of the vendor's dictionary.
type permission struct {
	ID         string   `json:"id"`
	Category   string   `json:"category"`
	Scope      string   `json:"scope"` // where it reaches whatever the role's scope; empty: as the role says
	Assignable bool     `json:"assignable"`
	Includes   []string `json:"includes"`
}

type category struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
}

// book is what the vendor defines: it never changes.
type book struct {
	categories  []category
	permissions []permission
	byID        map[string]permission
	features    []Feature
}

// openBook reads the embedded default world. The file is part of the program, so a fault in it is a panic.
func openBook() (*book, *world) {
	var file struct {
		Categories  []category
		Permissions []permission
		Roles       []Role
		Features    []Feature
		Extensions  []Extension
	}
	if err := json.Unmarshal(worldJSON, &file); err != nil {
		panic(fmt.Sprintf("sim: world.json: %v", err))
	}
	b := &book{categories: file.Categories, permissions: file.Permissions, features: file.Features,
		byID: map[string]permission{}}
	for _, p := range b.permissions {
		b.byID[p.ID] = p
	}
	w := &world{extensions: map[string]*Extension{}, roles: map[string]*role{}}
	for _, r := range file.Roles {
		w.putRole(b, r)
	}
	for _, e := range file.Extensions {
		w.putExtension(e)
	}
	return b, w
}

// close is the set of permissions that these imply, themselves included.
func (b *book) close(ids []string) map[string]bool {
	closed := map[string]bool{}
	for todo := slices.Clone(ids); len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !closed[id] {
			closed[id] = true
			todo = append(todo, b.byID[id].Includes...)
		}
	}
	return closed
}

type uriID struct {
	URI string `json:"uri"`
	ID  string `json:"id"`
}

type permissionRef struct {
	URI            string        `json:"uri"`
	ID             string        `json:"id"`
	SiteCompatible string        `json:"siteCompatible"`
	ReadOnly       bool          `json:"readOnly"`
	Assignable     bool          `json:"assignable"`
	Capabilities   *capabilities `json:"permissionsCapabilities,omitempty"`
}

type capabilities struct {
	Enabled       bool `json:"enabled"`
	ManageEnabled bool `json:"manageEnabled"`
	GrantEnabled  bool `json:"grantEnabled"`
}

type permissionInfo struct {
	URI            string          `json:"uri"`
	ID             string          `json:"id"`
	DisplayName    string          `json:"displayName"`
	Description    string          `json:"description"`
	Assignable     bool            `json:"assignable"`
	ReadOnly       bool            `json:"readOnly"`
	SiteCompatible string          `json:"siteCompatible"`
	Category       uriID           `json:"category"`
	Included       []permissionRef `json:"includedPermissions"`
}

type categoryInfo struct {
	URI         string `json:"uri"`
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
	Description string `json:"description"`
}

func (c *call) permissionRef(id string) permissionRef {
	return permissionRef{URI: c.base + "/dictionary/permission/" + id, ID: id, SiteCompatible: "Independent",
		Assignable: c.s.book.byID[id].Assignable}
}

func (c *call) permissionInfo(p permission) permissionInfo {
	ref := c.permissionRef(p.ID)
	info := permissionInfo{URI: ref.URI, ID: p.ID, DisplayName: p.ID, Description: "Permission " + p.ID,
		Assignable: p.Assignable, SiteCompatible: ref.SiteCompatible, Included: []permissionRef{},
		Category: uriID{URI: c.base + "/dictionary/permission-category/" + p.Category, ID: p.Category}}
	for _, id := range p.Includes {
		info.Included = append(info.Included, c.permissionRef(id))
	}
	return info
}

func (c *call) listPermissions() (any, error) {
	var list []permission
	for _, p := range c.s.book.permissions {
		if !c.query.Has("assignable") || c.flag("assignable") == p.Assignable {
			list = append(list, p)
		}
	}
	return paged(c, "/dictionary/permission", list, c.permissionInfo)
}

func (c *call) readPermission() (any, error) {
	p, ok := c.s.book.byID[c.r.PathValue("id")]
	if !ok {
		return nil, errNotFound("permissionId")
	}
	return c.permissionInfo(p), nil
}

func (c *call) categoryInfo(k category) categoryInfo {
	return categoryInfo{URI: c.base + "/dictionary/permission-category/" + k.ID, ID: k.ID,
		DisplayName: k.DisplayName, Description: "Permissions for " + k.DisplayName}
}

func (c *call) listCategories() (any, error) {
	return paged(c, "/dictionary/permission-category", c.s.book.categories, c.categoryInfo)
}

func (c *call) readCategory() (any, error) {
	for _, k := range c.s.book.categories {
		if k.ID == c.r.PathValue("id") {
			return c.categoryInfo(k), nil
		}
	}
	return nil, errNotFound("permissionCategoryId")
}
