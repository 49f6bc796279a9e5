package mural

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// MaxGrants is how many users of a workspace can have a grant.
const MaxGrants = 2000

var _ subscriptions.Granter = (*Provider)(nil)

// PutGrant puts in the refresh token of a user who has consented, or replaces
// the one there is. It refreshes once, which uses the token up, and asks whose it
// is: the id must be user's, else nothing is stored. Errors:
// [subscriptions.ErrMisconfigured], [*subscriptions.Later]; any other may pass,
// but then a new token is needed too, if the vendor has seen this one.
func (p *Provider) PutGrant(ctx context.Context, user events.Subject, token subscriptions.Secret) error {
	if err := events.CheckID(string(user)); err != nil {
		return fmt.Errorf("put grant: user: %w", err)
	}
	if token.Empty() {
		return errors.New("put grant: there is no refresh token")
	}
	if _, err := p.room(ctx, user); err != nil { // before the token is used up
		return fmt.Errorf("put grant: %w", err)
	}
	g, err := p.tried(ctx, user, record{Refresh: token.Reveal(), Obtained: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("put grant of %s: %w", client.Clip(string(user)), err)
	}
	// From here on the token that was given is used up: nobody's leaving counts.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	err = p.replace(ctx, p.grantKey(string(user)), func(revision uint64) error {
		return p.store(ctx, string(user), g, revision)
	})
	if err != nil {
		return fmt.Errorf("put grant: %w", err)
	}
	if err := p.enlist(ctx, user); err != nil {
		return fmt.Errorf("put grant: it is stored and serves, but is not listed: %w", err)
	}
	// The access token in use is of the old grant, with its scopes: one that has
	// ended takes its place, so that the next reader refreshes.
	key := p.subjectRing(user).Key
	err = p.replace(ctx, key, func(revision uint64) error {
		return p.vault.Put(ctx, key, []byte(`{"access":"replaced"}`), revision)
	})
	if err != nil {
		return fmt.Errorf("put grant: it is stored, but the old access token stays: %w", err)
	}
	return nil
}

// replace writes over whatever is in the vault.
func (p *Provider) replace(ctx context.Context, key string, put func(revision uint64) error) error {
	var conflict error
	for range maxConflicts {
		_, revision, err := p.vault.Get(ctx, key)
		if err != nil && !errors.Is(err, subscriptions.ErrNoSecret) {
			return err
		}
		if conflict = put(revision); !errors.Is(conflict, subscriptions.ErrConflict) {
			return conflict
		}
	}
	return conflict
}

// tried is the grant after its first refresh, if it is the user's.
func (p *Provider) tried(ctx context.Context, user events.Subject, g record) (record, error) {
	t, g, err := p.refresh(ctx, g)
	if err != nil {
		if errors.Is(err, errNoGrant) {
			err = fmt.Errorf("%w: the vendor refuses the refresh token: let the user consent again", subscriptions.ErrMisconfigured)
		}
		return g, err
	}
	g.Expires = cmp.Or(g.Expires, readClaims(g.Refresh).Expires)
	ctx = context.WithoutCancel(ctx) // bounded by the client: the token would be lost
	req, err := http.NewRequestWithContext(ctx, opMe.Method, p.cfg.BaseURL+"/users/me", nil)
	if err != nil {
		return g, err
	}
	req.Header.Set("Authorization", "Bearer "+t.Access.Reveal())
	var me struct {
		Value struct {
			ID string `json:"id"`
		} `json:"value"`
	}
	if err := p.client.Raw(cache.WithPurpose(ctx, cache.ForReader), opMe, string(user), req, &me); err != nil {
		if notAllowed(err) {
			err = fmt.Errorf("%w: the token needs the scope %s: %w",
				subscriptions.ErrMisconfigured, scopeIdentity, err)
		}
		return g, err
	}
	if me.Value.ID != string(user) {
		return g, fmt.Errorf("%w: the token is that of user %q", subscriptions.ErrMisconfigured,
			client.Clip(me.Value.ID))
	}
	return g, nil
}

// Grants lists the grants there are, those that fail first before others; if
// there is none of the poller's, that one as dead. It makes no call to the vendor.
func (p *Provider) Grants(ctx context.Context) ([]subscriptions.Grant, error) {
	users, _, err := p.listed(ctx)
	if err != nil {
		return nil, fmt.Errorf("list grants: %w", err)
	}
	var all []subscriptions.Grant
	for _, user := range users {
		g, _, err := p.load(ctx, user)
		if err != nil {
			return nil, fmt.Errorf("list grants: %w", err)
		}
		if g.Refresh != "" {
			all = append(all, subscriptions.Grant{User: events.Subject(user), Obtained: g.Obtained,
				Refreshed: g.Refreshed, Expires: g.Expires, Error: g.Error, Dead: g.Dead, Died: g.Died})
		}
	}
	if !slices.ContainsFunc(all, func(g subscriptions.Grant) bool { return g.User == p.cfg.Poller }) {
		all = append(all, subscriptions.Grant{User: p.cfg.Poller, Dead: "never put in; nothing is polled without it"})
	}
	slices.SortFunc(all, subscriptions.Grant.Compare)
	return all, nil
}

// enlist adds a user to the list of those with a grant: a vault has none itself.
func (p *Provider) enlist(ctx context.Context, user events.Subject) error {
	for range maxConflicts {
		l, err := p.room(ctx, user)
		if err != nil || slices.Contains(l.users, string(user)) {
			return err
		}
		b, err := json.Marshal(append(l.users, string(user)))
		if err != nil {
			return err
		}
		err = p.vault.Put(ctx, p.client.VaultKey("grants"), b, l.revision)
		if !errors.Is(err, subscriptions.ErrConflict) {
			return err
		}
	}
	return subscriptions.ErrConflict
}

// roll is what the vault knows of who has a grant.
type roll struct {
	users    []string
	revision uint64
}

// room is the roll, if the user stands there or can be added.
func (p *Provider) room(ctx context.Context, user events.Subject) (roll, error) {
	users, revision, err := p.listed(ctx)
	if err == nil && len(users) >= MaxGrants && !slices.Contains(users, string(user)) {
		err = fmt.Errorf("%w: there are %d grants, the limit", subscriptions.ErrMisconfigured, len(users))
	}
	return roll{users, revision}, err
}

// listed is not to be taken for empty where it cannot be read: writing over it
// would hide grants that another key opens.
func (p *Provider) listed(ctx context.Context) (users []string, revision uint64, err error) {
	b, revision, err := p.vault.Get(ctx, p.client.VaultKey("grants"))
	switch {
	case errors.Is(err, subscriptions.ErrNoSecret) && revision == 0:
		return nil, 0, nil
	case errors.Is(err, subscriptions.ErrNoSecret):
		return nil, revision, fmt.Errorf("%w: the list of grants was sealed with another key: "+
			"nats.vault_key is not what it was", subscriptions.ErrMisconfigured)
	case err == nil && json.Unmarshal(b, &users) != nil:
		return nil, revision, errors.New("the list of grants is damaged")
	}
	return users, revision, err
}
