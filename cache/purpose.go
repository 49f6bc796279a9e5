package cache

import "context"

// Purpose says for whom a provider is asked. Where calls are short, those of a
// lower Purpose go first.
type Purpose int

// The purposes, first come first.
const (
	ForReader Purpose = iota // somebody waits for the answer
	ForChange                // an entry that was in use was dropped
	ForUpkeep                // to confirm an entry, or to renew it before its deadline; polls
	ForSweep                 // to look at what nobody asked for
)

type purposeKey struct{}

// WithPurpose marks what is done under ctx.
func WithPurpose(ctx context.Context, p Purpose) context.Context {
	return context.WithValue(ctx, purposeKey{}, p)
}

// PurposeOf is the mark of ctx; without one it is [ForReader].
func PurposeOf(ctx context.Context) Purpose {
	p, _ := ctx.Value(purposeKey{}).(Purpose)
	return p
}

type callerKey struct{}

// WithCaller names what is fetched under ctx: who must wait for a call keeps its
// turn by asking again under the same name, from whatever process.
func WithCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// CallerOf is the name that ctx carries; empty if none.
func CallerOf(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}
