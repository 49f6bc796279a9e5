// Package redislocal runs a Redis on this machine, for the dev command and for
// tests: a redis-server of its own as the contract wants it (no eviction, no
// persistence), a cluster of one node, or, where no redis-server is installed,
// an embedded stand-in whose clock is driven.
//
// It is not for production: nothing outlives it, and the stand-in bounds no
// memory. Whoever starts a server stops it.
package redislocal
