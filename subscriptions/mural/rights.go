package mural

import (
	"context"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

func (r reading) ownMural(ctx context.Context, id string) (cache.Answer, error) {
	tag := events.MuralTag(id)
	if missing := r.lacks(scopeMurals); missing != nil {
		return withheld(BasisOwn, missing, []cache.Grant{isOwner, isHelper, canView, canEdit}, tag), nil
	}
	m, err := r.mural(ctx, id)
	switch {
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
	if why != "" {
		a.Why[isOwner], a.Why[canEdit] = why, why
		return a, nil
	}
	entry := find(members, r.subject)
	entry.roles(&a)
	if entry != nil {
		entry.rights(&a)
		return a, nil
	}
	return a, r.byDefault(ctx, m, &a)
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
// list: a member of the workspace by its default for those, anybody else by the
// link for visitors, and no longer than that.
func (r reading) byDefault(ctx context.Context, m mural, a *cache.Answer) error {
	insider, err := r.insider(ctx)
	if err != nil {
		return err
	}
	if insider {
		return r.byMembership(ctx, m, a)
	}
	ends := m.expires()
	if ends.IsZero() || ends.After(time.Now()) {
		switch m.Visitors.Visitors {
		case write:
			grant(a, canEdit)
			cover(a, cache.Permission)
			a.Expires = ends
			return nil
		case "read":
			a.Expires = ends
		}
	}
	a.Why[canEdit] = whyDefault
	return nil
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

// insider says whether the subject surely is a member of the workspace, and no
// guest: the vendor lists the workspace for both.
func (r reading) insider(ctx context.Context) (bool, error) {
	if r.lacks(scopeWorkspaces, scopeIdentity) != nil {
		return false, nil
	}
	me, err := r.me(ctx)
	if err != nil || !strings.EqualFold(me.Type, "member") {
		return false, unless(notAllowed(err), err)
	}
	all, err := r.workspaces(ctx)
	for _, w := range all {
		if w.ID == string(r.p.home.Tenant) {
			return true, nil
		}
	}
	return false, unless(notAllowed(err), err)
}

func unless(forgiven bool, err error) error {
	if forgiven {
		return nil
	}
	return err
}
