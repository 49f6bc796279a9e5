package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// BasisRestricted is of a narrowed token: what its application has told of it.
const BasisRestricted = "restricted-to"

// MaxToken is how long what is told of a token stands at most. Box names about
// 60 min (guides/authentication/tokens/access-tokens); the longest that its SDKs'
// tests show is 4175 s.
const MaxToken = 75 * time.Minute

// restriction is a scope, and the object that it is for, such as folder:11; empty
// if there is none.
type restriction struct {
	Scope  string `json:"scope"`
	Object string `json:"object,omitempty"`
}

// narrowed is what is kept of a narrowed token, without the token.
type narrowed struct {
	Subject events.Subject `json:"subject"`
	Scopes  []restriction  `json:"scopes"` // in order
	Told    time.Time      `json:"told"`
	Expires time.Time      `json:"expires"`
}

// same says whether two tell the same of a token.
func (n narrowed) same(other narrowed) bool {
	return n.Subject == other.Subject && slices.Equal(n.Scopes, other.Scopes)
}

// grants names the objects of each scope. Scopes are closed for each object,
// together with those that have none.
func (n narrowed) grants(writeOnly bool) map[cache.Grant]string {
	held := map[string][]string{}
	for _, r := range n.Scopes {
		held[r.Object] = append(held[r.Object], r.Scope)
	}
	objects := map[string][]string{}
	for object, scopes := range held {
		for _, scope := range CloseScopes(slices.Concat(held[""], scopes), writeOnly) {
			objects[scope] = append(objects[scope], object)
		}
	}
	all := map[cache.Grant]string{}
	for scope, of := range objects {
		slices.Sort(of)
		width := strings.Join(of, ",")
		if of[0] == "" { // for no object, and so for every one
			width = cache.Unlimited
		}
		all[cache.NewGrant(cache.Scope, scope)] = width
	}
	return all
}

// untaken says why what is told is refused, without what may be the token.
func untaken(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{subscriptions.ErrNotNarrowed}, args...)...)
}

// PutToken is of [subscriptions.Narrower]. The end counts from now, and is not
// beyond [MaxToken]. A reply whose restricted_to is missing or empty is of a token
// that is not narrowed, and is refused.
func (p *Provider) PutToken(ctx context.Context, subject events.Subject, reply []byte) (
	r events.Resource, until time.Time, err error,
) {
	if !isNumber(string(subject)) {
		return "", time.Time{}, untaken("the subject must be the numeric id of a user")
	}
	name, n, err := parseExchange(reply, time.Now())
	if err != nil {
		return "", time.Time{}, err
	}
	n.Subject = subject
	if _, err := (cache.Facts{Grants: n.grants(p.cfg.WriteOnly)}).Fields(); err != nil {
		return "", time.Time{}, untaken("restricted_to: %w", err)
	}
	if n, err = p.takeDown(ctx, name, n); err != nil {
		return "", time.Time{}, err
	}
	return subscriptions.TokenResource(name), n.Expires, nil
}

// takeDown keeps what is told until the token's end, or returns what was told of it
// before.
func (p *Provider) takeDown(ctx context.Context, name string, n narrowed) (narrowed, error) {
	vault, ok := p.client.Vault().(subscriptions.Forgetter)
	if !ok {
		return n, errors.New("keep what is told of a token: the vault forgets nothing")
	}
	b, err := json.Marshal(n)
	if err != nil {
		return n, fmt.Errorf("keep what is told of a token: %w", err)
	}
	for range 3 {
		old, revision, err := p.told(ctx, name)
		switch {
		case err == nil && old.same(n):
			return old, nil
		case err == nil:
			return n, untaken("another user or other scopes were told of this token before")
		case !errors.Is(err, subscriptions.ErrNoSecret):
			return n, err
		}
		err = vault.Keep(ctx, p.tokenKey(name), b, revision, time.Until(n.Expires))
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, subscriptions.ErrConflict) { // else somebody tells it too
			return n, fmt.Errorf("keep what is told of a token: %w", err)
		}
	}
	return n, fmt.Errorf("keep what is told of a token: %w", subscriptions.ErrConflict)
}

func (p *Provider) tokenKey(name string) string { return p.client.VaultKey("narrowed", name) }

// told is what was told of a token, or an error that wraps ErrNoSecret.
func (p *Provider) told(ctx context.Context, name string) (n narrowed, revision uint64, err error) {
	b, revision, err := p.client.Vault().Get(ctx, p.tokenKey(name))
	if err == nil && json.Unmarshal(b, &n) != nil {
		err = fmt.Errorf("%w that can be read", subscriptions.ErrNoSecret)
	}
	if err != nil && revision != 0 {
		p.client.Log().WarnContext(ctx, "what was told of a token cannot be read, it must be told again",
			slog.String("token", name), slog.Any("error", err))
	}
	if err != nil {
		return narrowed{}, revision, fmt.Errorf("what was told of %s: %w", name, err)
	}
	return n, revision, nil
}

// readToken says what a narrowed token carries, unless its user may not do anything.
func (p *Provider) readToken(
	ctx context.Context, subject events.Subject, name string, s cache.Session,
) (cache.Answer, error) {
	n, _, err := p.told(ctx, name)
	if err != nil && !errors.Is(err, subscriptions.ErrNoSecret) {
		return cache.Answer{}, err
	}
	if err != nil || n.Subject != subject || !n.Expires.After(time.Now()) {
		return cache.Answer{}, &subscriptions.UntoldError{Resource: subscriptions.TokenResource(name)}
	}
	service := p.client.Reading(p.serviceRing(), s)
	u, err := p.account(ctx, service, subject)
	gone := errors.Is(err, subscriptions.ErrGone)
	if err != nil && !gone {
		return cache.Answer{}, err
	}
	service.Confess(s)
	a := newAnswer(BasisRestricted, u)
	a.Tags, a.Expires = []events.Tag{events.AppTag, subscriptions.TokenTag(name)}, n.Expires
	grants := n.grants(p.cfg.WriteOnly)
	switch {
	case gone:
		a.Basis = BasisNotFound
		a.denyToken(grants, "there is no such user")
	case u.Status == statusInactive:
		a.denyToken(grants, "status "+u.Status)
	case !u.knownStatus():
		a.Why[cache.NewGrant(cache.Scope, "*")] = u.oddStatus()
	default:
		a.Covers, a.Grants = []cache.Kind{cache.Scope}, grants
	}
	return a.Answer, nil
}

// denyToken denies everything, with the reason for what the token would carry.
func (a *answer) denyToken(grants map[cache.Grant]string, why string) {
	a.denyAll(nil, why)
	for g := range grants {
		a.Why[g] = why
	}
}

// maxAccess bounds an access token, in bytes; Box's are of some hundred.
const maxAccess = 16 << 10

// parseExchange reads the reply of a token exchange (PostOAuth2Token): the token's
// name, and what it carries. Other members are not looked at.
func parseExchange(reply []byte, now time.Time) (name string, n narrowed, err error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(reply, &members) != nil || members == nil {
		return "", n, untaken("the reply must be the JSON object of the token exchange")
	}
	var access string
	foreign := func(r rune) bool { return r <= 0x20 || r > 0x7e }
	if json.Unmarshal(members["access_token"], &access) != nil || access == "" || len(access) > maxAccess ||
		strings.ContainsFunc(access, foreign) {
		return "", n, untaken("access_token must be the token, in printable ASCII without spaces")
	}
	seconds, err := strconv.ParseUint(string(members["expires_in"]), 10, 31)
	if err != nil || seconds == 0 {
		return "", n, untaken("expires_in must be a whole number of seconds, 1 at least")
	}
	n.Told = now.UTC()
	n.Expires = n.Told.Add(min(time.Duration(seconds)*time.Second, MaxToken))
	n.Scopes, err = parseRestrictions(members["restricted_to"])
	return subscriptions.TokenName(subscriptions.NewSecret(access)), n, err
}

var objectType = regexp.MustCompile(`^[a-z_]{1,32}$`)

// parseRestrictions reads restricted_to. One that cannot be read makes all of it
// unreadable: a token that carries less than it seems to is not taken down as more.
func parseRestrictions(raw json.RawMessage) (all []restriction, err error) {
	var list []struct {
		Scope  string `json:"scope"`
		Object *struct {
			Type string `json:"type"`
			ID   id     `json:"id"`
		} `json:"object"`
	}
	if len(raw) > 0 && json.Unmarshal(raw, &list) != nil {
		return nil, untaken("restricted_to must be a list of scopes, each with its object or none")
	}
	if len(list) == 0 {
		return nil, untaken("restricted_to lists nothing: the token is not narrowed, and carries what the app " +
			"does; ask for that without a resource")
	}
	for n, one := range list {
		r := restriction{Scope: todaysName(one.Scope)}
		if !isScope(r.Scope) {
			return nil, untaken("restricted_to.%d.scope must be the name of a scope", n)
		}
		if o := one.Object; o != nil {
			if !objectType.MatchString(o.Type) || !isNumber(string(o.ID)) {
				return nil, untaken("restricted_to.%d.object must have a type and a numeric id", n)
			}
			r.Object = o.Type + ":" + string(o.ID)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b restriction) int {
		return strings.Compare(a.Scope+" "+a.Object, b.Scope+" "+b.Object)
	})
	return slices.Compact(all), nil
}
