package refresh

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// maxCompares is how many comparisons may run at once in a process: they must not
// take the places of fetches.
const maxCompares = 8

// Difference is where an entry and its provider differ. Field is that of the
// contract: a grant, "why/" and a grant, or "_covers". What is not there is empty.
type Difference struct{ Field, Cached, Provider string }

// Compared is an entry beside what its provider says.
type Compared struct {
	// Cached is the entry as it stands; nil if none is usable.
	Cached *cache.Entry
	// Provider is what the provider says now; nil if it could not be asked. Tags
	// are what that is computed from.
	Provider *cache.Facts
	Tags     []events.Tag
	// Differences between the two, in the order of their fields.
	Differences []Difference
	// Changed says that the entry changed while the provider was asked, twice: what
	// differs then is none of this, and is not listed.
	Changed bool
}

// Match says whether both are there and say the same.
func (c Compared) Match() bool {
	return c.Cached != nil && c.Provider != nil && !c.Changed && len(c.Differences) == 0
}

// Compare asks the provider for an entry, as [cache.ForSweep], and tells what
// differs. It stores nothing: no entry, no part, no lease; a token that the provider
// needs may be minted, as for any reading. It takes at most [fence.LongestFetch]. An
// error that wraps [ErrStore] is ours; with any other Cached is told all the same.
//
// What the entry rests on is fetched again too. What came with a kept token, such as
// its scopes, is as old as that. It does not count as a reader where Redis can be
// read so, see [fence.Store.Peek].
func (f *Filler) Compare(ctx context.Context, ref events.Ref) (c Compared, err error) {
	if err := ref.Validate(); err != nil {
		return c, fmt.Errorf("compare: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fence.LongestFetch)
	defer cancel()
	defer context.AfterFunc(f.base, cancel)()
	select {
	case f.compares <- struct{}{}:
		defer func() { <-f.compares }()
	case <-ctx.Done():
		return c, fmt.Errorf("compare %s: no place for another: %w", ref, ctx.Err())
	}
	for range 2 {
		if c, err = f.compare(ctx, ref); err != nil || len(c.Differences) == 0 {
			return c, err
		}
		now, err := f.observe(ctx, ref)
		if err != nil || unchanged(c.Cached, now) {
			return c, err
		}
	}
	c.Changed, c.Differences = true, nil
	return c, nil
}

// compare looks at an entry and asks its provider once.
func (f *Filler) compare(ctx context.Context, ref events.Ref) (c Compared, err error) {
	if c.Cached, err = f.observe(ctx, ref); err != nil {
		return c, err
	}
	reader := f.Readers(ref.Home)
	if reader == nil {
		return c, fmt.Errorf("compare %s: %w", ref, ErrNoReader)
	}
	subject := events.SubjectTag(ref.Subject)
	at, err := f.Store.Glance(ctx, ref.Home, subject, events.AppTag)
	if err != nil {
		return c, fmt.Errorf("compare %s: %w: %w", ref, ErrStore, err)
	}
	s := &visit{at: at, parts: map[string][]byte{}, tags: []events.Tag{subject, events.TenantTag}}
	name := "compare " + string(cache.EntryName(ref)) // its turn is not that of a fill
	answer, err := reader.Read(cache.WithCaller(cache.WithPurpose(ctx, cache.ForSweep), name), ref, s)
	if err == nil {
		_, err = answer.Fields()
	}
	if err != nil {
		return c, fmt.Errorf("compare %s: %w", ref, err)
	}
	c.Provider, c.Tags = &answer.Facts, inOrder(append(s.tags, answer.Tags...))
	if c.Cached != nil {
		c.Differences = differences(c.Cached.Facts, answer.Facts)
	}
	return c, nil
}

// observe reads an entry without counting as a reader; nil if none is usable.
func (f *Filler) observe(ctx context.Context, ref events.Ref) (*cache.Entry, error) {
	fields, clock, err := f.Store.Peek(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	e, err := cache.Decode(fields)
	if err != nil || !cache.Usable(clock, e.Until) {
		return nil, nil // unreadable or over: as if it were missing
	}
	return &e, nil
}

// unchanged says whether an entry is the one that it was.
func unchanged(was, is *cache.Entry) bool {
	return is != nil && was.Version == is.Version && was.AsOf.Equal(is.AsOf) && was.Until.Equal(is.Until) &&
		same(was.Facts, is.Facts)
}

// differences are what a and b say differently, as fields of the contract.
func differences(a, b cache.Facts) (all []Difference) {
	was, is := fieldsOf(a), fieldsOf(b)
	for field, v := range was {
		if is[field] != v {
			all = append(all, Difference{field, v, is[field]})
		}
	}
	for field, v := range is {
		if _, both := was[field]; !both && v != "" {
			all = append(all, Difference{field, "", v})
		}
	}
	slices.SortFunc(all, func(a, b Difference) int { return strings.Compare(a.Field, b.Field) })
	return all
}

func fieldsOf(f cache.Facts) map[string]string {
	kinds := make([]string, len(f.Covers))
	for i, k := range f.Covers {
		kinds[i] = string(k)
	}
	slices.Sort(kinds)
	all := map[string]string{cache.FieldCovers: strings.Join(kinds, ",")}
	for g, width := range f.Grants {
		all[string(g)] = width
	}
	for g, why := range f.Why {
		all["why/"+string(g)] = why
	}
	return all
}

// inOrder lists each tag once.
func inOrder(tags []events.Tag) []events.Tag {
	once := map[events.Tag]bool{}
	for _, t := range tags {
		once[t] = true
	}
	return slices.SortedFunc(maps.Keys(once), func(a, b events.Tag) int {
		return strings.Compare(a.String(), b.String())
	})
}

// visit is a session that stores nothing: what is fetched on the way is kept for
// this reading alone.
type visit struct {
	at    fence.Glance
	parts map[string][]byte
	tags  []events.Tag
}

var _ cache.Session = (*visit)(nil)

// Stamp is the last number that was given out when the visit began, so that what is
// obtained now is at least as fresh.
func (v *visit) Stamp() cache.Stamp { return v.at.Stamp }

// Refused is never the case: nothing is stored that could be.
func (v *visit) Refused(string) bool { return false }

// Needs is as for a fetch.
func (v *visit) Needs(tags ...events.Tag) (n cache.Version) {
	for _, t := range tags {
		n = max(n, v.at.Needs(t))
	}
	return n
}

// Use notes the tags of something kept elsewhere.
func (v *visit) Use(_ string, _ cache.Stamp, tags ...events.Tag) { v.tags = append(v.tags, tags...) }

// Part fetches a part, once.
func (v *visit) Part(ctx context.Context, spec cache.PartSpec) ([]byte, error) {
	if data, ok := v.parts[spec.Name]; ok {
		return data, nil
	}
	data, err := spec.Fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("part %s: %w", spec.Name, err)
	}
	v.parts[spec.Name] = data
	v.tags = append(v.tags, spec.Tags...)
	return data, nil
}

// Standing is an entry that is alive.
type Standing struct {
	events.Ref
	Until time.Time
	// Read says whether it was read since it was stored, if Told: Redis must know.
	Read, Told bool
}

// Reached is what stands under some tags.
type Reached struct {
	// Standing are as many as were to be named, in the order of their names; Alive
	// counts all, and Bases by how they were learnt, empty where that is not known.
	Standing []Standing
	Alive    int
	Bases    map[string]int
	// Cut says that there was more than is looked at, so Alive is too low.
	Cut bool
}

// Reach tells what is alive under the tags, and names the first entries of it. It
// drops nothing and does not count as a reader.
func (f *Filler) Reach(ctx context.Context, h events.Home, named int, tags ...events.Tag) (Reached, error) {
	in, err := f.Store.Reach(ctx, h, tags...)
	if err != nil {
		return Reached{}, fmt.Errorf("%w: %w", ErrStore, err)
	}
	r := Reached{Alive: len(in.Standing), Bases: map[string]int{}, Cut: in.Cut}
	for i, s := range in.Standing {
		r.Bases[s.Basis]++
		if i < named {
			read := s.Told && s.Idle+readSlack < in.Clock.Sub(s.Stored)
			r.Standing = append(r.Standing, Standing{s.Ref, s.Until, read, s.Told})
		}
	}
	return r, nil
}

// Tags lists the tags whose change would drop an entry that stands.
func (f *Filler) Tags(ctx context.Context, ref events.Ref) ([]events.Tag, error) {
	tags, err := f.Store.Tags(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return tags, nil
}
