// Package ringcentral is the RingCentral pillar: it verifies and translates
// what RingCentral delivers, keeps the registration, and reads what an
// extension may do.
//
// # Deliveries
//
// RingCentral signs nothing. A notification is authentic if it came to the
// unguessable address and carries one of the configured verification tokens;
// the first is given to new registrations, the others are accepted as well,
// so that a token is rotated by a new registration. A request that carries
// Validation-Token is a handshake at any time, and a notification as well if
// it has a body. Where a notice is vague (no hints, unknown hints, nobody
// named) more is dropped, never less.
//
// # Tokens
//
// A token is what the app's scopes were learnt from, hence a part with the
// tag "app" (a subject's own token: "subject" too). It is kept sealed in the
// [subscriptions.Vault], together with the [cache.Stamp] of the session under
// which it was minted: the number from before it was issued. A reader says so
// with Use, under a name that holds the stamp, "token:service@<fence>.<number>",
// so that Refused means exactly this token: the first reader that is refused
// replaces it, the others take the replacement, and a change of the app costs
// one mint and not one a reader. A token of another fence would be refused for
// certain and is replaced at once. The registrar has no session: what it mints
// carries no stamp and is not used for reading. One process mints at a time,
// since RingCentral evicts the oldest of about five sessions and allows five
// mints a minute; a token is replaced two minutes ahead of its end.
//
// # Reading
//
// With the subject's own token (from the customer's exchange endpoint): the
// authorization profile and the features. With the service token: the profile
// if RingCentral allows it, else the assigned roles and their definitions,
// closed over includedPermissions; then the width is the role's scope, which
// may be narrower or wider than that of a single permission, and features are
// not covered, because RingCentral gives only the caller's view of them.
// Assigned roles are read in every case, for their tags: an edit of a role
// must find its holders.
//
// # Limits
//
// Every call asks the [subscriptions.Budget] first, in the lane of its identity
// and the vendor's group, and tells it what the reply's headers say. After a
// 429, or a 503 with Retry-After, the lane is closed until the penalty is over:
// each call during it would restart it. What is not granted returns
// [*subscriptions.Later]; only a reading that somebody waits for, or whose first
// call was made, waits up to half a second. From the second call on a reading is as
// urgent as a reader's, since what is begun is finished; tokens always are.
//
// # Settings
//
//	base_url                 default https://platform.ringcentral.com
//	client_id                of the app
//	subscription_life        default 168h
//	user_agent               default rescind/1
//	exchange_url             RFC 8693 endpoint of the customer; optional
//	exchange_client_id, exchange_audience
//
// Secret: client_secret, jwt, verification_token, verification_token_old,
// exchange_client_secret.
//
// # What it never does
//
// It follows no redirect, never prints a token, never takes a missing list for
// an empty one, and decides nothing by the vendor's messages, which are
// localised.
package ringcentral
