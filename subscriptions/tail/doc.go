// Package tail looks, again and again, for changes that a provider sends no
// notice of, and publishes them: one process of the fleet for each tenant.
//
// # What it promises
//
// While [Loop.Run] runs in at least one process, and the provider and the stream
// answer, [subscriptions.Tail] is polled every [Config.Interval], give or take a
// tenth. The cursor is saved after the stream has acknowledged all changes, never
// before, and by a compare-and-set on the lease's revision. So whoever takes over
// from a holder that was killed, or is only slow, goes on from what was surely
// published: nothing is missed, at worst something is published twice, under the
// same id.
//
// The holder renews the lease three times in its life, however long a poll takes;
// the others look four times in a life. A holder that stops gives it back. One
// that is killed is followed within two lives. One that has lost it stops polling,
// and cannot move the cursor.
//
// A rate limit ([subscriptions.Later]) is obeyed. A fault that only a person can
// mend ([subscriptions.ErrMisconfigured]) is logged as an error once for each text,
// and tried again every 5 min or so. Anything else, a stream that does not
// acknowledge included, is tried again after 1 s, then later and later, up to
// 2 min, with jitter. Calls are made as [cache.ForUpkeep].
//
// # What it never does
//
// It does not know what a cursor holds. It makes up no change. It drops no change
// to get on: while one cannot be published, the cursor stays.
//
// # Metrics
//
//	rescind_tail_polls_total{provider,outcome}  changed, unchanged, later, misconfigured, failed, lost
//	rescind_tail_changes_total{provider}        changes published
//	rescind_tail_age_seconds{provider}          since the last good poll, or since the lease was taken;
//	                                            the oldest of the tails that this process holds, else 0
package tail
