package mural

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// How an answer was learnt.
const (
	BasisOwn     = "own-token"   // with the subject's own token
	BasisMembers = "member-list" // with the poller's token: lists of members
	BasisUnseen  = "unseen"      // the poller does not see it: nothing is known
	BasisNone    = "no-access"   // the subject's own token is refused: nothing is granted
	BasisDead    = "dead-grant"  // the subject's grant is dead: nothing is known
)

// The grants that an answer may hold besides scopes.
var (
	canView  = cache.NewGrant(cache.Permission, "view")
	canEdit  = cache.NewGrant(cache.Permission, "edit")
	isOwner  = cache.NewGrant(cache.Role, "owner")
	isHelper = cache.NewGrant(cache.Role, "facilitator")
	isMember = cache.NewGrant(cache.Role, "member")
	isAdmin  = cache.NewGrant(cache.Role, "admin")
)

// Why something is not known.
const (
	whyListed  = "the API does not tell whether somebody in the list of members may edit"
	whyDefault = "the API does not tell what a room's member may do beyond the default"
	whyOwn     = "only a token of the subject's own can tell"
	whyUnseen  = "the poller does not see it"
	whyAdmin   = "the API does not tell who is an administrator"
	whyScopes  = "the call is refused, and the token does not tell its scopes: it may lack one"
	whyLong    = "the list is longer than is read"
	whyDead    = "the grant of the user is dead, so it may be suspended: it must consent again"
	whyGuest   = "the vendor does not tell whether the user is a member or a guest"
	whyClosed  = "the workspace is suspended or locked"
)

// Read says what a user may do in the workspace (no resource), a room
// ("room:<id>") or a mural ("mural:<id>"). What is not readable is left unknown,
// with a reason. Errors: [*subscriptions.Later], [subscriptions.ErrMisconfigured];
// any other may pass.
func (p *Provider) Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
	kind, id, err := p.target(ref)
	if err != nil {
		return cache.Answer{}, err
	}
	ctx = client.WithErrand(ctx)
	a, err := p.read(ctx, ref.Subject, kind, id, s)
	if err != nil {
		return cache.Answer{}, fmt.Errorf("read %s: %w", ref, err)
	}
	if _, err := a.Fields(); err != nil {
		return cache.Answer{}, fmt.Errorf("read %s: %w: %w", ref, client.ErrMalformed, err)
	}
	a.Life = client.Life(ctx)
	return a, nil
}

// target checks what is asked for. A mural's id begins with its workspace's.
func (p *Provider) target(ref events.Ref) (kind, id string, err error) {
	kind, id, _ = strings.Cut(string(ref.Resource), ":")
	bad := ref.Home != p.home || ref.Validate() != nil
	switch kind {
	case "":
		bad = bad || ref.Resource != ""
	case events.KindRoom:
		bad = bad || id == "" || len(id) > 19 || strings.Trim(id, "0123456789") != ""
	case events.KindMural:
		rest, ours := strings.CutPrefix(id, string(p.home.Tenant)+".")
		bad = bad || !ours || rest == "" || strings.Contains(rest, "..")
	default:
		bad = true
	}
	if bad {
		return "", "", fmt.Errorf("read %.200q: not a user in, or a room or mural of, %s", ref.String(), p.home)
	}
	return kind, id, nil
}

// read reads with the subject's own token if it has a grant, else with the
// poller's. A grant that is dead may be that of a user who was suspended, which
// the lists that the poller sees do not show: nothing is known then.
func (p *Provider) read(
	ctx context.Context, subject events.Subject, kind, id string, s cache.Session,
) (cache.Answer, error) {
	g, _, err := p.load(ctx, string(subject))
	if err != nil {
		return cache.Answer{}, err
	}
	if g.Refresh != "" && g.Dead == "" {
		a, err := p.readAs(ctx, subject, p.subjectRing(subject), s, func(r reading) (cache.Answer, error) {
			return r.own(ctx, kind, id)
		})
		if !errors.Is(err, errNoGrant) {
			return a, err
		}
	}
	if g.Refresh != "" && subject != p.cfg.Poller { // it has died now, if not before
		return buried(kind, id), nil
	}
	a, err := p.readAs(ctx, subject, p.pollerRing(), s, func(r reading) (cache.Answer, error) {
		return r.foreign(ctx, kind, id)
	})
	return a, p.pollerFault(err)
}

// readAs reads with the token of a ring.
func (p *Provider) readAs(
	ctx context.Context, subject events.Subject, ring client.Ring, s cache.Session,
	how func(reading) (cache.Answer, error),
) (cache.Answer, error) {
	b := p.client.Reading(ring, s)
	t, err := b.Token(ctx)
	if err != nil {
		return cache.Answer{}, err
	}
	a, err := how(reading{caller{p: p, b: b, user: t.Identity}, string(subject)})
	if err != nil {
		return cache.Answer{}, err
	}
	b.Confess(s)
	return a, nil
}

// reading is one look at a subject's rights.
type reading struct {
	caller
	subject string
}

// answer is one of that basis in which nothing is known yet.
func answer(basis string, tags ...events.Tag) cache.Answer {
	return cache.Answer{Tags: tags, Facts: cache.Facts{
		Basis: basis, Grants: map[cache.Grant]string{}, Why: map[cache.Grant]string{},
	}}
}

func grant(a *cache.Answer, all ...cache.Grant) {
	for _, g := range all {
		a.Grants[g] = cache.Unlimited
	}
}

func cover(a *cache.Answer, kinds ...cache.Kind) { a.Covers = append(a.Covers, kinds...) }

// own reads with the subject's own token, whose scopes come with it.
func (r reading) own(ctx context.Context, kind, id string) (a cache.Answer, err error) {
	switch kind {
	case events.KindMural:
		a, err = r.ownMural(ctx, id)
	case events.KindRoom:
		a, err = r.ownRoom(ctx, id)
	default:
		a, err = r.ownWorkspace(ctx)
	}
	if scopes := r.b.Scopes(); err == nil && scopes != nil {
		cover(&a, cache.Scope)
		for _, scope := range scopes {
			grant(&a, cache.NewGrant(cache.Scope, scope))
		}
	}
	return a, err
}

// withheld is the answer where nothing can be known, and why.
func withheld(basis, why string, about []cache.Grant, tags ...events.Tag) cache.Answer {
	a := answer(basis, tags...)
	for _, g := range about {
		a.Why[g] = why
	}
	return a
}

// withoutScope is why nothing is known where the app was not given a scope: the
// refusal would tell nothing of the subject.
func withoutScope(missing []string) string {
	return "the token lacks the scope " + strings.Join(missing, ", ")
}

// unclear says whether a refusal may be for want of a scope.
func (r reading) unclear(err error) bool {
	return notAllowed(err) && r.b.Scopes() == nil && !errors.Is(err, subscriptions.ErrGone)
}

// noAccess is the answer where the vendor refuses the subject itself.
func noAccess(tags ...events.Tag) cache.Answer {
	a := answer(BasisNone, tags...)
	cover(&a, cache.Permission, cache.Role)
	return a
}

func (r reading) ownWorkspace(ctx context.Context) (cache.Answer, error) {
	if missing := r.lacks(scopeWorkspaces); missing != nil {
		return withheld(BasisOwn, withoutScope(missing), []cache.Grant{isMember}), nil
	}
	all, err := r.workspaces(ctx)
	listed := r.ours(all)
	switch {
	case listed != nil:
		return r.belonging(ctx, *listed)
	case errors.Is(err, errLong):
		return withheld(BasisOwn, whyLong, []cache.Grant{isMember}), nil
	case r.unclear(err):
		return withheld(BasisOwn, whyScopes, []cache.Grant{isMember}), nil
	case err != nil && !notAllowed(err):
		return cache.Answer{}, err
	}
	a := answer(BasisNone)
	cover(&a, cache.Role)
	return a, nil
}

// ours is the workspace's entry in a list; nil if there is none.
func (r reading) ours(all []workspace) *workspace {
	for i := range all {
		if all[i].ID == string(r.p.home.Tenant) {
			return &all[i]
		}
	}
	return nil
}

// belonging is the answer of a workspace that the subject belongs to, as a member
// or as a guest. One that is closed denies.
func (r reading) belonging(ctx context.Context, w workspace) (cache.Answer, error) {
	a := answer(BasisOwn)
	if w.closed() {
		cover(&a, cache.Role)
		a.Why[isMember] = whyClosed
		return a, nil
	}
	a.Why[isAdmin] = whyAdmin // other roles are not known, so the kind is not covered
	kind, err := r.kind(ctx)
	if kind == standInside {
		grant(&a, isMember)
	} else {
		a.Why[isMember] = whyGuest
	}
	return a, err
}

// ownRoom takes sharingSettings for the mark of an owner, to whom alone the
// vendor shows them.
func (r reading) ownRoom(ctx context.Context, id string) (cache.Answer, error) {
	tag := events.RoomTag(id)
	if missing := r.lacks(scopeRooms); missing != nil {
		return withheld(BasisOwn, withoutScope(missing), []cache.Grant{isOwner, isMember, canView}, tag), nil
	}
	room, err := r.room(ctx, id)
	switch {
	case r.unclear(err):
		return withheld(BasisOwn, whyScopes, []cache.Grant{isOwner, isMember, canView}, tag), nil
	case notAllowed(err), err == nil && r.elsewhere(room.WorkspaceID):
		return noAccess(tag), nil
	case err != nil:
		return cache.Answer{}, err
	}
	a := answer(BasisOwn, tag)
	grant(&a, canView)
	if len(room.Sharing) > 0 && string(room.Sharing) != "null" {
		grant(&a, isOwner)
	}
	members, why, err := r.readable(r.roomMembers(ctx, id))
	if err != nil {
		return cache.Answer{}, err
	}
	listed := find(members, r.subject) != nil
	if listed {
		grant(&a, isMember)
	}
	if why != "" && !listed {
		a.Why[isMember] = why
		return a, nil
	}
	cover(&a, cache.Role)
	return a, nil
}

func (r reading) elsewhere(workspace string) bool {
	return workspace != "" && workspace != string(r.p.home.Tenant)
}

// readable forgives that a list is refused, or longer than is read, and says why
// somebody who is not in it may be a member all the same.
func (r reading) readable(all []person, err error) ([]person, string, error) {
	if errors.Is(err, errLong) {
		return all, whyLong, nil
	}
	if !notAllowed(err) {
		return all, "", err
	}
	if missing := r.lacks(scopeUsers); missing != nil {
		return nil, withoutScope(missing), nil
	}
	return nil, "the list of members is refused", nil
}

// foreign reads with the poller's token: lists of members, as far as the poller
// sees them.
func (r reading) foreign(ctx context.Context, kind, id string) (cache.Answer, error) {
	if missing := r.lacks(pollScopes...); missing != nil {
		return cache.Answer{}, scopesMissing(missing)
	}
	switch kind {
	case events.KindMural:
		return r.foreignMural(ctx, id)
	case events.KindRoom:
		return r.foreignRoom(ctx, id)
	}
	a := answer(BasisUnseen)
	a.Why[isMember] = whyOwn
	return a, nil
}

// scopesMissing says what the poller's grant needs.
func scopesMissing(missing []string) error {
	return fmt.Errorf("%w: the poller's grant lacks the scope %s: give it to the app, "+
		"let the user consent again, and %s",
		subscriptions.ErrMisconfigured, strings.Join(missing, ", "), putRemedy)
}

func unseen(tag events.Tag, about ...cache.Grant) cache.Answer {
	a := answer(BasisUnseen, tag)
	for _, g := range about {
		a.Why[g] = whyUnseen
	}
	return a
}

func (r reading) foreignMural(ctx context.Context, id string) (cache.Answer, error) {
	m, err := r.mural(ctx, id) // for its room, whose changes concern it
	var members []person
	if err == nil {
		members, err = r.muralMembers(ctx, id)
	}
	switch {
	case notAllowed(err), r.elsewhere(m.WorkspaceID):
		return unseen(events.MuralTag(id), isOwner, isHelper, canView, canEdit), nil
	case err != nil && !errors.Is(err, errLong):
		return cache.Answer{}, err
	}
	a := answer(BasisMembers, m.tags()...)
	a.Why[canView], a.Why[canEdit] = whyOwn, whyOwn
	entry := find(members, r.subject)
	if entry == nil && err != nil {
		a.Why[isOwner], a.Why[isHelper], a.Why[isMember] = whyLong, whyLong, whyLong
		return a, nil
	}
	entry.roles(&a)
	return a, nil
}

// foreignRoom: who is not in the list has no role; which of them who is has,
// the list does not tell.
func (r reading) foreignRoom(ctx context.Context, id string) (cache.Answer, error) {
	tag := events.RoomTag(id)
	room, err := r.room(ctx, id)
	var members []person
	if err == nil {
		members, err = r.roomMembers(ctx, id)
	}
	switch {
	case notAllowed(err), r.elsewhere(room.WorkspaceID):
		return unseen(tag, isOwner, isMember), nil
	case err != nil && !errors.Is(err, errLong):
		return cache.Answer{}, err
	}
	a := answer(BasisMembers, tag)
	a.Why[canView] = whyOwn
	switch {
	case find(members, r.subject) != nil:
		grant(&a, isMember)
		a.Why[isOwner] = whyOwn
	case err != nil:
		a.Why[isOwner], a.Why[isMember] = whyLong, whyLong
	default:
		cover(&a, cache.Role)
	}
	return a, nil
}
