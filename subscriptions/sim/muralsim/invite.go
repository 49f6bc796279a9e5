package muralsim

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
)

// invitation is somebody who has been asked by email and has not accepted yet.
type invitation struct {
	email, workspace, mural string
	room                    int64 // 0: to no room
	inRoom                  RoomMember
	inMural                 BoardMember
}

type inviteBody struct {
	Invitations []struct {
		Email          string `json:"email"`
		Username       string `json:"username"`
		EditPermission string `json:"editPermission"`
	} `json:"invitations"`
}

type invited struct {
	Email    string `json:"email"`
	RefCode  string `json:"refCode"`
	Rejected *bool  `json:"rejected,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Username string `json:"username,omitempty"`
}

// invite lets in at once who is named by username, and keeps an invitation for who is named by email. It
// does all or nothing. The permission is the zero value where none is said.
func (c *call) invite(in func(viewOnly bool) invitation) (any, error) {
	var body inviteBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if len(body.Invitations) == 0 {
		return nil, errBody("invitations", "is needed")
	}
	for _, one := range body.Invitations {
		if e := one.EditPermission; e != "" && e != "view" && e != "edit" {
			return nil, errBody("editPermission", "must be view or edit")
		}
		if one.Email == "" && c.world.byUsername(one.Username) == nil {
			return nil, errBody("username", "is unknown, and there is no email")
		}
	}
	c.status = http.StatusCreated
	list := []invited{}
	for _, one := range body.Invitations {
		x := in(one.EditPermission == "view")
		x.email = one.Email
		u := c.world.byUsername(one.Username)
		if u != nil {
			x.email = u.Email
		}
		code := c.m.invitation(x)
		if u != nil {
			if err := c.m.accept(code); err != nil {
				return nil, err
			}
		}
		list = append(list, invited{Email: x.email, RefCode: code, Username: one.Username})
	}
	return value{Value: list}, nil
}

func (m *Mural) invitation(x invitation) (refCode string) {
	refCode = rand.Text()
	m.pending[refCode] = x
	return refCode
}

func (c *call) inviteToMural() (any, error) {
	b, err := c.mural()
	if err == nil {
		r := c.world.rooms[b.RoomID].Members[c.who]
		if !b.Members[c.who].Owner && !r.Owner && !r.InviteOthers {
			err = errForbidden("The user may not invite")
		}
	}
	if err != nil {
		return nil, err
	}
	return c.invite(func(viewOnly bool) invitation {
		return invitation{workspace: b.WorkspaceID, mural: b.ID, inMural: BoardMember{ViewOnly: viewOnly}}
	})
}

func (c *call) inviteToRoom() (any, error) {
	r, err := c.room()
	if err == nil && !r.Members[c.who].Owner && !r.Members[c.who].InviteOthers {
		err = errForbidden("The user may not invite")
	}
	if err != nil {
		return nil, err
	}
	return c.invite(func(bool) invitation {
		return invitation{workspace: r.WorkspaceID, room: r.ID, inRoom: RoomMember{CreateMurals: true}}
	})
}

func (c *call) inviteToWorkspace() (any, error) {
	ws, err := c.workspace()
	if err == nil && !c.world.insider(c.who, ws.ID) {
		err = errForbidden("Guests may not invite")
	}
	if err != nil {
		return nil, err
	}
	answer, err := c.invite(func(bool) invitation { return invitation{workspace: ws.ID} })
	if v, ok := answer.(value); ok {
		list, _ := v.Value.([]invited)
		for i := range list {
			list[i].Rejected = new(bool)
		}
	}
	return answer, err
}

// Accept does what somebody does who follows the link in an invitation. Somebody new gets an account; who is
// not in the workspace yet becomes a member of it with an email of the company's domain, else a guest.
func (m *Mural) Accept(refCode string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accept(refCode)
}

func (m *Mural) accept(refCode string) error {
	x, known := m.pending[refCode]
	ws := m.world.workspaces[x.workspace]
	if !known || ws == nil {
		return fmt.Errorf("invitation %q: %w", refCode, ErrUnknown)
	}
	delete(m.pending, refCode)
	u := m.world.byEmail(x.email)
	if u == nil {
		u = m.newUser(x.email)
	}
	if ws.Members[u.ID] == "" {
		role := Guest
		if strings.HasSuffix(strings.ToLower(u.Email), "@"+ws.Domain) {
			role = Member
		}
		if err := m.editWorkspace(ws.ID, func(ws *Workspace) { ws.Members[u.ID] = role }); err != nil {
			return err
		}
	}
	return m.letIn(u.ID, x)
}

// letIn leaves an entry that there is as it is.
func (m *Mural) letIn(user string, x invitation) error {
	b, r := m.world.murals[x.mural], m.world.rooms[x.room]
	switch {
	case x.mural != "" && (b == nil || !b.has(user)):
		return m.setMuralMember(x.mural, user, x.inMural)
	case x.room != 0 && !r.hasWhole(user):
		return m.setRoomMember(x.room, user, x.inRoom)
	}
	return nil
}

func (m *Mural) newUser(email string) *User {
	name, _, _ := strings.Cut(email, "@")
	id := m.newID()
	m.remember()
	u := &User{ID: fmt.Sprintf("u%d", id), Username: fmt.Sprintf("%s%d", name, id), Email: email,
		FirstName: name, LastName: "Example"}
	m.world.users[u.ID] = u
	return u
}

type removed struct {
	Email    string `json:"email"`
	Rejected bool   `json:"rejected,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// remove takes out those that are in, and rejects the others one by one.
func (c *call) remove(has func(user string) bool, out func(user string) error) (any, error) {
	var body struct{ Emails []string }
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	list := []removed{}
	for _, email := range body.Emails {
		u := c.m.world.byEmail(email)
		if u == nil || !has(u.ID) {
			list = append(list, removed{email, true, "USER_NOT_FOUND"})
			continue
		}
		if err := out(u.ID); err != nil {
			return nil, err
		}
		list = append(list, removed{Email: email})
	}
	return value{Value: list}, nil
}

func (c *call) removeFromMural() (any, error) {
	b, err := c.ownMural()
	if err != nil {
		return nil, err
	}
	return c.remove(func(user string) bool { return c.m.world.murals[b.ID].has(user) },
		func(user string) error { return c.m.removeMuralMember(b.ID, user) })
}

func (c *call) removeFromRoom() (any, error) {
	r, err := c.ownRoom()
	if err != nil {
		return nil, err
	}
	return c.remove(func(user string) bool { return c.m.world.rooms[r.ID].has(user) },
		func(user string) error { return c.m.removeRoomMember(r.ID, user) })
}
