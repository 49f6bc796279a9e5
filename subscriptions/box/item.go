package box

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// permissionNames are what an item's permissions are known to hold (Folder--Full,
// File--Full); reasons are given under them. Others that are granted are kept.
var permissionNames = map[string][]string{
	events.KindFolder: itemRights,
	events.KindFile: append([]string{"can_preview", "can_comment", "can_annotate", "can_view_annotations_all",
		"can_view_annotations_self"}, itemRights...),
}

var itemRights = []string{"can_download", "can_upload", "can_rename", "can_delete", "can_share",
	"can_invite_collaborator", "can_set_share_access", "can_apply_watermark"}

// caps is what a user's status takes away, whatever the item's permissions say. It
// is our reading of the names: Box does not list it.
var caps = map[string][]string{
	statusNoEdit:   {"can_delete", "can_rename"},
	statusNoUpload: {"can_delete", "can_rename", "can_upload"},
}

// denials are the codes with which an item is refused to a user as such. All other
// refusals are ours to mend, or may pass.
var denials = []string{codeNotFound, codeTrashed, codeDenied, codeLocked, codePolicy, codeTerms}

// content is what is asked of an item. The path begins where the user comes in.
type content struct {
	Permissions map[string]bool `json:"permissions"`
	Status      string          `json:"item_status"`
	Parent      *thing          `json:"parent"`
	Owner       *thing          `json:"owned_by"`
	Path        struct {
		Entries []thing `json:"entries"`
	} `json:"path_collection"`
}

// tags are those of the folders that the item is known to lie in. The root is
// none: everybody has one of the same id. It stands for folders that are not shown.
func (c content) tags(u user) (tags []events.Tag) {
	for _, t := range c.Path.Entries {
		tags = append(tags, t.items()...)
	}
	tags = append(tags, c.Parent.items()...)
	tags = slices.DeleteFunc(tags, func(t events.Tag) bool { return t == unplaced })
	if !c.placed(u) {
		tags = append(tags, unplaced)
	}
	return tags
}

// placed says whether all folders above are shown: from the root, and to the owner,
// since everybody's path begins with a root, wherever they come in.
func (c content) placed(u user) bool {
	way := c.Path.Entries
	return c.Owner != nil && c.Owner.Type == "user" && c.Owner.ID == u.ID &&
		len(way) > 0 && way[0].Type == events.KindFolder && way[0].ID == "0"
}

// collaboration is as much of it as may end a right (Collaboration).
type collaboration struct {
	Status       string `json:"status"`
	ExpiresAt    string `json:"expires_at"`
	AccessibleBy *thing `json:"accessible_by"`
	Item         *thing `json:"item"`
}

// asUser is how the calls are made as a subject.
type asUser struct {
	bearer *client.Bearer
	header http.Header
	basis  string
}

// as gives the bearer that reads items as a subject. Whose limits As-User counts
// for is not documented: they are taken from the caller's.
func (p *Provider) as(service *client.Bearer, subject id, s cache.Session) asUser {
	if p.cfg.As == AsToken {
		return asUser{p.client.Reading(p.subjectRing(events.Subject(subject)), s), nil, BasisItem}
	}
	return asUser{service, http.Header{"As-User": {string(subject)}}, BasisItemAsUser}
}

// readItem adds what a user may do with an item. Who is of another enterprise can
// only be read with a token of their own, which we have not: nothing is known.
func (p *Provider) readItem(
	ctx context.Context, service *client.Bearer, a *answer, u user, on item, s cache.Session,
) (*client.Bearer, error) {
	as := p.as(service, u.ID, s)
	a.Basis = as.basis
	a.Tags = append(a.Tags, on.tag())
	if !u.in(p.home.Tenant) {
		a.because(cache.Permission, permissionNames[on.kind], "not of this enterprise: cannot be read")
		return service, nil
	}
	var found content
	var collaborations []collaboration
	err := both(
		func() (err error) { found, err = p.content(ctx, as, on); return err },
		func() (err error) { collaborations, err = p.collaborations(ctx, as, on); return err },
	)
	if code, yes := isDenial(err); yes {
		return as.bearer, p.deny(ctx, a, as, code, on)
	}
	if err != nil {
		return nil, err
	}
	a.grant(found, u, on)
	a.expire(collaborations, u)
	a.Tags = distinct(a.Tags)
	return as.bearer, nil
}

func isDenial(err error) (code string, yes bool) {
	var e *APIError
	if !errors.As(err, &e) || !slices.Contains(denials, e.Code) {
		return "", false
	}
	return e.Code, true
}

// deny grants nothing. Where it is forbidden to act as a user at all, Box says the
// same as of an item: so a user who may not even read itself tells the one from the
// other.
func (p *Provider) deny(ctx context.Context, a *answer, as asUser, code string, on item) error {
	if code == codeDenied && as.basis == BasisItemAsUser {
		r := client.Request{Op: opMe, Path: "/users/me", Query: url.Values{"fields": {"id"}}, Header: as.header}
		err := p.client.Call(ctx, as.bearer, r, nil)
		if err != nil {
			return denied(err, "let the app make calls with the As-User header in the developer console")
		}
	}
	a.Covers = []cache.Kind{cache.Permission}
	a.Tags = append(a.Tags, unplaced)
	a.because(cache.Permission, permissionNames[on.kind], code)
	return nil
}

func (p *Provider) content(ctx context.Context, as asUser, on item) (content, error) {
	var c content
	op := opItem[on.kind]
	err := p.client.Call(ctx, as.bearer, client.Request{Op: op, Path: itemPath(on), Header: as.header,
		Query: url.Values{"fields": {"permissions,item_status,parent,path_collection,owned_by"}}}, &c)
	if err == nil && c.Permissions == nil {
		err = fmt.Errorf("box %s: %w: no permissions", op.Name, client.ErrMalformed)
	}
	return c, err
}

const (
	collaborationsPage = 1000
	maxCollaborations  = 5 // pages
)

// collaborations reads those of an item and what it lies in, up to 5,000, as far as
// the user may see them; else there are none, and the end of a right is seen no
// sooner than the entry's own.
func (p *Provider) collaborations(ctx context.Context, as asUser, on item) (all []collaboration, err error) {
	query := url.Values{"limit": {fmt.Sprint(collaborationsPage)},
		"fields": {"status,expires_at,accessible_by,item"}}
	for range maxCollaborations {
		var page struct {
			Entries []collaboration `json:"entries"`
			Next    string          `json:"next_marker"`
		}
		err := p.client.Call(ctx, as.bearer, client.Request{Op: opItemCollaborators[on.kind],
			Path: itemPath(on) + "/collaborations", Header: as.header, Query: query}, &page)
		if _, hidden := isDenial(err); hidden {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if page.Entries == nil {
			return nil, fmt.Errorf("box: collaborations of %s: %w: no entries", on, client.ErrMalformed)
		}
		all = append(all, page.Entries...)
		if page.Next == "" {
			break
		}
		query.Set("marker", page.Next)
	}
	return all, nil
}

func itemPath(on item) string {
	return "/" + on.kind + "s/" + url.PathEscape(on.id)
}

// grant adds the item's permissions, less what the user's status takes away.
func (a *answer) grant(c content, u user, on item) {
	a.Covers = []cache.Kind{cache.Permission}
	a.Tags = append(a.Tags, c.tags(u)...)
	if c.Status != "" && c.Status != statusActive {
		a.because(cache.Permission, permissionNames[on.kind], "item "+client.Clip(c.Status))
		return
	}
	for name, may := range c.Permissions {
		if may && !slices.Contains(caps[u.Status], name) {
			a.Grants[cache.NewGrant(cache.Permission, name)] = cache.Unlimited
		}
	}
	a.because(cache.Permission, caps[u.Status], "status "+u.Status)
}

// expire ends the answer with the first collaboration that ends, of those that are
// the user's or a group's of the user. One whose end is past should be gone: it is
// looked at again in a second. Where one is given is a folder that the item lies in.
func (a *answer) expire(all []collaboration, u user) {
	for _, c := range all {
		if c.Status != "accepted" || !c.concerns(u) {
			continue
		}
		a.Tags = append(a.Tags, c.Item.items()...)
		ends := parseTime(c.ExpiresAt)
		if ends.IsZero() {
			continue
		}
		ends = latest(ends, time.Now().Add(time.Second))
		if a.Expires.IsZero() || ends.Before(a.Expires) {
			a.Expires = ends
		}
	}
}

func (c collaboration) concerns(u user) bool {
	by := c.AccessibleBy
	switch {
	case by == nil:
		return false
	case by.Type == "user":
		return by.ID == u.ID
	}
	return by.Type == "group" && slices.ContainsFunc(u.memberships, func(m membership) bool {
		return m.Group.ID == by.ID
	})
}
