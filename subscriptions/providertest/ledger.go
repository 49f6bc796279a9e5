package providertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// ledger is a budget that grants all, unless refuse says no, and keeps books.
type ledger struct {
	mu     sync.Mutex
	all    []*entry
	open   int // granted, and not done
	refuse error
}

// entry is one call that was granted.
type entry struct {
	*ledger
	lane  subscriptions.Lane
	dones int
	said  subscriptions.Said
}

func (l *ledger) Take(
	_ context.Context, lane subscriptions.Lane, _ subscriptions.Window,
) (subscriptions.Call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return nil, l.refuse
	}
	e := &entry{ledger: l, lane: lane}
	l.all = append(l.all, e)
	l.open++
	return e, nil
}

func (e *entry) Done(_ context.Context, said subscriptions.Said) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dones++
	e.said = said
	e.open--
}

// Life is none: there is no limit.
func (e *entry) Life() time.Duration { return 0 }

func (l *ledger) refusing(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = err
}

func (l *ledger) granted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// audit says what is wrong in the books, and counts what was sent.
func (l *ledger) audit(t testing.TB, provider string) (sent, penalties int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.dones != 1 {
			t.Errorf("budget: Done was called %d times for a call of %+v, want once", e.dones, e.lane)
		}
		if string(e.lane.Provider) != provider || e.lane.Identity == "" || e.lane.Group == "" {
			t.Errorf("budget: the lane %+v is not one of %s", e.lane, provider)
		}
		if !e.said.Unsent {
			sent++
		}
		if e.said.Penalty > 0 {
			penalties++
		}
	}
	return sent, penalties
}
