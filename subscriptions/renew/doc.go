// Package renew keeps a tenant's subscriptions at a provider alive: those that
// deliver to our address, one for each that the provider's [subscriptions.Registrar]
// wants.
//
// # What it promises
//
// While [Keeper.Run] runs and the provider answers, there is an active
// subscription for each that is wanted. It is renewed when less than a third of its
// life is left, or less than 24 h if that is later. If it is gone, expired or
// stopped by the provider, a new one is made and the dead one removed. Of
// several live ones the longest stays. Renewals do not wait for reminders: a
// reminder may be lost, a timer is not.
//
// A rate limit ([subscriptions.Later]) is obeyed. A fault that only
// a person can mend ([subscriptions.ErrMisconfigured]) is logged as an error once
// for each text, and tried again every 5 min or so, since a person mends it over
// there and not here. Anything else is tried again after 1 s, then later and
// later, up to 2 min, with jitter. The list is read again every [Config.Check].
//
// Whenever the provider says that all of them are active, that proves the feed
// alive ([Config.Alive]), as of when it was asked.
//
// # What it never does
//
// It touches no subscription with another address. It does not fetch what was
// missed while there was none. It elects nobody: run one Keeper for an address,
// as two could each remove what the other keeps. It neither logs nor tells the
// address, whose path is half a secret.
//
// # Metrics
//
//	rescind_subscription_active{provider}      how many tenants' subscriptions deliver
//	rescind_renewals_total{provider,outcome}   created, renewed, removed, later, misconfigured, failed
package renew
