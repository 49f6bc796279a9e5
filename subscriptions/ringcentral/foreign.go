package ringcentral

import (
	"sync"
	"time"

	"github.com/rescindhq/rescind/events"
)

const (
	foreignLife = time.Hour
	foreignMax  = 20_000
)

// foreign remembers whose profile the service user may not read, so that the
// call is not wasted each time. It decides which calls are made and never
// what they say. Bounded: when full it forgets everything.
type foreign struct {
	mu    sync.Mutex
	until map[events.Subject]time.Time
}

func newForeign() *foreign { return &foreign{until: map[events.Subject]time.Time{}} }

func (f *foreign) knows(s events.Subject) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.until[s])
}

func (f *foreign) remember(s events.Subject) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.until) >= foreignMax {
		clear(f.until)
	}
	f.until[s] = time.Now().Add(foreignLife)
}
