// Package sim plays the providers: RingCentral's API and webhooks over HTTP, for tests, for the dev command
// and for load. It is never imported by the services.
//
// [NewRingCentral] gives an http.Handler with one small account in it. It starts nothing: goroutines exist
// only while something is to be delivered, and [RingCentral.Close] waits for them. All methods may be used
// concurrently.
//
// # What it promises
//
//   - Every JSON answer follows the vendor's public description, and the status codes and error bodies the
//     vendor's documents or captures; the tests hold each answer against the description.
//   - The vendor's inconvenient habits are on by default: rate limits with a penalty that every call
//     restarts, five sessions for a user and app, silent expiry of subscriptions, one delivery attempt, roles
//     that change without an event, profiles that only their owner may read.
//   - Where the vendor's documents disagree, [Quirks] has a switch; its zero value is the likelier reading.
//   - A change made through the API and one made through a method of RingCentral have the same effect and
//     send the same events.
//
// # What it never does
//
// It keeps nothing on disk, makes no call but to the webhook addresses it was given, and checks no signature
// of a JWT: a credential is an opaque string here. It has one account, no sites, no service plans, no
// localised texts.
//
// # Time
//
// Options.Speed divides every duration of the vendor: windows, penalties, lives of tokens and subscriptions,
// reminders, blacklisting. What clients are told (expires_in, expirationTime, Retry-After,
// X-Rate-Limit-Window) is the divided value, rounded to whole seconds but never below one, so a client that
// believes it behaves rightly on its own clock. The 3 s that a webhook has to answer are not divided
// (Options.DeliveryTimeout).
//
// # The default world
//
// Account 37439510; app "rescind-dev" with secret "rescind-dev-secret"; JWT credential "service" with the
// assertion "sim-service-jwt", which belongs to the administrator 256440016; ordinary users 8475874957 and
// 8798797945; a call queue 74953947939. Standard roles: 1 administrator, 2 user administrator, 3 ordinary
// user, 4 the same without international calls, 5 mailbox. Roles list permissions; the effective ones are the
// union over the roles, closed over includedPermissions. Nearly all permission and feature ids are the
// vendor's (captures in github ringcentral/ringcentral-js-widgets); which permission includes which is our
// guess, and so are roles 2, 4 and 5.
//
// # Endpoints that are not the vendor's
//
//	POST   /token-exchange  RFC 8693, as a customer of ours would run it: Basic credentials ("exchange" and
//	                        "exchange-secret"), subject_token = extension id. Each exchange opens a session,
//	                        and the rule of five sessions holds
//	GET    /sim/world       the world as JSON, without secrets
//	GET    /sim/faults      the faults in force
//	POST   /sim/faults      adds one: {"operation": "readAuthorizationProfile", "kind": "delay", "delay": "2s",
//	                        "count": 3}. Kinds and fields: [Fault]. 204, or 400 with the reason as text
//	DELETE /sim/faults      ends all. 204
//	POST   /sim/filters     sets a filter aside: {"filter": "/restapi/v1.0/account/37439510/extension",
//	                        "reason": "SUB-412"}; without a reason it may be had again. 204
//	DELETE /sim/subscriptions/{id}  forgets one without a word. 204, or 404
//
// # How subscriptions die
//
// By their end ([Options].Speed brings it near, or a test in simulated time); blacklisted, after ten minutes
// in which all deliveries failed; [RingCentral.LoseSubscription]; in part by [RingCentral.DisableFilter]. The
// vendor's checks of an address are made as far as a loopback address can fail them; each can be asked for by
// a fault: {"operation": "createSubscription", "kind": "refuse", "code": "SUB-524"}. So can SUB-505, although
// Options.MaxSubscriptions counts, and the end of a renewal, SUB-507. Several subscriptions may have one
// address: each delivers, with its own secret.
//
// # Guesses
//
// Where nothing is documented the simulator does this: a disabled or deleted extension loses its sessions; a
// role that somebody has cannot be deleted (400 CMN-101), nor a standard role be edited; lists of roles leave
// out permissions, which only the single read shows; a renewal without expiresIn grants the life last asked
// for; a renewal does not lift a blacklisting; targetExtensionId of a profile leaves out what is granted for
// oneself only. Codes SUB-408, SUB-515 and SUB-522 are from a dump of the vendor's API explorer of 2018
// (github streamdata-gallery-topics/subscriptions); CMN-100, OAU-109, OAU-250 and SUB-411 are ours.
package sim
