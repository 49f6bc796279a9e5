package box

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// How an answer was learnt.
const (
	BasisUser       = "user"                     // the user and its groups
	BasisItemAsUser = "item-permissions-as-user" // the item's permissions, by As-User
	BasisItem       = "item-permissions"         // the same with the user's own token
	BasisNotFound   = "not-found"                // there is no such user
)

// Group is the kind of a user's place in a group: group/9 is member or admin.
const Group cache.Kind = "group"

// The words of a user's role and status (User--Full).
const (
	roleUser       = "user"
	roleCoadmin    = "coadmin"
	statusActive   = "active"
	statusInactive = "inactive"
	statusNoEdit   = "cannot_delete_edit"
	statusNoUpload = "cannot_delete_edit_upload"
)

// roleNames are those of users; who has none of them is no user of the enterprise.
var roleNames = []string{"admin", roleCoadmin, roleUser}

// Read says what a user is in the enterprise, may do with folder:<id> or file:<id>,
// or may do with a narrowed token of its own, token:<name>, if somebody has told of
// it. A user or item that does not exist is denied everything, so that asking again
// costs no call. Errors: [*subscriptions.Later], [subscriptions.ErrMisconfigured],
// [*subscriptions.UntoldError]; any other may pass.
func (p *Provider) Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
	if ref.Home != p.home || !isNumber(string(ref.Subject)) {
		return cache.Answer{}, fmt.Errorf("read %.200q: not a user of %s", ref.String(), p.home)
	}
	read, err := p.reading(ref)
	if err != nil {
		return cache.Answer{}, fmt.Errorf("read %.200q: resource: %w", ref.String(), err)
	}
	ctx = client.WithErrand(ctx)
	a, err := read(ctx, s)
	if err == nil {
		err = storable(a)
	}
	if err != nil {
		return cache.Answer{}, fmt.Errorf("read %s: %w", ref, err)
	}
	a.Life = client.Life(ctx)
	return a, nil
}

// reading is one way to read.
type reading func(context.Context, cache.Session) (cache.Answer, error)

// reading finds the way for what the resource names.
func (p *Provider) reading(ref events.Ref) (reading, error) {
	name, isToken, err := subscriptions.ParseToken(ref.Resource)
	if err != nil {
		return nil, err
	}
	if isToken {
		return func(ctx context.Context, s cache.Session) (cache.Answer, error) {
			return p.readToken(ctx, ref.Subject, name, s)
		}, nil
	}
	var on *item
	if ref.Resource != "" {
		i, err := parseItem(string(ref.Resource))
		if err != nil {
			return nil, err
		}
		on = &i
	}
	return func(ctx context.Context, s cache.Session) (cache.Answer, error) {
		return p.read(ctx, ref.Subject, on, s)
	}, nil
}

// storable refuses names that no grant and no tag can have.
func storable(a cache.Answer) error {
	_, err := a.Fields()
	for _, t := range a.Tags {
		if err == nil {
			_, err = events.ParseTag(t.String())
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", client.ErrMalformed, err)
	}
	return nil
}

func (p *Provider) read(
	ctx context.Context, subject events.Subject, on *item, s cache.Session,
) (cache.Answer, error) {
	service := p.client.Reading(p.serviceRing(), s)
	u, err := p.readUser(ctx, service, subject)
	if errors.Is(err, subscriptions.ErrGone) {
		service.Confess(s)
		return notFound(on), nil
	}
	if err != nil {
		return cache.Answer{}, err
	}
	a := newAnswer(BasisUser, u)
	bearer := service
	switch {
	case u.Status == statusInactive:
		a.denyAll(on, "status "+u.Status)
	case !u.knownStatus():
		a.Why[cache.NewGrant(cache.Permission, "*")] = u.oddStatus()
		service.Confess(s)
		return a.Answer, nil
	case u.isService():
		a.Why[cache.NewGrant(cache.Permission, "*")] = "a service account is no subject"
	case on == nil:
		p.describe(&a, u)
	default:
		bearer, err = p.readItem(ctx, service, &a, u, *on, s)
	}
	if err != nil {
		return cache.Answer{}, err
	}
	p.addScopes(&a, bearer.Scopes())
	service.Confess(s)
	if bearer != service {
		bearer.Confess(s)
	}
	return a.Answer, nil
}

// user is what is asked of a user (User--Full), and its memberships.
type user struct {
	ID     id     `json:"id"`
	Login  string `json:"login"`
	Role   string `json:"role"`
	Status string `json:"status"`
	// Enterprise is null for users of none; not told at all it may be any.
	Enterprise  json.RawMessage `json:"enterprise"`
	memberships []membership
}

type membership struct {
	Role  string `json:"role"`
	Group struct {
		ID   id     `json:"id"`
		Name string `json:"name"`
	} `json:"group"`
}

func (u user) knownStatus() bool {
	return u.Status == statusActive || u.Status == statusNoEdit || u.Status == statusNoUpload || u.Status == ""
}

func (u user) oddStatus() string { return "status " + client.Clip(u.Status) + " is not known" }

// in says whether the user belongs to the enterprise. Of others only little is
// shown, and what they are elsewhere is nothing here.
func (u user) in(enterprise events.Tenant) bool {
	return string(loose(u.Enterprise).ID) == string(enterprise)
}

// placed says whether an enterprise was told, or that there is none.
func (u user) placed() bool {
	return string(u.Enterprise) == "null" || loose(u.Enterprise).ID != ""
}

var serviceLogin = regexp.MustCompile(`^AutomationUser_\d+_\w+@boxdevedition\.com$`)

// isService goes by the login (pages/platform/user-types).
func (u user) isService() bool { return serviceLogin.MatchString(u.Login) }

func (u user) groupTags() (tags []events.Tag) {
	for _, m := range u.memberships {
		tags = append(tags, events.GroupTag(string(m.Group.ID)))
	}
	return tags
}

// readUser reads a user and its memberships, with the service account's own rights.
func (p *Provider) readUser(ctx context.Context, b *client.Bearer, s events.Subject) (user, error) {
	var u user
	var memberships []membership
	err := both(
		func() (err error) { u, err = p.account(ctx, b, s); return err },
		func() (err error) { memberships, err = p.memberships(ctx, b, s); return visible(err) },
	)
	u.memberships = memberships
	return u, err
}

// account reads a user without its memberships.
func (p *Provider) account(ctx context.Context, b *client.Bearer, s events.Subject) (u user, err error) {
	err = p.client.Call(ctx, b, client.Request{Op: opUser, Path: userPath(s),
		Query: url.Values{"fields": {"login,role,status,enterprise"}}}, &u)
	if err == nil && string(u.ID) != string(s) {
		err = fmt.Errorf("box %s: %w: another user", opUser.Name, client.ErrMalformed)
	}
	return u, denied(err, "the service account must be allowed to manage users")
}

// visible makes memberships that are hidden an error that may pass: only the user's
// own reply says that there is no such user.
func visible(err error) error {
	if errors.Is(err, subscriptions.ErrGone) {
		return fmt.Errorf("box %s: memberships are not shown: %v", opMemberships.Name, err) // not ErrGone
	}
	return err
}

// both does two things at once. The first one's error counts more.
func both(first, second func() error) error {
	other := make(chan error, 1)
	go func() { other <- second() }()
	err := first()
	return cmp.Or(err, <-other)
}

const (
	membersPage = 1000
	maxOffset   = 10_000 // the API description's; beyond it a list cannot be read
)

// memberships reads all pages. The total may be above what is listed, and a page
// may be short.
func (p *Provider) memberships(
	ctx context.Context, b *client.Bearer, s events.Subject,
) (all []membership, err error) {
	for offset := 0; offset < maxOffset; {
		var page struct {
			Total   int          `json:"total_count"`
			Limit   int          `json:"limit"`
			Entries []membership `json:"entries"`
		}
		err := p.client.Call(ctx, b, client.Request{Op: opMemberships, Path: userPath(s) + "/memberships",
			Query: url.Values{"limit": {strconv.Itoa(membersPage)}, "offset": {strconv.Itoa(offset)}},
		}, &page)
		if err != nil {
			return nil, denied(err, "the service account must be allowed to manage groups")
		}
		if page.Entries == nil {
			return nil, fmt.Errorf("box %s: %w: no entries", opMemberships.Name, client.ErrMalformed)
		}
		for _, m := range page.Entries {
			if err := events.CheckID(string(m.Group.ID)); err != nil {
				return nil, fmt.Errorf("box %s: %w: group: %w", opMemberships.Name, client.ErrMalformed, err)
			}
		}
		all = append(all, page.Entries...)
		if page.Limit < 1 || page.Limit > membersPage { // it may be clamped, and is never more
			page.Limit = max(len(page.Entries), 1)
		}
		if offset += page.Limit; offset >= page.Total {
			return all, nil
		}
	}
	return nil, fmt.Errorf("box %s: over %d memberships", opMemberships.Name, maxOffset)
}

func userPath(s events.Subject) string { return "/users/" + url.PathEscape(string(s)) }

// answer is a [cache.Answer] on its way.
type answer struct{ cache.Answer }

func newAnswer(basis string, u user) answer {
	return answer{cache.Answer{Tags: u.groupTags(), Facts: cache.Facts{
		Basis: basis, Grants: map[cache.Grant]string{}, Why: map[cache.Grant]string{},
	}}}
}

// because gives the reason for all of a kind that are not granted.
func (a *answer) because(k cache.Kind, names []string, why string) {
	for _, name := range names {
		if g := cache.NewGrant(k, name); a.Grants[g] == "" {
			a.Why[g] = why
		}
	}
}

// denyAll denies everything, with the reason.
func (a *answer) denyAll(on *item, why string) {
	a.Covers = []cache.Kind{cache.Permission, cache.Role, Group, cache.Scope}
	if on == nil {
		a.because(cache.Role, roleNames, why)
		return
	}
	a.Tags = append(a.Tags, on.tag(), unplaced)
	a.because(cache.Permission, permissionNames[on.kind], why)
}

// describe grants role and groups. Which of an administrator's rights a co-admin
// or a group's admin has, is not told by the API.
func (p *Provider) describe(a *answer, u user) {
	a.Covers = []cache.Kind{cache.Role, Group}
	narrower := u.Role == roleCoadmin
	switch {
	case !u.placed():
		a.Covers = []cache.Kind{Group}
		a.because(cache.Role, roleNames, "the enterprise is not told")
	case !u.in(p.home.Tenant):
		narrower = false
		a.because(cache.Role, roleNames, "not of this enterprise")
	case u.Role != "":
		a.Grants[cache.NewGrant(cache.Role, u.Role)] = cache.Unlimited
	default:
		a.Covers = []cache.Kind{Group}
	}
	for _, m := range u.memberships {
		role := m.Role
		if role == "" {
			role = cache.Unlimited
		}
		a.Grants[cache.NewGrant(Group, string(m.Group.ID))] = role
		narrower = narrower || role == "admin"
	}
	if narrower {
		a.Why[cache.NewGrant(cache.Permission, "*")] = "Box does not tell which rights an administrator has"
	}
}

// addScopes grants those of the token that was read with, unless they are unknown.
func (p *Provider) addScopes(a *answer, scopes []string) {
	if scopes == nil || slices.Contains(a.Covers, cache.Scope) {
		return
	}
	a.Covers = append(a.Covers, cache.Scope)
	for _, scope := range CloseScopes(scopes, p.cfg.WriteOnly) {
		a.Grants[cache.NewGrant(cache.Scope, scope)] = cache.Unlimited
	}
}

func notFound(on *item) cache.Answer {
	a := newAnswer(BasisNotFound, user{})
	a.denyAll(on, "there is no such user")
	return a.Answer
}
