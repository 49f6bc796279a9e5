// Package natslocal runs a NATS server with JetStream inside this process, for
// the dev command and for tests.
//
// What it promises: [Start] returns when the server can be used, or says why
// not; [Server.Stop] returns when it is gone. What is kept in a folder that was
// named is there again when a server is started on it; a temporary folder goes
// with the server. With [Options.SyncAlways] every write is on the disk before
// it is acknowledged; without it the server syncs every two minutes, and a
// power failure may take what came since.
//
// What it never does: it listens on no address but a loopback one, since it
// asks nobody for a password, and it is no cluster. For production run
// nats-server itself.
package natslocal
