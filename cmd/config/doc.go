// Package config reads the one YAML file of both services.
//
// What it promises: a key that it does not know, a key given twice and a value
// of the wrong type are refused with file, line, path and remedy, all of them
// at once; every scalar can be overridden by the environment, and a variable
// RESCIND_… that overrides nothing is refused too; a secret is taken from the
// environment or from a file only, and never shows in errors, in
// [Config.Effective] or in any printing of a [Config].
//
// One table is the source of names, defaults and explanations: [Fields] and
// [Markdown] show it, [Parse] and [Config.Validate] obey it.
//
// # Environment
//
// The override of a path is RESCIND_ and the path in capitals, with _ between
// and for every other sign: RESCIND_WORKER_LIFE,
// RESCIND_PROVIDERS_RINGCENTRAL_TENANTS_0_ID. It reaches what is in the file:
// providers, tenants and list items are not created by it. The override of a
// secret is again env:NAME or file:/path. A variable that the file names as
// the source of a secret is a source and no override.
//
// # What it never does
//
// It opens no connection, changes no environment, and reads no file but the
// configuration and the secrets that this one names. A secret that cannot be
// read is an error of [Config.Validate], and only for a role that uses it, so
// that a service runs without the secrets of the other.
package config
