// Package renew keeps the registrations of tenants at their providers alive: one for
// each that the provider's [subscriptions.Registrar] wants, delivering to our address.
//
// # One for all
//
// All listeners compete for one lease ([Fleet]); who has it runs a [Keeper] for each
// tenant. A holder that was killed is followed within about 6 s. What a Keeper knows
// stands in the tenant's [subscriptions.Ledger], which is stored by compare-and-set
// and followed by all ([Book]). Two Keepers at once, for a moment, do no harm: the
// provider's list is the truth, and each look begins with it.
//
// # What it promises
//
// While it runs and the provider answers, whatever is wanted is registered and active.
// A registration is renewed when less than a third of its life is left, or less than
// 24 h if that is later; if it is gone, expired, stopped by the provider, or has said
// itself that it is over, a new one is made. Where each has a secret of its own, that
// is changed every [Config.Rotate] and on order: the new one is made beside the old
// one, which delivers for a minute more, and both secrets are taken meanwhile. What
// comes twice invalidates twice. The serial of a secret is stored before the
// registration is made, and stands at the end of its address: so one that was made and
// not noted is known all the same.
//
// The list is read every [Config.Check], and at once on an order ([Keeper.Obey]) or
// when a registration says that it is over. A look takes 100 steps at most.
//
// # Life and gaps
//
// A look that finds all that is wanted active and served proves the feed alive, as of
// when it was asked; so does a delivery ([DoHear]) since. A look that cannot make it
// so says that the feed is dead, and what is kept of the tenant is dropped at once.
// With filters that are not served it is doubtful, and what is kept is dropped too. When the feed is proven alive again, and
// a registration was gone in between, or dead, or not shown to live for two and a half
// checks, or no listener ran at all, then the time since the last proof is a gap. It
// is mended before the feed is called alive: swept, unless the tail followed it.
//
// # Trouble
//
// A rate limit ([subscriptions.Later]) is obeyed, and no other call of the look is
// made. A fault that only a person can mend ([subscriptions.ErrMisconfigured]) is
// logged as an error once for each text, and tried again every 5 min or so. Anything
// else is tried again after 1 s, then later and later, up to 2 min, with jitter, and as
// soon as a registration ends meanwhile. What
// exceeds the provider's limit is refused, with the reason; what is there stays, and is
// renewed. A panic of a provider's code is an error like any other. While the ledger
// cannot be stored, nothing is made that needs a secret and nothing that lives is
// removed; renewal goes on.
//
// # What it never does
//
// It removes nothing that it did not make: that has our address with a serial, or, if
// it has an earlier address, stands in the ledger. It does not fetch what was missed. It neither logs
// nor tells the address, whose path is half a secret.
//
// # Metrics
//
//	rescind_subscription_active{provider}      tenants whose registrations deliver, where they are kept
//	rescind_renewals_total{provider,outcome}   created, renewed, removed, later, misconfigured, failed
//	rescind_gaps_total{provider,mended}        times in which changes may have been missed
//	rescind_gap_seconds_total{provider}        how long they were, together
package renew
