package mural

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/rescindhq/rescind/subscriptions"
)

const (
	// maxSkips is how many lists that cannot be read a poll passes over.
	maxSkips = 3
	// maxPassed is in how many sweeps on end a list may be passed over: from then
	// on no poll that finds nothing is a good one.
	maxPassed = 3
)

// passOver forgives that one list cannot be read, which must not hold up the
// others: it is compared in the next sweep.
func (s *sweep) passOver(ctx context.Context, list string, err error) error {
	var later *subscriptions.Later
	final := errors.As(err, &later) || errors.Is(err, errEnough) || errors.Is(err, errNoGrant) ||
		errors.Is(err, subscriptions.ErrMisconfigured) || ctx.Err() != nil
	if s.skips++; final || s.skips > maxSkips {
		return err
	}
	if s.c.Passing == nil {
		s.c.Passing = map[string]int{}
	}
	s.c.Passing[list] = s.c.Passed[list] + 1
	s.p.log.WarnContext(ctx, "list passed over by the poll", slog.String("list", list), slog.Any("error", err))
	return nil
}

// overdue is an error while a list was passed over in too many sweeps on end,
// until a sweep has read it.
func (c *cursor) overdue() error {
	for _, list := range slices.Sorted(maps.Keys(c.Passed)) {
		if n := c.Passed[list]; n >= maxPassed {
			return fmt.Errorf("the %.200q cannot be read: passed over in %d sweeps on end", list, n)
		}
	}
	return nil
}

// ahead is how far polls have come that found nothing and were errors, so that
// their cursor is not kept by anybody else. Whoever has not got it begins again at
// the cursor that was kept, and misses nothing.
type ahead struct {
	mu        sync.Mutex
	old, next []byte
}

// of is the cursor to go on from.
func (a *ahead) of(old []byte) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next != nil && bytes.Equal(a.old, old) {
		return a.next
	}
	return old
}

func (a *ahead) keep(old, next []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.old, a.next = bytes.Clone(old), next
}
