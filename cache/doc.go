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
// Ids are percent-encoded, byte by byte in upper-case hexadecimal, where they
// hold ":", "{", "}", "%" or a control character ([Escape]); nothing else is. Read it with one command, on the
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
//	_asof       unix ms by Redis's clock at which the fetch began, or that of a
//	            role's definition or the like which was fetched before
//	_until      unix ms after which it must not be used; the key's expiry too
//	_version    the fence's number, decimal: every change with a number up to it
//	            is reflected; compare as integers. It does not order answers:
//	            that does _asof
//	_covers     the kinds that were read, such as "permission,scope"
//	_confirmed  1 if the fetch began at least 30 s after the last change; else 0
//	_basis      how it was learnt: authz-profile, assigned-roles, ...
//	_stored     unix ms by Redis's clock at which it was written; for the worker
//	kind/name   a grant; the value is its width in the provider's words, such as
//	            Self or Account,AllExtensions; "*" where there is none
//	why/...     optional: why the provider does not grant it
//
// The kinds are permission, feature, scope and role. Of several grants that are
// all needed one denied denies, else one unknown makes it unknown. What lies
// under an unconfirmed entry may still be the provider's old answer: it is
// known to be late by seconds. "perm" is the default of a configurable prefix.
//
// The keys of what was dropped or rewritten are published on
// perm:v1:{<provider>:<tenant>}:changed, one key a line: a change that drops an
// entry and the fill that follows are two messages.
//
// To ask the worker is one POST, see the package ask; it may answer unknown
// too, for a kind that cannot be read or while the provider does not answer.
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
