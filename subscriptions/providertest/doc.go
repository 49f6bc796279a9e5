// Package providertest is the contract that every provider fulfils, as a suite of
// checks: a pillar's tests hand it a [Site], which is the provider before its
// simulated vendor, and [Run] holds it to what package subscriptions promises.
//
// What it promises: the same checks for all, in simulated time, so that waits cost
// nothing and no network is used; all calls and all deliveries pass through the
// suite, which counts, cuts and refuses them. A capability that a provider has not
// is skipped by name. Each check is known to catch a provider that breaks it.
//
// What it never does: it knows no vendor, and is no part of a program: only tests
// import it.
package providertest
