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
// [Document] show it, [Parse] and [Config.Validate] obey it.
//
// It knows no vendor. What a provider can be told its package lists, as
// [subscriptions.Setting], and judges when it is opened, which makes no call; here
// it is only said where in the file the setting at fault stands. So a provider's
// kind must be known before its other keys can be read.
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
