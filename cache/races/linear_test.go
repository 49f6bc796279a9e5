package races_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/races"
	"github.com/rescindhq/rescind/cache/races/model"
	"github.com/rescindhq/rescind/events"
)

// What is done to one entry. The value of the fact behind it is the number of
// changes it has seen.
type (
	applied   struct{ change int }
	stored    struct{ value int } // output: whether it was
	looked    struct{}            // output: the value, or missing
	lost      struct{}            // it expired, was deleted, was flushed
	wentBack  struct{}            // Redis failed over to a copy that lags
	whatShows struct {
		applied int // the highest change that was applied
		entry   int // what the entry shows
	}
)

const (
	missing  = -1
	anything = -2 // what the copy had
)

// entryModel says what one entry may do, all at once: after a change was
// applied nothing older is stored or read. That an answer is missing is never
// wrong.
func entryModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return whatShows{0, missing} },
		Step: func(state, input, output any) (bool, any) {
			return advance(state.(whatShows), input, output)
		},
	}
}

func advance(s whatShows, input, output any) (bool, any) {
	switch in := input.(type) {
	case applied:
		return true, whatShows{max(s.applied, in.change), missing}
	case lost:
		return true, whatShows{s.applied, missing}
	case wentBack:
		return true, whatShows{s.applied, anything}
	case stored:
		if output == false {
			return true, s
		}
		return in.value >= s.applied, whatShows{s.applied, in.value}
	}
	value := output.(int)
	switch {
	case value == missing:
		return true, s
	case s.entry == anything:
		return value >= s.applied, whatShows{s.applied, value}
	}
	return value == s.entry && value >= s.applied, s
}

// recorder records what was done, and when by a monotonic clock.
type recorder struct {
	started time.Time
	mu      sync.Mutex
	history []porcupine.Operation
}

func (r *recorder) do(client int, input any, step func() (any, error)) error {
	call := time.Since(r.started)
	output, err := step()
	done := time.Since(r.started)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, porcupine.Operation{
		ClientId: client, Input: input, Call: int64(call), Output: output, Return: int64(done),
	})
	return err
}

func (r *recorder) check(t *testing.T) porcupine.CheckResult {
	t.Helper()
	return porcupine.CheckOperationsTimeout(entryModel(), r.history, 10*time.Second)
}

// scene is one entry, those who use it, and the fact behind it.
type scene struct {
	recorder
	rdb   races.Redis
	store *fence.Store
	home  events.Home
	names cache.Keys

	fact   sync.Mutex
	value  int
	copied sync.RWMutex // held to read by who applies: whether the copy has it
	behind bool
	missed []int
}

const width = "permission/A"

func newScene(t *testing.T, rdb races.Redis, home string) *scene {
	t.Helper()
	s := &scene{rdb: rdb, home: events.Home{Provider: "races", Tenant: events.Tenant(home)}}
	s.started = time.Now()
	var err error
	if s.store, err = fence.Open(t.Context(), rdb, s.names); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) key() string { return s.names.Named(s.home, "e:1") }

func (s *scene) now() int {
	s.fact.Lock()
	defer s.fact.Unlock()
	return s.value
}

func (s *scene) change() int {
	s.fact.Lock()
	defer s.fact.Unlock()
	s.value++
	return s.value
}

// apply applies a change. While the copy is behind it only drops the entry,
// and the change comes again.
func (s *scene) apply(ctx context.Context, client, change int) error {
	s.copied.RLock()
	defer s.copied.RUnlock()
	var input any = applied{change}
	if s.behind {
		input = lost{}
		s.fact.Lock()
		s.missed = append(s.missed, change)
		s.fact.Unlock()
	}
	return s.do(client, input, func() (any, error) {
		_, err := s.store.Invalidate(ctx, s.home, events.SubjectTag("1"))
		return nil, err
	})
}

func (s *scene) begin(ctx context.Context) (*fence.Lease, error) {
	b, err := s.store.Begin(ctx, s.home, "e:1", fence.Want{Now: true})
	return b.Lease, err
}

func (s *scene) commit(ctx context.Context, client int, l *fence.Lease, value int) error {
	return s.do(client, stored{value}, func() (any, error) {
		o, err := s.store.Commit(ctx, l, fence.Fill{
			Fields: []string{"_covers", "permission", width, strconv.Itoa(value)}, Life: time.Minute,
		})
		return o.Stored, err
	})
}

func (s *scene) read(ctx context.Context, client int) error {
	return s.do(client, looked{}, func() (any, error) {
		got, err := s.rdb.HMGet(ctx, s.key(), width).Result()
		if err != nil || got[0] == nil {
			return missing, err
		}
		return strconv.Atoi(got[0].(string))
	})
}

func (s *scene) lose(ctx context.Context, client int) error {
	return s.do(client, lost{}, func() (any, error) { return nil, s.rdb.Del(ctx, s.key()).Err() })
}

// worker is somebody who does one thing so many times.
type worker struct {
	times int
	do    func(ctx context.Context, client int) error
}

// together lets them work at the same time.
func (s *scene) together(t *testing.T, workers ...worker) {
	t.Helper()
	var wg sync.WaitGroup
	for client, w := range workers {
		wg.Go(func() {
			for range w.times {
				if err := w.do(t.Context(), client); err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
}

func (s *scene) fetch(ctx context.Context, client int) error {
	l, err := s.begin(ctx)
	if err != nil || l == nil {
		return err
	}
	runtime.Gosched()
	value := s.now()
	runtime.Gosched()
	return s.commit(ctx, client, l, value)
}

func (s *scene) notice(ctx context.Context, client int) error {
	return s.apply(ctx, client, s.change())
}

// cast is who uses an entry: fetchers, appliers, readers, an expirer.
func (s *scene) cast() []worker {
	return []worker{
		{8, s.fetch}, {8, s.fetch}, {8, s.fetch}, {4, s.notice}, {4, s.notice},
		{12, s.read}, {12, s.read}, {2, s.lose},
	}
}

// tally adds up what the histories show, so that none of them is empty talk.
func tally(into map[string]int, history []porcupine.Operation) {
	for _, o := range history {
		vain := o.Output == false || o.Output == missing
		into[strings.TrimPrefix(fmt.Sprintf("%T %t", o.Input, !vain), "races_test.")]++
	}
}

func (s *scene) mustHold(t *testing.T, seen map[string]int) {
	t.Helper()
	tally(seen, s.history)
	if got := s.check(t); got != porcupine.Ok {
		for _, o := range s.history {
			t.Logf("%d-%d client %d: %T%v: %v", o.Call, o.Return, o.ClientId, o.Input, o.Input, o.Output)
		}
		t.Fatalf("the history is %s", got)
	}
}

// On a real Redis, all at once; in half of the histories it is flushed.
func TestLinearizableOnRedis(t *testing.T) {
	t.Parallel()
	db := cachetest.Redis(t)
	seen := map[string]int{}
	for i := range 60 {
		s := newScene(t, db.UniversalClient, strconv.Itoa(i))
		who := s.cast()
		if i%2 == 0 {
			who = append(who, worker{2, func(ctx context.Context, client int) error {
				return s.do(client, lost{}, func() (any, error) { return nil, db.FlushAll(ctx).Err() })
			}})
		}
		s.together(t, who...)
		s.mustHold(t, seen)
	}
	t.Log(seen)
	if seen["stored true"] == 0 || seen["looked true"] == 0 {
		t.Error("too little was stored or read to prove anything")
	}
}

// On the model, where Redis can fail over to a copy that lags.
func TestLinearizableOverFailover(t *testing.T) {
	t.Parallel()
	server := model.New(time.Now(), fmt.Sprintf("%040d", 0))
	defer server.Close()
	seen := map[string]int{}
	for i := range 100 {
		server.Reset(time.Now(), fmt.Sprintf("%020d%020d", i, 0))
		s := newScene(t, server.Client(), "failover")
		s.together(t, append(s.cast(), worker{1, func(ctx context.Context, client int) error {
			return s.failOver(ctx, client, server, fmt.Sprintf("%020d%020d", i, 1))
		}})...)
		s.mustHold(t, seen)
	}
	t.Log(seen)
	if seen["stored true"] == 0 || seen["looked true"] == 0 || seen["wentBack true"] != 100 {
		t.Error("too little happened to prove anything")
	}
}

// failOver lets the copy fall behind, and some time later makes it the server.
func (s *scene) failOver(ctx context.Context, client int, server *model.Server, id string) error {
	for range 10 {
		runtime.Gosched()
	}
	s.copied.Lock()
	s.behind = true
	to := server.Copy()
	s.copied.Unlock()
	for range 20 {
		runtime.Gosched()
	}
	s.copied.Lock()
	err := s.do(client, wentBack{}, func() (any, error) {
		server.FailOver(to, id)
		return nil, nil
	})
	s.behind = false
	missed := s.missed
	s.copied.Unlock()
	for _, change := range missed {
		if err := s.apply(ctx, client, change); err != nil {
			return err
		}
	}
	return err
}

// inFlight is the race itself: a change is applied between the fetch and the
// commit.
func (s *scene) inFlight(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	l, err := s.begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	value := s.now()
	for _, step := range []func() error{
		func() error { return s.notice(ctx, 1) },
		func() error { return s.commit(ctx, 0, l, value) },
		func() error { return s.read(ctx, 2) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// The checker finds what it should: with the fence the race is harmless,
// without its comparison it is not, and neither is cache-aside.
func TestTheCheckerCanFail(t *testing.T) {
	t.Parallel()
	server := model.New(time.Now(), fmt.Sprintf("%040d", 0))
	defer server.Close()
	fenced := newScene(t, server.Client(), "fenced")
	fenced.inFlight(t)
	if got := fenced.check(t); got != porcupine.Ok {
		t.Errorf("with the fence the history is %s", got)
	}
	rdb := races.Edited(server.Client(), without(t, []string{"if stamp > tag.number then", "if false then"}))
	open := newScene(t, rdb, "open")
	open.inFlight(t)
	if got := open.check(t); got != porcupine.Illegal {
		t.Errorf("without the comparison the history is %s", got)
	}
	aside := &recorder{started: time.Now()}
	for _, step := range asideInFlight(t.Context(), server.Client()) {
		if err := aside.do(0, step.input, step.do); err != nil {
			t.Fatal(err)
		}
	}
	if got := aside.check(t); got != porcupine.Illegal {
		t.Errorf("cache-aside's history is %s", got)
	}
}

type step struct {
	input any
	do    func() (any, error)
}

// asideInFlight is the same race with GET, SET and DEL.
func asideInFlight(ctx context.Context, rdb races.Redis) []step {
	return []step{
		{applied{1}, func() (any, error) { return nil, rdb.Del(ctx, "aside").Err() }},
		{stored{0}, func() (any, error) { return true, rdb.Set(ctx, "aside", "0", time.Minute).Err() }},
		{looked{}, func() (any, error) { return rdb.Get(ctx, "aside").Int() }},
	}
}
