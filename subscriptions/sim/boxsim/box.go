package boxsim

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options shape a simulated Box. The zero value is usable.
type Options struct {
	EnterpriseID string // default "987"
	ClientID     string // default "rescind-dev"
	ClientSecret string // default "rescind-dev-secret"
	PrimaryKey   string // signs deliveries; default "sim-primary-key". See SetKeys
	SecondaryKey string // default "sim-secondary-key"

	Limit    int           // API calls of one user in a minute; default 1000, -1: as many as wanted
	Speed    float64       // how much faster than the wall's its clock runs; default 1
	EventLag time.Duration // until admin_logs_streaming shows an event, divided by Speed
	LogLag   time.Duration // until admin_logs shows it, divided by Speed; default 60 s, -1: none
	Quirks   Quirks        // see SetQuirks

	DeliveryTimeout time.Duration     // for an attempt, not divided by Speed; default 30 s
	Senders         int               // deliveries at the same time; default 64. 1 keeps them in order
	RequireHTTPS    bool              // refuse addresses that are plain http, not on port 443, not public
	MaxWebhooks     int               // of one user with one app; default 1000
	Transport       http.RoundTripper // carries deliveries; default one of its own
	Log             *slog.Logger      // default: discard
}

// Quirks choose between the readings of the vendor's documents. The zero value is the likelier or harsher
// one.
type Quirks struct {
	TidyEvents      bool // the streaming stream in order, whole pages, no duplicates, never cursor 0
	ExpiryEvents    bool // a collaboration that ran out sends COLLABORATION_EXPIRATION, instead of nothing
	FileHooks       bool // a folder's webhook reports collaborations on its files, instead of nothing
	ItemSource      bool // source of COLLABORATION.* is the item, instead of the collaboration
	FullWebhook     bool // webhook in deliveries is the whole object, instead of id and type
	EmptySignature  bool // without one key its header comes empty, instead of not at all
	BareRefusals    bool // a refused webhook names nothing, instead of the parameter at fault
	DeleteNotice    bool // DELETE of a webhook sends WEBHOOK.DELETED too, instead of nothing
	LimitAsUser     bool // As-User calls count for the user, instead of for the caller
	WriteOnly       bool // root_readwrite does not include reading
	TooManyRequests bool // code of a 429 is too_many_requests, instead of rate_limit_exceeded
	IssuedTokenType bool // CCG and JWT answer issued_token_type, instead of token_type
}

// Box is a simulated Box: an http.Handler with one enterprise behind it.
type Box struct {
	opts    Options
	log     *slog.Logger
	mux     *http.ServeMux
	names   []string // of the operations
	deliver *sender

	mu      sync.Mutex // guards what follows; see lock
	quirks  Quirks
	world   *world
	past    []snapshot
	soonest time.Time // when the next collaboration runs out; zero: none does
	lastID  int
	apps    map[string]*App
	tokens  map[string]*token
	issued  int             // tokens, for odd lives
	jtis    map[string]bool // of JWTs that were used
	windows map[string]*window
	hooks   []*webhook // oldest first
	// unreachable hosts are refused in addresses.
	unreachable []string
	events      stream
	faults      []*Fault
	calls       map[string]int
	answers     int // what is undecided between shapes takes turns by it
}

// New makes a simulated Box with one small enterprise. It starts nothing.
func New(opts Options) *Box {
	opts = opts.withDefaults()
	s := &Box{
		opts: opts, log: opts.Log, mux: http.NewServeMux(), quirks: opts.Quirks, lastID: 900000,
		apps: map[string]*App{}, tokens: map[string]*token{}, jtis: map[string]bool{},
		windows: map[string]*window{}, calls: map[string]int{}, events: stream{next: firstCursor},
	}
	s.deliver = newSender(opts.Senders, s.send)
	s.apps[opts.ClientID] = &App{ClientID: opts.ClientID, Secret: opts.ClientSecret, ServiceUser: ServiceUser,
		PrimaryKey: opts.PrimaryKey, SecondaryKey: opts.SecondaryKey, Scopes: defaultScopes()}
	s.apps[opts.ClientID].authorize()
	s.world = defaultWorld(time.Now())
	s.routes()
	return s
}

func (o Options) withDefaults() Options {
	o.EnterpriseID = cmp.Or(o.EnterpriseID, "987")
	o.ClientID = cmp.Or(o.ClientID, "rescind-dev")
	o.ClientSecret = cmp.Or(o.ClientSecret, "rescind-dev-secret")
	o.PrimaryKey = cmp.Or(o.PrimaryKey, "sim-primary-key")
	o.SecondaryKey = cmp.Or(o.SecondaryKey, "sim-secondary-key")
	o.Limit = cmp.Or(o.Limit, vendorLimit)
	o.Speed = cmp.Or(o.Speed, 1)
	o.LogLag = max(0, cmp.Or(o.LogLag, time.Minute))
	o.DeliveryTimeout = cmp.Or(o.DeliveryTimeout, 30*time.Second)
	o.Senders = cmp.Or(o.Senders, 64)
	o.MaxWebhooks = cmp.Or(o.MaxWebhooks, vendorHooks)
	if o.Transport == nil {
		o.Transport = &http.Transport{MaxIdleConnsPerHost: o.Senders, IdleConnTimeout: 10 * time.Second}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// operation is one row of the API: which scope it needs, what it does.
type operation struct {
	id      string // the vendor's operationId
	pattern string // of http.ServeMux
	scope   scope
	do      func(*call) (any, error)
}

func (s *Box) routes() {
	for _, op := range operations() {
		s.names = append(s.names, op.id)
		s.mux.HandleFunc(op.pattern, s.serve(op))
	}
	s.mux.HandleFunc("GET /sim/world", s.showWorld)
	s.mux.HandleFunc("GET /sim/faults", s.showFaults)
	s.mux.HandleFunc("POST /sim/faults", s.addFault)
	s.mux.HandleFunc("DELETE /sim/faults", s.dropFaults)
	s.mux.HandleFunc("DELETE /sim/webhooks/{id}", s.loseWebhook)
}

// operations lists the API.
func operations() []operation {
	const (
		v2      = " /2.0"
		hook    = v2 + "/webhooks/{id}"
		user    = v2 + "/users/{id}"
		group   = v2 + "/groups/{id}"
		member  = v2 + "/group_memberships"
		collab  = v2 + "/collaborations"
		folder  = v2 + "/folders/{id}"
		file    = v2 + "/files/{id}"
		byGroup = member + "/{id}"
		byID    = collab + "/{id}"
	)
	return []operation{
		{"post_oauth2_token", "POST /oauth2/token", needNothing, (*call).postToken},
		{"post_oauth2_revoke", "POST /oauth2/revoke", needNothing, (*call).postRevoke},
		{"get_webhooks", "GET" + v2 + "/webhooks", needHooks, (*call).listWebhooks},
		{"post_webhooks", "POST" + v2 + "/webhooks", needHooks, (*call).createWebhook},
		{"get_webhooks_id", "GET" + hook, needHooks, (*call).readWebhook},
		{"put_webhooks_id", "PUT" + hook, needHooks, (*call).updateWebhook},
		{"delete_webhooks_id", "DELETE" + hook, needHooks, (*call).deleteWebhook},
		{"get_events", "GET" + v2 + "/events", needToken, (*call).readEvents},
		{"get_users", "GET" + v2 + "/users", needUsers, (*call).listUsers},
		{"post_users", "POST" + v2 + "/users", needUsers, (*call).createUser},
		{"get_users_me", "GET" + v2 + "/users/me", needToken, (*call).readMe},
		{"post_users_terminate_sessions", "POST" + v2 + "/users/terminate_sessions", needUsers,
			(*call).terminateSessions},
		{"get_users_id", "GET" + user, needUsers, (*call).readUser},
		{"put_users_id", "PUT" + user, needUsers, (*call).updateUser},
		{"delete_users_id", "DELETE" + user, needUsers, (*call).deleteUser},
		{"get_users_id_memberships", "GET" + user + "/memberships", needGroups, (*call).listUserMemberships},
		{"get_groups", "GET" + v2 + "/groups", needGroups, (*call).listGroups},
		{"post_groups", "POST" + v2 + "/groups", needGroups, (*call).createGroup},
		{"get_groups_id", "GET" + group, needGroups, (*call).readGroup},
		{"put_groups_id", "PUT" + group, needGroups, (*call).updateGroup},
		{"delete_groups_id", "DELETE" + group, needGroups, (*call).deleteGroup},
		{"get_groups_id_memberships", "GET" + group + "/memberships", needGroups, (*call).listGroupMemberships},
		{"get_groups_id_collaborations", "GET" + group + "/collaborations", needGroups,
			(*call).listGroupCollaborations},
		{"post_group_memberships", "POST" + member, needGroups, (*call).createMembership},
		{"get_group_memberships_id", "GET" + byGroup, needGroups, (*call).readMembership},
		{"put_group_memberships_id", "PUT" + byGroup, needGroups, (*call).updateMembership},
		{"delete_group_memberships_id", "DELETE" + byGroup, needGroups, (*call).deleteMembership},
		{"get_collaborations", "GET" + collab, needRead, (*call).listPending},
		{"post_collaborations", "POST" + collab, needWrite, (*call).createCollaboration},
		{"get_collaborations_id", "GET" + byID, needRead, (*call).readCollaboration},
		{"put_collaborations_id", "PUT" + byID, needWrite, (*call).updateCollaboration},
		{"delete_collaborations_id", "DELETE" + byID, needWrite, (*call).deleteCollaboration},
		{"get_folders_id", "GET" + folder, needRead, (*call).readFolder},
		{"get_folders_id_items", "GET" + folder + "/items", needRead, (*call).listItems},
		{"get_folders_id_collaborations", "GET" + folder + "/collaborations", needRead,
			(*call).listFolderCollaborations},
		{"get_files_id", "GET" + file, needRead, (*call).readFile},
		{"get_files_id_collaborations", "GET" + file + "/collaborations", needRead, (*call).listFileCollaborations},
		{"", "/", needNothing, (*call).unknown},
	}
}

// ServeHTTP answers the vendor's API and the control endpoints.
func (s *Box) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// SetQuirks changes how it reads the vendor's documents from now on.
func (s *Box) SetQuirks(q Quirks) {
	defer s.lock()()
	s.quirks = q
}

// Calls counts the requests to an operation so far, refused ones and those met by faults included. Names are
// the vendor's operationIds.
func (s *Box) Calls(operation string) int {
	defer s.lock()()
	return s.calls[operation]
}

// AllCalls is Calls for all operations that were called.
func (s *Box) AllCalls() map[string]int {
	defer s.lock()()
	return maps.Clone(s.calls)
}

// Close drops retries and deliveries that wait, and returns when those in flight or queued are done. When ctx
// ends first these are cut off, and Close returns its error.
func (s *Box) Close(ctx context.Context) error {
	err := s.deliver.close(ctx)
	if t, ok := s.opts.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return err
}

// lock takes the world, lets happen what was due, and returns what gives it back.
func (s *Box) lock() (unlock func()) {
	s.mu.Lock()
	now := time.Now()
	s.expireCollaborations(now)
	s.events.publish(now)
	s.cleanUp(now)
	return s.mu.Unlock
}

// knows tells whether there is such an operation; the empty name means all of them.
func (s *Box) knows(operation string) bool {
	return operation == Deliveries || operation == Events || slices.Contains(s.names, operation)
}

// scale turns a duration of the vendor's into one of the wall's.
func (s *Box) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.opts.Speed)
}
