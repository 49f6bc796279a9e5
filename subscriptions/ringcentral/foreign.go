package ringcentral

import (
	"sync"
	"time"

	"github.com/rescindhq/rescind/events"
)

const (
	foreignLife = time.Hour
	foreignMax  = 20_000
	// foreignAll is after how many refusals of others' profiles, with none allowed
	// between them, no other is tried for a foreignLife: the vendor's description
	// has it that no other extension's can be read.
	foreignAll = 3
)

// foreign remembers whose profile the service user may not read, so that the
// call is not wasted each time. It decides which calls are made and never
// what they say. Bounded: when full it forgets everything.
type foreign struct {
	mu    sync.Mutex
	until map[events.Subject]time.Time
	inRow int       // refusals because they are others'
	all   time.Time // until when all are taken for refused
}

func newForeign() *foreign { return &foreign{until: map[events.Subject]time.Time{}} }

func (f *foreign) knows(s events.Subject) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	return now.Before(f.all) || now.Before(f.until[s])
}

// judged notes whether the profile of another could be read.
func (f *foreign) judged(allowed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inRow++; allowed {
		f.inRow = 0
	}
	if f.inRow >= foreignAll {
		f.inRow, f.all = 0, time.Now().Add(foreignLife)
	}
}

func (f *foreign) remember(s events.Subject) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.until) >= foreignMax {
		clear(f.until)
	}
	f.until[s] = time.Now().Add(foreignLife)
}
