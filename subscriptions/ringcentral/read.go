package ringcentral

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// How an answer was learnt.
const (
	BasisProfile  = "authz-profile"  // the vendor's effective permissions
	BasisRoles    = "assigned-roles" // composed of the roles' definitions
	BasisNotFound = "not-found"      // there is no such extension
)

// errSubjectGone: the vendor knows no such extension.
var errSubjectGone = errors.New("extension not found")

// noID lists what means something else in a path: "~" is the caller itself.
var noID = []events.Subject{"~", ".", ".."}

// Read says what an extension may do. An extension that does not exist is
// denied everything, so that asking again costs no call. Errors:
// [*subscriptions.Later], [subscriptions.ErrMisconfigured]; any other may pass.
func (p *Provider) Read(ctx context.Context, ref events.Ref, s cache.Session) (cache.Answer, error) {
	if ref.Home != p.home || ref.Resource != "" || ref.Validate() != nil || slices.Contains(noID, ref.Subject) {
		return cache.Answer{}, fmt.Errorf("read %.200q: not an extension of %s", ref.String(), p.home)
	}
	ctx = client.WithErrand(ctx)
	a, err := p.read(ctx, ref.Subject, s)
	if errors.Is(err, errSubjectGone) {
		return notFound(), nil
	}
	if err != nil {
		return cache.Answer{}, fmt.Errorf("read %s: %w", ref, err)
	}
	a.Life = client.Life(ctx)
	if err := storable(a); err != nil {
		return cache.Answer{}, fmt.Errorf("read %s: %w: %w", ref, client.ErrMalformed, err)
	}
	return a, nil
}

// storable refuses names that no grant and no tag can have.
func storable(a cache.Answer) error {
	_, err := a.Fields()
	for _, t := range a.Tags {
		if err == nil {
			_, err = events.ParseTag(t.String())
		}
	}
	return err
}

func (p *Provider) read(
	ctx context.Context, subject events.Subject, s cache.Session,
) (cache.Answer, error) {
	if p.cfg.Exchange != nil {
		a, err := p.readOwn(ctx, subject, s)
		if !errors.Is(err, client.ErrNoToken) {
			return a, err
		}
	}
	return p.readByService(ctx, subject, s)
}

// readOwn reads with the subject's own token; [client.ErrNoToken] if there is none.
func (p *Provider) readOwn(
	ctx context.Context, subject events.Subject, s cache.Session,
) (cache.Answer, error) {
	b := p.client.Reading(p.subjectRing(subject), s)
	var f found
	// None ends another: a reply that nobody hears may be one that restarts a
	// penalty, and then the next call would come too early.
	var g errgroup.Group
	reader := b.Spare(ctx) // what may be done is told as of the call, whichever token makes it
	if reader != nil {
		g.Go(func() error { _, err := b.Token(ctx); return err })
	} else if _, err := b.Token(ctx); err != nil {
		return cache.Answer{}, err
	} else {
		reader = b
	}
	g.Go(func() (err error) { f.profile, err = p.readProfile(ctx, reader, subject); return err })
	g.Go(func() (err error) { f.features, err = p.readFeatures(ctx, reader, subject); return err })
	g.Go(func() (err error) { f.roles, err = p.assignedRoles(ctx, reader, subject); return notAllowed(err) })
	if err := g.Wait(); err != nil {
		return cache.Answer{}, err
	}
	b.Confess(s)
	return f.answer(b.Scopes()), nil
}

// readByService reads with the service user's token.
func (p *Provider) readByService(
	ctx context.Context, subject events.Subject, s cache.Session,
) (cache.Answer, error) {
	b := p.client.Reading(p.serviceRing(), s)
	if _, err := b.Token(ctx); err != nil {
		return cache.Answer{}, err
	}
	var f found
	var rolesErr error
	// Neither ends the other: a profile that is refused is remembered, whatever
	// becomes of the roles, else each read would try it.
	var g errgroup.Group
	if !p.foreign.knows(subject) {
		g.Go(func() (err error) { f.profile, err = p.tryProfile(ctx, b, subject); return err })
	}
	g.Go(func() error { f.roles, rolesErr = p.rolesOf(ctx, b, subject); return notAllowed(rolesErr) })
	if err := g.Wait(); err != nil {
		return cache.Answer{}, err
	}
	if f.profile == nil {
		if rolesErr != nil {
			return cache.Answer{}, rolesErr
		}
		if err := p.compose(ctx, s, b, &f); err != nil {
			return cache.Answer{}, err
		}
	}
	b.Confess(s)
	return f.answer(b.Scopes()), nil
}

// tryProfile returns none, and remembers it, if the service user may not read
// another extension's profile, or extensions of this type have none. It
// returns none too while the group is limited: most likely the profile would
// be refused, and the roles are of another group.
func (p *Provider) tryProfile(ctx context.Context, b *client.Bearer, s events.Subject) ([]granted, error) {
	profile, err := p.readProfile(ctx, b, s)
	if err == nil {
		p.foreign.judged(true)
	}
	if hasCode(err, http.StatusForbidden, codeForeign, codeWrongType, codeNoFeature) {
		if hasCode(err, http.StatusForbidden, codeForeign) {
			p.foreign.judged(false)
		}
		p.foreign.remember(s)
		return nil, nil
	}
	var later *subscriptions.Later
	if errors.As(err, &later) && later.Group == opProfile.Group {
		return nil, nil
	}
	return profile, err
}

// notAllowed forgives a refusal: then only the roles that the profile names
// are tags. An edit of another role of the subject, which can only add to its
// rights, is then seen no sooner than the entry ends.
func notAllowed(err error) error {
	var e *APIError
	if errors.As(err, &e) && e.Status == http.StatusForbidden {
		return nil
	}
	return err
}

// found is what was read of a subject.
type found struct {
	profile  []granted      // nil: not read
	features []feature      // nil: not read
	roles    []assignedRole // nil: not read
	composed widths         // permissions by way of the roles; nil: not composed
}

// compose works out the permissions from the roles' definitions.
func (p *Provider) compose(ctx context.Context, s cache.Session, b *client.Bearer, f *found) error {
	f.composed = widths{}
	if len(f.roles) == 0 {
		return nil
	}
	d, err := p.dictionaryPart(ctx, s, b)
	if err != nil {
		return err
	}
	for _, assigned := range f.roles {
		r, err := p.rolePart(ctx, s, b, string(assigned.ID))
		if err != nil {
			return err
		}
		for _, name := range d.close(r.Permissions) {
			f.composed.add(name, r.Scope)
		}
	}
	return nil
}

// answer puts together what was read. scopes is nil if the token's are not
// known. The app's and the subject's tags come with the token.
func (f found) answer(scopes []string) cache.Answer {
	a := cache.Answer{Tags: f.tags(), Facts: cache.Facts{
		Basis: BasisProfile, Covers: []cache.Kind{cache.Permission},
		Grants: map[cache.Grant]string{}, Why: map[cache.Grant]string{},
	}}
	permissions := f.composed
	if permissions == nil {
		permissions = widths{}
		for _, g := range f.profile {
			permissions.add(g.Permission.ID, g.Scopes...)
		}
	} else {
		a.Basis, a.Covers = BasisRoles, append(a.Covers, cache.Role)
		for _, r := range f.roles {
			roles := widths{}
			roles.add(string(r.ID), r.DisplayName)
			roles.into(a.Grants, cache.Role)
		}
	}
	permissions.into(a.Grants, cache.Permission)
	if f.features != nil {
		a.Covers = append(a.Covers, cache.Feature)
		for _, feature := range f.features {
			feature.into(&a)
		}
	}
	if scopes != nil {
		a.Covers = append(a.Covers, cache.Scope)
		for _, scope := range CloseScopes(scopes) {
			a.Grants[cache.NewGrant(cache.Scope, scope)] = cache.Unlimited
		}
	}
	return a
}

// tags are those of the roles, assigned and effective, each once.
func (f found) tags() []events.Tag {
	seen := map[string]bool{}
	for _, r := range f.roles {
		seen[string(r.ID)] = true
	}
	for _, g := range f.profile {
		if g.Role.ID != "" {
			seen[g.Role.ID] = true
		}
	}
	var tags []events.Tag
	for _, roleID := range sorted(seen) {
		tags = append(tags, events.RoleTag(roleID))
	}
	return tags
}

func notFound() cache.Answer {
	return cache.Answer{Facts: cache.Facts{
		Basis:  BasisNotFound,
		Covers: []cache.Kind{cache.Permission, cache.Feature, cache.Role, cache.Scope},
		Grants: map[cache.Grant]string{}, Why: map[cache.Grant]string{},
	}}
}

// granted is one permission of a profile (readAuthorizationProfile). The role
// may be missing; it is one of those that grant it.
type granted struct {
	Permission reference `json:"permission"`
	Role       reference `json:"effectiveRole"`
	Scopes     []string  `json:"scopes"`
}

func (p *Provider) readProfile(ctx context.Context, b *client.Bearer, s events.Subject) ([]granted, error) {
	var reply struct {
		Permissions []granted `json:"permissions"`
	}
	r := client.Request{Op: opProfile, Path: p.extensionPath(s) + "/authz-profile"}
	if err := p.client.Call(ctx, b, r, &reply); err != nil {
		return nil, subjectGone(err)
	}
	if reply.Permissions == nil {
		return nil, fmt.Errorf("ringcentral %s: %w: no permissions", r.Op.Name, client.ErrMalformed)
	}
	for _, g := range reply.Permissions {
		if err := events.CheckID(g.Permission.ID); err != nil {
			return nil, fmt.Errorf("ringcentral %s: %w: permission: %w", r.Op.Name, client.ErrMalformed, err)
		}
	}
	return reply.Permissions, nil
}

// feature is one feature of an extension (readExtensionFeatures).
type feature struct {
	ID        string `json:"id"`
	Available bool   `json:"available"`
	Params    []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"params"`
	Reason struct {
		Code       string `json:"code"`
		Permission string `json:"permission"`
	} `json:"reason"`
}

// readFeatures returns nil, which covers nothing, if the subject itself may
// not read them; that the app may not is a fault of configuration.
func (p *Provider) readFeatures(ctx context.Context, b *client.Bearer, s events.Subject) ([]feature, error) {
	var reply struct {
		Records []feature `json:"records"`
	}
	r := client.Request{Op: opFeatures, Path: p.extensionPath(s) + "/features"}
	err := p.client.Call(ctx, b, r, &reply)
	if notAllowed(err) == nil && err != nil && !hasCode(err, http.StatusForbidden, codeNoApp) {
		return nil, nil
	}
	if err != nil {
		return nil, subjectGone(err)
	}
	if reply.Records == nil {
		return nil, fmt.Errorf("ringcentral %s: %w: no records", r.Op.Name, client.ErrMalformed)
	}
	return reply.Records, nil
}

// into writes the feature with its parameters, or the reason why it is not
// available: the vendor's code, and the permission that is missing.
func (f feature) into(a *cache.Answer) {
	g := cache.NewGrant(cache.Feature, f.ID)
	if !f.Available {
		if f.Reason.Code != "" {
			a.Why[g] = f.Reason.Code
		}
		if f.Reason.Permission != "" {
			a.Why[g] += " (" + f.Reason.Permission + ")"
		}
		return
	}
	params := make([]string, len(f.Params))
	for i, p := range f.Params {
		params[i] = p.Name + "=" + p.Value
	}
	slices.Sort(params)
	a.Grants[g] = cache.Unlimited
	if len(params) > 0 {
		a.Grants[g] = strings.Join(params, ",")
	}
}

// subjectGone tells a missing extension from other things that are missing.
func subjectGone(err error) error {
	if errors.Is(err, subscriptions.ErrGone) {
		return fmt.Errorf("%w: %w", errSubjectGone, err)
	}
	return err
}

func (p *Provider) accountPath() string { return "/account/" + url.PathEscape(string(p.home.Tenant)) }

func (p *Provider) extensionPath(s events.Subject) string {
	return p.accountPath() + "/extension/" + url.PathEscape(string(s))
}
