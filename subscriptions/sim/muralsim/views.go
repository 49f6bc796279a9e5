package muralsim

import "strconv"

// The shapes of answers. Where the vendor leaves something out at times, it is omitempty here.

type author struct {
	ID        string `json:"id"`
	FirstName string `json:"firstName"`
	LastName  string `json:"lastName"`
}

type link struct {
	Link string `json:"link"`
}

type meView struct {
	ID                  string `json:"id"`
	Email               string `json:"email"`
	FirstName           string `json:"firstName"`
	LastName            string `json:"lastName"`
	Avatar              string `json:"avatar"`
	CreatedOn           int64  `json:"createdOn"`
	CompanyID           string `json:"companyId"`
	CompanyName         string `json:"companyName"`
	Type                string `json:"type"`
	LastActiveWorkspace string `json:"lastActiveWorkspace"`
}

type workspaceView struct {
	ID              string  `json:"id"`
	Name            string  `json:"name"`
	Description     string  `json:"description"`
	CompanyID       string  `json:"companyId"`
	CreatedOn       int64   `json:"createdOn"`
	CreatedBy       *author `json:"createdBy,omitempty"`
	Locked          bool    `json:"locked"`
	Suspended       bool    `json:"suspended"`
	TrialEnds       *int64  `json:"trialEnds"`
	TrialExtended   bool    `json:"trialExtended"`
	SharingSettings link    `json:"sharingSettings"`
}

type roomView struct {
	ID              int64  `json:"id"`
	Name            string `json:"name"`
	Description     string `json:"description"`
	Type            string `json:"type"`
	Confidential    bool   `json:"confidential"`
	Favorite        bool   `json:"favorite"`
	WorkspaceID     string `json:"workspaceId"`
	CreatedBy       author `json:"createdBy"`
	CreatedOn       int64  `json:"createdOn"`
	UpdatedBy       author `json:"updatedBy"`
	UpdatedOn       int64  `json:"updatedOn"`
	SharingSettings *link  `json:"sharingSettings,omitempty"`
}

type personView struct {
	ID          string           `json:"id"`
	Email       string           `json:"email"`
	FirstName   string           `json:"firstName"`
	LastName    string           `json:"lastName"`
	Avatar      string           `json:"avatar"`
	Type        string           `json:"type"`
	Permissions *permissionsView `json:"permissions,omitempty"`
}

type permissionsView struct {
	Owner       bool `json:"owner"`
	Facilitator bool `json:"facilitator"`
}

type visitorsView struct {
	Visitors         string `json:"visitors"`
	WorkspaceMembers string `json:"workspaceMembers"`
	Link             string `json:"link"`
	ExpiresOn        int64  `json:"expiresOn,omitempty"`
}

type accessView struct {
	Visitors         string `json:"visitors"`
	WorkspaceMembers string `json:"workspaceMembers"`
}

type muralView struct {
	ID                 string       `json:"id"`
	Title              string       `json:"title"`
	WorkspaceID        string       `json:"workspaceId"`
	RoomID             int64        `json:"roomId"`
	FolderID           *string      `json:"folderId"`
	State              string       `json:"state"`
	Status             string       `json:"status"`
	Favorite           bool         `json:"favorite"`
	Infinite           bool         `json:"infinite"`
	Width              int          `json:"width,omitempty"`
	Height             int          `json:"height,omitempty"`
	BackgroundColor    string       `json:"backgroundColor,omitempty"`
	ThumbnailURL       string       `json:"thumbnailUrl"`
	EmbedLink          string       `json:"embedLink"`
	TimerSoundTheme    string       `json:"timerSoundTheme"`
	VisitorAvatarTheme string       `json:"visitorAvatarTheme"`
	SharingSettings    link         `json:"sharingSettings"`
	VisitorsSettings   visitorsView `json:"visitorsSettings"`
	CreatedBy          author       `json:"createdBy"`
	CreatedOn          int64        `json:"createdOn"`
	UpdatedBy          author       `json:"updatedBy"`
	UpdatedOn          int64        `json:"updatedOn"`
	CanvasLink         string       `json:"_canvasLink"`
}

func (w *world) author(id string) author {
	u := w.users[id]
	return author{u.ID, u.FirstName, u.LastName}
}

func avatar(id string) string { return linkTo("avatars", id+".png") }

func (c *call) showWorkspace(ws *Workspace) workspaceView {
	return workspaceView{ID: ws.ID, Name: ws.Name, CompanyID: ws.CompanyID, CreatedOn: ws.CreatedOn,
		Locked: ws.Locked, Suspended: ws.Suspended || c.world.users[c.who].Suspended,
		SharingSettings: link{linkTo("t", ws.ID)}}
}

// newRoom is a room as the create reply shows it: without sharingSettings.
func (c *call) newRoom(r *Room) roomView {
	return roomView{ID: r.ID, Name: r.Name, Description: r.Description, Type: r.Type,
		Confidential: r.Confidential, WorkspaceID: r.WorkspaceID,
		CreatedBy: c.world.author(r.CreatedBy), CreatedOn: r.CreatedOn,
		UpdatedBy: c.world.author(r.UpdatedBy), UpdatedOn: r.UpdatedOn}
}

func (c *call) showRoom(r *Room) roomView {
	v := c.newRoom(r)
	if r.Members[c.who].Owner {
		v.SharingSettings = &link{linkTo("t", r.WorkspaceID, "r", strconv.FormatInt(r.ID, 10))}
	}
	return v
}

func (c *call) showPerson(id, workspace string) personView {
	u := c.world.users[id]
	return personView{ID: u.ID, Email: u.Email, FirstName: u.FirstName, LastName: u.LastName,
		Avatar: avatar(u.ID), Type: c.world.kind(id, workspace)}
}

func (b *Board) visitors() visitorsView {
	return visitorsView{b.Visitors, b.WorkspaceMembers, b.Link, b.ExpiresOn}
}

// listedMural is a mural as lists show it: without size and colour.
func (c *call) listedMural(b *Board) muralView {
	v := muralView{ID: b.ID, Title: b.Title, WorkspaceID: b.WorkspaceID, RoomID: b.RoomID, State: b.State,
		Status: b.Status, Favorite: b.Favorite, ThumbnailURL: linkTo("thumbnails", b.ID+".png"),
		EmbedLink: linkTo("embed", b.ID), TimerSoundTheme: "relax", VisitorAvatarTheme: "animals",
		SharingSettings: link{b.Link}, VisitorsSettings: b.visitors(),
		CreatedBy: c.world.author(b.CreatedBy), CreatedOn: b.CreatedOn,
		UpdatedBy: c.world.author(b.UpdatedBy), UpdatedOn: b.UpdatedOn, CanvasLink: linkTo("canvas", b.ID)}
	if b.FolderID != "" {
		v.FolderID = &b.FolderID
	}
	return v
}

func (c *call) showMural(b *Board) muralView {
	v := c.listedMural(b)
	v.Width, v.Height, v.BackgroundColor = b.Width, b.Height, b.BackgroundColor
	return v
}
