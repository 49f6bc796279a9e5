// Package races runs the race that Rescind exists to win: rights change at the
// provider while somebody is fetching them. The same schedules are run over
// four ways to keep a cache, and what each lets through is counted.
//
//	a  cache-aside: fill on a miss, a time to live, delete on notice
//	b  the same, with one fetch at a time under a lock
//	c  timestamps: a notice leaves one behind, and no older fetch is stored
//	d  Rescind's fence: the Store and the scripts that are shipped, not a copy
//
// A case is one schedule, made from its seed alone: one or two subjects who
// share a role and an app, two to four changes, two or three workers, readers,
// delays before and after the provider looks at its state, notices that come
// late, twice and in another order, fetchers that die, entries that expire or
// vanish, and in one case of five a Redis that is flushed, that fails over to a
// copy which lags, or whose clock jumps. The clocks of workers and provider are
// off by up to 50 ms, that of a copy by up to 2 s. All four ways get the same
// schedule: each delay is drawn from the seed and from what it delays.
//
// # What is counted
//
// A change is applied once a worker that had its notice is done with the cache.
// Where Redis fails over, that needs the copy to have it too, as WAIT makes
// sure; a notice that was applied too late for that is delivered again.
// An answer is stale if it lacks a change that was applied before it was stored,
// or before the reader asked.
//
// # What the model leaves out
//
// Without Options.Redis the cases run on the package model: the scripts are the
// shipped ones, Redis and its clock are not. An operation of the fence is one
// step there, even where it takes several calls, as a drain does. No call is
// lost or sent twice, memory is never short, and a change names one tag.
//
// # What a real Redis leaves out
//
// With Options.Redis the steps of a case still come in the schedule's order,
// through go-redis; other cases run beside it, each in a tenant of its own. Time
// does not pass between the steps, so what expires is deleted; a failover is the
// loss of every key of the tenant; the clock does not jump. All keys begin with
// "race:" and are deleted at the end of their case.
//
// It never touches what others keep in that Redis, and never sleeps.
package races
