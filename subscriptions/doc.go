// Package subscriptions is the contract that every provider fulfils: how a
// delivery is verified and translated ([Door]), how a registration is kept
// ([Registrar]), how secrets are held ([Secret], [Vault]), and the families of
// errors by which the rest of the system knows what to do.
//
// What it promises: a delivery is either refused by name or becomes at most
// one change; a secret never prints.
//
// What it never does: no I/O; that is for the packages below it.
package subscriptions
