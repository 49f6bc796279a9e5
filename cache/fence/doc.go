// Package fence is the only writer of entries and parts. It holds the three
// scripts that make "an older fact never overwrites a newer one" true in
// Redis, and nothing besides them may write what they guard.
//
//	begin       takes the lease of an entry and a number, or says that a live
//	            entry satisfies, or that somebody else is fetching
//	commit      stores what was fetched under the lease, unless one of its tags
//	            was stamped since; writes the index first, then the entry
//	invalidate  stamps tags with a new number, then unlinks what was computed
//	            from them
//
// A fourth, release, gives a lease back and stores nothing.
//
// # Why it holds
//
// Numbers come from Redis's clock and only grow. A fetch carries the number
// from before it began; a change stamps its tags with a later one. Hence a
// commit whose tags carry no later stamp has seen all changes that were
// applied. Five guards keep this true when keys vanish or clocks jump:
//
//   - the lease's nonce: a lease that was lost and taken by another is not ours;
//   - the floor: where a stamp may have been forgotten, nothing older is believed;
//   - the fence's nonce: numbers of a fence that was lost are not compared with
//     those of its successor;
//   - a part that is refused is unlinked, so that it cannot be used again;
//   - the history: a fence vouches only under the replication id of Redis that
//     it was made under. A promoted replica may lack changes, so there every
//     fence counts as lost, and [Store.Recover] drains what it finds.
//
// Each tag's index is guarded too: the fence knows until when an index should
// list something; if it is missing before that, the tenant is drained.
//
// # What it never does
//
// It keeps no state of its own and starts no goroutine. It never blocks Redis
// for more than a chunk of 500 names. It never writes to another tenant's slot:
// all keys of a call carry one hash tag, so it runs on a Redis Cluster.
package fence
