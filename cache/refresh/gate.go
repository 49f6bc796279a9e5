package refresh

import (
	"sync"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// gate lets one fetch of an entry through and has the others wait for it.
type gate struct {
	mu  sync.Mutex
	now map[events.Ref]*flight
}

// flight is one fetch. Its fields are set before done is closed.
type flight struct {
	done   chan struct{}
	as     cache.Purpose
	began  time.Time
	result Result
	err    error
}

// enter returns the flight of an entry, and whether the caller is to fly it.
func (g *gate) enter(r events.Ref, as cache.Purpose) (*flight, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.now[r]; ok {
		return f, false
	}
	if g.now == nil {
		g.now = map[events.Ref]*flight{}
	}
	f := &flight{done: make(chan struct{}), as: as}
	g.now[r] = f
	return f, true
}

func (g *gate) leave(r events.Ref, f *flight) {
	g.mu.Lock()
	delete(g.now, r)
	g.mu.Unlock()
	close(f.done)
}
