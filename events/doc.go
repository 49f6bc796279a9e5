// Package events holds the words that every other package speaks: provider,
// tenant, subject, resource, tag and change, and how a change is written on
// the wire.
//
// A [Change] is a verified, translated notice: "what was computed from these
// tags may be different now". It carries no state, so applying it twice, late
// or out of order is harmless; that is what makes a replay safe.
//
// On the wire a change is a CloudEvent 1.0 in structured JSON ([Encode],
// [Decode]), published on the subject that [ChangeSubject] names:
//
//	perm.change.<provider>.<tenant>
//
// Vendors' ids are opaque: they may hold dots, spaces, wildcards or Unicode.
// [Escape] makes them safe for a subject and [Unescape] brings them back.
//
// The package does no I/O and depends on the standard library alone.
package events
