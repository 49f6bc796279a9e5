package muralsim

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"
)

// newID is an epoch ms, and never the same twice. The world is locked.
func (m *Mural) newID() int64 {
	m.lastID = max(m.lastID+1, time.Now().UnixMilli())
	return m.lastID
}

// muralBody is what can be written of a mural.
type muralBody struct {
	WorkspaceID     string  `json:"workspaceId"`
	RoomID          int64   `json:"roomId"`
	Title           *string `json:"title"`
	Status          *string `json:"status"`
	FolderID        *string `json:"folderId"`
	Favorite        *bool   `json:"favorite"`
	Width           *int    `json:"width"`
	Height          *int    `json:"height"`
	BackgroundColor *string `json:"backgroundColor"`
	Visitors        *string `json:"visitorsPermission"`
	Members         *string `json:"workspaceMembersPermission"`
}

func (p muralBody) check() error {
	if p.Status != nil && *p.Status != "active" && *p.Status != "archived" {
		return errBody("status", "must be active or archived")
	}
	if !isPermission(p.Visitors) {
		return errBody("visitorsPermission", "must be read, write or none")
	}
	if !isPermission(p.Members) {
		return errBody("workspaceMembersPermission", "must be read, write or none")
	}
	return nil
}

func isPermission(p *string) bool {
	return p == nil || slices.Contains([]string{"read", "write", "none"}, *p)
}

func (p muralBody) apply(b *Board) {
	set(&b.Title, p.Title)
	set(&b.Status, p.Status)
	set(&b.FolderID, p.FolderID)
	set(&b.Favorite, p.Favorite)
	set(&b.Width, p.Width)
	set(&b.Height, p.Height)
	set(&b.BackgroundColor, p.BackgroundColor)
	set(&b.Visitors, p.Visitors)
	set(&b.WorkspaceMembers, p.Members)
}

// set writes what was given.
func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (c *call) createMural() (any, error) {
	var body muralBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	r := c.world.rooms[body.RoomID]
	if r == nil || r.WorkspaceID != body.WorkspaceID || !c.world.seesRoom(c.who, r) {
		return nil, c.missing("Room")
	}
	if m := r.Members[c.who]; !m.Owner && !m.CreateMurals {
		return nil, errForbidden("The user may not create murals in this room")
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	c.m.remember()
	b := Board{RoomID: r.ID, Title: "Untitled mural", Visitors: "none", WorkspaceMembers: "none",
		CreatedBy: c.who, Members: map[string]BoardMember{c.who: {Owner: true, Facilitator: true}}}
	body.apply(&b)
	c.status = http.StatusCreated
	return value{Value: c.showMural(c.m.world.putMural(r.WorkspaceID, c.m.newID(), b))}, nil
}

func (c *call) updateMural() (any, error) {
	b, err := c.mural()
	if err != nil {
		return nil, err
	}
	var body muralBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	shares := body.Visitors != nil || body.Members != nil
	if !c.world.edits(c.who, b) || shares && !b.Members[c.who].Owner {
		return nil, errForbidden("The user may not change this")
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	err = c.m.editMural(b.ID, func(b *Board) {
		body.apply(b)
		b.UpdatedBy, b.UpdatedOn = c.who, time.Now().UnixMilli()
	})
	return value{Value: c.showMural(c.m.world.murals[b.ID])}, err
}

func (c *call) deleteMural() (any, error) {
	b, err := c.mural()
	if err == nil && !b.Members[c.who].Owner && !c.world.rooms[b.RoomID].Members[c.who].Owner {
		err = errForbidden("Only an owner may do this")
	}
	if err != nil {
		return nil, err
	}
	c.status = http.StatusNoContent
	return nil, c.m.deleteMural(b.ID)
}

func (c *call) updateMuralMember() (any, error) {
	b, err := c.ownMural()
	if err != nil {
		return nil, err
	}
	user := c.r.PathValue("userId")
	if !b.has(user) {
		return nil, errMissing("User")
	}
	var body struct {
		Owner       *bool `json:"owner"`
		Facilitator *bool `json:"facilitator"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	entry := b.Members[user]
	set(&entry.Owner, body.Owner)
	set(&entry.Facilitator, body.Facilitator)
	return value{Value: struct{}{}}, c.m.setMuralMember(b.ID, user, entry)
}

// updateVisitors takes the names that the settings have in answers, and those of updateMural.
func (c *call) updateVisitors() (any, error) {
	b, err := c.ownMural()
	if err != nil {
		return nil, err
	}
	var body struct {
		muralBody
		Visitors  *string `json:"visitors"`
		Members   *string `json:"workspaceMembers"`
		ExpiresOn *int64  `json:"expiresOn"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	change := muralBody{Visitors: body.muralBody.Visitors, Members: body.muralBody.Members}
	if body.Visitors != nil {
		change.Visitors = body.Visitors
	}
	if body.Members != nil {
		change.Members = body.Members
	}
	if err := change.check(); err != nil {
		return nil, err
	}
	err = c.m.editMural(b.ID, func(b *Board) {
		change.apply(b)
		set(&b.ExpiresOn, body.ExpiresOn)
	})
	return value{Value: c.m.world.murals[b.ID].visitors()}, err
}

func (c *call) resetLink() (any, error) {
	b, err := c.ownMural()
	if err != nil {
		return nil, err
	}
	state := strings.ToLower(rand.Text())
	err = c.m.editMural(b.ID, func(b *Board) { b.State, b.Link = state, linkTo("share", b.ID, state) })
	return value{Value: c.m.world.murals[b.ID].visitors()}, err
}

// roomBody is what can be written of a room.
type roomBody struct {
	WorkspaceID  string  `json:"workspaceId"`
	Name         *string `json:"name"`
	Description  *string `json:"description"`
	Type         *string `json:"type"`
	Confidential *bool   `json:"confidential"`
}

func (p roomBody) check() error {
	if p.Type != nil && *p.Type != "open" && *p.Type != "private" {
		return errBody("type", "must be open or private")
	}
	return nil
}

func (p roomBody) apply(r *Room) {
	set(&r.Name, p.Name)
	set(&r.Description, p.Description)
	set(&r.Type, p.Type)
	set(&r.Confidential, p.Confidential)
}

func (c *call) createRoom() (any, error) {
	var body roomBody
	err := c.decode(&body)
	switch {
	case err != nil:
	case c.world.workspaces[body.WorkspaceID] == nil || !c.world.insider(c.who, body.WorkspaceID):
		err = c.missing("Workspace")
	case body.Name == nil || body.Type == nil:
		err = errBody("name", "and type are needed")
	default:
		err = body.check()
	}
	if err != nil {
		return nil, err
	}
	c.m.remember()
	id := c.m.newID()
	r := &Room{ID: id, WorkspaceID: body.WorkspaceID, CreatedBy: c.who, UpdatedBy: c.who,
		CreatedOn: id, UpdatedOn: id, Members: map[string]RoomMember{c.who: roomOwner()}}
	body.apply(r)
	c.m.world.rooms[id] = r
	c.status = http.StatusCreated
	return value{Value: c.newRoom(r)}, nil
}

func (c *call) updateRoom() (any, error) {
	r, err := c.ownRoom()
	var body roomBody
	if err == nil {
		err = c.decode(&body)
	}
	if err == nil {
		err = body.check()
	}
	if err != nil {
		return nil, err
	}
	err = c.m.editRoom(r.ID, func(r *Room) {
		body.apply(r)
		r.UpdatedBy, r.UpdatedOn = c.who, time.Now().UnixMilli()
	})
	return value{Value: c.showRoom(c.m.world.rooms[r.ID])}, err
}

func (c *call) deleteRoom() (any, error) {
	r, err := c.ownRoom()
	if err != nil {
		return nil, err
	}
	c.status = http.StatusNoContent
	return nil, c.m.deleteRoom(r.ID)
}

// updateRoomMembers sets permissions of members, by username, and of people who have been invited, by
// refCode. It changes all or none.
func (c *call) updateRoomMembers() (any, error) {
	r, err := c.ownRoom()
	if err != nil {
		return nil, err
	}
	var body struct{ Members []roomEntry }
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	for _, one := range body.Members {
		u := c.world.byUsername(one.Username)
		if c.m.pending[one.RefCode].room != r.ID && (u == nil || !r.has(u.ID)) {
			return nil, errBody("members", "has somebody who is not in the room")
		}
	}
	for _, one := range body.Members {
		if p := c.m.pending[one.RefCode]; p.room == r.ID {
			one.apply(&p.inRoom)
			c.m.pending[one.RefCode] = p
			continue
		}
		id := c.world.byUsername(one.Username).ID
		entry := c.m.world.rooms[r.ID].Members[id]
		one.apply(&entry)
		if err := c.m.setRoomMember(r.ID, id, entry); err != nil {
			return nil, err
		}
	}
	return value{Value: struct{}{}}, nil
}

type roomEntry struct {
	Username      string `json:"username"`
	RefCode       string `json:"refCode"`
	Owner         *bool  `json:"owner"`
	CreateMurals  *bool  `json:"createMurals"`
	DuplicateRoom *bool  `json:"duplicateRoom"`
	InviteOthers  *bool  `json:"inviteOthers"`
}

func (e roomEntry) apply(m *RoomMember) {
	set(&m.Owner, e.Owner)
	set(&m.CreateMurals, e.CreateMurals)
	set(&m.DuplicateRoom, e.DuplicateRoom)
	set(&m.InviteOthers, e.InviteOthers)
}
