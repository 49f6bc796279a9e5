// Package cache is the Redis contract, version 1: where an entry stands, how
// it is written, and how any program must read it. It does no I/O.
//
// # For a reader, in any language
//
// An entry is a hash under
//
//	perm:v1:{<provider>:<tenant>}:e:<subject>
//	perm:v1:{<provider>:<tenant>}:e:<subject>:<resource>
//
// Ids are percent-encoded where they hold ":", "{", "}", "%" or a control
// character ([Escape]); nothing else is. Read it with one command, on the
// primary:
//
//	HMGET key _until _covers permission/ReadMessages
//
// The answer is usable only if now < _until <= now + 5 min + 5 s, in unix
// milliseconds; otherwise, and after any error, it is unknown. Then a field
// that is present is granted, as widely as its value says; one that is absent
// is denied if its kind is listed in _covers; else it is unknown. Unknown
// means: ask the worker. [Judge] is this rule in Go.
//
//	_asof       unix ms by Redis's clock at which the fetch began
//	_until      unix ms after which it must not be used; the key's expiry too
//	_version    the fence's number, decimal; compare as integers
//	_covers     the kinds that were read, such as "permission,scope"
//	_confirmed  1 if the fetch began at least 30 s after the last change; else 0
//	_basis      how it was learnt: authz-profile, assigned-roles, ...
//	kind/name   a grant; the value is its width, "*" where there is none
//	why/...     optional: why the provider does not grant it
//
// The keys of what was dropped or rewritten are published on
// perm:v1:{<provider>:<tenant>}:changed, one key a line.
//
// # What may be stale, and for how long
//
// An entry lives at most [Ceiling]. A change that was applied makes it
// unreadable at once. Until the last chunk of a large tag was dropped, entries
// not yet reached may still be read.
//
// # What it never does
//
// It never says "denied" for what was not read, and it never decides policy:
// it repeats what the provider said, and how old that is.
package cache
