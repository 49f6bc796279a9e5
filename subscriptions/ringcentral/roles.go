package ringcentral

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// assignedRole is a role as it stands at an extension (listUserAssignedRoles).
type assignedRole struct {
	ID          id     `json:"id"`
	DisplayName string `json:"displayName"`
}

// assignedRoles reads an extension's roles, the hidden ones too, since they
// grant as well. None is a fact; a reply without the list is not.
func (p *Provider) assignedRoles(ctx context.Context, b *client.Bearer, s events.Subject) ([]assignedRole, error) {
	var reply struct {
		Records []assignedRole `json:"records"`
	}
	r := client.Request{Op: opAssignedRoles, Path: p.extensionPath(s) + "/assigned-role",
		Query: url.Values{"showHidden": {"true"}}}
	if err := p.client.Call(ctx, b, r, &reply); err != nil {
		return nil, subjectGone(err)
	}
	if reply.Records == nil {
		return nil, fmt.Errorf("ringcentral %s: %w: no records", r.Op.Name, client.ErrMalformed)
	}
	if err := checkRoles(reply.Records); err != nil {
		return nil, fmt.Errorf("ringcentral %s: %w: role: %w", r.Op.Name, client.ErrMalformed, err)
	}
	return reply.Records, nil
}

func checkRoles(roles []assignedRole) error {
	for _, role := range roles {
		if err := events.CheckID(string(role.ID)); err != nil {
			return err
		}
	}
	return nil
}

// role is a role's definition, as far as it decides anything; it is what a
// part holds. The zero value is a role that is gone: it grants nothing.
type role struct {
	Scope       string   `json:"scope"`
	Permissions []string `json:"permissions"`
}

// rolePart asks the session for a role's definition. It carries the tenant's
// tag too: a change of the account must not leave old definitions behind. The
// vendor may tell of an edited role by a notice to each who has it, so a notice
// to the subject asks for the definition anew.
func (p *Provider) rolePart(ctx context.Context, s cache.Session, b *client.Bearer, roleID string) (role, error) {
	var r role
	err := part(ctx, s, cache.PartSpec{
		Name: "role:" + roleID, Life: cache.Ceiling, Own: true,
		Tags: []events.Tag{events.RoleTag(roleID), events.TenantTag},
		Fetch: func(ctx context.Context) ([]byte, error) {
			return marshal(p.readRole(ctx, b, roleID))
		},
	}, &r)
	return r, err
}

func (p *Provider) readRole(ctx context.Context, b *client.Bearer, roleID string) (role, error) {
	var reply struct {
		Scope       string      `json:"scope"`
		Permissions []reference `json:"permissions"`
	}
	r := client.Request{Op: opRole, Path: p.accountPath() + "/user-role/" + url.PathEscape(roleID)}
	err := p.client.Call(ctx, b, r, &reply)
	if errors.Is(err, subscriptions.ErrGone) {
		return role{}, nil // deleted, though still listed at the extension
	}
	if err != nil {
		return role{}, err
	}
	if reply.Permissions == nil {
		return role{}, fmt.Errorf("ringcentral %s: %w: no permissions", r.Op.Name, client.ErrMalformed)
	}
	return role{Scope: reply.Scope, Permissions: ids(reply.Permissions)}, nil
}

// reference is anything that is named by its id.
type reference struct {
	ID string `json:"id"`
}

func ids(refs []reference) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = r.ID
	}
	return out
}

// dictionary maps a permission to those that it includes directly.
type dictionary map[string][]string

// dictionaryPart asks the session for the dictionary of permissions.
func (p *Provider) dictionaryPart(ctx context.Context, s cache.Session, b *client.Bearer) (dictionary, error) {
	var d dictionary
	err := part(ctx, s, cache.PartSpec{
		Name: "dictionary", Life: cache.Ceiling, Tags: []events.Tag{events.TenantTag},
		Fetch: func(ctx context.Context) ([]byte, error) { return marshal(p.readDictionary(ctx, b)) },
	}, &d)
	return d, err
}

// The vendor's bounds of paging.
const (
	pageSize = 1000
	maxPages = 1000
)

// readDictionary goes by page numbers and not by the URIs in the reply: a
// bearer token goes nowhere that a reply says.
func (p *Provider) readDictionary(ctx context.Context, b *client.Bearer) (dictionary, error) {
	d := dictionary{}
	for page := 1; page <= maxPages; page++ {
		more, err := p.readDictionaryPage(ctx, b, page, d)
		if err != nil || !more {
			return d, err
		}
	}
	return nil, fmt.Errorf("ringcentral %s: %w: over %d pages", opPermissions.Name, client.ErrMalformed, maxPages)
}

func (p *Provider) readDictionaryPage(
	ctx context.Context, b *client.Bearer, page int, into dictionary,
) (more bool, err error) {
	var reply struct {
		Records []struct {
			ID       string      `json:"id"`
			Included []reference `json:"includedPermissions"`
		} `json:"records"`
		Navigation struct {
			NextPage *struct{} `json:"nextPage"`
		} `json:"navigation"`
	}
	err = p.client.Call(ctx, b, client.Request{Op: opPermissions, Path: "/dictionary/permission", Query: url.Values{
		"page": {strconv.Itoa(page)}, "perPage": {strconv.Itoa(pageSize)},
	}}, &reply)
	if err != nil {
		return false, err
	}
	if reply.Records == nil {
		return false, fmt.Errorf("ringcentral %s: %w: no records", opPermissions.Name, client.ErrMalformed)
	}
	for _, r := range reply.Records {
		if len(r.Included) > 0 {
			into[r.ID] = ids(r.Included)
		}
	}
	return reply.Navigation.NextPage != nil, nil
}

// close returns the permissions and all that they include, however deep.
func (d dictionary) close(permissions []string) []string {
	seen := map[string]bool{}
	queue := slices.Clone(permissions)
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if !seen[next] {
			seen[next] = true
			queue = append(queue, d[next]...)
		}
	}
	return sorted(seen)
}

// widths collects the scopes under which each name is granted.
type widths map[string]map[string]bool

// add grants a name; a grant may come without a scope.
func (w widths) add(name string, scopes ...string) {
	if w[name] == nil {
		w[name] = map[string]bool{}
	}
	for _, s := range scopes {
		if s != "" {
			w[name][s] = true
		}
	}
}

// into writes the grants: the scopes in order, or "*" if none is known.
func (w widths) into(grants map[cache.Grant]string, kind cache.Kind) {
	for name, scopes := range w {
		width := strings.Join(sorted(scopes), ",")
		if width == "" {
			width = cache.Unlimited
		}
		grants[cache.NewGrant(kind, name)] = width
	}
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// part reads a part into out.
func part(ctx context.Context, s cache.Session, spec cache.PartSpec, out any) error {
	b, err := s.Part(ctx, spec)
	if err != nil {
		return fmt.Errorf("part %s: %w", spec.Name, err)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("part %s: %w", spec.Name, err)
	}
	return nil
}

func marshal[T any](v T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
