package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
)

// What is told of tokens ends by itself.
var _ subscriptions.Forgetter = (*stream.Vault)(nil)

// errNoNarrower is for who tells of a token that nobody here can read.
var errNoNarrower = errors.New("no such tenant is configured, or its provider takes no tokens")

// putToken hands what is told of a token to the tenant's provider.
func (w *Worker) putToken(ctx context.Context, h events.Home, s events.Subject, reply []byte) (
	r events.Resource, until time.Time, err error,
) {
	at := slices.IndexFunc(w.tenants, func(t tenant) bool { return t.Home == h })
	if at < 0 {
		return "", time.Time{}, &ask.Refusal{Err: errNoNarrower}
	}
	n, ok := w.tenants[at].Provider.(subscriptions.Narrower)
	if !ok {
		return "", time.Time{}, &ask.Refusal{Err: errNoNarrower}
	}
	r, until, err = n.PutToken(ctx, s, reply)
	if errors.Is(err, subscriptions.ErrNotNarrowed) {
		err = &ask.Refusal{Err: err}
	}
	return r, until, err
}
