package muralsim

import (
	"fmt"
	"strings"
)

// born is when the default world begins, epoch ms.
const born = 1650000000000

// defaultWorld is the one in the package's comment.
func defaultWorld() *world {
	w := &world{users: map[string]*User{}, workspaces: map[string]*Workspace{}, rooms: map[int64]*Room{},
		murals: map[string]*Board{}}
	for i, name := range strings.Fields("ann bob cas dee eve gil") {
		id, domain := fmt.Sprintf("u%d", i+1), "rescind.test"
		if i > 3 {
			domain = "guest.test"
		}
		w.users[id] = &User{ID: id, Username: name + "1650", Email: name + "@" + domain,
			FirstName: strings.ToUpper(name[:1]) + name[1:], LastName: "Example"}
	}
	w.workspaces["rescind1234"] = &Workspace{ID: "rescind1234", Name: "Rescind", CompanyID: "c1",
		Domain: "rescind.test", CreatedBy: "u1", CreatedOn: born, Members: map[string]string{
			"u1": Admin, "u2": Member, "u3": Member, "u4": Member, "u5": Guest, "u6": Guest}}
	w.addRooms()
	w.addMurals()
	return w
}

func (w *world) addRooms() {
	owner, full, restricted := roomOwner(), RoomMember{CreateMurals: true}, RoomMember{Restricted: true}
	w.rooms[born+1] = &Room{ID: born + 1, Name: "Open house", Type: "open", CreatedBy: "u1",
		Members: map[string]RoomMember{"u1": owner, "u2": full, "u3": full, "u6": restricted}}
	w.rooms[born+2] = &Room{ID: born + 2, Name: "Back room", Type: "private", CreatedBy: "u2",
		Members: map[string]RoomMember{"u2": owner, "u3": full, "u5": restricted}}
	for id, r := range w.rooms {
		r.WorkspaceID, r.CreatedOn = "rescind1234", id
		r.UpdatedBy, r.UpdatedOn = r.CreatedBy, id
	}
}

func (w *world) addMurals() {
	owner := BoardMember{Owner: true, Facilitator: true}
	facilitator, view, edit := BoardMember{Facilitator: true}, BoardMember{ViewOnly: true}, BoardMember{}
	type members = map[string]BoardMember
	for i, b := range []Board{
		{RoomID: born + 1, Title: "Plan", WorkspaceMembers: "write", Visitors: "none", CreatedBy: "u1",
			Members: members{"u1": owner, "u2": facilitator}},
		{RoomID: born + 1, Title: "Map", WorkspaceMembers: "read", Visitors: "read", CreatedBy: "u2",
			Members: members{"u2": owner, "u3": view, "u6": edit}},
		{RoomID: born + 2, Title: "Salaries", WorkspaceMembers: "none", Visitors: "none", CreatedBy: "u2",
			Members: members{"u2": owner, "u3": facilitator}},
		{RoomID: born + 2, Title: "Tender", WorkspaceMembers: "none", Visitors: "write", CreatedBy: "u3",
			Members: members{"u3": owner, "u5": view}},
		{RoomID: born + 1, Title: "Old plan", WorkspaceMembers: "read", Visitors: "none", CreatedBy: "u1",
			Status: "archived", Members: members{"u1": owner}},
	} {
		w.putMural("rescind1234", born+11+int64(i), b)
	}
}

// putMural fills what a mural lacks, and adds it.
func (w *world) putMural(workspace string, at int64, b Board) *Board {
	b.ID, b.WorkspaceID = fmt.Sprintf("%s.%d", workspace, at), workspace
	b.CreatedOn, b.UpdatedOn, b.UpdatedBy = at, at, b.CreatedBy
	if b.Status == "" {
		b.Status = "active"
	}
	if b.Width == 0 {
		b.Width, b.Height = 9216, 6237
	}
	if b.BackgroundColor == "" {
		b.BackgroundColor = "#FFFFFFFF"
	}
	b.State = fmt.Sprintf("%x", at)
	b.Link = linkTo("share", b.ID, b.State)
	w.murals[b.ID] = &b
	return &b
}

// linkTo makes an address as the vendor would: it leads nowhere here.
func linkTo(parts ...string) string { return "https://app.mural.co/" + strings.Join(parts, "/") }
