// Package box is the Box pillar: it verifies and translates what Box delivers,
// keeps a webhook for each watched item, reads the enterprise's events, and reads
// what a user is in the enterprise or may do with a file or folder.
//
// # Deliveries
//
// A delivery is authentic if its body, as it came, and its timestamp were signed
// with one of the app's two keys, each under its own header, not more than 10 min
// ago and not more than 30 s ahead of our clock. So keys are rotated one after the
// other, and one alone suffices. A delivery's id changes whenever Box tries again:
// a change is named by the id in the body. Who did something (created_by) is never
// taken for whose rights changed. What cannot be understood drops more, never less:
// the item, or the tenant if none is named. When Box says that it has deleted a
// webhook or serves it no more, the tenant is dropped.
//
// # Events
//
// Users, roles, groups and the app's authorisation send no webhook; they are found
// by asking for the events of the enterprise, every event_poll, for about 20 s and 10
// pages at most. The events of a page are one change; one that cannot be read drops
// the tenant. The cursor is moved by pages that hold events alone, since an empty one
// may answer 0, which is the beginning. Events without a place to go on from are an
// error. Box sends events twice and out of order; that harms nothing. If nobody
// has asked for longer than Box keeps the stream, the tenant is dropped and the
// logs then name what was missed, while the stream goes on from now.
//
// # Reading
//
// The user, its role, status and groups are read by the app's service account. An
// item is read as the user: by the service account with As-User, or with a token of
// the user's own (the setting as). Box's own word for what the user may do with it
// counts, and nothing is worked out from collaborations. An inactive user is denied
// everything. A collaboration of the user or of one of its groups that ends, ends
// the entry, if the user may see it; else the end is seen when the entry's life is
// over. A service account is no subject.
//
// An entry of an item depends on the item, the folders that it lies in, and the
// user's groups. Box shows a user the path only from where the user comes in, and
// the folders in which its collaborations were given; everybody's path begins with
// a root. Only the owner's is known to be whole. Every other entry has the tag
// folder:0, which stands for "place not wholly known", and so have denied items,
// which show no path at all. Every move and restoring, whatever else is said of a
// whole folder, and the deletion of a user, who may have owned some, drops these.
//
// What Box does not tell is not covered and so unknown: which of an
// administrator's rights a co-admin or a group's admin has, the role if no
// enterprise is told, the rights of users of other enterprises and of users with a
// status that we do not know. Memberships that are not shown are an error.
//
// # Scopes
//
// Box has no call that tells an app's or a token's scopes. The setting scopes says
// what the enterprise's admin authorised. It is taken down with each token and
// stays with it, as Box's own does, until the next: a change with the tag app makes
// that at once. A scope that needs one that is missing is left out. A refusal for
// want of a scope is the app's fault and never taken for the subject's.
//
// # Narrowed tokens
//
// What a token that an app has narrowed for itself (token exchange) carries stands
// only in the reply that made it. The app hands that over, as it came and at once
// ([Provider.PutToken]); the token itself is not kept. Its entry is that of the
// user and token:<name>, the name being the first 32 hex digits of the token's
// SHA-256. It covers scopes alone, of which each has the objects that it is for as
// its width, folder:11,folder:30, or * for none; and ends with the token. It is a
// snapshot: what was told of a token stands, whatever the app is granted later, and
// a token that is revoked before its end reads as before: a change with the tag
// token:<name> has its entry made again. Told again after its end, a token counts as
// new. If nobody has told of it, or it is another user's, all is unknown. A user who
// is inactive or gone is denied everything.
//
// The entry says nothing of permissions. What may be done with the token is an AND
// of two entries, and of the width, in which the app looks for the item or a folder
// that it lies in:
//
//	HMGET perm:v1:{box:987}:e:42:token%3A0f3c… _until _covers scope/item_download
//	HMGET perm:v1:{box:987}:e:42:folder%3A30   _until _covers permission/can_download
//
// # Registration
//
// Each item of watch has one webhook, on the service account, with all triggers
// that may change rights. Box allows one an item for an app and user: one that is
// there already is taken over if its address is such as ours, and else left alone,
// which is an error. So two installations with one app must not watch the same item, and one that is dead must be deleted before
// another is made. Webhooks do not expire. One that lacks triggers serves the others:
// those are told as disabled, and a renewal asks for them again. That Box has deleted
// a webhook, or that its session is over, is told by deliveries alone
// ([Provider.Origin]): in the list the latter looks alive. No token is ever revoked,
// since that would delete the webhooks made with it.
//
// Box tries a delivery again for 2 hours, which may change: an hour is relied on, as
// long as each try has a timestamp of its own, which Box implies and does not say.
// The enterprise's events do not make up for what webhooks missed: they do not tell
// of a rejected collaboration, are not said to tell of a file or folder that is
// deleted for good, and of an item of another enterprise tell only what our users do.
// All other triggers have their event.
//
// # Limits
//
// 1000 calls a minute are counted for whose token it is. For whom Box counts a call
// with As-User is not documented: it is counted for the service account, the
// stricter reading. A 429 closes the lane for its Retry-After.
//
// # Settings
//
// [Settings] lists them.
//
// # What it never does
//
// It never follows a redirect, prints a token or a key, stores what a delivery says
// of rights, takes a missing list for an empty one, or repeats the vendor's
// messages.
package box
