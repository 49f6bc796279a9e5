// Package ask answers questions over HTTP: may this subject do that? It speaks
// the AuthZEN Authorization API 1.0, its evaluation call.
//
//	POST /access/v1/evaluation
//	{"subject":  {"type": "user", "id": "42"},
//	 "action":   {"name": "permission/ReadMessages+scope/ReadMessages"},
//	 "resource": {"type": "tenant", "id": "37439510",
//	              "properties": {"provider": "ringcentral"}}}
//
// The action names one grant or several joined by "+", all of which are needed.
// The resource is the tenant (its type may be tenant, account, enterprise or
// workspace), or something in it: then properties.tenant names the tenant. The
// provider may be left out where only one is configured. The subject's type is
// not looked at: ids are unique in a tenant.
//
//	{"decision": true, "context": {"state": "granted", "as_of": "…",
//	 "until": "…", "version": "…", "basis": "authz-profile",
//	 "covers": ["permission", "scope"], "confirmed": true, "feed": "alive",
//	 "width": {"permission/ReadMessages": "Self", "scope/ReadMessages": "*"}}}
//
// decision is true only if the state is granted; denied and unknown are told
// apart by context.state; context.missing lists what is denied, and
// context.reason says of what is denied or unknown why, where that is known.
// context.message says why an answer is unknown. A missing entry is fetched, once,
// however many ask. context.feed is doubtful where changes of the tenant cannot be
// shown to reach us: what is fetched then is kept for a shorter time.
//
// # Tokens
//
// An application that has narrowed an access token for itself tells what it carries,
// since only the reply that made it does; the provider may be left out here too.
//
//	POST /v1/tokens
//	{"provider": "box", "tenant": "987", "subject": "42",
//	 "reply": {…the reply of the token exchange, as it came…}}
//
//	{"resource": "token:…", "until": "…"}
//
// The resource is then asked for as any other of that subject's: its type is token,
// its id what stands behind the colon, the first 32 hex digits of the SHA-256 of the
// access token. That the token is the subject's is the application's word. The token
// itself is not kept, logged or repeated. What was told of a token stands until then.
//
// # For operators
//
// Two calls look at the cache and change nothing.
//
//	POST /v1/reach
//	{"provider": "box", "tenant": "987", "tags": ["group:9", …]}
//
//	{"entries": [{"subject": "42", "resource": "", "until": "…", "read": true}, …],
//	 "more": false, "alive": 1, "calls": 2}
//
// tells what is alive under up to 1000 tags: what a change of these would drop. At
// most 1000 entries are named, in order; more says that there are others, alive
// counts them, up to 100,000, and calls is how many calls of the provider it takes at
// most to fetch all of them again. read says whether an entry was read since it was
// stored; it is left out before Redis 7.2, where looking would count as reading.
//
//	POST /v1/verify
//	{"provider": "box", "tenant": "987", "subject": "42", "resource": "folder:11"}
//
//	{"cached": {"as_of": "…", "until": "…", "version": "…", "confirmed": true,
//	  "basis": "…", "covers": […], "grants": {…}, "why": {…}, "tags": […], "stored": true},
//	 "provider": {"basis": "…", "covers": […], "grants": {…}, "why": {…}, "tags": […]},
//	 "differences": [{"grant": "permission/can_upload", "cached": "*", "provider": null}],
//	 "match": false}
//
// asks the provider now, after all others who want its calls, and compares. Nothing is
// stored. cached is null if nothing usable stands, provider if it could not be asked:
// then error says why. The grant of a difference may also be why/ and a grant, or
// _covers. changed is true if the entry changed meanwhile, twice: then nothing is
// compared. match is true only if both are there and say the same. With the level
// "cached" it is an ordinary reading instead: a miss is filled, of which fetched tells,
// and the provider is not asked. The tags are those whose change drops the entry;
// those of the provider's are what its answer is computed from.
//
// # Errors
//
// Errors of the call are 400, also for a reply that cannot be used, 401, 404, 405,
// 413; 503 means that the store is away. Their body is a JSON string that says why.
// X-Request-ID comes back unchanged.
//
// It never answers true for what it could not find out.
package ask
