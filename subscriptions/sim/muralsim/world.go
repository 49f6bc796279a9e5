package muralsim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The kinds of people in a workspace.
const (
	Admin  = "admin"
	Member = "member"
	Guest  = "guest" // from outside the company's domain
)

// User is a person with an account.
type User struct {
	ID, Username, Email, FirstName, LastName string
	Suspended                                bool // gets no new token
}

// Workspace is the customer's place.
type Workspace struct {
	ID, Name, CompanyID, Domain string
	Members                     map[string]string // by user id: Admin, Member or Guest
	CreatedBy                   string
	CreatedOn                   int64 // epoch ms, as all times here
	Locked, Suspended           bool
}

// Room holds murals. Type is open or private.
type Room struct {
	ID                             int64
	WorkspaceID, Name, Description string
	Type                           string
	Confidential                   bool
	Members                        map[string]RoomMember // by user id
	CreatedBy, UpdatedBy           string
	CreatedOn, UpdatedOn           int64
}

// RoomMember is what someone may do in a room. None of it can be read through the API. Restricted members are
// in the room for single murals only.
type RoomMember struct {
	Owner, CreateMurals, DuplicateRoom, InviteOthers, Restricted bool
}

// Board is a mural. Status is active or archived; Visitors and WorkspaceMembers are read, write or none.
type Board struct {
	ID, WorkspaceID      string
	RoomID               int64
	Title, FolderID      string
	Status, State, Link  string
	Visitors             string
	WorkspaceMembers     string
	ExpiresOn            int64 // of the visitor link; 0: never
	Favorite             bool
	Width, Height        int
	BackgroundColor      string
	Members              map[string]BoardMember // by user id
	CreatedBy, UpdatedBy string
	CreatedOn, UpdatedOn int64
}

// roomOwner is what the creator of a room may do.
func roomOwner() RoomMember {
	return RoomMember{Owner: true, CreateMurals: true, DuplicateRoom: true, InviteOthers: true}
}

// BoardMember is somebody's entry in a mural. The API shows Owner and Facilitator only.
type BoardMember struct {
	Owner, Facilitator, ViewOnly bool
}

// ErrUnknown is what the methods of Mural return, wrapped, for what does not exist.
var ErrUnknown = errors.New("unknown")

// world is what can change. What its maps hold is replaced, never modified, so a clone is cheap and a pointer
// out of it stays valid.
type world struct {
	users      map[string]*User
	workspaces map[string]*Workspace
	rooms      map[int64]*Room
	murals     map[string]*Board
}

func (w *world) clone() *world {
	return &world{users: maps.Clone(w.users), workspaces: maps.Clone(w.workspaces), rooms: maps.Clone(w.rooms),
		murals: maps.Clone(w.murals)}
}

// insider is a member of a workspace who is no guest.
func (w *world) insider(user, workspace string) bool {
	ws := w.workspaces[workspace]
	return ws != nil && ws.Members[user] != "" && ws.Members[user] != Guest
}

// kind is what the API calls type.
func (w *world) kind(user, workspace string) string {
	if w.insider(user, workspace) {
		return Member
	}
	return Guest
}

func (r *Room) has(user string) bool { _, ok := r.Members[user]; return ok }

// hasWhole says whether someone is in the room for all its murals.
func (r *Room) hasWhole(user string) bool {
	if r == nil {
		return false
	}
	m, ok := r.Members[user]
	return ok && !m.Restricted
}

func (b *Board) has(user string) bool { _, ok := b.Members[user]; return ok }

func (w *world) seesRoom(user string, r *Room) bool {
	return r.has(user) || r.Type == "open" && w.insider(user, r.WorkspaceID)
}

func (w *world) seesMural(user string, b *Board) bool {
	return b.has(user) || w.rooms[b.RoomID].hasWhole(user) ||
		b.WorkspaceMembers != "none" && w.insider(user, b.WorkspaceID)
}

// edits says whether someone who sees the mural may change it.
func (w *world) edits(user string, b *Board) bool {
	if m, ok := b.Members[user]; ok {
		return !m.ViewOnly
	}
	return b.WorkspaceMembers == "write" || w.rooms[b.RoomID].hasWhole(user)
}

// byEmail finds a user; emails are compared without case.
func (w *world) byEmail(email string) *User {
	return w.find(func(u *User) bool { return strings.EqualFold(u.Email, email) })
}

func (w *world) byUsername(name string) *User {
	return w.find(func(u *User) bool { return u.Username == name })
}

func (w *world) find(which func(*User) bool) *User {
	for _, id := range slices.Sorted(maps.Keys(w.users)) {
		if which(w.users[id]) {
			return w.users[id]
		}
	}
	return nil
}

// editWorkspace puts a changed copy in the workspace's place. The world is locked.
func (m *Mural) editWorkspace(id string, change func(*Workspace)) error {
	old := m.world.workspaces[id]
	if old == nil {
		return fmt.Errorf("workspace %q: %w", id, ErrUnknown)
	}
	m.remember()
	ws := *old
	ws.Members = clone(old.Members)
	change(&ws)
	m.world.workspaces[id] = &ws
	return nil
}

// editRoom puts a changed copy in the room's place. The world is locked.
func (m *Mural) editRoom(id int64, change func(*Room)) error {
	old := m.world.rooms[id]
	if old == nil {
		return fmt.Errorf("room %d: %w", id, ErrUnknown)
	}
	m.remember()
	r := *old
	r.Members = clone(old.Members)
	change(&r)
	m.world.rooms[id] = &r
	return nil
}

// editMural puts a changed copy in the mural's place. The world is locked.
func (m *Mural) editMural(id string, change func(*Board)) error {
	old := m.world.murals[id]
	if old == nil {
		return fmt.Errorf("mural %q: %w", id, ErrUnknown)
	}
	m.remember()
	b := *old
	b.Members = clone(old.Members)
	change(&b)
	m.world.murals[id] = &b
	return nil
}

// clone is maps.Clone that never returns nil.
func clone[V any](m map[string]V) map[string]V {
	c := make(map[string]V, len(m)+1)
	maps.Copy(c, m)
	return c
}
