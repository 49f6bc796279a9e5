package ringcentral

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	// crowd is how many reads must be under way before they are read together,
	// and how many must join.
	crowd = 8
	// gathering is how long the first of them waits for the others.
	gathering = 5 * time.Millisecond
)

var opAllRoles = client.Op{Name: "listAssignedRoles", Group: medium, Method: http.MethodGet}

// together reads the roles of many extensions with one listing of the account
// instead of one call each. A listing is sent after all whom it serves have
// begun, so it is as fresh as they need.
type together struct {
	wait    time.Duration // gathering; a test sets more
	mu      sync.Mutex    // guards what follows
	reading int           // reads under way
	pages   int           // of the last listing
	open    *throng       // to which one can still come
}

// throng are reads that go by one listing.
type throng struct {
	size  int
	done  chan struct{}
	found map[events.Subject][]assignedRole // set before done is closed; nil: read alone
}

// rolesOf reads the roles of an extension, alone or together with others. Who
// is not in the listing, and all if it fails, read alone.
func (p *Provider) rolesOf(ctx context.Context, b *client.Bearer, s events.Subject) ([]assignedRole, error) {
	t, first := p.together.join()
	defer p.together.leave()
	if t == nil {
		return p.assignedRoles(ctx, b, s)
	}
	if first {
		p.listFor(ctx, t, b)
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if roles, ok := t.found[s]; ok {
		return roles, nil
	}
	return p.assignedRoles(ctx, b, s)
}

// join returns the throng to go with, and whether the caller is to read for
// it; nil if there is no crowd.
func (g *together) join() (t *throng, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reading++; g.reading < crowd {
		return nil, false
	}
	if first = g.open == nil; first {
		g.open = &throng{done: make(chan struct{})}
	}
	g.open.size++
	return g.open, first
}

func (g *together) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reading--
}

// depart lets nobody join any more, and says whether a listing pays.
func (g *together) depart(t *throng) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = nil
	return t.size >= max(crowd, 2*g.pages)
}

// listFor gathers and lists. What goes wrong leaves each to read alone.
func (p *Provider) listFor(ctx context.Context, t *throng, b *client.Bearer) {
	defer close(t.done)
	gathered := time.NewTimer(cmp.Or(p.together.wait, gathering))
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
