package fence_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// The property: no read returns an answer fetched before a change that was
// applied before the read. The machine below runs fetches step by step, beside
// changes at the provider, notices in any order and number, lost keys, a
// flushed store, a clock that jumps, and fetchers that vanish.

const subjects = 2

// what an answer is computed from; a fact's value is a counter at the provider.
var (
	roleTag = events.RoleTag("7")
	facts   = []events.Tag{events.SubjectTag("0"), events.SubjectTag("1"), roleTag, events.AppTag}
)

type fetch struct {
	lease *fence.Lease
	seen  map[events.Tag]int // what was read, by tag
	used  []fence.Used
}

type kept struct { // a token, kept outside Redis
	value int
	stamp cache.Stamp
}

type machine struct {
	ctx     context.Context
	db      cachetest.DB
	store   *fence.Store
	keys    cache.Keys
	draw    func(n int) int
	steps   int
	stored  int
	now     time.Time
	real    bool // a real server: its clock cannot be driven
	truth   map[events.Tag]int
	applied map[events.Tag]int
	notices []events.Tag
	told    []int
	fetches [3]*fetch
	part    *fetch
	token   *kept
	// wounded is until when an index or the fence may be missing unnoticed: a
	// second loss on top is more than is promised to be survived.
	wounded time.Time
	log     []string
}

var errStale = errors.New("stale read")

func newMachine(ctx context.Context, db cachetest.DB, store *fence.Store, draw func(int) int) *machine {
	m := &machine{
		ctx: ctx, db: db, store: store, draw: draw, now: time.Now(), real: db.Mini == nil,
		truth: map[events.Tag]int{}, applied: map[events.Tag]int{},
	}
	if !m.real {
		db.Mini.SetTime(m.now)
	}
	return m
}

// run does n steps; an error that wraps errStale is the property violated.
func (m *machine) run(n int) error {
	if err := m.db.FlushAll(m.ctx).Err(); err != nil {
		return err
	}
	for range n {
		m.steps++
		if err := m.step(); err != nil {
			return fmt.Errorf("step %d: %w\n%s", m.steps, err, strings.Join(m.log, "\n"))
		}
		if err := m.check(); err != nil {
			return fmt.Errorf("step %d: %w\n%s", m.steps, err, strings.Join(m.log, "\n"))
		}
	}
	return nil
}

func (m *machine) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

// step draws one action; the early ones are drawn more often by rapid.
func (m *machine) step() error {
	actions := []func() error{
		m.begin, m.read, m.commit, m.useToken, m.change, m.apply, m.usePart, m.partStep, m.commit, m.begin,
		m.useToken, m.read, m.commit, m.apply, m.change, m.loseKey, m.begin, m.commit, m.usePart, m.partStep,
		m.vanish, m.flush,
	}
	if !m.real {
		actions = append(actions, m.wait, m.jump)
	}
	return actions[m.draw(len(actions))]()
}

func (m *machine) change() error {
	tag := facts[m.draw(len(facts))]
	m.truth[tag]++
	m.notices, m.told = append(m.notices, tag), append(m.told, m.truth[tag])
	m.note("change %s to %d", tag, m.truth[tag])
	return nil
}

// apply applies any notice, perhaps for the second time, perhaps late.
func (m *machine) apply() error {
	if len(m.notices) == 0 {
		return nil
	}
	i := m.draw(len(m.notices))
	tag := m.notices[i]
	in, err := m.store.Invalidate(m.ctx, home, tag)
	if err != nil {
		return err
	}
	if in.Drained {
		m.wounded = time.Time{}
	}
	m.applied[tag] = max(m.applied[tag], m.told[i])
	told := m.told[i]
	if m.draw(3) != 0 { // else it will come again
		m.notices = slices.Delete(m.notices, i, i+1)
		m.told = slices.Delete(m.told, i, i+1)
	}
	m.note("apply %s %d: number %d, %s", tag, told, in.Number, in.Why)
	return nil
}

func (m *machine) begin() error {
	i := slices.Index(m.fetches[:], nil)
	if i < 0 {
		return nil
	}
	s := m.draw(subjects)
	want := fence.Want{Now: m.draw(3) == 0}
	b, err := m.store.Begin(m.ctx, home, cache.EntryName(ref(strconv.Itoa(s))), want)
	if err != nil {
		return err
	}
	if b.Drained {
		m.wounded = time.Time{}
	}
	if b.Lease != nil {
		m.fetches[i] = &fetch{lease: b.Lease, seen: map[events.Tag]int{}}
		m.note("fetch %d begins for %d: number %d", i, s, b.Lease.Stamp.Number)
	}
	return nil
}

func subjectOf(f *fetch) events.Tag {
	return events.SubjectTag(events.Subject(strings.TrimPrefix(string(f.lease.Name), "e:")))
}

// pick draws one of the fetches that are ok; nil if none is.
func (m *machine) pick(ok func(*fetch) bool) (int, *fetch) {
	var fit []int
	for i, f := range m.fetches {
		if f != nil && ok(f) {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		return 0, nil
	}
	i := fit[m.draw(len(fit))]
	return i, m.fetches[i]
}

// lacking picks a fetch that has not read a tag's fact yet.
func (m *machine) lacking(tag func(*fetch) events.Tag) (int, *fetch) {
	return m.pick(func(f *fetch) bool {
		_, seen := f.seen[tag(f)]
		return !seen
	})
}

func (m *machine) read() error {
	i, f := m.lacking(subjectOf)
	if f == nil {
		return nil
	}
	f.seen[subjectOf(f)] = m.truth[subjectOf(f)]
	m.note("fetch %d reads %s = %d", i, subjectOf(f), f.seen[subjectOf(f)])
	return nil
}

// usePart takes the role's definition from a live part.
func (m *machine) usePart() error {
	i, f := m.lacking(func(*fetch) events.Tag { return roleTag })
	if f == nil {
		return nil
	}
	name := cache.PartName("role:7")
	b, err := m.store.Begin(m.ctx, home, name, fence.Want{})
	if err != nil {
		return err
	}
	if b.Drained {
		m.wounded = time.Time{}
	}
	if b.Lease != nil {
		m.part = &fetch{lease: b.Lease, seen: map[events.Tag]int{roleTag: m.truth[roleTag]}}
		m.note("part begins: number %d, reads %d", b.Lease.Stamp.Number, m.truth[roleTag])
	}
	if b.Live == nil {
		return nil
	}
	n, _ := strconv.ParseUint(b.Live["_version"], 10, 64)
	id, _ := strconv.ParseUint(b.Live["_fence"], 10, 64)
	f.seen[roleTag], _ = strconv.Atoi(b.Live["data"])
	f.used = append(f.used, fence.Used{
		Name: "role:7", Stamp: cache.Stamp{Number: cache.Version(n), Fence: cache.FenceID(id)}, Tags: []events.Tag{roleTag},
	})
	m.note("fetch %d takes part %s of %d", i, b.Live["data"], n)
	return nil
}

// partStep commits the part that is being fetched.
func (m *machine) partStep() error {
	if m.part == nil {
		return nil
	}
	p := m.part
	m.part = nil
	o, err := m.store.Commit(m.ctx, p.lease, fence.Fill{
		Fields: []string{"data", strconv.Itoa(p.seen[roleTag])}, Tags: []events.Tag{roleTag}, Life: cache.Ceiling,
	})
	m.note("part %d commits: %+v", p.seen[roleTag], o)
	return err
}

// useToken takes a token that is kept outside Redis, minting one if there is
// none.
func (m *machine) useToken() error {
	i, f := m.lacking(func(*fetch) events.Tag { return events.AppTag })
	if f == nil {
		return nil
	}
	if m.token == nil || m.draw(8) == 0 {
		m.token = &kept{m.truth[events.AppTag], f.lease.Stamp}
		m.note("fetch %d mints a token of %d", i, m.token.value)
	}
	f.seen[events.AppTag] = m.token.value
	f.used = append(f.used, fence.Used{Name: "token:service", Stamp: m.token.stamp, Tags: []events.Tag{events.AppTag}})
	return nil
}

func (m *machine) commit() error {
	i, f := m.pick(func(f *fetch) bool { return len(f.seen) > 0 })
	if f == nil {
		return nil
	}
	m.fetches[i] = nil
	fields := []string{"_covers", "permission", "_basis", "test"}
	for tag, v := range f.seen {
		fields = append(fields, string(cache.NewGrant(cache.Permission, tag.String())), strconv.Itoa(v))
	}
	o, err := m.store.Commit(m.ctx, f.lease, fence.Fill{
		Fields: fields, Tags: []events.Tag{subjectOf(f)}, Used: f.used, Life: time.Minute,
	})
	if strings.HasPrefix(o.Refused, "index") {
		m.wounded = time.Time{}
	}
	if o.Stored {
		m.stored++
	}
	m.note("fetch %d commits %v: %+v", i, f.seen, o)
	return err
}

// vanish is a fetcher that dies, or its lease that is given back.
func (m *machine) vanish() error {
	i, f := m.pick(func(*fetch) bool { return true })
	if f == nil {
		return nil
	}
	m.fetches[i] = nil
	m.note("fetch %d vanishes", i)
	if m.draw(4) != 0 {
		return m.store.Release(m.ctx, f.lease)
	}
	return nil
}

func (m *machine) loseKey() error {
	if m.draw(3) != 0 {
		return nil
	}
	all, err := m.db.Keys(m.ctx, "*").Result()
	if err != nil || len(all) == 0 {
		return err
	}
	key := all[m.draw(len(all))]
	if rest := strings.TrimPrefix(key, m.keys.Base(home)); rest == "f" || strings.HasPrefix(rest, "t:") {
		if !m.wounded.IsZero() {
			return nil
		}
		m.wounded = m.now
	}
	m.note("lose %s", key)
	return m.db.Del(m.ctx, key).Err()
}

func (m *machine) flush() error {
	if m.draw(6) != 0 {
		return nil
	}
	m.note("flush")
	m.wounded = time.Time{}
	return m.db.FlushAll(m.ctx).Err()
}

func (m *machine) wait() error {
	d := []time.Duration{time.Second, time.Second, 2 * time.Second, 20 * time.Second, 40 * time.Second, 6 * time.Minute}[m.draw(6)]
	m.now = m.now.Add(d)
	m.db.Mini.SetTime(m.now)
	m.db.Mini.FastForward(d)
	m.note("wait %s", d)
	return nil
}

func (m *machine) jump() error {
	if m.draw(2) == 0 {
		return nil
	}
	d := []time.Duration{-time.Second, -time.Minute, -10 * time.Minute, time.Minute, 10 * time.Minute}[m.draw(5)]
	m.now = m.now.Add(d)
	m.db.Mini.SetTime(m.now)
	m.note("jump %s", d)
	return nil
}

// check reads every entry as any program would.
func (m *machine) check() error {
	now := m.now
	if m.real {
		now = time.Now()
	}
	for s := range subjects {
		fields, err := m.db.HGetAll(m.ctx, m.keys.Entry(ref(strconv.Itoa(s)))).Result()
		if err != nil {
			return err
		}
		if len(fields) == 0 {
			continue
		}
		e, err := cache.Decode(fields)
		if err != nil {
			return err
		}
		if !cache.Usable(now, e.Until) {
			continue
		}
		for g, v := range e.Grants {
			tag, _ := events.ParseTag(g.Name())
			if got, _ := strconv.Atoi(v); got < m.applied[tag] {
				return fmt.Errorf("%w: subject %d shows %s = %d, a change to %d was applied", errStale, s, tag, got, m.applied[tag])
			}
		}
	}
	return nil
}

func openStore(t testing.TB, db cachetest.DB) *fence.Store {
	t.Helper()
	s, err := fence.Open(context.Background(), db.UniversalClient, cache.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNoStaleRead drives the machine by rapid, which shrinks what it finds.
func TestNoStaleRead(t *testing.T) {
	t.Parallel()
	db := cachetest.StandIn(t)
	store := openStore(t, db)
	steps, stored := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }
		m := newMachine(t.Context(), db, store, draw)
		if err := m.run(80); err != nil {
			rt.Fatal(err)
		}
		steps, stored = steps+m.steps, stored+m.stored
	})
	t.Logf("%d steps, %d entries stored", steps, stored)
	if stored < steps/200 {
		t.Error("too few entries were stored to prove anything")
	}
}

// runs is how many random runs of 80 steps a test does; RESCIND_RUNS raises it.
func runs(t *testing.T, usual int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("RESCIND_RUNS")); err == nil {
		return n
	}
	return usual
}

func randomDraw(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return r.IntN
}

// TestNoStaleReadOnRedis does the same on a real server, whose clock goes its
// own way.
func TestNoStaleReadOnRedis(t *testing.T) {
	t.Parallel()
	db := cachetest.Redis(t)
	store := openStore(t, db)
	steps, stored, n := 0, 0, runs(t, 200)
	for seed := range uint64(n) {
		m := newMachine(t.Context(), db, store, randomDraw(seed))
		if err := m.run(80); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		steps, stored = steps+m.steps, stored+m.stored
	}
	t.Logf("%d steps in %d runs, %d entries stored", steps, n, stored)
	if stored < steps/200 {
		t.Error("too few entries were stored to prove anything")
	}
}

// TestGuardsAreNeeded takes each guard away and expects a stale read: a guard
// that could go unnoticed would not be one.
func TestGuardsAreNeeded(t *testing.T) {
	t.Parallel()
	guards := map[string][]string{
		"the lease's nonce": {"held[1] ~= nonce", "not held[1]"},
		"the floor": {
			"own < h.floor", "false", "number < h.floor then return refuse", "false then return refuse",
			"number >= h.floor", "true", "or nil) or h.floor", "or nil) or 0",
		},
		"the fence's nonce": {
			"h.nonce ~= held[3]", "false", "made_by ~= h.nonce", "false", "f[4] == h.nonce", "true",
		},
		"the index's watch": {
			"kind ~= 'zset' and (kind ~= 'none' or tag.listed > 0)", "false", "or not listed then", "or true then",
		},
	}
	// Seeds that have found it before, so that the usual run is short.
	from := map[string]uint64{"the lease's nonce": 1360, "the index's watch": 240}
	for name, oldNew := range guards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := cachetest.StandIn(t)
			store, err := openStore(t, db).Without(oldNew...)
			if err != nil {
				t.Fatal(err)
			}
			steps := 0
			for i := range uint64(runs(t, 5_000)) {
				seed := i + from[name]
				m := newMachine(t.Context(), db, store, randomDraw(seed))
				err := m.run(80)
				steps += m.steps
				if errors.Is(err, errStale) {
					t.Logf("seed %d: a stale read after %d runs, %d steps", seed, i+1, steps)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Errorf("no stale read in %d steps", steps)
		})
	}
}
