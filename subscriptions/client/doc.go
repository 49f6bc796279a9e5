// Package client is what a provider needs to call its vendor: tokens that the
// whole fleet shares, and calls within the vendor's limits.
//
// # Tokens
//
// A token is what the app's rights were learnt from, hence a part with the tag
// "app" (a subject's own token: "subject" too). It is kept sealed in the
// [subscriptions.Vault], together with the [cache.Stamp] of the session under
// which it was minted: the number from before it was issued. A reader says so
// with Use, under a name that holds the stamp, "token:service@<fence>.<number>",
// so that Refused means exactly this token: the first reader that is refused
// replaces it, the others take the replacement, and a change of the app costs
// one mint and not one a reader. A token of another fence would be refused for
// certain and is replaced at once. What is minted outside of a session carries
// no stamp and is not used for reading. One process mints at a time; a token is
// replaced two minutes ahead of its end.
//
// # Calls
//
// Every call asks the [subscriptions.Budget] first, in the lane of its identity
// and the vendor's group, and tells it what the reply's headers say. A reply
// that tells of a penalty closes the lane until it is over. What is not granted
// returns [*subscriptions.Later]; only a reading that somebody waits for, or
// whose first call was made, waits up to half a second. From the second call on
// a reading is as urgent as a reader's, since what is begun is finished; tokens
// always are. A token that is dead is replaced once; what may pass is tried
// three times, but never a creation, and never beyond the deadline of ctx.
//
// # What it never does
//
// It follows no redirect, reads no reply of more than 4 MiB, never prints a
// token, and repeats nothing of a reply but what [Word] lets through.
package client
