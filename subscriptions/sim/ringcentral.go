package sim

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options shape a simulated RingCentral. The zero value is usable.
type Options struct {
	BaseURL      string // how it names itself in uri fields; empty: as the request calls it. See SetBaseURL
	AccountID    string // default "37439510"
	ClientID     string // default "rescind-dev"
	ClientSecret string // default "rescind-dev-secret"

	Limits           map[string]Limit // per group: light, medium, heavy, auth
	MaxSubscriptions int              // per user and app; default 20, which the vendor says to rely on; it allows 30
	Speed            float64          // how much faster than the wall's its clock runs; default 1
	Quirks           Quirks           // see SetQuirks

	DeliveryTimeout time.Duration     // for handshakes and deliveries, not divided by Speed; default 3 s
	Senders         int               // deliveries at the same time; default 64. 1 keeps them in order
	RequireHTTPS    bool              // refuse plain http webhooks with SUB-523
	Transport       http.RoundTripper // carries deliveries; default one of its own
	Log             *slog.Logger      // default: discard
}

// Quirks choose between the readings of the vendor's documents. The zero value is the likelier one.
type Quirks struct {
	FlatListEvents   bool // list events: one flat body per extension, instead of a batch in extensions[]
	OldTimestamps    bool // 2014-04-29T14:29:27.408+0000, instead of RFC 3339
	OwnerInBody      bool // ownerId inside body, instead of on top
	TildeEvents      bool // event paths with ~ for the account, instead of its id
	ValidationHeader bool // the secret comes as Validation-Token, instead of Verification-Token
	RoleEditHints    bool // editing a role sends Permissions for each holder, instead of nothing
	ForeignProfiles  bool // profiles of other extensions may be read, instead of 403 CMN-404
	BareErrors       bool // refusals have errors[] only, instead of the first hoisted to the top
	NoRetryAfter     bool // 429 without Retry-After
	NoTotals         bool // paging without totalPages, totalElements and lastPage
	AutoRecover      bool // a blacklisted webhook that answers is active again after 15 min, instead of never
	SharedUUID       bool // what happens has one uuid for all subscriptions that tell of it, instead of one for each
	RenewalHandshake bool // a webhook is asked again at each renewal, instead of at creation only
}

// RingCentral is a simulated RingCentral: an http.Handler with a world behind it.
type RingCentral struct {
	opts    Options
	log     *slog.Logger
	mux     *http.ServeMux
	names   []string // of the operations
	book    *book
	deliver *sender

	mu       sync.Mutex // guards what follows
	baseURL  string
	quirks   Quirks
	world    *world
	past     []snapshot
	lastRole int
	apps     map[string]App
	jwts     map[string]JWT // by assertion
	desk     desk
	access   map[string]*session
	refresh  map[string]*session
	sessions map[bucketKey][]*session // of a user and app, oldest first
	buckets  map[bucketKey]*bucket
	subs     []*subscription   // oldest first
	disabled map[string]string // reasons, by filter
	faults   []*Fault
	calls    map[string]int
}

// NewRingCentral makes a simulated RingCentral with one small account. It starts nothing.
func NewRingCentral(opts Options) *RingCentral {
	opts = opts.withDefaults()
	book, world := openBook()
	s := &RingCentral{
		opts: opts, log: opts.Log, mux: http.NewServeMux(), book: book, world: world,
		baseURL: opts.BaseURL, quirks: opts.Quirks, lastRole: 1000000,
		apps:     map[string]App{},
		jwts:     map[string]JWT{},
		desk:     desk{open: true, refused: map[string]bool{}},
		access:   map[string]*session{},
		refresh:  map[string]*session{},
		sessions: map[bucketKey][]*session{},
		buckets:  map[bucketKey]*bucket{},
		disabled: map[string]string{},
		calls:    map[string]int{},
	}
	s.deliver = newSender(opts.Senders, s.send)
	s.apps[opts.ClientID] = App{ClientID: opts.ClientID, Secret: opts.ClientSecret, RefreshTokens: true,
		Scopes: []string{"ReadAccounts", "SubscriptionWebhook", "RoleManagement"}}
	s.jwts["sim-service-jwt"] = JWT{Name: "service", Assertion: "sim-service-jwt", ExtensionID: adminID}
	s.routes()
	return s
}

func (o Options) withDefaults() Options {
	if o.AccountID == "" {
		o.AccountID = "37439510"
	}
	if o.ClientID == "" {
		o.ClientID = "rescind-dev"
	}
	if o.ClientSecret == "" {
		o.ClientSecret = "rescind-dev-secret"
	}
	if o.MaxSubscriptions == 0 {
		o.MaxSubscriptions = 20
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.DeliveryTimeout == 0 {
		o.DeliveryTimeout = 3 * time.Second
	}
	if o.Senders == 0 {
		o.Senders = 64
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{MaxIdleConnsPerHost: o.Senders, IdleConnTimeout: 10 * time.Second}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// operation is one row of the API: who may call it, what it counts as, what it does.
type operation struct {
	id      string // the vendor's operationId
	pattern string // of http.ServeMux
	group   string // rate limit group
	app     string // app permission needed
	user    string // user permission needed
	open    bool   // needs no bearer token
	do      func(*call) (any, error)
}

func (s *RingCentral) routes() {
	for _, op := range operations() {
		s.names = append(s.names, op.id)
		s.mux.HandleFunc(op.pattern, s.serve(op))
	}
	s.mux.HandleFunc("GET /sim/world", s.showWorld)
	s.mux.HandleFunc("GET /sim/faults", s.showFaults)
	s.mux.HandleFunc("POST /sim/faults", s.addFault)
	s.mux.HandleFunc("DELETE /sim/faults", s.dropFaults)
	s.mux.HandleFunc("POST /sim/filters", s.disableFilter)
	s.mux.HandleFunc("DELETE /sim/subscriptions/{id}", s.loseSubscription)
}

// operations lists the API. Groups and permissions are those of the vendor's description.
func operations() []operation {
	const (
		base    = "/restapi/v1.0"
		sub     = base + "/subscription"
		account = base + "/account/{accountId}"
		ext     = account + "/extension/{extensionId}"
		role    = account + "/user-role"
		dict    = base + "/dictionary"
	)
	const light, medium, auth = "light", "medium", "auth"
	const read, manage, hook = "ReadAccounts", "RoleManagement", "SubscriptionWebhook"
	return []operation{
		{"getToken", "POST /restapi/oauth/token", auth, "", "", true, (*call).getToken},
		{"revokeToken", "POST /restapi/oauth/revoke", auth, "", "", true, (*call).revokeToken},
		{"exchangeToken", "POST /token-exchange", "", "", "", true, (*call).exchangeToken},
		{"listSubscriptions", "GET " + sub, light, "", "", false, (*call).listSubscriptions},
		{"createSubscription", "POST " + sub, medium, hook, "", false, (*call).createSubscription},
		{"readSubscription", "GET " + sub + "/{id}", light, "", "", false, (*call).readSubscription},
		{"updateSubscription", "PUT " + sub + "/{id}", medium, "", "", false, (*call).updateSubscription},
		{"deleteSubscription", "DELETE " + sub + "/{id}", medium, "", "", false, (*call).deleteSubscription},
		{"renewSubscription", "POST " + sub + "/{id}/renew", light, "", "", false, (*call).renewSubscription},
		{"readAuthorizationProfile", "GET " + ext + "/authz-profile", medium, "", "", false, (*call).readProfile},
		{"checkUserPermission", "GET " + ext + "/authz-profile/check", light, "", "", false, (*call).checkProfile},
		{"readExtensionFeatures", "GET " + ext + "/features", medium, read, "ReadExtensions", false,
			(*call).readFeatures},
		{"listUserAssignedRoles", "GET " + ext + "/assigned-role", light, read, "ReadAssignedRoles", false,
			(*call).readAssigned},
		{"updateUserAssignedRoles", "PUT " + ext + "/assigned-role", medium, manage, "EditAssignedRoles", false,
			(*call).updateAssigned},
		{"listAssignedRoles", "GET " + account + "/assigned-role", medium, read, "ReadAssignedRoles", false,
			(*call).listAssigned},
		{"listUserRoles", "GET " + role, medium, read, "ReadUserRoles", false, (*call).listRoles},
		{"createCustomRole", "POST " + role, medium, manage, "EditUserRoles", false, (*call).createRole},
		{"readUserRole", "GET " + role + "/{roleId}", light, read, "ReadUserRoles", false, (*call).readRole},
		{"updateUserRole", "PUT " + role + "/{roleId}", medium, manage, "EditUserRoles", false, (*call).updateRole},
		{"deleteCustomRole", "DELETE " + role + "/{roleId}", medium, manage, "EditUserRoles", false,
			(*call).deleteRole},
		{"listStandardUserRole", "GET " + dict + "/user-role", light, "", "", false, (*call).listStandardRoles},
		{"readStandardUserRole", "GET " + dict + "/user-role/{roleId}", light, "", "", false,
			(*call).readStandardRole},
		{"listPermissions", "GET " + dict + "/permission", light, "", "", false, (*call).listPermissions},
		{"readPermission", "GET " + dict + "/permission/{id}", light, "", "", false, (*call).readPermission},
		{"listPermissionCategories", "GET " + dict + "/permission-category", light, "", "", false,
			(*call).listCategories},
		{"readPermissionCategory", "GET " + dict + "/permission-category/{id}", light, "", "", false,
			(*call).readCategory},
		{"listExtensions", "GET " + account + "/extension", medium, read, "ReadExtensions", false,
			(*call).listExtensions},
		{"readExtension", "GET " + ext, light, read, "ReadExtensions", false, (*call).readExtension},
		{"", "/", "", "", "", true, (*call).unknown},
	}
}

// ServeHTTP answers the vendor's API, the token exchange and the control endpoints.
func (s *RingCentral) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// SetBaseURL says how it names itself in uri fields from now on, e.g. http://127.0.0.1:8090.
func (s *RingCentral) SetBaseURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.baseURL = url
}

// SetQuirks changes how it reads the vendor's documents from now on.
func (s *RingCentral) SetQuirks(q Quirks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quirks = q
}

// Calls counts the requests to an operation so far, refused ones and those met by faults included. Names are
// the vendor's operationIds, and "exchangeToken".
func (s *RingCentral) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// AllCalls is Calls for all operations that were called.
func (s *RingCentral) AllCalls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// Close stops reminders and deliveries that wait, and returns when those in flight or queued are done. When
// ctx ends first these are cut off, and Close returns its error.
func (s *RingCentral) Close(ctx context.Context) error {
	err := s.deliver.close(ctx)
	if t, ok := s.opts.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return err
}

// knows tells whether there is such an operation; the empty name means all of them.
func (s *RingCentral) knows(operation string) bool {
	return operation == Deliveries || slices.Contains(s.names, operation)
}

// scale turns a duration of the vendor's into one of the wall's.
func (s *RingCentral) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.opts.Speed)
}
