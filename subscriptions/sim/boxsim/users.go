package boxsim

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// User is somebody with a login. The zero values of Role, Status and Login mean user, active, and an address
// made of the name.
type User struct {
	ID, Name, Login   string
	Role              string // admin, coadmin, user
	Status            string // active, inactive, cannot_delete_edit, cannot_delete_edit_upload
	External          bool   // of another enterprise
	AppUser           bool   // made by an app: is_platform_access_only
	ExternalAppUserID string
	NoExternalCollab  bool // is_external_collab_restricted
	Service           bool // a service account
	Created, Modified time.Time
}

func (u *User) complete(now time.Time) {
	u.Login = cmp.Or(u.Login, login(u.Name))
	u.Role, u.Status = cmp.Or(u.Role, "user"), cmp.Or(u.Status, "active")
	u.Created, u.Modified = now, now
}

func (u *User) live() bool { return u != nil && u.Status != "inactive" }

var (
	userMini     = []string{"type", "id", "name", "login"}
	userStandard = append([]string{"created_at", "modified_at", "language", "timezone", "space_amount",
		"space_used", "max_upload_size", "status", "job_title", "phone", "address", "avatar_url",
		"notification_email"}, userMini...)
)

// userMini is how others mention a user; null for one that is gone.
func (w *world) userMini(id string) any {
	u := w.users[id]
	if u == nil {
		return nil
	}
	return obj{"type": "user", "id": u.ID, "name": u.Name, "login": u.Login}
}

// user is everything about one. Of external users there is only the mini form, and the rest is null.
func (s *Box) user(u *User) obj {
	all := obj{"type": "user", "id": u.ID, "name": u.Name, "login": u.Login, "created_at": stamp(u.Created),
		"modified_at": stamp(u.Modified), "language": "en", "timezone": "America/Los_Angeles",
		"space_amount": 10737418240, "space_used": 0, "max_upload_size": 5368709120, "status": u.Status,
		"job_title": "", "phone": "", "address": "", "notification_email": nil,
		"avatar_url": "https://acme.app.box.com/api/avatar/large/" + u.ID,
		"role":       u.Role, "tracking_codes": []any{}, "can_see_managed_users": true, "is_sync_enabled": true,
		"is_external_collab_restricted": u.NoExternalCollab, "is_exempt_from_device_limits": false,
		"is_exempt_from_login_verification": false, "is_platform_access_only": u.AppUser, "my_tags": []any{},
		"hostname": "https://acme.app.box.com/", "external_app_user_id": nil,
		"enterprise": obj{"type": "enterprise", "id": s.opts.EnterpriseID, "name": "Acme"}}
	if u.ExternalAppUserID != "" {
		all["external_app_user_id"] = u.ExternalAppUserID
	}
	if u.External {
		for name := range all {
			if !slices.Contains(userMini, name) {
				all[name] = nil
			}
		}
	}
	return all
}

func (c *call) showUser(u *User) any { return c.pick(c.s.user(u), userStandard) }

func (c *call) readMe() (any, error) { return c.showUser(cmp.Or(c.world.users[c.me.ID], c.me)), nil }

// senior refuses who is no administrator, co-administrator or service account.
func (c *call) senior() error {
	if !c.me.senior() {
		return errDenied()
	}
	return nil
}

func (c *call) findUser(w *world) (*User, error) {
	if err := c.senior(); err != nil {
		return nil, err
	}
	u := w.users[c.id()]
	if u == nil {
		return nil, errNotFound("user_id", c.id())
	}
	return u, nil
}

func (c *call) readUser() (any, error) {
	u, err := c.findUser(c.world)
	if err != nil {
		return nil, err
	}
	return c.showUser(u), nil
}

func (c *call) listUsers() (any, error) {
	if err := c.senior(); err != nil {
		return nil, err
	}
	q, kind := strings.ToLower(c.query.Get("filter_term")), c.query.Get("user_type")
	app := c.query.Get("external_app_user_id")
	list := inOrder(c.world.users, func(u *User) bool {
		fits := strings.HasPrefix(strings.ToLower(u.Name), q) || strings.HasPrefix(strings.ToLower(u.Login), q)
		return fits && (app == "" || u.ExternalAppUserID == app) &&
			(kind == "all" || u.External == (kind == "external"))
	})
	id := func(u *User) string { return u.ID }
	if c.query.Get("usemarker") == "true" {
		return marked(c, list, bounds{100, 1000}, id, c.showUser)
	}
	return offset(c, list, bounds{100, 1000}, c.showUser)
}

type userBody struct {
	Name, Login, Role, Status *string
	Enterprise                any
	AppUser                   *bool   `json:"is_platform_access_only"`
	ExternalAppUserID         *string `json:"external_app_user_id"`
	NoExternalCollab          *bool   `json:"is_external_collab_restricted"`
}

// onto writes what the body names.
func (b userBody) onto(u *User) error {
	if b.Role != nil && !slices.Contains([]string{"coadmin", "user"}, *b.Role) {
		return errParameter("role", "Invalid role")
	}
	states := []string{"active", "inactive", "cannot_delete_edit", "cannot_delete_edit_upload"}
	if b.Status != nil && !slices.Contains(states, *b.Status) {
		return errParameter("status", "Invalid status")
	}
	set(&u.Name, b.Name)
	set(&u.Login, b.Login)
	set(&u.Role, b.Role)
	set(&u.Status, b.Status)
	set(&u.AppUser, b.AppUser)
	set(&u.ExternalAppUserID, b.ExternalAppUserID)
	set(&u.NoExternalCollab, b.NoExternalCollab)
	return nil
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func (c *call) createUser() (any, error) {
	var body userBody
	var u User
	if err := c.write(&body); err != nil {
		return nil, err
	}
	if err := body.onto(&u); err != nil {
		return nil, err
	}
	if u.Name == "" || u.Login == "" && !u.AppUser {
		return nil, errParameter("name", "name and login are required")
	}
	if u.Login == "" {
		u.Login = "AppUser_1_" + c.s.newID() + "@boxdevedition.com"
	}
	for _, other := range c.s.world.users {
		if other.Login == u.Login {
			return nil, refuse(http.StatusConflict, "user_login_already_used", "User with the login exists")
		}
	}
	c.status = http.StatusCreated
	return c.showUser(c.s.addUser(u, c.me.ID)), nil
}

// write decodes the body of a call that only seniors may make.
func (c *call) write(body any) error {
	if err := c.senior(); err != nil {
		return err
	}
	return c.decode(body)
}

func (c *call) updateUser() (any, error) {
	u, err := c.findUser(c.s.world)
	if err != nil {
		return nil, err
	}
	body := userBody{Enterprise: ""}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if u.External || u.Role == "admin" && body.Role != nil {
		return nil, errDenied()
	}
	changed := *u
	if err := body.onto(&changed); err != nil {
		return nil, err
	}
	changed.External = body.Enterprise == nil // rolled out
	return c.showUser(c.s.putUser(changed, c.me.ID)), nil
}

func (c *call) deleteUser() (any, error) {
	u, err := c.findUser(c.s.world)
	if err != nil {
		return nil, err
	}
	if err := c.s.removeUser(u.ID, c.query.Get("force") == "true", c.me.ID); err != nil {
		return nil, refuse(http.StatusBadRequest, "user_has_owned_content", "The user still owns content")
	}
	c.status = http.StatusNoContent
	return nil, nil
}

func (c *call) terminateSessions() (any, error) {
	var body struct {
		IDs    []string `json:"user_ids"`
		Logins []string `json:"user_logins"`
	}
	if err := c.write(&body); err != nil {
		return nil, err
	}
	for _, u := range c.s.world.users {
		if slices.Contains(body.IDs, u.ID) || slices.Contains(body.Logins, u.Login) {
			c.s.endTokens(func(t *token) bool { return t.user == u.ID })
		}
	}
	c.status = http.StatusAccepted
	return obj{"message": "Request is successful, please check the admin events for the status of the job"}, nil
}

// addUser, putUser and removeUser change the world, and tell the enterprise stream who did it.
func (s *Box) addUser(u User, by string) *User {
	s.remember()
	u.ID = cmp.Or(u.ID, s.newID())
	u.complete(time.Now())
	s.world.users[u.ID] = &u
	s.record("NEW_USER", by, s.world.userMini(u.ID), nil)
	return &u
}

func (s *Box) putUser(u User, by string) *User {
	s.remember()
	was := s.world.users[u.ID]
	u.Modified = time.Now()
	s.world.users[u.ID] = &u
	if was.Role != u.Role {
		s.record("CHANGE_ADMIN_ROLE", by, s.world.userMini(u.ID), nil)
	}
	rest := u
	rest.Modified, rest.Role = was.Modified, was.Role
	if rest != *was {
		s.record("EDIT_USER", by, s.world.userMini(u.ID), nil)
	}
	if !u.live() {
		s.endTokens(func(t *token) bool { return t.user == u.ID })
	}
	return &u
}

func (s *Box) removeUser(id string, force bool, by string) error {
	owned := inOrder(s.world.items, func(it *Item) bool { return it.Owner == id })
	if len(owned) > 0 && !force {
		return fmt.Errorf("delete user %s: owns %d items", id, len(owned))
	}
	s.remember()
	for _, it := range owned {
		s.deleteItem(it, by)
	}
	maps.DeleteFunc(s.world.collabs, func(_ string, x *Collaboration) bool { return x.User == id })
	maps.DeleteFunc(s.world.members, func(_ string, m *Membership) bool { return m.User == id })
	delete(s.world.users, id)
	s.endTokens(func(t *token) bool { return t.user == id })
	s.record("DELETE_USER", by, obj{"type": "user", "id": id}, nil)
	return nil
}

// change puts a changed copy of a user in its place, by the administrator.
func (s *Box) change(id string, edit func(*User)) error {
	defer s.lock()()
	u := s.world.users[id]
	if u == nil {
		return fmt.Errorf("user %q: %w", id, ErrUnknown)
	}
	changed := *u
	edit(&changed)
	s.putUser(changed, AdminUser)
	return nil
}

// AddUser adds a user and returns its id, a new one when it has none. It errs when the id is taken.
func (s *Box) AddUser(u User) (string, error) {
	defer s.lock()()
	if s.world.users[u.ID] != nil {
		return "", fmt.Errorf("user %s exists", u.ID)
	}
	return s.addUser(u, AdminUser).ID, nil
}

// SetRole makes a user a coadmin, a user, or the admin.
func (s *Box) SetRole(id, role string) error { return s.change(id, func(u *User) { u.Role = role }) }

// SetStatus changes a user's status. The tokens of one that is inactive end.
func (s *Box) SetStatus(id, status string) error {
	return s.change(id, func(u *User) { u.Status = status })
}

// SetExternalCollab says whether a user may collaborate outside the enterprise.
func (s *Box) SetExternalCollab(id string, allowed bool) error {
	return s.change(id, func(u *User) { u.NoExternalCollab = !allowed })
}

// RollOut makes a user one of another enterprise.
func (s *Box) RollOut(id string) error { return s.change(id, func(u *User) { u.External = true }) }

// DeleteUser deletes a user with all collaborations and memberships, and with force all that is owned;
// without it errs when there is something. The user's webhooks stay, and nothing they send verifies any more.
func (s *Box) DeleteUser(id string, force bool) error {
	defer s.lock()()
	if s.world.users[id] == nil {
		return fmt.Errorf("user %q: %w", id, ErrUnknown)
	}
	return s.removeUser(id, force, AdminUser)
}

// Users lists all of them, ordered by id.
func (s *Box) Users() []User {
	defer s.lock()()
	var list []User
	for _, u := range inOrder(s.world.users, func(*User) bool { return true }) {
		list = append(list, *u)
	}
	return list
}
