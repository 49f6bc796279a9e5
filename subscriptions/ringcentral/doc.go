// Package ringcentral is the RingCentral pillar: it verifies and translates
// what RingCentral delivers, keeps the registration, and reads what an
// extension may do.
//
// # Deliveries
//
// RingCentral signs nothing. A notification is authentic if it came to the
// unguessable address and carries the secret of one of our registrations
// ([subscriptions.Delivery].Secrets) or one of the configured verification tokens,
// which are for registrations made by hand. A request that carries
// Validation-Token is a handshake at any time, and a notification as well if
// it has a body. Where a notice is vague (no hints, unknown hints, nobody
// named) more is dropped, never less.
//
// # Registration
//
// One subscription packs all filters of the account. Its verification token is the
// order's secret. RingCentral returns it never and changes it never, so a secret is
// rotated by a second registration, before the first is removed; meanwhile each
// notice comes from both. A renewal is an update with filters and life, which
// mends filters as well. What was asked for and is not granted is told as
// disabled. The end of a life comes without a word, and so does the loss of a
// notification: nothing is delivered twice.
//
// A refusal to register says who can mend it: over there (rights, too many
// subscriptions) or on the way to our address, by the vendor's codes SUB-520 to
// SUB-525, each with what to look at.
//
// # Tokens
//
// Tokens are kept and calls made as in the manual of package client. One
// process mints at a time, since RingCentral evicts the oldest of about five
// sessions and allows five mints a minute. The registrar has no session: what it
// mints carries no stamp and is not used for reading.
//
// # Reading
//
// With the subject's own token (from the customer's exchange endpoint): the
// authorization profile and the features. If the token is from before a change,
// these are read with it while another is obtained, of which the scopes are.
//
// With the service token: the profile if RingCentral allows it, else the assigned
// roles and their definitions, closed over includedPermissions; then the width is
// the role's scope, which may be narrower or wider than that of a single
// permission, and features are not covered, because RingCentral gives only the
// caller's view of them. Where many are read at a time, or the limit of the single
// call is used up, one listing of the account's assigned roles serves all who wait
// for it: it counts in another group, and each answer passes the fence by itself.
//
// Assigned roles are read in every case, for their tags: an edit of a role
// must find its holders.
//
// # Limits
//
// An identity is an extension, a group the vendor's. After a 429, or a 503 with
// Retry-After, the lane is closed until the penalty is over: each call during it
// would restart it.
//
// # Settings
//
// [Settings] lists them.
//
// # What it never does
//
// It follows no redirect, never prints a token, never takes a missing list for
// an empty one, and decides nothing by the vendor's messages, which are
// localised.
package ringcentral
