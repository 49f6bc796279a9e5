package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// Queue is what a worker needs of the refresh queue.
type Queue interface {
	EnqueueAll(ctx context.Context, tasks []stream.Task) (accepted int, err error)
	EnqueueAt(ctx context.Context, t stream.Task, at time.Time) (accepted bool, err error)
	BuryTask(ctx context.Context, t stream.Task, reason error) error
}

// Publisher stores a change in the stream.
type Publisher interface {
	Publish(ctx context.Context, c events.Change) (stream.Ack, error)
}

// Bounds of the worker.
const (
	// MaxDeliveries is after how many tries a change goes to the dead letters,
	// outages of Redis not counted.
	MaxDeliveries = 5
	// MaxAttempts is after how many tries a refresh does.
	MaxAttempts = 5
	// homesAtOnce is how many tenants of a batch are invalidated side by side.
	homesAtOnce = 8
	// queueLimit is how long the queue may take: what it does not, readers do.
	queueLimit = 2 * time.Second
)

// Worker applies changes and refreshes entries. Wait for it when it is given no
// more changes.
type Worker struct {
	Store  *fence.Store
	Filler *Filler
	Queue  Queue
	// Changes takes the corrections that a late provider causes; nil: none.
	Changes Publisher
	// Pause is the unit of the pauses, doubling, after which a change that Redis
	// refused comes again; zero means a second.
	Pause   time.Duration
	Metrics *Metrics
	Log     *slog.Logger

	asking sync.WaitGroup
}

// Wait returns when the refreshes of what was applied are queued, or given up:
// 2 s after the last Apply at the latest.
func (w *Worker) Wait() { w.asking.Wait() }

// Apply settles every message of a batch, or leaves it to come again. It does
// not wait for the queue: the next change must not either.
func (w *Worker) Apply(ctx context.Context, batch []stream.Message) {
	byHome := map[events.Home][]stream.Message{}
	for _, m := range batch {
		if m.DecodeErr != nil {
			w.bury(ctx, m, m.DecodeErr)
			continue
		}
		byHome[m.Change.Home] = append(byHome[m.Change.Home], m)
	}
	var g errgroup.Group
	g.SetLimit(homesAtOnce)
	for home, ms := range byHome {
		g.Go(func() error {
			w.applyHome(ctx, home, ms)
			return nil
		})
	}
	_ = g.Wait() // each home has dealt with its own errors
}

func (w *Worker) applyHome(ctx context.Context, home events.Home, ms []stream.Message) {
	start := time.Now()
	in, err := w.invalidate(ctx, home, ms)
	if errors.Is(err, fence.ErrReplicas) {
		w.unreplicated(ctx, home, ms, in, err)
		return
	}
	if err != nil && len(ms) > 1 && ctx.Err() == nil {
		for _, m := range ms { // what is refused for one must not bury the others
			w.applyHome(ctx, home, []stream.Message{m})
		}
		return
	}
	if err != nil {
		w.failed(ctx, ms, err)
		return
	}
	for _, m := range ms {
		if err := m.Ack(); err != nil {
			w.Log.WarnContext(ctx, "acknowledge", "sequence", m.Sequence, "error", err)
		}
		w.Metrics.applied(m.Change, time.Now())
	}
	w.Metrics.invalidated(home.Provider, len(in.Alive), time.Since(start))
	w.Log.InfoContext(ctx, "changes applied", "provider", home.Provider, "tenant", home.Tenant,
		"changes", len(ms), "change_id", ms[0].Change.ID, "sequence", ms[len(ms)-1].Sequence,
		"tags", describe(ms), "alive", len(in.Alive), "version", in.Number, "ms", time.Since(start).Milliseconds())
	w.refill(ctx, applied{home: home, ms: ms, in: in, at: time.Now()})
}

// refill tells what was done, and asks for a refresh of what was alive, beside the
// changes that follow.
func (w *Worker) refill(ctx context.Context, a applied) {
	if a.in.Drained {
		w.Log.WarnContext(ctx, "tenant drained", "provider", a.home.Provider, "tenant", a.home.Tenant,
			"reason", a.in.Why)
	}
	w.asking.Go(func() {
		of := blameOf(a.ms, a.in.Alive)
		w.record(a, of)
		w.enqueue(context.WithoutCancel(ctx), a.in.Alive, stream.Task{Low: lowly(a.ms)}, of.cause)
	})
}

// lowly says whether all that is told is that something may have been missed, or is
// told again: then nothing that is known to have changed has to wait for it.
func lowly(ms []stream.Message) bool {
	return !slices.ContainsFunc(ms, func(m stream.Message) bool {
		gap := m.Change.Source == events.Sweep && slices.Contains(m.Change.Tags, events.TenantTag)
		return !gap && m.Change.Source != events.Replay
	})
}

// replicaPause is after how long a change comes again that the replicas do not
// have yet.
const replicaPause = 2 * time.Second

// unreplicated gives back changes that are done on the primary alone. They are
// not held, so that those which follow revoke too; nor do they die of it.
func (w *Worker) unreplicated(
	ctx context.Context, home events.Home, ms []stream.Message, in fence.Invalidated, why error,
) {
	w.Log.WarnContext(ctx, "changes applied on the primary alone", "provider", home.Provider, "tenant", home.Tenant,
		"changes", len(ms), "change_id", ms[0].Change.ID, "sequence", ms[len(ms)-1].Sequence,
		"alive", len(in.Alive), "error", why)
	for _, m := range ms {
		w.Metrics.unreplicated(m.Change.Provider)
		if err := m.Nak(replicaPause); err != nil {
			w.Log.WarnContext(ctx, "give change back", "sequence", m.Sequence, "error", err)
		}
	}
	w.refill(ctx, applied{home, ms, in, time.Now(), "on the primary alone, it comes again: " + why.Error()})
}

// invalidate invalidates what a tenant's messages name between them, holding
// on while Redis is away.
func (w *Worker) invalidate(ctx context.Context, home events.Home, ms []stream.Message) (fence.Invalidated, error) {
	var tags []events.Tag
	seen := map[events.Tag]bool{}
	for _, m := range ms {
		for _, t := range m.Change.Tags {
			if !seen[t] {
				seen[t] = true
				tags = append(tags, t)
			}
		}
	}
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0)) // ends with ctx
	var all fence.Invalidated
	held := false
	err := backoff.RetryNotify(func() error {
		in, err := w.Store.Invalidate(ctx, home, tags...)
		all.Alive = append(all.Alive, in.Alive...)
		all.Number, all.Drained, all.Why = in.Number, all.Drained || in.Drained, all.Why+in.Why
		if errors.Is(err, fence.ErrReplicas) || err != nil && !Outage(err) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(policy, ctx), func(err error, _ time.Duration) {
		if !held {
			held = true
			w.Log.WarnContext(ctx, "redis is away, changes wait", "provider", home.Provider,
				"tenant", home.Tenant, "changes", len(ms), "error", err)
		}
		for _, m := range ms {
			_ = m.InProgress() // if this is lost it comes again, which is safe
		}
	})
	if err == nil && held {
		w.Log.InfoContext(ctx, "redis is back", "provider", home.Provider, "tenant", home.Tenant)
	}
	return all, err
}

// Outage says whether an error is Redis being away, or refusing for now, and
// not its word on this call: worth waiting for, however long it takes.
func Outage(err error) bool {
	var said redis.Error
	if errors.Is(err, fence.ErrReply) {
		return false
	}
	if !errors.As(err, &said) {
		return true // never got an answer
	}
	for _, prefix := range []string{
		"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "OOM", "BUSY", "NOAUTH", "WRONGPASS",
		"NOPERM", "NOREPLICAS", "MISCONF", "MOVED", "ASK", "UNBLOCKED", "ERR max number of clients",
	} {
		if strings.HasPrefix(said.Error(), prefix) {
			return true
		}
	}
	return false
}

// failed returns changes that Redis refused, or buries them after their tries.
func (w *Worker) failed(ctx context.Context, ms []stream.Message, err error) {
	for _, m := range ms {
		if ctx.Err() == nil && m.Deliveries >= MaxDeliveries {
			w.bury(ctx, m, err)
			continue
		}
		w.Metrics.retried(m.Change.Provider)
		if ctx.Err() == nil {
			w.Log.WarnContext(ctx, "change not applied", "change_id", m.Change.ID, "sequence", m.Sequence,
				"delivery", m.Deliveries, "error", err)
		}
		delay := time.Duration(0) // we are ending: somebody else may take it at once
		if ctx.Err() == nil {
			delay = cmp.Or(w.Pause, time.Second) << min(m.Deliveries, MaxDeliveries)
		}
		if err := m.Nak(delay); err != nil {
			w.Log.WarnContext(ctx, "give change back", "sequence", m.Sequence, "error", err)
		}
	}
}

func (w *Worker) bury(ctx context.Context, m stream.Message, reason error) {
	if err := m.Dead(ctx, reason); err != nil {
		w.Log.WarnContext(ctx, "bury", "sequence", m.Sequence, "error", err) // it comes again
		return
	}
	w.Metrics.buried(m.Change.Provider)
	w.changeDead(m, reason)
	w.Log.ErrorContext(ctx, "change is dead", "change_id", m.Change.ID, "sequence", m.Sequence, "reason", reason)
}

// enqueue asks for a refresh of what was alive, each with the task's rank and the
// reason that cause gives. What cannot be queued is only a miss to come.
func (w *Worker) enqueue(ctx context.Context, alive []fence.Alive, t stream.Task, cause func(fence.Alive) string) {
	now := time.Now()
	var tasks []stream.Task
	for _, a := range alive {
		if w.Filler.Readers(a.Home) != nil && a.Until.After(now) {
			t.Ref, t.Until, t.Asked, t.Reason = a.Ref, a.Until, now, cause(a)
			tasks = append(tasks, t)
		}
	}
	if len(tasks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, queueLimit)
	defer cancel()
	n, err := w.Queue.EnqueueAll(ctx, tasks)
	w.Metrics.enqueued(n, len(tasks)-n)
	if err != nil {
		w.Log.WarnContext(ctx, "refreshes not queued", "tasks", len(tasks), "accepted", n, "error", err)
	}
}

// Refresh fetches an entry again within the deadline of the one it replaces; a
// task that asks for a look confirms or renews an entry that stands.
func (w *Worker) Refresh(ctx context.Context, t stream.Task) {
	if !t.Until.After(time.Now()) {
		w.Metrics.refreshed(t.Provider, "expired")
		return
	}
	if t.Look {
		w.look(ctx, t)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, fence.LongestFetch)
	defer cancel()
	as := wish{limit: t.Until, purpose: cache.ForChange}
	if t.Low {
		as.purpose = cache.ForSweep
	}
	r, err := w.Filler.get(ctx, t.Ref, as)
	switch {
	case err == nil:
		w.Metrics.refreshed(t.Provider, outcomeOf(r, nil))
		w.Metrics.refreshLag(t.Provider, time.Since(t.Asked))
		w.refetched(t, r)
	case errors.Is(err, ErrNoReader), errors.Is(err, context.Canceled):
		w.Metrics.refreshed(t.Provider, "given_up")
	default:
		w.again(ctx, t, err)
	}
}

// again asks for the refresh later: when the provider says so, else after a
// growing pause; after its tries it is dead.
func (w *Worker) again(ctx context.Context, t stream.Task, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queueLimit)
	defer cancel()
	t.Attempt++
	at := time.Now().Add(pause(t.Attempt))
	switch until := retryAt(err); {
	case !until.IsZero():
		t.Attempt-- // it was not asked
		if soon := time.Now().Add(time.Second); until.Before(soon) {
			until = soon // a provider may name a time that is over, again and again
		}
		at = until.Add(rand.N(time.Second))
	case t.Attempt >= MaxAttempts:
		w.Metrics.refreshed(t.Provider, "dead")
		w.taskDead(t, err)
		if berr := w.Queue.BuryTask(ctx, t, err); berr != nil {
			w.Log.WarnContext(ctx, "bury refresh", "error", berr)
		}
		return
	}
	ok, qerr := w.Queue.EnqueueAt(ctx, t, at)
	outcome := "again"
	if !ok {
		outcome = "expired" // before it may be asked again; or one is waiting already
	}
	w.Metrics.refreshed(t.Provider, outcome)
	w.Log.DebugContext(ctx, "refresh", "provider", t.Provider, "tenant", t.Tenant, "subject", t.Subject,
		"outcome", outcome, "attempt", t.Attempt, "error", errors.Join(err, qerr))
}

// pause before attempt n, from 1: 2 s doubling, to 30 s, give or take a half.
func pause(n int) time.Duration {
	d := min(time.Second<<min(n, 5), 30*time.Second)
	return d/2 + rand.N(d)
}

// describe lists the first tags of a batch for a log line.
func describe(ms []stream.Message) string {
	var b strings.Builder
	n := 0
	for _, m := range ms {
		for _, t := range m.Change.Tags {
			if n++; n <= 5 {
				fmt.Fprintf(&b, "%s ", t)
			}
		}
	}
	if n > 5 {
		fmt.Fprintf(&b, "and %d more", n-5)
	}
	return strings.TrimSpace(b.String())
}
