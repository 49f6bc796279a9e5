// Package mural is the Mural pillar: it reads what a user may do in a workspace,
// a room or a mural, looks for changes by polling, and keeps the users' grants.
//
// # No webhooks
//
// Mural has none: no endpoint, no event, no signature. So there is no
// [subscriptions.Door] and no [subscriptions.Registrar] here. A change is found
// by [Provider.Poll], as late as [Provider.Delay] says, or told by the
// application itself; else an entry is wrong until it ends.
//
// # Whose eyes
//
// Everything is seen through one user's token: what that user does not see does
// not exist for the caller, and there is no token of an app. The setting poller
// names the user whose grant polls; a subject with a grant of its own is read
// with that, one that never had any with the poller's. Make the poller a member of all rooms
// that matter. Rooms that it is not in and that are not open are not watched.
//
// # Polling
//
// A poll looks at the workspace, at which rooms there are, then room by room at
// the members, the murals that are not archived with their settings for visitors
// and workspace members, and the members of each. It makes at most 200 calls, 20
// a second, and goes on where the one before ended. What it knew is in the cursor:
// who the members were, as long as that fits into 256 KiB, so that a change names
// those who differ; else a digest of each room and mural; else one of each room
// with all in it, and then a change names the room. A change of a mural in a room
// that is remembered so finds the mural's entries by their tag of the room. More
// than 4,000 rooms are refused; of a list with over 3,960 members or murals the
// rest is not looked at. A list that cannot be read is passed over until the next
// sweep; after three sweeps on end a poll that finds nothing is an error, and goes
// on all the same, until a sweep has read it. One that finds something is a good
// one even then: what comes with an error is not published. A poller that does not
// see the workspace proves nothing: that it is gone is told once, then each poll
// is an error. A first sweep of several polls ends with a change of the tenant,
// since what changed meanwhile was taken for what always was. A mural's updatedOn
// is not looked at: nothing says that it moves when the members do. No poll can see who else belongs to the workspace, or which
// scopes a user has consented to: such entries are right again when they end.
//
// # Reading
//
// What the API does not tell stays unknown, with a reason under why/: nothing is
// guessed. Kinds: permission/view and permission/edit (no others exist here),
// role/owner, role/facilitator, role/member, and scope/<name>.
//
//	with           of           answer
//	own token      mural        readable: permission/view. In the list: role/member, owner, facilitator;
//	                            an owner may edit, of another nothing tells
//	                            not in it: a member of the workspace by workspaceMembers: write may edit;
//	                            read may not, unless in the room's list, then unknown
//	                            a guest, or who is not in the workspace, by the link for visitors, and no
//	                            longer than that lasts; who may be either: edit unknown
//	                            not in it, and the workspace suspended or locked: nothing is known
//	own token      room         readable: permission/view; role/owner if the vendor shows sharingSettings,
//	                            which it does to owners (inferred); role/member by the list
//	own token      workspace    role/member if it is listed, and /users/me says the type member (guests have
//	                            it listed too), else unknown; suspended or locked: denied
//	own token      refused      no-access: neither permission nor role is granted; unknown if it is forbidden
//	                            and the token does not tell its scopes
//	dead grant     anything     nothing is known: the user may be suspended, which no list shows
//	poller's       mural, room  roles by the list of members; view and edit unknown, and a room's owner too
//	poller's       workspace    nothing is known, and no call made
//	poller's       refused      unseen: nothing is known
//	either         a long list  who is not in the 3,960 entries that are read: roles and edit unknown
//
// That a workspace is suspended or locked is known only where the list of
// workspaces is read: not of rooms, not of who is in a mural's list, and never with
// the poller's token.
//
// Users are matched by id. Scopes are read from the claims of the subject's own
// token, which cannot be verified: no keys are published. They are what that token
// carries: an app that gives a scope up leaves it in the grants there are. A call
// for which the token lacks the scope is not made, since its refusal would say
// nothing of the subject. Without an own token scopes are not covered.
//
// # Grants
//
// A grant is a user's refresh token, sealed in the vault; [Provider.PutGrant] puts
// it in. A refresh gives a new one and ends the old one. It runs under the fleet's
// lock, and is not given up half-way: the new refresh token is stored before the
// new access token is used. A process that is killed between the two, or a reply
// that is lost, costs the grant where the vendor takes a used token no more. A
// refused refresh token, or a new access token that is UNAUTHORIZED, marks the
// grant dead, for which only the user's consent helps: the poller's is then
// [subscriptions.ErrMisconfigured], of another subject nothing is known. PutGrant
// ends the use of the access token there was. A grant belongs to one workspace: do
// not put one refresh token into two.
//
// # Limits
//
// 25 requests a second of one user, and 10,000 a minute of the app: a call takes
// a slot of both. A 429 comes without Retry-After; the limit that has nothing
// left closes until its reset, by the clock of the reply's Date.
//
// # Settings
//
// See [Settings]. refresh_path is /token or /refresh: the vendor's documents name
// both. The app's credentials go into the body; where that is refused as
// invalid_client, into a Basic header, which is then remembered with the grant.
//
// # What it never does
//
// It writes nothing to Mural, follows no redirect, never prints a token, takes no
// missing list for an empty one, and decides nothing by the vendor's messages.
package mural
