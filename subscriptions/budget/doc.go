// Package budget shares the calls that a vendor allows among all workers: a
// [subscriptions.Budget] in Redis, and one for a single process.
//
// # What it promises
//
// For each lane (provider, identity, group) it keeps an exact sliding log. A
// call takes up a slot from when it is granted until a window after its reply;
// the vendor counts it in between, so whatever the latencies are, the vendor
// never sees more than its limit in any window. A call that never comes back
// frees its slot after [Longest] and a window.
//
// The vendor's word is the truth: limit and window are learned from replies,
// and usual ones hold until then. If fewer remain than ours explain, somebody
// else uses the identity, and the log is filled up by as many; more than ours
// leave is never believed. A penalty closes the lane for everybody.
//
// Calls go by [cache.Purpose]. Who is refused is told its turn: when as many
// slots have freed as there are callers of the same or a higher purpose waiting
// before it. Until a twentieth of a window after that, callers of lower purposes
// are not let past it; then it counts as gone. Waiting callers of one purpose
// are not told apart: whoever comes first takes the turn that has come. Five
// percent of the calls, at least one, are for readers alone, unless there is
// but one. A turn is at most ten windows away, and no promise.
//
// Nothing waits here: Take answers at once. Redis is asked for at most
// [Answer]; if it is away that is an error and not a [*subscriptions.Later].
// Times are by Redis's clock. If it goes back, slots free later, by at most
// Longest and a window, and penalties keep their length; if it jumps ahead, or
// Redis loses its memory, a window is used twice and the vendor says 429.
//
// # Keys
//
// budget:{<provider>:<identity>}:<group> followed by :s (what was learned), :l
// (the log), :w0 to :w3 (who waits); ids are escaped. Every key expires.
//
// # Why no library
//
// The limiters for Redis that are well kept (redis_rate and others) count by
// GCRA or fixed windows, which are other limits than a sliding window, and know
// neither replies nor purposes.
package budget
