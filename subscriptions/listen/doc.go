// Package listen is the HTTP door: it takes a provider's deliveries, lets the
// provider's [subscriptions.Door] verify and translate them, publishes the
// change, and only then answers with success.
//
// # What it promises
//
// A delivery is answered with 200 only after the [Publisher] has said that the
// change is stored, or if it tells of no change. Once its body has been read, a
// change is published even if the sender hangs up. A forged, cut or unreadable
// delivery never causes a status of 500 or more. A success is `{}` with
// Content-Type application/json, at most 1,024 bytes with its headers, and
// carries the headers of a handshake.
//
//	200  stored, a duplicate, a handshake, or nothing to store
//	400  cut short or unreadable          401  not from whom it claims to be
//	404  no such address                  405  not POST, at an address that is one
//	408  slower than the server allows    413  larger than MaxBody
//	500  a bug of ours                    503  not stored; Retry-After says when to come again
//
// A delivery that was verified and stored, or had nothing to store, proves that
// the feed is alive ([Config.Heard]); a handshake does not. A change that was refused
// because it could not be stored is told of too ([Config.Missed]): not every provider
// sends it again.
//
// # Addresses
//
// POST /hooks/<provider>/<part>, see [Address], or below it a registration's serial,
// of digits. The path without the serial is hashed and compared with that of every
// door in constant time: who probes learns from the time no more than from the
// answer, and that is the same at all addresses that are none. A proxy that adds a prefix to the path has to take it away.
//
// # Memory
//
// [NewServer] speaks HTTP/1 only, so one connection is one request at a time,
// and bodies take at most the connections that [Limit] allows times MaxBody, up
// to three times that for moments in which buffers grow. Only who knows an
// address can send one. After a 404 the connection is closed, so that a stranger
// holds one no longer than it takes to send headers.
//
// # Logs and metrics
//
// One line for each delivery: delivery_id (the change's), provider, tenant,
// outcome, tags (how many), ms. Outcomes: published, duplicate, nothing,
// handshake, refused, unreadable, slow, too_large, method, unpublished,
// panicked. Unknown addresses are logged at debug, since scanners cause them.
//
//	rescind_deliveries_total{provider,outcome}  provider is empty and outcome unknown: no such address
//	rescind_delivery_seconds{provider}          from the headers' arrival until the answer
//	rescind_publish_seconds                     waiting for the stream
//	rescind_listener_connections                open ones, see [Handler.ConnState]
//
// # What it never does
//
// It logs nothing from headers or bodies but ids, puts no tenant into a metric,
// tells a sender nothing beyond the status, starts no goroutine, and makes no
// call to a provider.
package listen
