package fence_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// The property: no read returns an answer fetched before a change that was
// applied before the read. The machine runs fetches step by step, beside
// changes at the provider, notices in any order and number, lost keys, a
// flushed store, a clock that jumps, fetchers that vanish, and failovers to a
// copy that lags. Others act between the scripts of one call, and a call may
// die there.

// subjects are more than a chunk holds, so that tags are dropped in turns.
const subjects = 3

// What an answer is computed from; a fact's value is a counter at the provider.
var (
	roles = []events.Tag{events.RoleTag("7"), events.RoleTag("8")}
	facts = []events.Tag{
		events.SubjectTag("0"), events.SubjectTag("1"), events.SubjectTag("2"), roles[0], roles[1],
		events.AppTag, events.TenantTag,
	}
)

type machine struct {
	ctx context.Context
	*site
	store *fence.Store
	keys  cache.Keys
	draw  func(n int) int
	// actions are what a step draws from.
	actions []func() error
	now     time.Time // what the stand-in's clock says

	truth   map[events.Tag]int // at the provider
	applied map[events.Tag]int // by an invalidation that returned without error
	durable map[events.Tag]int // by one that waited for the replica too
	notices []*notice
	fetches [3]*fetch
	parts   [2]*fetch // of the roles
	token   *kept

	loss    loss
	epoch   int                   // counts the failovers
	carried map[int]cache.Version // entries that came by a failover, until the drain; nil afterwards

	call   *call // the call of the store that is under way; nil between calls
	depth  int   // how many calls wait for it
	failed error
	count  tally
	log    []string
}

// tally is what a machine did.
type tally struct{ steps, stored, nested, crashes, failovers, inherited, recovered int }

func (t *tally) add(o tally) {
	t.steps += o.steps
	t.stored += o.stored
	t.nested += o.nested
	t.crashes += o.crashes
	t.failovers += o.failovers
	t.inherited += o.inherited
	t.recovered += o.recovered
}

func (t tally) String() string {
	return fmt.Sprintf("%d steps (%d between the scripts of a call), %d entries stored, %d crashes, "+
		"%d failovers with %d entries carried over, %d recoveries that drained",
		t.steps, t.nested, t.stored, t.crashes, t.failovers, t.inherited, t.recovered)
}

// loss is the index or fence that is missing, perhaps unnoticed: a second one
// on top is more than is promised to be survived. 0 is none.
type loss struct{ now, last, copied int }

// call is one call of the store, into whose scripts others may come.
type call struct {
	pinned            bool // to one connection
	scripts           int
	epoch, lossBefore int
}

var errStale = errors.New("stale read")

func newMachine(ctx context.Context, s *site, store *fence.Store, draw func(int) int) *machine {
	m := &machine{
		ctx: ctx, site: s, store: store, draw: draw, now: time.Now(),
		truth: map[events.Tag]int{}, applied: map[events.Tag]int{}, durable: map[events.Tag]int{},
	}
	if s.Mini != nil {
		s.Mini.SetTime(m.now)
	}
	return m
}

// run does n steps; an error that wraps errStale is the property violated.
func (m *machine) run(n int) error {
	if err := m.FlushAll(m.ctx).Err(); err != nil {
		return err
	}
	m.repertoire()
	m.hook.m = m
	defer func() { m.hook.m = nil }()
	for range n {
		m.one()
		if m.failed != nil {
			return fmt.Errorf("step %d: %w\n%s", m.count.steps, m.failed, strings.Join(m.log, "\n"))
		}
	}
	return nil
}

// one does a step and reads everything. The first thing that goes wrong stays.
func (m *machine) one() {
	m.count.steps++
	err := m.step()
	if err == nil || errors.Is(err, errCrashed) {
		err = m.check()
	}
	if m.failed == nil {
		m.failed = err
	}
}

func (m *machine) note(format string, args ...any) {
	m.log = append(m.log, strings.Repeat("    ", m.depth)+fmt.Sprintf(format, args...))
}

// rarely is true once in n, and never in what is shrunk to the least draws.
func (m *machine) rarely(n int) bool { return m.draw(n) == n-1 }

// repertoire draws what may happen in a run: all the work, and of the mishaps
// some, for where everything goes wrong little is stored that could be stale.
func (m *machine) repertoire() {
	m.actions = []func() error{
		m.begin, m.read, m.commit, m.change, m.apply, m.usePart, m.read, m.partStep, m.begin, m.read, m.commit,
		m.useToken, m.begin, m.read, m.commit, m.apply, m.partStep, m.usePart, m.begin, m.read, m.commit,
	}
	mishaps := []func() error{m.loseKey, m.vanish, m.flush, m.recover}
	if m.Mini != nil {
		mishaps = append(mishaps, m.wait, m.jump)
	}
	if m.copy != nil {
		mishaps = append(mishaps, m.lag, m.promote, m.promote)
	}
	for _, one := range mishaps {
		if m.rarely(2) {
			m.actions = append(m.actions, one)
		}
	}
}

// step draws one action; the early ones are drawn more often by rapid.
func (m *machine) step() error { return m.actions[m.draw(len(m.actions))]() }

// during runs a call of the store. An error is a crash if the primary was
// replaced meanwhile.
func (m *machine) during(pinned bool, do func() error) (*call, error) {
	outer := m.call
	c := &call{pinned: pinned, epoch: m.epoch, lossBefore: m.loss.now}
	m.call = c
	err := do()
	m.call = outer
	if err != nil && c.epoch != m.epoch {
		err = fmt.Errorf("%w: %w", errCrashed, err)
	}
	return c, err
}

// drained notes that a call has drained the tenant, or found it in order.
func (m *machine) drained(c *call, drained bool) {
	if drained && c.lossBefore == m.loss.now {
		m.loss.now = 0
	}
	if c.epoch == m.epoch {
		m.carried = nil
	}
}

// meddler lets the machine come between the scripts of a call.
type meddler struct {
	redis.Hook
	m *machine
}

func (*meddler) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		m := h.m
		if name := cmd.Name(); m == nil || m.call == nil || !strings.HasPrefix(name, "eval") && name != "wait" {
			return next(ctx, cmd)
		}
		err := m.between()
		if err == nil {
			if err = next(ctx, cmd); err != nil || !m.rarely(60) {
				return err
			}
			m.note("crash after %s", cmd.Name())
			m.count.crashes++
			err = errCrashed
		}
		cmd.SetErr(err)
		return err
	}
}

var errGone = errors.New("the connection is to the old primary")

// between lets others act before the next script of a call, and may end the
// caller there.
func (m *machine) between() error {
	c := m.call
	c.scripts++
	if c.scripts > 1 && m.depth < 2 {
		m.call = nil
		m.depth++
		for m.rarely(3) && m.failed == nil {
			m.count.nested++
			m.one()
		}
		m.depth--
		m.call = c
	}
	switch {
	case c.pinned && c.epoch != m.epoch:
		return errGone
	case m.rarely(60):
		m.note("crash")
		m.count.crashes++
		return errCrashed
	}
	return nil
}

// check reads every entry as any program would.
func (m *machine) check() error {
	for s := range subjects {
		fields, err := m.HGetAll(m.ctx, m.keys.Entry(ref(strconv.Itoa(s)))).Result()
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
		want := m.applied
		if v, ok := m.carried[s]; ok && v == e.Version {
			want = m.durable // all that a copy promises before it is drained
		}
		if err := m.judge(e, want); err != nil {
			return fmt.Errorf("%w by subject %d", err, s)
		}
	}
	return nil
}

// judge is errStale if an entry is usable and shows less than was applied.
func (m *machine) judge(e cache.Entry, applied map[events.Tag]int) error {
	if !cache.Usable(m.clock(), e.Until) {
		return nil
	}
	for g, v := range e.Grants {
		tag, err := events.ParseTag(g.Name())
		if err != nil {
			return err
		}
		if got, err := strconv.Atoi(v); err != nil || got < applied[tag] {
			return fmt.Errorf("%w: %s = %s, a change to %d was applied", errStale, tag, v, applied[tag])
		}
	}
	return nil
}

func (m *machine) clock() time.Time {
	if m.Mini == nil {
		return time.Now() // a real server: its clock cannot be driven
	}
	return m.now
}
