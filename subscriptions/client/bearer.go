package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/rescindhq/rescind/cache"
)

// Bearer gives the token to the calls of one errand: a registration, or a
// session's reading. It is safe for concurrent use and remembers what it gave.
type Bearer struct {
	c     *Client
	ring  Ring
	stamp cache.Stamp // for a token minted on the way; zero: no session
	ok    func(Token) bool

	mu       sync.Mutex
	now      Token
	used     []Token
	replaced bool // once: a vendor that refuses each token gets no more of them
}

// Registering is a bearer without a session: any token will do.
func (c *Client) Registering(r Ring) *Bearer {
	return &Bearer{c: c, ring: r, ok: func(Token) bool { return true }}
}

// Reading is a bearer whose tokens can stand in the session's answer: minted
// under a session of the same fence, and not refused before.
func (c *Client) Reading(r Ring, s cache.Session) *Bearer {
	stamp, least := s.Stamp(), s.Needs(r.Tags...)
	b := &Bearer{c: c, ring: r, stamp: stamp}
	b.ok = func(t Token) bool { return b.fits(t) && t.Stamp.Number >= least && !s.Refused(t.name(r)) }
	return b
}

// name is unique to the token, so that its refusal does not hit the next one.
func (t Token) name(r Ring) string {
	return fmt.Sprintf("%s@%d.%d", r.Name, t.Stamp.Fence, t.Stamp.Number)
}

// fits says whether the token's number can be compared with the session's.
func (b *Bearer) fits(t Token) bool {
	return b.stamp == cache.Stamp{} || t.Stamp.Number != 0 && t.Stamp.Fence == b.stamp.Fence
}

// Confess tells the session which tokens went into its answer.
func (b *Bearer) Confess(s cache.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.used {
		s.Use(t.name(b.ring), t.Stamp, b.ring.Tags...)
	}
}

// Token is the one in use, obtained if there is none.
func (b *Bearer) Token(ctx context.Context) (Token, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.now.Access.Empty() {
		return b.now, nil
	}
	return b.take(ctx, b.ok)
}

// Spare is a bearer of the token that lies in the vault, if it still works but
// cannot stand in the session's answer; nil if there is none, or if b's own is at
// hand. It serves calls whose replies do not depend on when the token was minted,
// while b obtains another.
func (b *Bearer) Spare(ctx context.Context) *Bearer {
	t, _, err := b.c.load(ctx, b.ring)
	if err != nil || !t.lasts(ahead) || b.ok(t) {
		return nil
	}
	spare := b.c.Registering(b.ring)
	spare.now = t
	return spare
}

// replace gives another token than the one that was refused for that reason,
// but no third. It asks the session nothing, since it may run inside the fetch of
// one of its parts.
func (b *Bearer) replace(ctx context.Context, dead Token, reason error) (Token, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now.Access != dead.Access {
		return b.now, nil
	}
	if b.replaced {
		return Token{}, reason
	}
	b.replaced = true
	return b.take(ctx, func(t Token) bool { return t.Access != dead.Access && b.fits(t) })
}

// Scopes are those of the token in use; nil: not told.
func (b *Bearer) Scopes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now.Scopes
}

func (b *Bearer) take(ctx context.Context, ok func(Token) bool) (Token, error) {
	t, err := b.c.obtain(ctx, b.ring, b.stamp, ok)
	if err != nil {
		return Token{}, err
	}
	b.now, b.used = t, append(b.used, t)
	return t, nil
}
