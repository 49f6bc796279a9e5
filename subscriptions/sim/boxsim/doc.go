// Package boxsim plays Box: its API, its enterprise events and its webhooks over HTTP, for tests, for the
// dev command and for load. It is never imported by the services.
//
// [New] gives an http.Handler with one small enterprise in it. It starts nothing: goroutines exist only
// while something is to be delivered, and [Box.Close] waits for them. All methods may be used concurrently.
//
// # What it promises
//
//   - Every JSON answer follows the vendor's public description, and where that is silent or wrong the
//     vendor's guides, SDKs and captures; the tests hold each answer against the description and name the
//     exceptions.
//   - The vendor's inconvenient habits are on by default. Deliveries are signed over escaped JSON bytes,
//     tried up to 12 times more under new delivery ids, and tell only the item, the actor and a trigger.
//     The streaming events have no order, come twice, come in short pages, with cursors above 2^53 that are
//     a string or a number, and an empty page may answer the cursor 0. A refused scope has no body. A
//     collaboration that runs out says nothing. A reauthorized app keeps its old tokens as they were. The
//     marker of a last page is null, empty or absent.
//   - Where the vendor's documents disagree, [Quirks] has a switch; its zero value is the likelier or
//     harsher reading.
//   - A change made through the API and one made through a method of Box have the same effect, put the same
//     events into the enterprise stream, and fire the same triggers. Methods act as the item's owner, or as
//     the administrator.
//
// # What it never does
//
// It keeps nothing on disk, makes no call but to the webhook addresses it was given, and checks no
// signature of a JWT. It has no content, no uploads, no terms of service, no Shield, no web links, no user
// streams (they are empty) and no long polling, no codes and refresh tokens. A shared link lets nobody in.
// Folders and files are changed by methods only. Events stay in memory until the end.
//
// # Time
//
// Options.Speed divides every duration of the vendor: lives of tokens, the minute of the rate limit, the
// spacing of retries, clean-up of webhooks, retention and lag of events. What clients are told (expires_in,
// Retry-After) is the divided value in whole seconds, never below one. The 30 s that a webhook has to
// answer (Options.DeliveryTimeout), the exp of a JWT, the expires_at of a collaboration and all delays of
// faults are not divided.
//
// # The default world
//
// Enterprise 987; app "rescind-dev" with secret "rescind-dev-secret" and all scopes for items, users,
// groups, webhooks and enterprise events, authorized; keys "sim-primary-key" and "sim-secondary-key". The
// users, groups, folders and files are the constants of this package: a service account, an admin, a
// coadmin, three users and an external one; Projects > Plans > Drafts with a file in each of the last two,
// and Private.
//
// # Endpoints that are not the vendor's
//
//	GET    /sim/world   the world as JSON, without secrets
//	GET    /sim/faults  the faults in force
//	POST   /sim/faults  adds one: {"operation": "get_folders_id", "kind": "delay", "delay": "2s", "count": 3}.
//	                    Kinds and fields: [Fault]. 204, or 400 with the reason as text
//	DELETE /sim/faults  ends all. 204
//	DELETE /sim/webhooks/{id}  deletes a webhook, and tells nobody. 204, or 404
//
// # Sources
//
// Paths, operationIds and shapes: github box/box-openapi, openapi/openapi.json at c9a878a9. Signatures: the
// test vectors of box/box-node-sdk, box/box-python-sdk and box/box-java-sdk. Rules, limits, lifecycles,
// triggers, event types: the guides in box/developer.box.com at eee1aa64. Roles of collaborators:
// support.box.com, "Understanding Collaborator Permission Levels". Shape of collaboration events:
// elastic/integrations, packages/box_events. Errors without a body: box/box-python-sdk issue 243,
// box/box-node-sdk issue 157.
//
// # Sources of guesses
//
// Nothing public says the following; it is inferred from what stands in brackets, or made up. Deliveries:
// source of COLLABORATION triggers [Okta's Box connector], body of WEBHOOK.DELETED and NO_ACTIVE_SESSION
// (the latter only has type, id, time and webhook), 10 minutes between retries [12 in 2 hours], a new
// timestamp for each, no retries for a deleted webhook, all four signature headers absent without keys, a
// deleted user's deliveries signed with unknown keys ["starts failing validation"], FOLDER.MOVED told to the
// old parents too, nothing told to webhooks inside a trashed folder. Webhooks: refusals of root folder,
// unknown triggers, bad addresses and the 1001st as 400, and what these name, code and text of the 409, an
// address being checked only when it is given, no change of a webhook bringing its session back; only
// revoking, not expiry, ends the tokens that a webhook hangs on. Rights: which field of permissions an
// action maps to, annotations going with comments; the highest role wins by its place in the list; user
// status and foreign locks take rights away; scopes do not change permissions, and any base_, item_ or
// annotation_ scope reads items; enterprise_content sees all as a viewer; nobody gives a role above the own
// one. Events: sources of group, group admin, token and app authorization events, GROUP_ADD_ITEM beside
// COLLABORATION_INVITE, no event for creating a folder, deleting for good, rejecting; any name is accepted
// as a filter. OAuth: tokens end with deactivation and deauthorization, codes of refused exchanges, the 401
// of a missing scope [description of the endpoint], revoking an unknown token is 200. API: As-User refused
// with 403, users of the enterprise accept invitations at once, role "user" of a service account, 400 codes
// of duplicate collaborations and of a user who owns content, a fixed window of a minute for the rate limit.
package boxsim
