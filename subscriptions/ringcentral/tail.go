package ringcentral

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/client"
)

var opUserRoles = client.Op{Name: "listUserRoles", Group: medium, Method: http.MethodGet}

// maxCursor bounds a cursor that names the roles one by one, in bytes; it holds
// about ten thousand. A change that names all of two such cursors is still one
// message.
const maxCursor = 256 << 10

const cursorVersion = 1

// cursor is what a poll knew of the roles.
type cursor struct {
	Version int `json:"v"`
	// Changes counts the polls that found some, so that going back to an earlier
	// state is not taken for a repetition.
	Changes uint64 `json:"n"`
	// Roles maps the id to a digest of what lists show of the role.
	Roles map[string]string `json:"roles"`
	// All is the digest of all roles where they are too many to be named.
	All string `json:"all,omitempty"`
}

// listedRole is a role as the list shows it (RoleResource, public API description
// of August 2026), as far as it may decide anything. Every edit moves lastUpdated;
// the rest guards against one that does not.
type listedRole struct {
	ID          id          `json:"id"`
	LastUpdated string      `json:"lastUpdated"`
	DisplayName string      `json:"displayName"`
	Scope       string      `json:"scope"`
	Custom      bool        `json:"custom"`
	Hidden      bool        `json:"hidden"`
	Permissions []reference `json:"permissions"` // most lists leave them out
}

// Interval is how often the roles are looked at, as configured.
func (p *Provider) Interval() time.Duration { return p.cfg.RolePoll }

// Delay is an interval, the tenth that it may be longer, and a slow call.
func (p *Provider) Delay() time.Duration { return p.Interval()*11/10 + client.Timeout }

// Poll finds roles that were edited, added or deleted: RingCentral sends no notice
// of that. Several are one change, which names them all; if they are too many to
// be named, or the cursor cannot be read, it names the tenant. It makes one call
// of the medium group for each thousand roles.
func (p *Provider) Poll(ctx context.Context, old []byte) ([]events.Change, []byte, error) {
	marks, updated, err := p.listDefinitions(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("poll roles: %w", err)
	}
	now, err := cursorOf(marks)
	if err != nil {
		return nil, nil, fmt.Errorf("poll roles: %w", err)
	}
	var tags []events.Tag
	var reasons []string
	if len(old) > 0 {
		was, known := readCursor(old)
		tags, reasons = now.since(was, known)
		now.Changes = was.Changes
	}
	if len(tags) > 0 {
		now.Changes++
	}
	next, err := json.Marshal(now)
	if err != nil || len(tags) == 0 {
		return nil, next, err
	}
	return []events.Change{{
		ID: events.ChangeID(p.home, "roles-"+digest(next)), Home: p.home, Tags: tags, Source: events.Tail,
		Reasons: reasons, Received: time.Now(), Occurred: occurred(tags, updated),
	}}, next, nil
}

// listDefinitions reads all roles: their marks, and when they were last updated.
func (p *Provider) listDefinitions(ctx context.Context) (map[string]string, map[string]time.Time, error) {
	b := p.registering() // what it reads goes into no entry
	marks, updated := map[string]string{}, map[string]time.Time{}
	for page := 1; page <= maxPages; page++ {
		list, more, err := p.definitionsPage(ctx, b, page)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range list {
			if err := events.CheckID(string(r.ID)); err != nil {
				return nil, nil, fmt.Errorf("ringcentral %s: %w: role: %w", opUserRoles.Name, client.ErrMalformed, err)
			}
			marks[string(r.ID)], updated[string(r.ID)] = r.mark(), parseTime(r.LastUpdated)
		}
		if !more {
			return marks, updated, nil
		}
	}
	return nil, nil, fmt.Errorf("ringcentral %s: %w: over %d pages", opUserRoles.Name, client.ErrMalformed, maxPages)
}

func (p *Provider) definitionsPage(ctx context.Context, b *client.Bearer, page int) (
	list []listedRole, more bool, err error,
) {
	var reply struct {
		Records    []listedRole `json:"records"`
		Navigation struct {
			NextPage *struct{} `json:"nextPage"`
		} `json:"navigation"`
	}
	err = p.client.Call(ctx, b, client.Request{Op: opUserRoles, Path: p.accountPath() + "/user-role", Query: url.Values{
		"page": {strconv.Itoa(page)}, "perPage": {strconv.Itoa(pageSize)},
	}}, &reply)
	if err != nil {
		return nil, false, err
	}
	if reply.Records == nil {
		return nil, false, fmt.Errorf("ringcentral %s: %w: no records", opUserRoles.Name, client.ErrMalformed)
	}
	return reply.Records, reply.Navigation.NextPage != nil, nil
}

// mark is a digest of a role. The order of its permissions means nothing.
func (r listedRole) mark() string {
	permissions := ids(r.Permissions)
	slices.Sort(permissions)
	return digest(fmt.Appendf(nil, "%q %q %q %t %t %q",
		r.LastUpdated, r.DisplayName, r.Scope, r.Custom, r.Hidden, permissions))
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// cursorOf names the roles one by one, as long as they are not too many.
func cursorOf(marks map[string]string) (cursor, error) {
	b, err := json.Marshal(marks) // in the order of the ids
	if err != nil || len(b) > maxCursor {
		return cursor{Version: cursorVersion, All: digest(b)}, err
	}
	return cursor{Version: cursorVersion, Roles: marks}, nil
}

// readCursor says whether it is one that we can go on from.
func readCursor(b []byte) (c cursor, known bool) {
	if json.Unmarshal(b, &c) != nil || c.Version != cursorVersion {
		return cursor{}, false
	}
	for id := range c.Roles {
		if events.CheckID(id) != nil {
			return cursor{}, false
		}
	}
	return c, true
}

// since names what is not as it was, in order.
func (c cursor) since(was cursor, known bool) ([]events.Tag, []string) {
	all := []events.Tag{events.TenantTag}
	switch {
	case !known:
		return all, []string{"cursor of the roles is unreadable"}
	case c.All == was.All && c.All != "":
		return nil, nil
	case c.All != was.All:
		return all, []string{"roles changed, too many to be named"}
	}
	edited, added, deleted := c.differs(was)
	tags := slices.Concat(edited, added, deleted)
	if len(tags) > events.MaxTags {
		tags = all
	}
	slices.SortFunc(tags, func(a, b events.Tag) int { return strings.Compare(a.ID, b.ID) })
	var reasons []string
	for _, one := range []struct {
		what string
		tags []events.Tag
	}{{"edited", edited}, {"added", added}, {"deleted", deleted}} {
		if len(one.tags) > 0 {
			reasons = append(reasons, fmt.Sprintf("roles %s: %d", one.what, len(one.tags)))
		}
	}
	return tags, reasons
}

func (c cursor) differs(was cursor) (edited, added, deleted []events.Tag) {
	for id, mark := range c.Roles {
		switch before, there := was.Roles[id]; {
		case !there:
			added = append(added, events.RoleTag(id))
		case before != mark:
			edited = append(edited, events.RoleTag(id))
		}
	}
	for id := range was.Roles {
		if _, there := c.Roles[id]; !there {
			deleted = append(deleted, events.RoleTag(id))
		}
	}
	return edited, added, deleted
}

// occurred is the latest time that the vendor tells of these roles; zero if none.
func occurred(tags []events.Tag, updated map[string]time.Time) (latest time.Time) {
	for _, t := range tags {
		if at := updated[t.ID]; at.After(latest) {
			latest = at
		}
	}
	return latest
}
