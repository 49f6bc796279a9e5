package muralsim

import (
	"cmp"
	"maps"
	"slices"
)

func (c *call) readMe() (any, error) {
	u := c.world.users[c.who]
	v := meView{ID: u.ID, Email: u.Email, FirstName: u.FirstName, LastName: u.LastName, Avatar: avatar(u.ID),
		CreatedOn: born, Type: Member}
	for _, ws := range c.mine() {
		v.CompanyID, v.CompanyName, v.LastActiveWorkspace = ws.CompanyID, ws.Name, ws.ID
		v.Type = c.world.kind(u.ID, ws.ID)
	}
	return value{Value: v}, nil
}

// mine are the workspaces of the caller, by id.
func (c *call) mine() (list []*Workspace) {
	for _, id := range slices.Sorted(maps.Keys(c.world.workspaces)) {
		if ws := c.world.workspaces[id]; ws.Members[c.who] != "" {
			list = append(list, ws)
		}
	}
	return list
}

func (c *call) listWorkspaces() (any, error) { return paged(c, c.mine(), c.showWorkspace) }

func (c *call) readWorkspace() (any, error) {
	ws, err := c.workspace()
	if err != nil {
		return nil, err
	}
	v, by := c.showWorkspace(ws), c.world.author(ws.CreatedBy)
	v.CreatedBy = &by
	return value{Value: v}, nil
}

// listRooms lists those that the caller is in.
func (c *call) listRooms() (any, error) {
	return c.roomsWhere(func(r *Room) bool { return r.has(c.who) })
}

func (c *call) listOpenRooms() (any, error) {
	return c.roomsWhere(func(r *Room) bool { return r.Type == "open" && c.world.seesRoom(c.who, r) })
}

func (c *call) roomsWhere(ok func(*Room) bool) (any, error) {
	ws, err := c.workspace()
	if err != nil {
		return nil, err
	}
	var list []*Room
	for _, id := range slices.Sorted(maps.Keys(c.world.rooms)) {
		if r := c.world.rooms[id]; r.WorkspaceID == ws.ID && ok(r) {
			list = append(list, r)
		}
	}
	return paged(c, list, c.showRoom)
}

func (c *call) readRoom() (any, error) {
	r, err := c.room()
	if err != nil {
		return nil, err
	}
	return value{Value: c.showRoom(r)}, nil
}

func (c *call) listRoomMembers() (any, error) {
	r, err := c.room()
	if err != nil {
		return nil, err
	}
	return paged(c, slices.Sorted(maps.Keys(r.Members)), func(id string) personView {
		return c.showPerson(id, r.WorkspaceID)
	})
}

func (c *call) listMuralMembers() (any, error) {
	b, err := c.mural()
	if err != nil {
		return nil, err
	}
	return paged(c, slices.Sorted(maps.Keys(b.Members)), func(id string) personView {
		v, entry := c.showPerson(id, b.WorkspaceID), b.Members[id]
		v.Permissions = &permissionsView{Owner: entry.Owner, Facilitator: entry.Facilitator}
		return v
	})
}

func (c *call) readMural() (any, error) {
	b, err := c.mural()
	if err != nil {
		return nil, err
	}
	return value{Value: c.showMural(b)}, nil
}

// readAccess wants the mural's state, which is part of its link.
func (c *call) readAccess() (any, error) {
	var body struct {
		MuralState string `json:"muralState"`
	}
	b, err := c.mural()
	if err == nil {
		err = c.decode(&body)
	}
	if err == nil && body.MuralState != b.State {
		err = errBody("muralState", "is not the mural's")
	}
	if err != nil {
		return nil, err
	}
	return value{Value: accessView{b.Visitors, b.WorkspaceMembers}}, nil
}

func (c *call) listMurals() (any, error) { return c.muralsOf(newest) }

func (c *call) listRecentMurals() (any, error) { return c.muralsOf(touched) }

func (c *call) muralsOf(order muralOrder) (any, error) {
	ws, err := c.workspace()
	if err != nil {
		return nil, err
	}
	return c.muralsWhere(order, func(b *Board) bool { return b.WorkspaceID == ws.ID })
}

func (c *call) listRoomMurals() (any, error) {
	r, err := c.room()
	if err != nil {
		return nil, err
	}
	folder := c.query.Get("folderId")
	return c.muralsWhere(newest, func(b *Board) bool {
		return b.RoomID == r.ID && (folder == "" || b.FolderID == folder)
	})
}

type muralOrder func(a, b *Board) int

func newest(a, b *Board) int  { return cmp.Compare(b.CreatedOn, a.CreatedOn) }
func oldest(a, b *Board) int  { return -newest(a, b) }
func touched(a, b *Board) int { return cmp.Or(cmp.Compare(b.UpdatedOn, a.UpdatedOn), newest(a, b)) }

// muralsWhere lists those that the caller sees, with the status and in the order that the query wants.
func (c *call) muralsWhere(order muralOrder, ok func(*Board) bool) (any, error) {
	status := cmp.Or(c.query.Get("status"), "active")
	if status != "active" && status != "archived" {
		return nil, errQuery("STATUS_INVALID", "status must be active or archived")
	}
	if by := c.query.Get("sortBy"); by != "" {
		order = map[string]muralOrder{"lastCreated": newest, "lastModified": touched, "oldest": oldest}[by]
	}
	if order == nil {
		return nil, errQuery("SORT_BY_INVALID", "sortBy must be lastCreated, lastModified or oldest")
	}
	var list []*Board
	for _, b := range c.world.murals {
		if b.Status == status && ok(b) && c.world.seesMural(c.who, b) {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b *Board) int { return cmp.Or(order(a, b), cmp.Compare(a.ID, b.ID)) })
	return paged(c, list, c.listedMural)
}
