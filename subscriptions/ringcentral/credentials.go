package ringcentral

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

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

	grantJWT      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeSubject   = "urn:rescindhq:token-type:subject-id"
)

// errNoToken says that the exchange endpoint has no token for this subject.
var errNoToken = errors.New("no token for this subject")

// token is an access token with what was said of it.
type token struct {
	access   subscriptions.Secret
	scopes   []string // as granted, not closed; nil: not told
	expires  time.Time
	identity string      // whose limits it uses
	stamp    cache.Stamp // of the session it was minted under; zero: of none
}

// kept is how a token lies in the vault, which seals it.
type kept struct {
	Access   string      `json:"access"`
	Scopes   []string    `json:"scopes"`
	Expires  time.Time   `json:"expires"`
	Identity string      `json:"identity"`
	Stamp    cache.Stamp `json:"stamp"`
}

// ring is one place in the vault, and how to fill it.
type ring struct {
	key  string
	name string // in a session: token:service
	tags []events.Tag
	mint func(context.Context) (token, error)
	turn chan struct{} // nil: no other in this process wants the same
}

func (p *Provider) serviceRing() ring {
	return ring{key: p.vaultKey("service"), name: "token:service", tags: []events.Tag{events.AppTag},
		mint: p.mintService, turn: p.turn}
}

func (p *Provider) subjectRing(s events.Subject) ring {
	return ring{key: p.vaultKey("subject", string(s)), name: "token:subject:" + string(s),
		tags: []events.Tag{events.AppTag, events.SubjectTag(s)},
		mint: func(ctx context.Context) (token, error) { return p.mintSubject(ctx, s) }}
}

func (p *Provider) vaultKey(parts ...string) string {
	key := events.Escape(string(p.home.Provider)) + "/" + events.Escape(string(p.home.Tenant))
	for _, part := range parts {
		key += "/" + events.Escape(part)
	}
	return key
}

// bearer gives the token to the calls of one errand: a registration, or a
// session's reading. It is safe for concurrent use and remembers what it gave.
type bearer struct {
	p     *Provider
	ring  ring
	stamp cache.Stamp // for a token minted on the way; zero: no session
	ok    func(token) bool

	mu   sync.Mutex
	now  token
	used []token
}

// registering is a bearer without a session: any token will do.
func (p *Provider) registering() *bearer {
	return &bearer{p: p, ring: p.serviceRing(), ok: func(token) bool { return true }}
}

// reading is a bearer whose tokens can stand in the session's answer: minted
// under a session of the same fence, and not refused before.
func (p *Provider) reading(r ring, s cache.Session) *bearer {
	stamp, least := s.Stamp(), s.Needs(r.tags...)
	b := &bearer{p: p, ring: r, stamp: stamp}
	b.ok = func(t token) bool { return b.fits(t) && t.stamp.Number >= least && !s.Refused(t.name(r)) }
	return b
}

// name is unique to the token, so that its refusal does not hit the next one.
func (t token) name(r ring) string {
	return fmt.Sprintf("%s@%d.%d", r.name, t.stamp.Fence, t.stamp.Number)
}

// fits says whether the token's number can be compared with the session's.
func (b *bearer) fits(t token) bool {
	return b.stamp == cache.Stamp{} || t.stamp.Number != 0 && t.stamp.Fence == b.stamp.Fence
}

// confess tells the session which tokens went into its answer.
func (b *bearer) confess(s cache.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.used {
		s.Use(t.name(b.ring), t.stamp, b.ring.tags...)
	}
}

func (b *bearer) token(ctx context.Context) (token, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.now.access.Empty() {
		return b.now, nil
	}
	return b.take(ctx, b.ok)
}

// replace gives another token than the one that was refused. It asks the
// session nothing, since it may run inside the fetch of one of its parts.
func (b *bearer) replace(ctx context.Context, dead token) (token, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now.access != dead.access {
		return b.now, nil
	}
	return b.take(ctx, func(t token) bool { return t.access != dead.access && b.fits(t) })
}

// scopes are those of the token in use; nil: not told.
func (b *bearer) scopes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now.scopes
}

func (b *bearer) take(ctx context.Context, ok func(token) bool) (token, error) {
	t, err := b.p.obtain(ctx, b.ring, b.stamp, ok)
	if err != nil {
		return token{}, err
	}
	b.now, b.used = t, append(b.used, t)
	return t, nil
}

// obtain returns the vault's token if it will do, else mints one. If that
// fails, a token near its end is used up.
func (p *Provider) obtain(ctx context.Context, r ring, at cache.Stamp, ok func(token) bool) (token, error) {
	old, _, err := p.load(ctx, r)
	if err != nil {
		return token{}, err
	}
	if old.lasts(ahead) && ok(old) {
		return old, nil
	}
	t, err := p.renew(ctx, r, at, ok)
	if err != nil && old.lasts(lastCall) && ok(old) && !errors.Is(err, errNoToken) {
		p.log.WarnContext(ctx, "token not renewed", slog.String("token", r.name),
			slog.Duration("left", time.Until(old.expires)), slog.Any("error", err))
		return old, nil
	}
	return t, err
}

func (t token) lasts(d time.Duration) bool { return time.Until(t.expires) > d }

// renew mints under the fleet's lock; whoever does not get it waits for what
// its holder puts into the vault.
func (p *Provider) renew(ctx context.Context, r ring, at cache.Stamp, ok func(token) bool) (token, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mintLimit, errors.New("token not obtained in time"))
	defer cancel()
	if r.turn != nil {
		select {
		case r.turn <- struct{}{}:
			defer func() { <-r.turn }()
		case <-ctx.Done():
			return token{}, fmt.Errorf("wait for %s: %w", r.name, context.Cause(ctx))
		}
	}
	for {
		t, err := p.underLock(ctx, r, at, ok)
		if !errors.Is(err, subscriptions.ErrConflict) {
			return t, err
		}
		if err := pause(ctx, 50*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
			return token{}, fmt.Errorf("wait for %s: %w", r.name, err)
		}
	}
}

// underLock returns ErrConflict while somebody else mints, or was faster.
func (p *Provider) underLock(
	ctx context.Context, r ring, at cache.Stamp, ok func(token) bool,
) (token, error) {
	if t, _, err := p.load(ctx, r); err != nil || t.lasts(ahead) && ok(t) {
		return t, err
	}
	unlock, err := p.vault.Lock(ctx, r.key+"/lock", lockLife)
	if err != nil {
		return token{}, fmt.Errorf("lock %s: %w", r.name, err)
	}
	defer unlock()
	t, revision, err := p.load(ctx, r) // again: the last holder may have just left
	if err != nil || t.lasts(ahead) && ok(t) {
		return t, err
	}
	if t, err = r.mint(ctx); err != nil {
		return token{}, err
	}
	t.stamp = at
	return t, p.store(ctx, r, t, revision)
}

// load reads the vault. What is not there, or cannot be read, is no token.
func (p *Provider) load(ctx context.Context, r ring) (token, uint64, error) {
	b, revision, err := p.vault.Get(ctx, r.key)
	if errors.Is(err, subscriptions.ErrNoSecret) {
		if revision != 0 {
			p.log.WarnContext(ctx, "token in the vault cannot be opened, a new one replaces it",
				slog.String("token", r.name), slog.Any("error", err))
		}
		return token{}, revision, nil
	}
	if err != nil {
		return token{}, 0, fmt.Errorf("read %s from the vault: %w", r.name, err)
	}
	var k kept
	if json.Unmarshal(b, &k) != nil || k.Access == "" {
		p.log.WarnContext(ctx, "unreadable token in the vault", slog.String("token", r.name))
		return token{}, revision, nil
	}
	return token{subscriptions.NewSecret(k.Access), k.Scopes, k.Expires, k.Identity, k.Stamp}, revision, nil
}

func (p *Provider) store(ctx context.Context, r ring, t token, revision uint64) error {
	b, err := json.Marshal(kept{t.access.Reveal(), t.scopes, t.expires, t.identity, t.stamp})
	if err != nil {
		return fmt.Errorf("write %s: %w", r.name, err)
	}
	err = p.vault.Put(ctx, r.key, b, revision)
	if errors.Is(err, subscriptions.ErrConflict) {
		// The lock ended before us and another has stored its token: both work.
		p.log.WarnContext(ctx, "token not stored, another was faster", slog.String("token", r.name))
		return nil
	}
	if err != nil {
		return fmt.Errorf("put %s into the vault: %w", r.name, err)
	}
	return nil
}

// mintService obtains the service user's token by the JWT grant (jwt-flow.md).
func (p *Provider) mintService(ctx context.Context) (token, error) {
	return p.grant(ctx, opToken, &clientcredentials.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), AuthStyle: oauth2.AuthStyleInHeader,
		TokenURL:       p.cfg.BaseURL + "/restapi/oauth/token",
		EndpointParams: url.Values{"grant_type": {grantJWT}, "assertion": {p.cfg.JWT.Reveal()}},
	})
}

// mintSubject asks the customer's endpoint; [errNoToken] if it has none.
// Limits count by the extension, which is the subject.
func (p *Provider) mintSubject(ctx context.Context, s events.Subject) (token, error) {
	e := p.cfg.Exchange
	params := url.Values{"grant_type": {grantExchange}, "subject_token": {string(s)},
		"subject_token_type": {typeSubject}, "requested_token_type": {typeAccess}}
	if e.Audience != "" {
		params.Set("audience", e.Audience)
	}
	t, err := p.grant(ctx, opExchange, &clientcredentials.Config{
		ClientID: e.ClientID, ClientSecret: e.ClientSecret.Reveal(), AuthStyle: oauth2.AuthStyleInHeader,
		TokenURL: e.URL, EndpointParams: params,
	})
	var refused *APIError
	if errors.As(err, &refused) && refused.Alias == "invalid_grant" {
		return token{}, fmt.Errorf("%w: %s", errNoToken, s)
	}
	t.identity = string(s)
	return t, err
}

// grant asks a token endpoint, as urgently as a reader: more than one fetch
// may need the token.
func (p *Provider) grant(
	ctx context.Context, op operation, conf *clientcredentials.Config,
) (t token, err error) {
	ctx = cache.WithPurpose(ctx, cache.ForReader)
	err = retry(ctx, tokenWait, func() error {
		granted, err := p.take(ctx, "token", op)
		if err != nil {
			return budgeted(op, err)
		}
		carrier := &tokenTransport{p: p, op: op}
		client := *p.http
		client.Transport = carrier
		reply, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, &client))
		granted.Done(ctx, carrier.said)
		if err != nil {
			return p.notGranted(ctx, op, err)
		}
		t = readToken(reply)
		return nil
	})
	return t, err
}

// notGranted keeps what the endpoint said as codes; the library's own errors
// would repeat the reply's body, or the part of it that cannot be read.
func (p *Provider) notGranted(ctx context.Context, op operation, err error) error {
	var r *oauth2.RetrieveError
	var network *url.Error
	switch {
	case errors.As(err, &network):
		return unreached(ctx, op, err)
	case !errors.As(err, &r):
		return unreached(ctx, op, errMalformed)
	}
	if err := penalised(op, r.Response.StatusCode, r.Response.Header); err != nil {
		return err
	}
	return refusal(op, r.Response.StatusCode, r.Response.Header, r.Body)
}

func readToken(reply *oauth2.Token) token {
	t := token{access: subscriptions.NewSecret(reply.AccessToken), expires: reply.Expiry, identity: "service"}
	if t.expires.IsZero() {
		t.expires = time.Now().Add(unknownLife)
	}
	if scope, ok := reply.Extra("scope").(string); ok {
		t.scopes = strings.Fields(scope)
		slices.Sort(t.scopes)
	}
	if owner, ok := reply.Extra("owner_id").(string); ok && owner != "" {
		t.identity = owner
	}
	return t
}

// tokenTransport carries one request to a token endpoint and notes what the
// reply says of its limits.
type tokenTransport struct {
	p    *Provider
	op   operation
	said subscriptions.Said
}

// RoundTrip adds our name to the request.
func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", t.p.cfg.UserAgent)
	base := t.p.http.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(r)
	if err != nil {
		t.said = unanswered(err)
		return nil, err
	}
	t.said = said(t.op, resp.StatusCode, resp.Header)
	return resp, nil
}
