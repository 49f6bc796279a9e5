package mural

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	// A refresh and the storing of what it gave are not given up half-way, even if
	// nobody waits any more: together they stay below the 40 s of a mint.
	refreshLimit = 20 * time.Second
	storeLimit   = 15 * time.Second
	maxConflicts = 3

	putRemedy = "put in a new one with: rescind grants put"
)

// errNoGrant says that there is no grant of this user, or none that lives.
var errNoGrant = fmt.Errorf("%w: no grant, or a dead one; %s", client.ErrNoToken, putRemedy)

// record is how a grant lies in the vault, which seals it.
type record struct {
	Refresh   string    `json:"refresh"`
	Basic     bool      `json:"basic,omitempty"` // the app's credentials go into the header
	Obtained  time.Time `json:"obtained"`
	Refreshed time.Time `json:"refreshed,omitzero"`
	Expires   time.Time `json:"expires,omitzero"` // if the refresh token tells
	Error     string    `json:"error,omitempty"`  // of the last refresh
	Dead      string    `json:"dead,omitempty"`
	Died      time.Time `json:"died,omitzero"`
}

func (p *Provider) grantKey(user string) string { return p.client.VaultKey("grant", user) }

// ringOf is the access token of a user. The poller's is the same one as its own
// as a subject, whatever the tags.
func (p *Provider) ringOf(user string, tags ...events.Tag) client.Ring {
	r := client.Ring{Key: p.client.VaultKey("user", user), Name: "token:subject:" + user,
		Tags: append([]events.Tag{events.AppTag}, tags...),
		Mint: func(ctx context.Context) (client.Token, error) { return p.mint(ctx, user) }}
	if user == string(p.cfg.Poller) {
		r.Turn = p.turn
	}
	return r
}

func (p *Provider) subjectRing(s events.Subject) client.Ring {
	return p.ringOf(string(s), events.SubjectTag(s))
}

func (p *Provider) pollerRing() client.Ring {
	r := p.ringOf(string(p.cfg.Poller))
	r.Name = "token:poller"
	r.Mint = func(ctx context.Context) (client.Token, error) {
		t, err := p.mint(ctx, string(p.cfg.Poller))
		return t, p.pollerFault(err)
	}
	return r
}

// pollerFault makes the lack of the poller's grant what a person must mend.
func (p *Provider) pollerFault(err error) error {
	if errors.Is(err, errNoGrant) {
		return fmt.Errorf("%w: poller: %w", subscriptions.ErrMisconfigured, err)
	}
	return err
}

// load reads a grant; a zero one if there is none, or it cannot be opened.
func (p *Provider) load(ctx context.Context, user string) (g record, revision uint64, err error) {
	b, revision, err := p.vault.Get(ctx, p.grantKey(user))
	if errors.Is(err, subscriptions.ErrNoSecret) {
		if revision != 0 {
			p.log.WarnContext(ctx, "grant cannot be opened", slog.String("user", user), slog.Any("error", err))
		}
		return record{}, revision, nil
	}
	if err != nil {
		return record{}, 0, fmt.Errorf("read the grant of %s: %w", client.Clip(user), err)
	}
	if json.Unmarshal(b, &g) != nil {
		p.log.WarnContext(ctx, "unreadable grant in the vault", slog.String("user", user))
		return record{}, revision, nil
	}
	return g, revision, nil
}

// store writes a grant if it is still of that revision, else
// [subscriptions.ErrConflict]. It tries for a while: a refresh token that is
// not stored is lost.
func (p *Provider) store(ctx context.Context, user string, g record, revision uint64) error {
	b, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("write the grant of %s: %w", client.Clip(user), err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	err = backoff.Retry(func() error {
		err := p.vault.Put(ctx, p.grantKey(user), b, revision)
		if errors.Is(err, subscriptions.ErrConflict) {
			return p.ours(ctx, user, b, err)
		}
		return err
	}, backoff.WithContext(backoff.NewExponentialBackOff(), ctx))
	if err != nil {
		return fmt.Errorf("put the grant of %s into the vault: %w", client.Clip(user), err)
	}
	return nil
}

// ours forgives a conflict with a write of our own whose reply was lost.
func (p *Provider) ours(ctx context.Context, user string, b []byte, conflict error) error {
	if now, _, err := p.vault.Get(ctx, p.grantKey(user)); err == nil && string(now) == string(b) {
		return nil
	}
	return backoff.Permanent(conflict)
}

// mint refreshes the user's token. It runs under the fleet's lock. The new
// refresh token is stored before the new access token is given to anybody.
// errNoGrant if there is no grant that lives.
func (p *Provider) mint(ctx context.Context, user string) (client.Token, error) {
	for range maxConflicts {
		g, revision, err := p.load(ctx, user)
		if err != nil {
			return client.Token{}, err
		}
		if g.Refresh == "" || g.Dead != "" {
			return client.Token{}, fmt.Errorf("user %s: %w", client.Clip(user), errNoGrant)
		}
		t, next, err := p.refresh(ctx, g)
		if err == nil || next != g {
			if stored := p.store(ctx, user, next, revision); stored != nil {
				err = stored
			}
		}
		if err == nil {
			t.Identity = user
			return t, nil
		}
		if !errors.Is(err, subscriptions.ErrConflict) {
			return client.Token{}, err
		}
	}
	return client.Token{}, fmt.Errorf("user %s: the grant was replaced again and again", client.Clip(user))
}

// refresh asks the token endpoint, and returns the grant as it is after that:
// it may be dead. Where the app's credentials go is tried both ways.
func (p *Provider) refresh(ctx context.Context, g record) (client.Token, record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshLimit)
	defer cancel()
	t, reply, err := p.client.Grant(ctx, opToken, p.refreshing(g))
	if hasCode(err, codeNoClient) {
		other := g
		other.Basic = !g.Basic
		if t2, reply2, err2 := p.client.Grant(ctx, opToken, p.refreshing(other)); !hasCode(err2, codeNoClient) {
			g, t, reply, err = other, t2, reply2, err2
		}
	}
	if err != nil {
		return client.Token{}, g.failed(err), dead(err)
	}
	c := readClaims(reply.AccessToken)
	t.Scopes = c.Scopes
	if !c.Expires.IsZero() && (t.Expires.IsZero() || c.Expires.Before(t.Expires)) {
		t.Expires = c.Expires
	}
	return t, g.refreshed(reply), nil
}

func (p *Provider) refreshing(g record) *clientcredentials.Config {
	style := oauth2.AuthStyleInParams
	if g.Basic {
		style = oauth2.AuthStyleInHeader
	}
	return &clientcredentials.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), AuthStyle: style,
		TokenURL: p.cfg.BaseURL + "/authorization/oauth2" + p.cfg.RefreshPath,
		EndpointParams: url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {g.Refresh},
		},
	}
}

// refreshed is the grant after a good reply: one without a refresh token leaves
// the old one.
func (g record) refreshed(reply *oauth2.Token) record {
	if reply.RefreshToken != "" {
		g.Refresh = reply.RefreshToken
		g.Expires = readClaims(reply.RefreshToken).Expires
	}
	g.Refreshed, g.Error = time.Now().UTC(), ""
	return g
}

// failed is the grant after an error: invalid_grant is its end. What the vendor
// did not say is not worth a write.
func (g record) failed(err error) record {
	e, ok := errors.AsType[*APIError](err)
	if !ok {
		return g
	}
	g.Error = fmt.Sprintf("status %d %s", e.Status, e.Code)
	if e.Code == codeNoGrant {
		return g.buried("the vendor refuses the refresh token: " + codeNoGrant)
	}
	return g
}

func (g record) buried(reason string) record {
	g.Dead, g.Died = reason, time.Now().UTC()
	return g
}

// dead makes an error that ended a grant errNoGrant.
func dead(err error) error {
	if hasCode(err, codeNoGrant) {
		return fmt.Errorf("%w: %w", errNoGrant, err)
	}
	return err
}

// bury marks a grant dead although it was refreshed a moment ago: the vendor
// does not take what that gave. One that was put in since is left alone.
func (p *Provider) bury(ctx context.Context, user string, since time.Time) error {
	for range maxConflicts {
		g, revision, err := p.load(ctx, user)
		if err != nil || g.Refresh == "" || g.Dead != "" || g.Obtained.After(since) {
			return err
		}
		err = p.store(ctx, user, g.buried("the vendor refuses the access token: "+codeUnauthorized), revision)
		if !errors.Is(err, subscriptions.ErrConflict) {
			return err
		}
	}
	return nil // who was faster has seen the same
}
