// Package refresh is the worker's whole thought: a change or a miss in,
// entries written.
//
// # A change
//
// [Worker.Apply] takes changes in batches. It invalidates their tags, one call
// a tenant, then acknowledges, then asks the queue for a refresh of every entry
// that was alive, beside the changes that follow ([Worker.Wait]). It calls no
// provider, and nothing after the invalidation holds an acknowledgement back.
// While Redis is away it holds the batch and tries again; a change is never
// given up because of an outage. What Redis refuses for another reason goes to
// the dead letters after its retries, and takes no other change with it.
//
// Where replicas are to have a change before it is acknowledged and do not, it
// is done on the primary and comes again, while those that follow are applied.
//
// [Worker.Watch] notices a Redis that was restarted, failed over or replaced,
// and drops what the old one had vouched for.
//
// # A refresh
//
// [Worker.Refresh] fetches an entry again and keeps the deadline of the one it
// replaces, so an entry that nobody reads dies in time however many changes
// hit it. What the provider does not answer now is asked later, until that
// deadline.
//
// # Upkeep
//
// A provider's answer right after its own notice may still be the old one. So
// an entry that was fetched less than 30 s after a change is fetched again 3 s
// and 30 s after it, and what it rests on too; the last of these confirms it.
// What differs was the provider's lateness: it is counted, and told to all by a
// change of our own.
//
// An entry that was read since it was stored is fetched again shortly before
// its deadline, and lives on; one that was not ends. Where Redis cannot tell,
// nothing is renewed, and a metric says so. One look at an entry is pending at
// a time, in the queue; each plans the next.
//
// # A miss
//
// [Filler.Get] answers a reader. A usable entry is returned as it is.
// Otherwise one fetch is made, however many ask: in this process they wait for
// one another, across processes for the lease. Who waited reads Redis again,
// and never takes an answer whose fetch began before it asked. An answer that
// could not be stored is given out only if nothing older than that went into it.
//
// # What it tells
//
// A [Journal] hears of every change that hit something alive, with the first entries
// that it hit; those that hit nothing are told of together, by their sequences alone. Which of
// several changes of one step hit an entry is told by the subject that it names, else
// each with another tag is named. Then it hears of each entry that is fetched again
// for that, and confirmed; of what the fence refused, of providers that were late, and
// of what is dead. Renewals of what nobody changed are not told.
//
// # What it never does
//
// It never stores but through the fence, never extends a life because of a
// change, and never turns an error into a denial.
package refresh
