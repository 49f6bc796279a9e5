package providertest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// memory is a vault in memory.
type memory struct {
	mu    sync.Mutex
	kept  map[string][]byte
	revs  map[string]uint64
	locks map[string]bool
}

func newMemory() *memory {
	return &memory{kept: map[string][]byte{}, revs: map[string]uint64{}, locks: map[string]bool{}}
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] == 0 {
		return nil, 0, subscriptions.ErrNoSecret
	}
	return bytes.Clone(m.kept[key]), m.revs[key], ctx.Err()
}

func (m *memory) Put(ctx context.Context, key string, value []byte, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] != revision {
		return subscriptions.ErrConflict
	}
	m.kept[key], m.revs[key] = bytes.Clone(value), revision+1
	return ctx.Err()
}

// Keep keeps it for longer than any test runs.
func (m *memory) Keep(ctx context.Context, key string, value []byte, revision uint64, _ time.Duration) error {
	return m.Put(ctx, key, value, revision)
}

func (m *memory) Lock(_ context.Context, key string, _ time.Duration) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[key] {
		return nil, subscriptions.ErrConflict
	}
	m.locks[key] = true
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, key)
	}), nil
}

// session is one fetch, which finds no part. It notes the tags of what was used.
type session struct {
	number cache.Version
	mu     sync.Mutex
	tags   []events.Tag
}

func (s *session) Stamp() cache.Stamp { return cache.Stamp{Number: s.number, Fence: 7} }

func (s *session) Part(ctx context.Context, spec cache.PartSpec) ([]byte, error) {
	s.note(spec.Tags)
	return spec.Fetch(ctx)
}

func (s *session) Use(_ string, _ cache.Stamp, tags ...events.Tag) { s.note(tags) }

func (s *session) note(tags []events.Tag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags = append(s.tags, tags...)
}

func (s *session) used() []events.Tag {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tags)
}

func (s *session) Needs(...events.Tag) cache.Version { return 0 }

func (s *session) Refused(string) bool { return false }
