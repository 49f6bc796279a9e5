package races

import (
	"context"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/cache/races/model"
)

// world is the Redis under a case, and what can befall it.
type world interface {
	// advance lets time pass until the case is so old.
	advance(age time.Duration)
	// clock is what a reader's clock shows.
	clock() time.Time
	// ages says whether keys expire by themselves as the case grows older.
	ages() bool
	lose(ctx context.Context, keys ...string) error
	jump(d time.Duration)
	fork()
	// failOver goes back to what was there at the fork; keys are the case's.
	failOver(ctx context.Context, keys []string) error
}

// modelled is a Redis in the process.
type modelled struct {
	server *model.Server
	seed   uint64
	age    time.Duration
	off    time.Duration // by how much its clock is wrong
	copy   model.Copy
	fails  int
}

// replid is the replication id after so many failovers of a case.
func replid(seed uint64, fails int) string {
	d := dice(seed)
	return fmt.Sprintf("%08x%016x%016x", d.draw(rollTrouble, 10+fails), seed, fails)
}

func (m *modelled) advance(age time.Duration) {
	m.age = age
	m.server.SetClock(m.clock().Add(m.off))
}

func (m *modelled) clock() time.Time { return epoch().Add(m.age) }
func (m *modelled) ages() bool       { return true }
func (m *modelled) fork()            { m.copy = m.server.Copy() }

func (m *modelled) jump(d time.Duration) {
	m.off += d
	m.advance(m.age)
}

func (m *modelled) lose(ctx context.Context, keys ...string) error {
	return m.server.Client().Del(ctx, keys...).Err()
}

func (m *modelled) failOver(context.Context, []string) error {
	m.fails++
	m.server.FailOver(m.copy, replid(m.seed, m.fails))
	return nil
}

// real is a tenant of a Redis elsewhere.
type real struct{ rdb Redis }

func (real) advance(time.Duration) {}
func (real) clock() time.Time      { return time.Now() }
func (real) ages() bool            { return false }
func (real) jump(time.Duration)    {}
func (real) fork()                 {}

func (r real) lose(ctx context.Context, keys ...string) error { return r.rdb.Del(ctx, keys...).Err() }

func (r real) failOver(ctx context.Context, keys []string) error { return r.lose(ctx, keys...) }
