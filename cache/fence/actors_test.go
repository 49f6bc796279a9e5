package fence_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// Who acts in the machine: the provider, the workers, and the fetchers.

// notice says which facts changed, and to what; only the tags are sent.
type notice struct {
	tags []events.Tag
	told map[events.Tag]int
}

type fetch struct {
	lease *fence.Lease
	seen  map[events.Tag]int // what was read, by tag
	tags  []events.Tag       // of what was read in the fetch itself
	used  []fence.Used
}

type kept struct { // a token, kept outside Redis
	value int
	stamp cache.Stamp
}

func (m *machine) change() error {
	n := &notice{told: map[events.Tag]int{}}
	for range 1 + m.draw(3) {
		tag := facts[m.draw(len(facts))]
		if tag == events.TenantTag && !m.rarely(3) {
			continue
		}
		m.truth[tag]++
		n.told[tag] = m.truth[tag]
	}
	if len(n.told) == 0 {
		return nil
	}
	n.tags = slices.SortedFunc(maps.Keys(n.told), func(a, b events.Tag) int {
		return strings.Compare(a.String(), b.String())
	})
	m.notices = append(m.notices, n)
	m.note("change %v", n.told)
	return nil
}

// apply applies any notice, perhaps for the second time, perhaps late.
func (m *machine) apply() error {
	if len(m.notices) == 0 {
		return nil
	}
	n := m.notices[m.draw(len(m.notices))]
	store := *m.store
	if m.copy != nil && m.rarely(2) {
		store.Replicas, store.ReplicaWait = 1, 20*time.Millisecond
	}
	m.note("apply %v, for %d replicas", n.told, store.Replicas)
	var in fence.Invalidated
	c, err := m.during(store.Replicas > 0, func() (err error) {
		in, err = store.Invalidate(m.ctx, home, n.tags...)
		return err
	})
	m.note("applied: number %d, %s, %v", in.Number, in.Why, err)
	lonely := errors.Is(err, fence.ErrReplicas) && !errors.Is(err, errCrashed)
	if err != nil && !lonely {
		return err
	}
	raise(m.applied, n.told)
	if store.Replicas > 0 && !lonely {
		raise(m.durable, n.told)
	}
	m.drained(c, in.Drained)
	if !lonely && !m.rarely(3) { // else it will come again
		m.notices = slices.DeleteFunc(m.notices, func(o *notice) bool { return o == n })
	}
	return nil
}

func raise(to, by map[events.Tag]int) {
	for tag, v := range by {
		to[tag] = max(to[tag], v)
	}
}

// recover is what a worker does when it finds that Redis is another.
func (m *machine) recover() error {
	n := 0
	c, err := m.during(false, func() error {
		return m.store.Recover(m.ctx, func(events.Home, fence.Invalidated) { n++ })
	})
	m.note("recover: %d drained, %v", n, err)
	if err == nil {
		m.count.recovered += n
		m.drained(c, n > 0)
	}
	return err
}

// beginAt begins, and judges what it is handed.
func (m *machine) beginAt(n cache.Name, want fence.Want) (b fence.Begun, err error) {
	c, err := m.during(false, func() error {
		b, err = m.store.Begin(m.ctx, home, n, want)
		return err
	})
	if err != nil {
		m.note("begin %s: %v", n, err)
		return b, err
	}
	if b.Lease != nil {
		m.note("begin %s: number %d, drained %v", n, b.Lease.Stamp.Number, b.Drained)
		m.drained(c, b.Drained)
	}
	if b.Live == nil || !n.IsEntry() {
		return b, nil
	}
	e, err := cache.Decode(b.Live)
	if err == nil {
		err = m.judge(e, m.applied)
	}
	if err != nil {
		return b, fmt.Errorf("%w by begin of %s", err, n)
	}
	return b, nil
}

func (m *machine) begin() error {
	s := strconv.Itoa(m.draw(subjects))
	b, err := m.beginAt(cache.EntryName(ref(s)), fence.Want{Now: m.rarely(3)})
	if i := slices.Index(m.fetches[:], nil); i >= 0 && b.Lease != nil {
		m.fetches[i] = &fetch{lease: b.Lease, seen: map[events.Tag]int{}}
	}
	return err
}

// pick draws one of the fetches that lack what a tag stands for; nil if none
// does.
func (m *machine) pick(tag func(*fetch) events.Tag) (int, *fetch) {
	var fit []int
	for i, f := range m.fetches {
		if f == nil {
			continue
		}
		if _, seen := f.seen[tag(f)]; !seen {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		return 0, nil
	}
	i := fit[m.draw(len(fit))]
	return i, m.fetches[i]
}

func subjectOf(f *fetch) events.Tag {
	return events.SubjectTag(events.Subject(strings.TrimPrefix(string(f.lease.Name), "e:")))
}

func exactly(t events.Tag) func(*fetch) events.Tag { return func(*fetch) events.Tag { return t } }

// read reads the subject, or a role or the tenant, from the provider itself:
// which of them differs from fetch to fetch, and so do the entry's tags.
func (m *machine) read() error {
	which := [...]func(*fetch) events.Tag{
		subjectOf, exactly(roles[0]), subjectOf, exactly(roles[1]), exactly(events.TenantTag),
	}[m.draw(5)]
	i, f := m.pick(which)
	if f == nil {
		return nil
	}
	tag := which(f)
	f.seen[tag] = m.truth[tag]
	f.tags = append(f.tags, tag)
	m.note("fetch %d reads %s = %d", i, tag, f.seen[tag])
	return nil
}

// usePart takes a role's definition from a live part.
func (m *machine) usePart() error {
	r := m.draw(len(roles))
	tag := roles[r]
	i, f := m.pick(exactly(tag))
	if f == nil {
		return nil
	}
	b, err := m.beginAt(cache.PartName(tag.String()), fence.Want{})
	if err != nil {
		return err
	}
	if b.Lease != nil {
		m.parts[r] = &fetch{lease: b.Lease}
	}
	if _, seen := f.seen[tag]; b.Live == nil || seen { // another step read it meanwhile
		return nil
	}
	stamp, err := fence.StampOf(b.Live)
	if err != nil {
		return err
	}
	if f.seen[tag], err = strconv.Atoi(b.Live["data"]); err != nil {
		return err
	}
	f.used = append(f.used, fence.Used{Name: tag.String(), Stamp: stamp, Tags: []events.Tag{tag}})
	m.note("fetch %d takes part %s = %d of %d", i, tag, f.seen[tag], stamp.Number)
	if f.seen[tag] < m.applied[tag] {
		return fmt.Errorf("%w: part %s = %d, a change to %d was applied",
			errStale, tag, f.seen[tag], m.applied[tag])
	}
	return nil
}

// partStep reads, then commits a part that is being fetched.
func (m *machine) partStep() error {
	r := m.draw(len(roles))
	p, tag := m.parts[r], roles[r]
	if p == nil {
		return nil
	}
	if p.seen == nil {
		p.seen = map[events.Tag]int{tag: m.truth[tag]}
		m.note("part %s reads %d", tag, p.seen[tag])
		return nil
	}
	m.parts[r] = nil
	_, err := m.commitAs(p, fence.Fill{
		Fields: []string{"data", strconv.Itoa(p.seen[tag])}, Tags: []events.Tag{tag}, Life: cache.Ceiling,
	})
	return err
}

// useToken takes a token that is kept outside Redis, minting one if there is
// none.
func (m *machine) useToken() error {
	i, f := m.pick(exactly(events.AppTag))
	if f == nil {
		return nil
	}
	if m.token == nil || m.rarely(8) {
		m.token = &kept{m.truth[events.AppTag], f.lease.Stamp}
	}
	f.seen[events.AppTag] = m.token.value
	f.used = append(f.used, fence.Used{
		Name: "token:service", Stamp: m.token.stamp, Tags: []events.Tag{events.AppTag},
	})
	m.note("fetch %d uses the token of %d: %d", i, m.token.stamp.Number, m.token.value)
	return nil
}

func (m *machine) commit() error {
	i, f := m.pick(exactly(events.Tag{})) // any
	if f == nil || len(f.seen) == 0 {
		return nil
	}
	m.fetches[i] = nil
	fields := []string{"_covers", "permission", "_basis", "test"}
	for tag, v := range f.seen {
		fields = append(fields, string(cache.NewGrant(cache.Permission, tag.String())), strconv.Itoa(v))
	}
	life := [...]time.Duration{time.Minute, cache.MinLife, cache.Ceiling}[m.draw(3)]
	o, err := m.commitAs(f, fence.Fill{Fields: fields, Tags: f.tags, Used: f.used, Life: life})
	if o.Stored {
		m.count.stored++
	}
	return err
}

func (m *machine) commitAs(f *fetch, fill fence.Fill) (o fence.Outcome, err error) {
	c, err := m.during(false, func() error {
		o, err = m.store.Commit(m.ctx, f.lease, fill)
		return err
	})
	m.note("%s of %d commits %v: %+v, %v", f.lease.Name, f.lease.Stamp.Number, f.seen, o, err)
	if err == nil && strings.HasPrefix(o.Refused, "index") {
		m.drained(c, true)
	}
	return o, err
}

// vanish is a fetcher that dies, or its lease that is given back.
func (m *machine) vanish() error {
	i, f := m.pick(exactly(events.Tag{})) // any
	if f == nil {
		return nil
	}
	m.fetches[i] = nil
	m.note("fetch %d vanishes", i)
	if m.rarely(4) {
		return nil
	}
	return m.store.Release(m.ctx, f.lease)
}
