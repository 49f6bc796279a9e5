// Package lookup is the library for applications: what may this user do, as
// the provider last said, and how old is that.
//
//	client, err := lookup.New(rdb, lookup.Options{})
//	...
//	d, err := client.Check(ctx, ref, "permission/ReadMessages", "scope/ReadMessages")
//	if !d.Allowed() {
//		// err, d.Missing, d.Reasons and d.Message say why
//	}
//
// A check names all that the action needs: the answer is granted only if each
// of it is. It costs one HMGET, read by the rules of package cache.
//
// # What a caller may rely on
//
//   - Only [Decision.Allowed] permits, and it is true of nothing but "granted".
//     Missing, expired, unreadable, of a kind that was not read: all this is
//     unknown, and so is the decision beside any error. A caller who ignores
//     the error is still safe.
//   - Unknown is asked of the [Asker], if there is one; [HTTP] asks the worker,
//     which asks the provider. Without one, unknown is returned as it is.
//   - A fault of Redis is never hidden: it is the error, or, where the asker has
//     answered all the same, [Decision.Fault].
//
// # What it needs of the Redis client
//
// It must read the primary, have no client-side cache, and set
// ContextTimeoutEnabled: only with that option does go-redis obey
// [Options.Timeout] on the network. The wait for a free connection is bounded by
// the client's own PoolTimeout, and by the caller's context.
//
// # What it never does
//
// It never decides policy, writes nothing, keeps no answer between two checks,
// starts no goroutine, and retries nothing that the Redis client does not.
package lookup
