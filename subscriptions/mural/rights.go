package mural

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

func (r reading) ownMural(ctx context.Context, id string) (cache.Answer, error) {
	tag := events.MuralTag(id)
	if missing := r.lacks(scopeMurals); missing != nil {
		return withheld(BasisOwn, withoutScope(missing), ofMurals, tag), nil
	}
	m, err := r.mural(ctx, id)
	switch {
	case r.unclear(err):
		return withheld(BasisOwn, whyScopes, ofMurals, tag), nil
	case notAllowed(err), err == nil && r.elsewhere(m.WorkspaceID):
		return noAccess(tag), nil
	case err != nil:
		return cache.Answer{}, err
	}
	a := answer(BasisOwn, m.tags()...)
	grant(&a, canView)
	members, why, err := r.readable(r.muralMembers(ctx, id))
	if err != nil {
		return cache.Answer{}, err
	}
	entry := find(members, r.subject)
	if entry == nil && why != "" {
		a.Why[isOwner], a.Why[canEdit] = why, why
		return a, nil
	}
	entry.roles(&a)
	if entry != nil {
		entry.rights(&a)
		return a, nil
	}
	return r.byDefault(ctx, m, a)
}

// ofMurals are the grants that a mural's answer may hold.
var ofMurals = []cache.Grant{isOwner, isHelper, isMember, canView, canEdit}

// buried is the answer of somebody whose grant is dead.
func buried(kind, id string) cache.Answer {
	switch kind {
	case events.KindMural:
		return withheld(BasisDead, whyDead, ofMurals, events.MuralTag(id))
	case events.KindRoom:
		return withheld(BasisDead, whyDead, []cache.Grant{isOwner, isMember, canView}, events.RoomTag(id))
	}
	return withheld(BasisDead, whyDead, []cache.Grant{isMember})
}

// tags of a mural: itself and its room.
func (m mural) tags() []events.Tag {
	tags := []events.Tag{events.MuralTag(m.ID)}
	if m.RoomID != "" {
		tags = append(tags, events.RoomTag(string(m.RoomID)))
	}
	return tags
}

// roles are those of somebody's entry in a mural's list; nil is who has none.
func (e *person) roles(a *cache.Answer) {
	if e == nil {
		cover(a, cache.Role)
		return
	}
	grant(a, isMember)
	if e.Permissions == nil {
		a.Why[isOwner] = "the list of members leaves the permissions out"
		return
	}
	cover(a, cache.Role)
	if e.Permissions.Owner {
		grant(a, isOwner)
	}
	if e.Permissions.Facilitator {
		grant(a, isHelper)
	}
}

// rights of somebody in the list: only an owner's are known.
func (e *person) rights(a *cache.Answer) {
	if e.Permissions == nil || !e.Permissions.Owner {
		a.Why[canEdit] = whyListed
		return
	}
	grant(a, canEdit)
	cover(a, cache.Permission)
}

// byDefault are the rights of somebody who sees the mural and is not in its
// list: a member of the workspace by its default for those, who surely is none by
// the link for visitors, and no longer than that. Of anybody else only that the
// mural is seen is known. In a workspace that is closed nothing is.
func (r reading) byDefault(ctx context.Context, m mural, a cache.Answer) (cache.Answer, error) {
	stand, err := r.standing(ctx)
	switch {
	case err != nil:
		return cache.Answer{}, err
	case stand == standClosed:
		return withheld(BasisOwn, whyClosed, ofMurals, m.tags()...), nil
	case stand == standInside:
		err := r.byMembership(ctx, m, &a)
		return a, err
	}
	ends, setting := m.expires(), m.Visitors.Visitors
	if open := ends.IsZero() || ends.After(time.Now()); !open || setting != write && setting != "read" {
		a.Why[canEdit] = whyDefault
		return a, nil
	}
	a.Expires = ends
	switch {
	case stand == standUnknown:
		a.Why[canEdit] = whyGuest
	case setting == write:
		grant(&a, canEdit)
		cover(&a, cache.Permission)
	default:
		a.Why[canEdit] = whyDefault
	}
	return a, nil
}

func (r reading) byMembership(ctx context.Context, m mural, a *cache.Answer) error {
	switch m.Visitors.WorkspaceMembers {
	case write:
		grant(a, canEdit)
		cover(a, cache.Permission)
		return nil
	case "read":
		only, err := r.outsideRoom(ctx, m)
		if only {
			cover(a, cache.Permission)
		}
		if only || err != nil {
			return err
		}
	}
	a.Why[canEdit] = whyDefault
	return nil
}

// outsideRoom says whether the subject surely is no member of the mural's room,
// which might let it do more than the default.
func (r reading) outsideRoom(ctx context.Context, m mural) (bool, error) {
	if m.RoomID == "" {
		return false, nil
	}
	members, why, err := r.readable(r.roomMembers(ctx, string(m.RoomID)))
	return err == nil && why == "" && find(members, r.subject) == nil, err
}

// standing is what the subject is in the workspace.
type standing int

const (
	standUnknown standing = iota
	standInside           // a member
	standOutside          // surely none: a guest, or not in it
	standClosed           // in one that is suspended or locked
)

// standing looks at the workspaces of the subject, and at what it is: the vendor
// lists a workspace for members and guests.
func (r reading) standing(ctx context.Context) (standing, error) {
	if r.lacks(scopeWorkspaces, scopeIdentity) != nil {
		return standUnknown, nil
	}
	all, err := r.workspaces(ctx)
	w := r.ours(all)
	switch {
	case w != nil && w.closed():
		return standClosed, nil
	case w != nil:
		return r.kind(ctx)
	case err == nil:
		return standOutside, nil
	}
	return standUnknown, unless(notAllowed(err) || errors.Is(err, errLong), err)
}

// kind is what the vendor calls somebody whom it lists the workspace for. It has
// published no enumeration: another word than these two tells nothing.
func (r reading) kind(ctx context.Context) (standing, error) {
	if r.lacks(scopeIdentity) != nil {
		return standUnknown, nil
	}
	me, err := r.me(ctx)
	switch {
	case err != nil:
		return standUnknown, unless(notAllowed(err), err)
	case strings.EqualFold(me.Type, "member"):
		return standInside, nil
	case strings.EqualFold(me.Type, "guest"):
		return standOutside, nil
	}
	return standUnknown, nil
}

func unless(forgiven bool, err error) error {
	if forgiven {
		return nil
	}
	return err
}
