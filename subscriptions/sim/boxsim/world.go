package boxsim

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The default enterprise. Roles of the users are told by their names.
const (
	ServiceUser  = "100" // service account of the app
	AdminUser    = "101"
	CoadminUser  = "102"
	OwnerUser    = "201" // owns the folders
	EditorUser   = "202" // editor of FolderProjects
	MemberUser   = "203" // member of GroupSupport, nothing of their own
	ExternalUser = "301" // of another enterprise; viewer of FolderPlans

	GroupSupport = "11" // viewer of FolderProjects; MemberUser is in it
	GroupSales   = "12" // nobody is in it, nothing is shared with it

	FolderProjects = "1001" // on top
	FolderPlans    = "1002" // in FolderProjects
	FolderDrafts   = "1003" // in FolderPlans
	FolderPrivate  = "1009" // on top; shared with the service account only, as an editor
	FileRoadmap    = "2001" // in FolderPlans
	FileDraft      = "2002" // in FolderDrafts
)

// rootID is the folder that everybody has of their own.
const rootID = "0"

// world is what can change. What its maps hold is replaced, never modified, so a clone is cheap and a pointer
// out of it stays valid.
type world struct {
	users   map[string]*User
	groups  map[string]*Group
	members map[string]*Membership
	items   map[string]*Item
	collabs map[string]*Collaboration
}

func (w *world) clone() *world {
	return &world{users: maps.Clone(w.users), groups: maps.Clone(w.groups), members: maps.Clone(w.members),
		items: maps.Clone(w.items), collabs: maps.Clone(w.collabs)}
}

// inOrder lists by id those that keep returns true for.
func inOrder[T any](all map[string]*T, keep func(*T) bool) []*T {
	var list []*T
	for _, id := range slices.SortedFunc(maps.Keys(all), byNumber) {
		if keep(all[id]) {
			list = append(list, all[id])
		}
	}
	return list
}

// byNumber orders decimal ids as numbers.
func byNumber(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) }

// newID is an id that nothing has yet.
func (s *Box) newID() string {
	s.lastID++
	return strconv.Itoa(s.lastID)
}

// login is an address that belongs to a name.
func login(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, " ", ".")) + "@acme.example"
}

func defaultWorld(now time.Time) *world {
	w := &world{users: map[string]*User{}, groups: map[string]*Group{}, members: map[string]*Membership{},
		items: map[string]*Item{}, collabs: map[string]*Collaboration{}}
	for _, u := range []User{
		{ID: ServiceUser, Name: "rescind-dev", Login: "AutomationUser_1_sim@boxdevedition.com", Service: true},
		{ID: AdminUser, Name: "Ada Admin", Role: "admin"},
		{ID: CoadminUser, Name: "Cora Coadmin", Role: "coadmin"},
		{ID: OwnerUser, Name: "Olga Owner"},
		{ID: EditorUser, Name: "Edgar Editor"},
		{ID: MemberUser, Name: "Mia Member"},
		{ID: ExternalUser, Name: "Xaver Extern", Login: "xaver@elsewhere.example", External: true},
	} {
		u.complete(now)
		w.users[u.ID] = &u
	}
	for _, g := range []Group{{ID: GroupSupport, Name: "Support"}, {ID: GroupSales, Name: "Sales"}} {
		g.complete(now)
		w.groups[g.ID] = &g
	}
	w.members["21"] = &Membership{ID: "21", User: MemberUser, Group: GroupSupport, Role: "member", Created: now,
		Modified: now}
	for _, it := range []Item{
		{ID: FolderProjects, Type: "folder", Name: "Projects", Parent: rootID, Owner: OwnerUser},
		{ID: FolderPlans, Type: "folder", Name: "Plans", Parent: FolderProjects},
		{ID: FolderDrafts, Type: "folder", Name: "Drafts", Parent: FolderPlans},
		{ID: FolderPrivate, Type: "folder", Name: "Private", Parent: rootID, Owner: OwnerUser},
		{ID: FileRoadmap, Type: "file", Name: "Roadmap Übersicht.txt", Parent: FolderPlans},
		{ID: FileDraft, Type: "file", Name: "Entwurf 草稿 😀.txt", Parent: FolderDrafts},
	} {
		it.Created, it.Modified = now, now
		w.items[it.ID] = &it
	}
	for _, x := range []Collaboration{
		{ID: "31", Item: FolderProjects, User: EditorUser, Role: "editor"},
		{ID: "32", Item: FolderProjects, Group: GroupSupport, Role: "viewer"},
		{ID: "33", Item: FolderPlans, User: ExternalUser, Role: "viewer"},
		{ID: "34", Item: FolderProjects, User: ServiceUser, Role: "co-owner"},
		{ID: "35", Item: FolderPrivate, User: ServiceUser, Role: "editor"},
	} {
		x.Status, x.By, x.Created, x.Modified, x.Acknowledged = "accepted", OwnerUser, now, now, now
		w.collabs[x.ID] = &x
	}
	return w
}
