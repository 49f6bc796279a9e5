package ringcentral

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	grantJWT      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeSubject   = "urn:rescindhq:token-type:subject-id"
)

func (p *Provider) serviceRing() client.Ring {
	return client.Ring{Key: p.client.VaultKey("service"), Name: "token:service", Tags: []events.Tag{events.AppTag},
		Mint: p.mintService, Turn: p.turn}
}

// registering is for what goes into no entry: any token will do.
func (p *Provider) registering() *client.Bearer { return p.client.Registering(p.serviceRing()) }

func (p *Provider) subjectRing(s events.Subject) client.Ring {
	return client.Ring{Key: p.client.VaultKey("subject", string(s)), Name: "token:subject:" + string(s),
		Tags: []events.Tag{events.AppTag, events.SubjectTag(s)},
		Mint: func(ctx context.Context) (client.Token, error) { return p.mintSubject(ctx, s) }}
}

// mintService obtains the service user's token by the JWT grant (jwt-flow.md).
func (p *Provider) mintService(ctx context.Context) (client.Token, error) {
	t, reply, err := p.client.Grant(ctx, opToken, &clientcredentials.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), AuthStyle: oauth2.AuthStyleInHeader,
		TokenURL:       p.cfg.BaseURL + "/restapi/oauth/token",
		EndpointParams: url.Values{"grant_type": {grantJWT}, "assertion": {p.cfg.JWT.Reveal()}},
	})
	t.Identity = "service"
	if err != nil {
		return t, err
	}
	if owner, ok := reply.Extra("owner_id").(string); ok && owner != "" {
		t.Identity = owner
	}
	return t, nil
}

// mintSubject asks the customer's endpoint; [client.ErrNoToken] if it has none.
// Limits count by the extension, which is the subject.
func (p *Provider) mintSubject(ctx context.Context, s events.Subject) (client.Token, error) {
	e := p.cfg.Exchange
	params := url.Values{"grant_type": {grantExchange}, "subject_token": {string(s)},
		"subject_token_type": {typeSubject}, "requested_token_type": {typeAccess}}
	if e.Audience != "" {
		params.Set("audience", e.Audience)
	}
	t, _, err := p.client.Grant(ctx, opExchange, &clientcredentials.Config{
		ClientID: e.ClientID, ClientSecret: e.ClientSecret.Reveal(), AuthStyle: oauth2.AuthStyleInHeader,
		TokenURL: e.URL, EndpointParams: params,
	})
	var refused *APIError
	if errors.As(err, &refused) && refused.Alias == "invalid_grant" {
		return client.Token{}, fmt.Errorf("%w: %s", client.ErrNoToken, s)
	}
	t.Identity = string(s)
	return t, err
}
