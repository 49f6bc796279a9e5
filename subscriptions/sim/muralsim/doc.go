// Package muralsim plays Mural: its public API and its OAuth pages over HTTP, for tests, for the dev command
// and for load. It is never imported by the services.
//
// [New] gives an http.Handler with one small workspace in it. It starts no goroutine and needs no closing:
// what waits, waits in the request that asked. All methods may be used concurrently.
//
// # What it promises
//
//   - Everything is seen through one user's token: what its owner cannot see does not exist for the caller.
//   - Answers have the vendor's shapes and leave out what the vendor leaves out: permissions of room members,
//     sharingSettings of a room for all but its owners, sizes and colours in lists.
//   - The vendor's inconvenient habits are on by default: access tokens of 15 minutes, refresh tokens that
//     serve once, scopes that an install keeps when the app gives them up, both rate limits, 429 without
//     Retry-After, next tokens that expire, updatedOn that does not move when membership does, and no webhook
//     whatsoever.
//   - Where the vendor's documents disagree, [Quirks] has a switch; its zero value is the likelier reading.
//   - A change made through the API and one made through a method of [Mural] have the same effect, at once.
//
// # What it never does
//
// It keeps nothing on disk, makes no call, sends no mail and shows no page: whoever [Mural.SignIn] named is
// at the browser and consents. It has no widgets, templates, folders beyond their ids, SCIM, audit log or
// reports.
//
// # Time
//
// Options.Speed divides every duration of the vendor: windows of rate limits, lives of tokens, codes and next
// tokens. What clients are told (expires_in, exp, the Reset headers, Retry-After) is rounded up to whole
// seconds, so who waits that long has waited long enough. The durations of faults are not divided.
//
// # The default world
//
// App "rescind-dev" with secret "rescind-dev-secret" and all scopes. Workspace "rescind1234" of the company
// at rescind.test:
//
//	u1 ann  workspace admin    u2 bob, u3 cas, u4 dee  members    u5 eve, u6 gil  guests
//	room 1650000000001 open:    u1 owner, u2, u3; u6 restricted
//	room 1650000000002 private: u2 owner, u3; u5 restricted
//
//	mural  in       members                            workspace members, visitors
//	..011   open     u1 owner, u2 facilitator           write, none
//	..012   open     u2 owner, u3 view, u6 edit         read, read
//	..013   private  u2 owner, u3 facilitator           none, none
//	..014   private  u3 owner, u5 view                  none, write
//	..015   open     u1 owner                           read, none; archived
//
// Mural ids are "rescind1234.1650000000011" and so on, usernames "ann1650" and so on, emails
// "ann@rescind.test"; the guests' are at "guest.test".
//
// # Endpoints that are not the vendor's
//
//	GET    /sim/world    the world as JSON, without secrets
//	POST   /sim/control  does what a method of Mural does: [Control]. 204, or 400 with the reason as text
//	GET    /sim/faults   the faults in force
//	POST   /sim/faults   adds one: {"operation": "getMuralUsers", "kind": "delay", "delay": "2s", "count": 3}.
//	                     Kinds and fields: [Fault]. 204, or 400 with the reason as text
//	DELETE /sim/faults   ends all. 204
//
// # Guesses
//
// Where nothing is documented the simulator does this. A grant is one authorisation: its scopes are those
// asked for, all that the app lists if none, and a refresh keeps them whatever scope it asks for. Refresh
// tokens are JWTs and live 30 days. Next tokens live 10 minutes, belong to one user, path and limit, and
// count items, so a list that changes during a walk shifts. A suspended user keeps the tokens there are and
// sees "suspended": true on the workspaces. A window of a rate limit begins with the first call after the
// last one ended; refused calls do not count; OAuth calls are not limited.
//
// An open room is seen by every admin and member of the workspace, a private one by its members only. A mural
// is seen by its members, by its room's unrestricted members, and by the workspace's admins and members
// unless workspaceMembers is none. The users of a mural are those with an entry, not all of the room. Who
// leaves a room leaves its murals; a restricted member who leaves the last mural of a room leaves the room.
// Lists of murals show the active ones, newest first. Owners do what changes permissions; inviteOthers lets
// invite. usernames differ from user ids. Codes RATE_LIMIT_EXCEEDED, NOT_FOUND, STATUS_INVALID,
// SORT_BY_INVALID and those of rejected people are ours.
package muralsim
