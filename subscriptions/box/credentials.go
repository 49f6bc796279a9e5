package box

import (
	"context"
	"net/url"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// serviceRing holds the token of the app's service account in this enterprise.
// Box deletes webhooks whose tokens are all revoked: so none is ever.
func (p *Provider) serviceRing() client.Ring {
	return client.Ring{
		Key: p.client.VaultKey("service"), Name: "token:service", Tags: []events.Tag{events.AppTag}, Turn: p.turn,
		Mint: func(ctx context.Context) (client.Token, error) {
			return p.mint(ctx, "enterprise", string(p.home.Tenant), "service")
		},
	}
}

// registering is for what goes into no entry: any token will do.
func (p *Provider) registering() *client.Bearer { return p.client.Registering(p.serviceRing()) }

func (p *Provider) subjectRing(s events.Subject) client.Ring {
	return client.Ring{
		Key: p.client.VaultKey("subject", string(s)), Name: "token:subject:" + string(s),
		Tags: []events.Tag{events.AppTag, events.SubjectTag(s)},
		Mint: func(ctx context.Context) (client.Token, error) {
			return p.mint(ctx, "user", string(s), string(s))
		},
	}
}

// mint asks for a token by client credentials (guides/authentication/
// client-credentials). No reply tells the app's scopes: those that are configured
// are taken down with the token and stay with it, as Box's own do, so that others
// come with the next token. Only a token that was narrowed tells its own.
func (p *Provider) mint(ctx context.Context, kind, subject, identity string) (client.Token, error) {
	t, reply, err := p.client.Grant(ctx, opToken, &clientcredentials.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), AuthStyle: oauth2.AuthStyleInParams,
		TokenURL:       p.cfg.BaseURL + "/oauth2/token",
		EndpointParams: url.Values{"box_subject_type": {kind}, "box_subject_id": {subject}},
	})
	if err != nil {
		return t, err
	}
	t.Identity, t.Scopes = identity, p.cfg.Scopes
	if narrowed := restricted(reply.Extra("restricted_to")); len(narrowed) > 0 {
		t.Scopes = narrowed
	}
	return t, nil
}

// restricted lists the scopes of restricted_to, which is empty for a token that is
// not narrowed.
func restricted(to any) (scopes []string) {
	list, _ := to.([]any)
	for _, one := range list {
		entry, _ := one.(map[string]any)
		if name, _ := entry["scope"].(string); name != "" {
			scopes = append(scopes, name)
		}
	}
	return scopes
}
