package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

const (
	ahead       = 2 * time.Minute  // a token is replaced this long before its end
	lastCall    = 15 * time.Second // one with less left is not used at all
	lockLife    = 45 * time.Second // outlasts mintLimit
	mintLimit   = 40 * time.Second
	unknownLife = cache.Ceiling // life of a token that does not tell its own
)

// ErrNoToken, wrapped by what [Ring.Mint] returns, says that there is none for
// this subject, which no waiting changes.
var ErrNoToken = errors.New("no token for this subject")

// Token is an access token with what was said of it.
type Token struct {
	Access subscriptions.Secret
	// Scopes as granted, not closed; nil: not told.
	Scopes  []string
	Expires time.Time
	// Identity is whose limits it uses.
	Identity string
	// Stamp is of the session under which it was minted; zero: of none.
	Stamp cache.Stamp
}

// kept is how a token lies in the vault, which seals it.
type kept struct {
	Access   string      `json:"access"`
	Scopes   []string    `json:"scopes"`
	Expires  time.Time   `json:"expires"`
	Identity string      `json:"identity"`
	Stamp    cache.Stamp `json:"stamp"`
}

// Ring is one place in the vault, and how to fill it.
type Ring struct {
	Key  string
	Name string // in a session and in logs: token:service
	Tags []events.Tag
	// Mint obtains a new one. It runs under a lock of the whole fleet.
	Mint func(context.Context) (Token, error)
	// Turn, of one place, keeps others of this process from wanting the same; nil:
	// there are none.
	Turn chan struct{}
}

// obtain returns the vault's token if it will do, else mints one. If that
// fails, a token near its end is used up.
func (c *Client) obtain(ctx context.Context, r Ring, at cache.Stamp, ok func(Token) bool) (Token, error) {
	old, _, err := c.load(ctx, r)
	if err != nil {
		return Token{}, err
	}
	if old.lasts(ahead) && ok(old) {
		return old, nil
	}
	t, err := c.renew(ctx, r, at, ok)
	if err != nil && old.lasts(lastCall) && ok(old) && !errors.Is(err, ErrNoToken) {
		c.log.WarnContext(ctx, "token not renewed", slog.String("token", r.Name),
			slog.Duration("left", time.Until(old.Expires)), slog.Any("error", err))
		return old, nil
	}
	return t, err
}

func (t Token) lasts(d time.Duration) bool { return time.Until(t.Expires) > d }

// renew mints under the fleet's lock; whoever does not get it waits for what
// its holder puts into the vault.
func (c *Client) renew(ctx context.Context, r Ring, at cache.Stamp, ok func(Token) bool) (Token, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mintLimit, errors.New("token not obtained in time"))
	defer cancel()
	if r.Turn != nil {
		select {
		case r.Turn <- struct{}{}:
			defer func() { <-r.Turn }()
		case <-ctx.Done():
			return Token{}, fmt.Errorf("wait for %s: %w", r.Name, context.Cause(ctx))
		}
	}
	for {
		t, err := c.underLock(ctx, r, at, ok)
		if !errors.Is(err, subscriptions.ErrConflict) {
			return t, err
		}
		if err := pause(ctx, 50*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
			return Token{}, fmt.Errorf("wait for %s: %w", r.Name, err)
		}
	}
}

// underLock returns ErrConflict while somebody else mints, or was faster.
func (c *Client) underLock(
	ctx context.Context, r Ring, at cache.Stamp, ok func(Token) bool,
) (Token, error) {
	if t, _, err := c.load(ctx, r); err != nil || t.lasts(ahead) && ok(t) {
		return t, err
	}
	unlock, err := c.vault.Lock(ctx, r.Key+"/lock", lockLife)
	if err != nil {
		return Token{}, fmt.Errorf("lock %s: %w", r.Name, err)
	}
	defer unlock()
	t, revision, err := c.load(ctx, r) // again: the last holder may have just left
	if err != nil || t.lasts(ahead) && ok(t) {
		return t, err
	}
	if t, err = r.Mint(ctx); err != nil {
		return Token{}, err
	}
	if t.Expires.IsZero() {
		t.Expires = time.Now().Add(unknownLife)
	}
	t.Stamp = at
	return t, c.store(ctx, r, t, revision)
}

// load reads the vault. What is not there, or cannot be read, is no token.
func (c *Client) load(ctx context.Context, r Ring) (Token, uint64, error) {
	b, revision, err := c.vault.Get(ctx, r.Key)
	if errors.Is(err, subscriptions.ErrNoSecret) {
		if revision != 0 {
			c.log.WarnContext(ctx, "token in the vault cannot be opened, a new one replaces it",
				slog.String("token", r.Name), slog.Any("error", err))
		}
		return Token{}, revision, nil
	}
	if err != nil {
		return Token{}, 0, fmt.Errorf("read %s from the vault: %w", r.Name, err)
	}
	var k kept
	if json.Unmarshal(b, &k) != nil || k.Access == "" {
		c.log.WarnContext(ctx, "unreadable token in the vault", slog.String("token", r.Name))
		return Token{}, revision, nil
	}
	return Token{subscriptions.NewSecret(k.Access), k.Scopes, k.Expires, k.Identity, k.Stamp}, revision, nil
}

func (c *Client) store(ctx context.Context, r Ring, t Token, revision uint64) error {
	b, err := json.Marshal(kept{t.Access.Reveal(), t.Scopes, t.Expires, t.Identity, t.Stamp})
	if err != nil {
		return fmt.Errorf("write %s: %w", r.Name, err)
	}
	err = c.vault.Put(ctx, r.Key, b, revision)
	if errors.Is(err, subscriptions.ErrConflict) {
		// The lock ended before us and another has stored its token: both work.
		c.log.WarnContext(ctx, "token not stored, another was faster", slog.String("token", r.Name))
		return nil
	}
	if err != nil {
		return fmt.Errorf("put %s into the vault: %w", r.Name, err)
	}
	return nil
}
