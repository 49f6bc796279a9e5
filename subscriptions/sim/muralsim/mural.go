package muralsim

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	base  = "/api/public/v1"
	oauth = base + "/authorization/oauth2"
)

// Options shape a simulated Mural. The zero value is usable.
type Options struct {
	ClientID     string // default "rescind-dev"
	ClientSecret string // default "rescind-dev-secret"

	UserLimit   int           // requests of a user in a second, over all apps; default 25, -1: no limit
	AppLimit    int           // requests of an app in 60 s, over all users; default 10,000, -1: no limit
	RefreshLife time.Duration // of a refresh token, divided by Speed; default 30 days
	Speed       float64       // how much faster than the wall's its clock runs; default 1
	Quirks      Quirks        // see SetQuirks
	Log         *slog.Logger  // default: discard
}

// Quirks choose between the readings of the vendor's documents. The zero value is the likelier one.
type Quirks struct {
	ExpiredForbidden   bool // TOKEN_EXPIRED comes with 403, instead of 401
	RetryAfter         bool // 429 has Retry-After
	ReuseAllowed       bool // a used refresh token serves again, instead of invalid_grant
	ReuseEndsGrant     bool // a used refresh token that comes again ends its grant
	NoRefreshToken     bool // a refresh replies without refresh_token, and the old one stays good
	OpaqueRefresh      bool // refresh tokens are no JWTs
	BasicOnly          bool // client credentials in the body are refused
	TokensOutliveGrant bool // access tokens of an ended grant serve until they expire
	InvisibleForbidden bool // what the caller cannot see is 403 FORBIDDEN, instead of 404
	LimitBelow100      bool // limit=100 is refused
	NullNext           bool // the last page has "next": null, instead of no next
}

// Mural is a simulated Mural: an http.Handler with a world behind it.
type Mural struct {
	opts  Options
	log   *slog.Logger
	mux   *http.ServeMux
	names []string // of the operations
	key   []byte   // signs the JWTs

	mu       sync.Mutex // guards what follows
	quirks   Quirks
	world    *world
	past     []snapshot
	lastID   int64
	pending  map[string]invitation // by refCode
	person   string                // at the browser
	apps     map[string]App
	codes    map[string]code
	access   map[string]*accessToken
	refresh  map[string]*refreshToken
	grants   []*grant
	reuses   int
	nextFrom time.Time // next tokens from before are expired
	windows  map[string]*window
	faults   []*Fault
	calls    map[string]int
}

// New makes a simulated Mural with one small workspace. It starts nothing.
func New(opts Options) *Mural {
	opts = opts.withDefaults()
	m := &Mural{
		opts: opts, log: opts.Log, mux: http.NewServeMux(), key: []byte(rand.Text()),
		quirks: opts.Quirks, world: defaultWorld(), person: "u1",
		pending: map[string]invitation{},
		apps:    map[string]App{},
		codes:   map[string]code{},
		access:  map[string]*accessToken{},
		refresh: map[string]*refreshToken{},
		windows: map[string]*window{},
		calls:   map[string]int{},
	}
	m.apps[opts.ClientID] = App{ClientID: opts.ClientID, Secret: opts.ClientSecret, Scopes: AllScopes()}
	m.routes()
	return m
}

func (o Options) withDefaults() Options {
	if o.ClientID == "" {
		o.ClientID = "rescind-dev"
	}
	if o.ClientSecret == "" {
		o.ClientSecret = "rescind-dev-secret"
	}
	if o.UserLimit == 0 {
		o.UserLimit = 25
	}
	if o.AppLimit == 0 {
		o.AppLimit = 10000
	}
	if o.RefreshLife == 0 {
		o.RefreshLife = 30 * 24 * time.Hour
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// operation is one row of the API: which scope it needs, none for the OAuth pages, and what it does.
type operation struct {
	name    string // the vendor's where known
	pattern string // of http.ServeMux
	scope   string
	do      func(*call) (any, error)
}

// isOAuth says whether it needs no token and refuses in the words of RFC 6749.
func (o operation) isOAuth() bool { return o.scope == "" }

func (m *Mural) routes() {
	for _, op := range slices.Concat(oauthPages(), reads(), writes()) {
		m.names = append(m.names, op.name)
		m.mux.HandleFunc(op.pattern, m.serve(op))
	}
	m.mux.HandleFunc("/", m.serve(operation{scope: "-", do: nil}))
	m.mux.HandleFunc("GET /sim/world", m.showWorld)
	m.mux.HandleFunc("POST /sim/control", m.control)
	m.mux.HandleFunc("GET /sim/faults", m.showFaults)
	m.mux.HandleFunc("POST /sim/faults", m.addFault)
	m.mux.HandleFunc("DELETE /sim/faults", m.dropFaults)
}

// oauthPages lists every page with and without a trailing slash.
func oauthPages() []operation {
	return []operation{
		{"authorize", "GET " + oauth + "/{$}", "", (*call).authorize},
		{"authorize", "GET " + oauth, "", (*call).authorize},
		{"token", "POST " + oauth + "/token", "", (*call).token},
		{"token", "POST " + oauth + "/token/{$}", "", (*call).token},
		{"refresh", "POST " + oauth + "/refresh", "", (*call).refreshAlone},
		{"refresh", "POST " + oauth + "/refresh/{$}", "", (*call).refreshAlone},
	}
}

func reads() []operation {
	const (
		space  = "GET " + base + "/workspaces"
		room   = "GET " + base + "/rooms/{roomId}"
		mural  = "GET " + base + "/murals/{muralId}"
		rooms  = "rooms:read"
		murals = "murals:read"
		users  = "users:read"
	)
	return []operation{
		{"getCurrentMember", "GET " + base + "/users/me", "identity:read", (*call).readMe},
		{"getWorkspaces", space, "workspaces:read", (*call).listWorkspaces},
		{"getWorkspace", space + "/{workspaceId}", "workspaces:read", (*call).readWorkspace},
		{"getWorkspaceRooms", space + "/{workspaceId}/rooms", rooms, (*call).listRooms},
		{"getWorkspaceOpenRooms", space + "/{workspaceId}/rooms/open", rooms, (*call).listOpenRooms},
		{"getWorkspaceMurals", space + "/{workspaceId}/murals", murals, (*call).listMurals},
		{"getWorkspaceRecentMurals", space + "/{workspaceId}/murals/recent", murals, (*call).listRecentMurals},
		{"getRoomInfoById", room, rooms, (*call).readRoom},
		{"getRoomMembers", room + "/users", users, (*call).listRoomMembers},
		{"getRoomMurals", room + "/murals", murals, (*call).listRoomMurals},
		{"getMuralById", mural, murals, (*call).readMural},
		{"getMuralUsers", mural + "/users", users, (*call).listMuralMembers},
		{"getMuralAccessInfo", "POST " + base + "/murals/{muralId}/access-info", murals, (*call).readAccess},
	}
}

func writes() []operation {
	const (
		room   = base + "/rooms/{roomId}"
		mural  = base + "/murals/{muralId}"
		rooms  = "rooms:write"
		murals = "murals:write"
	)
	return []operation{
		{"createMural", "POST " + base + "/murals", murals, (*call).createMural},
		{"updateMural", "PATCH " + mural, murals, (*call).updateMural},
		{"deleteMural", "DELETE " + mural, murals, (*call).deleteMural},
		{"updateMuralMemberPermissions", "PATCH " + mural + "/users/{userId}/permissions", murals,
			(*call).updateMuralMember},
		{"inviteUsersToMural", "POST " + mural + "/users/invite", murals, (*call).inviteToMural},
		{"removeMuralUsers", "POST " + mural + "/users/remove", murals, (*call).removeFromMural},
		{"updateMuralVisitorSettings", "PATCH " + mural + "/visitor-settings", murals, (*call).updateVisitors},
		{"resetVisitorLink", "POST " + mural + "/visitor-settings/reset-link", murals, (*call).resetLink},
		{"createRoom", "POST " + base + "/rooms", rooms, (*call).createRoom},
		{"updateRoom", "PATCH " + room, rooms, (*call).updateRoom},
		{"deleteRoom", "DELETE " + room, rooms, (*call).deleteRoom},
		{"updateRoomMemberPermissions", "PATCH " + room + "/users/permissions", rooms, (*call).updateRoomMembers},
		{"inviteUsersToRoom", "POST " + room + "/users/invite", rooms, (*call).inviteToRoom},
		{"removeRoomUsers", "POST " + room + "/users/remove", rooms, (*call).removeFromRoom},
		{"inviteUsersToWorkspace", "POST " + base + "/workspaces/{workspaceId}/users/invite", "workspaces:write",
			(*call).inviteToWorkspace},
	}
}

// ServeHTTP answers the vendor's API and the control endpoints.
func (m *Mural) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// SetQuirks changes how it reads the vendor's documents from now on.
func (m *Mural) SetQuirks(q Quirks) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quirks = q
}

// Calls counts the requests to an operation so far, refused ones and those met by faults included. Names are
// those of the vendor's reference pages (getMuralUsers), and authorize, token, refresh for the OAuth pages.
func (m *Mural) Calls(operation string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[operation]
}

// AllCalls is Calls for all operations that were called.
func (m *Mural) AllCalls() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.calls)
}

// scale turns a duration of the vendor's into one of the wall's.
func (m *Mural) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / m.opts.Speed)
}

// wholeSeconds rounds up: who waits that long has waited long enough.
func wholeSeconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

// epochSeconds rounds up too.
func epochSeconds(t time.Time) int64 { return t.Add(time.Second - 1).Unix() }

func (m *Mural) unknownOperation(name string) error {
	if name == "" || slices.Contains(m.names, name) {
		return nil
	}
	return fmt.Errorf("fault on %q: no such operation", name)
}
