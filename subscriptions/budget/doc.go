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
// slots have freed as there are callers of a higher purpose waiting, and of its
// own that came before it. The turn is its own: kept under [cache.CallerOf] if it
// asks again earlier, and found again if it comes at its turn and must go on
// waiting. From a turn on until a twentieth of a window later, a second at least,
// neither newcomers nor callers of lower purposes are let past it; then it is
// lost. A slot that nobody's turn is for goes to whoever comes. Who has no name is
// a newcomer each time. Five percent of the calls, at least one, are for readers
// alone, unless there is but one. A turn is at most ten windows away, and no
// promise.
//
// A lane tells which life of entries it sustains: the shortest, from
// [cache.MinLife] to [cache.Ceiling], at which [subscriptions.Share] percent of
// its calls suffice if everybody asks once in a life who came back within the
// ceiling, and as many others as lately. Only named callers for a reader or for
// upkeep count, who start a life; the calls of an errand after its first, which
// are made as a reader's, count whoever it is for. 20,000 of each kind are
// remembered.
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
// (the log), :c and :r (who asked once, and who came back), :w0 to :w3 and :q0
// to :q3 (who waits, by turn and by place); ids are escaped, callers hashed.
// Every key expires.
//
// # Why no library
//
// The limiters for Redis that are well kept (redis_rate and others) count by
// GCRA or fixed windows, which are other limits than a sliding window, and know
// neither replies nor purposes.
package budget
