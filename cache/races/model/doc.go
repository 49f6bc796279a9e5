// Package model is a small Redis inside the process, with a clock that is
// driven: what a race needs to be run a million times. It runs Lua scripts as
// they are, so that what is proved on it is what is shipped.
//
// It promises to answer the commands that it has as Redis 7 does, which a test
// compares with a real one; any other command is an error. Each command and
// each script is one step. Its clock moves only when it is told to, and may go
// back. A [Copy] is what a replica had at one moment; [Server.FailOver] makes it
// the server, under a new replication id.
//
// It never listens on a network, persists, evicts, or runs out of memory, and
// PUBLISH reaches nobody. Hashes and sorted sets are slices: right for tens of
// members, slow for thousands. Scripts see the base, string, table and math
// libraries without the limits of a sandbox.
package model
