package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// Grant asks a token endpoint, as urgently as a reader: more than one fetch may
// need the token. Its Identity is left to the caller, to whom the whole reply
// is given too. conf must name its AuthStyle: else the library tries both, which
// is one call more than was granted.
func (c *Client) Grant(
	ctx context.Context, op Op, conf *clientcredentials.Config,
) (t Token, reply *oauth2.Token, err error) {
	ctx = cache.WithPurpose(ctx, cache.ForReader)
	err = retry(ctx, c.vendor.TokenWait, func() error {
		granted, err := c.take(ctx, tokenIdentity, op)
		if err != nil {
			return err
		}
		carrier := &tokenTransport{c: c}
		h := *c.http
		h.Transport = carrier
		reply, err = conf.Token(context.WithValue(ctx, oauth2.HTTPClient, &h))
		said := granted.done(ctx, carrier.status, carrier.header, carrier.err)
		if err != nil {
			return c.notGranted(ctx, op, said, err)
		}
		t = readToken(reply)
		return nil
	})
	return t, reply, err
}

// notGranted keeps what the endpoint said as codes; the library's own errors
// would repeat the reply's body, or the part of it that cannot be read.
func (c *Client) notGranted(ctx context.Context, op Op, said subscriptions.Said, err error) error {
	var r *oauth2.RetrieveError
	var network *url.Error
	switch {
	case errors.As(err, &network):
		return c.unreached(ctx, op, err)
	case !errors.As(err, &r):
		return c.unreached(ctx, op, ErrMalformed)
	}
	if err := penalised(op, r.Response.StatusCode, said); err != nil {
		return c.unbudgeted(op, err)
	}
	return c.refused(op, r.Response.StatusCode, r.Response.Header, r.Body)
}

func readToken(reply *oauth2.Token) Token {
	t := Token{Access: subscriptions.NewSecret(reply.AccessToken), Expires: reply.Expiry}
	if scope, ok := reply.Extra("scope").(string); ok {
		t.Scopes = strings.Fields(scope)
		slices.Sort(t.Scopes)
	}
	return t
}

// tokenTransport carries one request to a token endpoint and notes the head of
// the reply.
type tokenTransport struct {
	c      *Client
	status int
	header http.Header
	err    error
}

// RoundTrip adds our name to the request.
func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", t.c.o.UserAgent)
	base := t.c.http.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(r)
	if err != nil {
		t.err = fmt.Errorf("token endpoint: %w", err)
		return nil, err
	}
	t.status, t.header = resp.StatusCode, resp.Header
	return resp, nil
}
