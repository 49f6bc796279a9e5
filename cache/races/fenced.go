package races

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// fenced is (d), Rescind's fence: the store that is shipped, used as the worker
// uses it. The role's definition is a part that the entries of all subjects
// share; the app's scopes come with a token, which the workers keep elsewhere
// until the fence refuses it; and a refused fill is fetched again.
type fenced struct {
	rdb      Redis
	made     *fence.Store
	names    cache.Keys
	home     events.Home
	subjects int
	token    *token // nil if there is none, or it was refused
}

// token is kept outside Redis, so it outlives a flush and a failover.
type token struct {
	scopes int
	stamp  cache.Stamp // from before it was issued
}

const (
	roleID    = "7"
	partText  = "role:" + roleID
	tokenText = "token:service"
	ownGrant  = "permission/own"
	roleGrant = "permission/role"
	appGrant  = "scope/app"
)

func partName() cache.Name { return cache.PartName(partText) }

func (d *fenced) ref(subject int) events.Ref {
	return events.Ref{Home: d.home, Subject: events.Subject(strconv.Itoa(subject))}
}

func (d *fenced) entry(subject int) string { return d.names.Entry(d.ref(subject)) }

func (d *fenced) lock(subject int) string {
	return d.names.Lease(d.home, cache.EntryName(d.ref(subject)))
}

func (d *fenced) keys() []string {
	k, h := d.names, d.home
	all := []string{
		k.Fence(h), k.Named(h, partName()), k.Lease(h, partName()),
		k.Index(h, events.TenantTag), k.Index(h, d.tag(role)), k.Index(h, d.tag(app)),
	}
	for i := range d.subjects {
		all = append(all, d.entry(i), d.lock(i), k.Index(h, d.tag(i)))
	}
	return all
}

func (d *fenced) tag(fact int) events.Tag {
	switch fact {
	case role:
		return events.RoleTag(roleID)
	case app:
		return events.AppTag
	}
	return events.SubjectTag(d.ref(fact).Subject)
}

// read is the contract's: one HMGET, then the rule of the deadline.
func (d *fenced) read(ctx context.Context, subject int, now time.Time) (answer, bool, error) {
	names := []string{cache.FieldUntil, ownGrant, roleGrant, appGrant}
	got, err := d.rdb.HMGet(ctx, d.entry(subject), names...).Result()
	if err != nil {
		return answer{}, false, err
	}
	fields := map[string]string{}
	for i, name := range names {
		fields[name], _ = got[i].(string)
	}
	until, err := strconv.ParseInt(fields[cache.FieldUntil], 10, 64)
	if err != nil || !cache.Usable(now, time.UnixMilli(until)) {
		return answer{}, false, nil
	}
	a, err := grantsOf(fields)
	return a, err == nil, err
}

func grantsOf(fields map[string]string) (a answer, err error) {
	for name, value := range map[string]*int{ownGrant: &a.own, roleGrant: &a.role, appGrant: &a.app} {
		if *value, err = strconv.Atoi(fields[name]); err != nil {
			return answer{}, fmt.Errorf("entry: %s: %w", name, err)
		}
	}
	return a, nil
}

func (a answer) fields() []string {
	return []string{
		cache.FieldCovers, "permission,scope", ownGrant, strconv.Itoa(a.own),
		roleGrant, strconv.Itoa(a.role), appGrant, strconv.Itoa(a.app),
	}
}

func (d *fenced) begin(ctx context.Context, f *fetch) (step, answer, error) {
	b, err := d.made.Begin(ctx, d.home, cache.EntryName(d.ref(f.subject)), fence.Want{Watch: []events.Tag{d.tag(f.subject)}})
	switch {
	case err != nil:
		return wait, answer{}, err
	case b.Live != nil:
		a, err := grantsOf(b.Live)
		return hit, a, err
	case b.Lease == nil:
		return wait, answer{}, nil
	}
	*f = fetch{subject: f.subject, began: f.began, lease: b.Lease}
	return goOn, answer{}, nil
}

// fetch takes the scopes from the token, and the role from its part if that is
// alive and from after the subject's last change. Else it asks the provider,
// and keeps the part unless somebody else is about to.
func (d *fenced) fetch(ctx context.Context, f *fetch, ask provider) error {
	if d.token == nil {
		d.token = &token{ask(app), f.lease.Stamp}
	}
	f.seen.app = d.token.scopes
	f.uses(tokenText, d.token.stamp, d.tag(app))
	f.seen.own = ask(f.subject)
	b, err := d.made.Begin(ctx, d.home, partName(), fence.Want{
		Version: f.lease.Needs(d.tag(f.subject)), Watch: []events.Tag{d.tag(role)},
	})
	switch {
	case err != nil:
		return err
	case b.Live != nil:
		return f.takePart(b.Live, d.tag(role))
	case b.Lease != nil:
		f.part = b.Lease
		f.uses(partText, b.Lease.Stamp, d.tag(role))
	default:
		f.tags = append(f.tags, d.tag(role))
	}
	f.seen.role = ask(role)
	return nil
}

// uses notes something that was obtained under a number of its own. Where that
// is older than the fetch's, nobody knows whether it is still right until the
// fence has judged it.
func (f *fetch) uses(name string, s cache.Stamp, tag events.Tag) {
	f.used = append(f.used, fence.Used{Name: name, Stamp: s, Tags: []events.Tag{tag}})
	f.old = f.old || s.Fence != f.lease.Stamp.Fence || s.Number < f.lease.Stamp.Number
}

// takePart uses the role as it was fetched before.
func (f *fetch) takePart(live map[string]string, tag events.Tag) error {
	stamp, err := fence.StampOf(live)
	if err != nil {
		return err
	}
	f.uses(partText, stamp, tag)
	f.partAsOf, f.partUntil = fence.LifeOf(live)
	f.seen.role, err = strconv.Atoi(live["data"])
	return err
}

func (d *fenced) store(ctx context.Context, f *fetch) (stored, again bool, err error) {
	if f.part != nil { // one that is refused is not kept; the entry's own commit judges it all the same
		_, err = d.made.Commit(ctx, f.part, fence.Fill{
			Fields: []string{"data", strconv.Itoa(f.seen.role)}, Tags: []events.Tag{d.tag(role)}, Life: cache.Ceiling,
		})
		if err != nil {
			return false, false, err
		}
	}
	o, err := d.made.Commit(ctx, f.lease, fence.Fill{
		Fields: f.seen.fields(), Tags: append(f.tags, d.tag(f.subject)), Used: f.used,
		Life: life, Limit: f.partUntil, AsOf: f.partAsOf,
	})
	if o.Thing == tokenText {
		d.token = nil
	}
	return o.Stored, o.Refused != "", err
}

func (d *fenced) apply(ctx context.Context, fact int, _ time.Time) error {
	_, err := d.made.Invalidate(ctx, d.home, d.tag(fact))
	return err
}
