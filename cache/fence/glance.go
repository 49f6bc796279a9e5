package fence

import (
	"context"
	"fmt"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// Glance is a tenant's fence as it stood: enough to read a provider, not to
// store what it says.
type Glance struct {
	// Stamp is the last number that was given out; zero if no fence vouches for
	// the tenant.
	Stamp   cache.Stamp
	changed map[events.Tag]cache.Version
}

// Needs is [Lease.Needs], with the last number in place of the lease's.
func (g Glance) Needs(tag events.Tag) cache.Version { return needs(g.changed[tag], g.Stamp.Number) }

// Glance looks at a tenant's fence and the last changes of some tags. It writes
// nothing: no fence is made, no number given out, no lease taken.
func (s *Store) Glance(ctx context.Context, h events.Home, watch ...events.Tag) (Glance, error) {
	args := make([]any, len(watch))
	for i, t := range watch {
		args[i] = cache.TagName(t)
	}
	reply, err := s.scripts.glance.Run(ctx, s.rdb, []string{s.keys.Fence(h)}, args...).StringSlice()
	if err != nil {
		return Glance{}, fmt.Errorf("glance at %s: %w", h, err)
	}
	if len(reply) != 2 && len(reply) != 2+len(watch) {
		return Glance{}, fmt.Errorf("glance at %s: %w: %q", h, ErrReply, reply)
	}
	g := Glance{changed: map[events.Tag]cache.Version{}}
	g.Stamp = cache.Stamp{Number: cache.Version(number(reply[0])), Fence: cache.FenceID(number(reply[1]))}
	for i, text := range reply[2:] {
		g.changed[watch[i]] = cache.Version(number(text))
	}
	return g, nil
}
