// Package stream keeps changes in NATS JetStream: it publishes and consumes
// them, queues refreshes, seals small secrets, and reads back.
//
// [Open] creates five things, or takes what an operator made and checks it:
//
//	CHANGES  every change, file, 7 days, ids remembered for 10 minutes
//	REFRESH  the queue of refreshes, memory, one pending per entry
//	DEAD     what could not be handled and why, file, 30 days
//	JOURNAL  what became of changes, memory, 1 day, 128 MiB, the oldest go first
//	RESCIND  a key-value bucket of sealed secrets, locks, leases and ledgers, file
//
// [Feeds] and [Proofs] create what they need, and do without it while it is
// not to be had:
//
//	FEEDS    a key-value bucket of each feed's last proof of life and last death,
//	         memory, 1 day
//
// [Calls] are stored nowhere: over core NATS a request or message goes to whoever
// serves that home, and the answer to the inbox of who asked.
//
// # What it promises
//
// A change is stored when [Stream.Publish] returns without an error, never
// before. It is delivered at least once to every durable consumer, until it is
// acknowledged; what an outage took along comes again within seconds
// ([ConsumeOptions]). What cannot be handled goes to DEAD and is acknowledged
// only once DEAD has it ([Message.Dead]).
//
// "Stored" is as durable as the stream: [Open] refuses one that loses changes
// by its configuration and warns of one replica. Whether the server syncs every
// write cannot be seen from here; set sync_interval: always there.
//
// # What it does not promise
//
// No order: a change that is delivered again comes after later ones. Not once:
// dedupe spares work and nothing depends on it. A refresh may be lost, with the
// server that held it in memory or with the worker that took it; what is lost
// is a head start, since the next reader asks for itself. A lock may end before
// its holder does; writes are guarded by revisions, not by locks. What is told to
// a keeper may be lost; what is asked of one may have been done though no answer
// came in time. An outcome may be lost: [Journal] writes beside the work, drops what
// it cannot write, and counts that; JOURNAL ends with its server.
//
// # One message, one change
//
// Every change is a message of its own, with its own id and its own receipt;
// none waits for company. Atomic batches are not used: with one replica the
// server (2.15) builds a file store for each and syncs it, some milliseconds on
// a disk however little it holds and whether or not every write is synced; and
// one id that is known already refuses them all.
//
// # Servers
//
// nats-server 2.12 or later is needed, for message schedules. A conflict is
// error 10071 on one replica and 10164 on several; both are understood.
//
// All methods are safe for concurrent use. The connection belongs to the
// caller; nothing here closes it, and everything ends with it.
package stream
