package ringcentral

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	// crowd is how many reads must be under way before they are read together,
	// and how many must join.
	crowd = 8
	// gathering is how long the first of them waits for the others, and
	// gatheringStuck how long the first of those who have no call of their own.
	gathering      = 5 * time.Millisecond
	gatheringStuck = 100 * time.Millisecond
)

var opAllRoles = client.Op{Name: "listAssignedRoles", Group: medium, Method: http.MethodGet}

// together reads the roles of many extensions with one listing of the account
// instead of one call each: where many read at a time, and where the limit of the
// single call is used up, since the listing counts in another group. A listing is
// sent after all whom it serves have begun, so it is as fresh as they need.
type together struct {
	wait    time.Duration // gathering; a test sets more
	mu      sync.Mutex    // guards what follows
	reading int           // reads under way
	pages   int           // of the last listing
	many    *throng       // to which one can still come
	stuck   *throng       // likewise, of those who have no call of their own
}

// throng are reads that go by one listing.
type throng struct {
	size  int
	least int // so many make the listing pay, whatever its pages
	done  chan struct{}
	found map[events.Subject][]assignedRole // set before done is closed; nil: there is no listing
}

// rolesOf reads the roles of an extension, alone or together with others. Who
// is not in the listing, and all if it fails, read alone.
func (p *Provider) rolesOf(ctx context.Context, b *client.Bearer, s events.Subject) ([]assignedRole, error) {
	t, first := p.together.join()
	defer p.together.leave()
	if t != nil {
		if roles, ok := p.goWith(ctx, t, first, cmp.Or(p.together.wait, gathering), b, s); ok {
			return roles, nil
		}
	}
	roles, err := p.assignedRoles(ctx, b, s)
	var later *subscriptions.Later
	if !errors.As(err, &later) {
		return roles, err
	}
	t, first = p.together.joinStuck()
	if roles, ok := p.goWith(ctx, t, first, gatheringStuck, b, s); ok {
		return roles, nil
	}
	return nil, err
}

// goWith waits for the throng's listing, or makes it; ok is false if the
// extension's roles are not known from it.
func (p *Provider) goWith(
	ctx context.Context, t *throng, first bool, gather time.Duration, b *client.Bearer, s events.Subject,
) ([]assignedRole, bool) {
	if first {
		p.listFor(ctx, t, gather, b)
	}
	select {
	case <-t.done:
		roles, ok := t.found[s]
		return roles, ok
	case <-ctx.Done():
		return nil, false
	}
}

// join returns the throng to go with, and whether the caller is to read for
// it; nil if there is no crowd.
func (g *together) join() (t *throng, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reading++; g.reading < crowd {
		return nil, false
	}
	return enter(&g.many, crowd)
}

// joinStuck is join for those who have no call of their own.
func (g *together) joinStuck() (t *throng, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return enter(&g.stuck, 1)
}

func enter(open **throng, least int) (t *throng, first bool) {
	if first = *open == nil; first {
		*open = &throng{least: least, done: make(chan struct{})}
	}
	(*open).size++
	return *open, first
}

func (g *together) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reading--
}

// depart lets nobody join any more, and says whether a listing pays: those who
// can read alone must save calls by it, the others need only not cost more.
func (g *together) depart(t *throng) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	saves := g.pages
	if g.many == t {
		g.many, saves = nil, 2*g.pages
	} else {
		g.stuck = nil
	}
	return t.size >= max(t.least, saves)
}

// listFor gathers and lists. What goes wrong leaves each to read alone.
func (p *Provider) listFor(ctx context.Context, t *throng, gather time.Duration, b *client.Bearer) {
	defer close(t.done)
	gathered := time.NewTimer(gather)
	defer gathered.Stop()
	select {
	case <-gathered.C:
	case <-ctx.Done(): // the others must not wait for one that ends
	}
	if !p.together.depart(t) {
		return
	}
	found, pages, err := p.listHolders(ctx, b)
	if err != nil {
		p.log.DebugContext(ctx, "roles not listed, each is read alone", "reads", t.size, "error", err)
		return
	}
	p.together.mu.Lock()
	p.together.pages = pages
	p.together.mu.Unlock()
	t.found = found
}

// listHolders reads who has which roles. The vendor declares no parameters for
// the pages of this call; if it ignores them, and yet says that there are
// more, the same page would come again, which ends it with an error.
func (p *Provider) listHolders(ctx context.Context, b *client.Bearer) (map[events.Subject][]assignedRole, int, error) {
	found := map[events.Subject][]assignedRole{}
	for page := 1; page <= maxPages; page++ {
		more, err := p.listHoldersPage(ctx, b, page, found)
		if err != nil || !more {
			return found, page, err
		}
	}
	return nil, 0, fmt.Errorf("ringcentral %s: %w: over %d pages", opAllRoles.Name, client.ErrMalformed, maxPages)
}

func (p *Provider) listHoldersPage(
	ctx context.Context, b *client.Bearer, page int, into map[events.Subject][]assignedRole,
) (more bool, err error) {
	var reply struct {
		Records []struct {
			ExtensionID id             `json:"extensionId"`
			Roles       []assignedRole `json:"roles"`
		} `json:"records"`
		Navigation struct {
			NextPage *struct{} `json:"nextPage"`
		} `json:"navigation"`
	}
	err = p.client.Call(ctx, b, client.Request{Op: opAllRoles, Path: p.accountPath() + "/assigned-role", Query: url.Values{
		"showHidden": {"true"}, "page": {strconv.Itoa(page)}, "perPage": {strconv.Itoa(pageSize)},
	}}, &reply)
	if err != nil {
		return false, err
	}
	before := len(into)
	for _, r := range reply.Records {
		if r.Roles == nil || events.CheckID(string(r.ExtensionID)) != nil || checkRoles(r.Roles) != nil {
			continue // is read alone, where the error is told
		}
		into[events.Subject(r.ExtensionID)] = r.Roles
	}
	more = reply.Navigation.NextPage != nil
	if more && len(into) == before {
		return false, fmt.Errorf("ringcentral %s: %w: page %d brings nothing new", opAllRoles.Name, client.ErrMalformed, page)
	}
	return more, nil
}
