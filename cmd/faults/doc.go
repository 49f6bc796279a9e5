// Package faults proves what is promised of a system whose parts die. It
// starts one on this machine, sends it a bounded load of webhooks, breaks one
// thing after the other, then random pairs of them, and holds what it saw
// against the promises.
//
// # The system
//
// Three NATS servers with three replicas of every stream and every write
// synced, a Redis primary with its replica under a Sentinel, two listeners and
// two workers, all of them processes ([Part]); the simulated provider, a
// balancer before the listeners, and one TCP proxy before each NATS server and
// each Redis are in the prover itself. Everything is on loopback.
//
// # What is held against what
//
//   - A delivery that was answered with success is in CHANGES, by its id. All
//     deliveries of the whole run are looked for after each fault.
//   - Every change in CHANGES was applied: the workers' consumer has nothing
//     pending, nothing unacknowledged, and DEAD has nothing new.
//   - No read that began after a change was applied shows what was there before
//     it. Applied means that the consumer's acknowledgement floor, polled all
//     the time, has passed the change; the instant is that of the answer.
//   - In the end every entry is missing or what the provider says, and a question
//     to a worker is answered as the provider would.
//
// Each generation of a subject's roles grants another set of permissions, so an
// answer shows which generation it is of.
//
// # What breaks no promise, and is counted
//
// A delivery that was not answered with success may be lost: the provider was
// told so, and the entry ends at its deadline ([Row.Undelivered],
// [Row.HealedAfter]). A reader that still reads a primary which Sentinel has
// deposed while it reads sees what that one has ([Row.Aside]): readers follow
// Sentinel, and no faster than it tells.
//
// # What it does not prove
//
// One kernel and one clock: no lost power, no torn disk; Redis's clock alone is
// moved, for all of its servers together. The provider is a simulator. Full
// disks and moved clocks have a system of their own and are in no pair: they
// need small file systems in memory, which take root, and libfaketime.
//
// # What is left
//
// Nothing but [Options.Dir] with the logs of all parts, which end with the
// prover whatever happens to it (on Linux); killed with -9 in the fault of the
// disks it leaves their three file systems mounted below Dir. A part that ends by itself, panics
// or has a data race breaks the row in which that is seen.
package faults
