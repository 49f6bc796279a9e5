// Package cachetest opens Redis for tests: the embedded stand-in always, a real
// redis-server and a cluster of one node where redis-server is installed. With
// CI set in the environment a missing redis-server fails the test; elsewhere
// it skips it, visibly.
package cachetest
