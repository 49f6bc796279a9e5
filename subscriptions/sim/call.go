package sim

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxBody bounds what is read of a request.
const maxBody = 1 << 20

// call is one request on its way through.
type call struct {
	s      *RingCentral
	op     operation
	w      http.ResponseWriter
	r      *http.Request
	body   []byte
	query  url.Values
	base   string   // what uri fields begin with
	world  *world   // what reads answer from
	who    *session // nil where no bearer token is needed
	status int      // of a success
	fault  trouble
	quirks Quirks
}

// serve wraps an operation in what all have in common. Handlers run with the world locked, and what they
// return is theirs alone, so it is encoded unlocked.
func (s *RingCentral) serve(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{s: s, op: op, w: w, r: r, query: r.URL.Query(), status: http.StatusOK}
		w.Header().Set("RCRequestId", uuid.NewString())
		s.rateHeaders(w.Header(), op.group)
		c.enter()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		c.body = body
		if err == nil {
			err = c.pause(c.fault.delay)
		}
		var answer any
		if err == nil {
			answer, err = c.answer()
		}
		c.reply(answer, err)
	}
}

// enter counts the call and finds out what will go wrong with it.
func (c *call) enter() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.op.id != "" {
		s.calls[c.op.id]++
		c.fault = s.trouble(c.op.id)
	}
	c.quirks = s.quirks
	c.base = s.baseURL
	if c.base == "" {
		c.base = "http://" + c.r.Host
	}
	c.base += "/restapi/v1.0"
}

// pause waits, but not longer than the client.
func (c *call) pause(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.r.Context().Done():
		return c.r.Context().Err()
	case <-c.s.deliver.waiting.Done():
		return errStatus(http.StatusServiceUnavailable)
	}
}

func (c *call) answer() (any, error) {
	if c.fault.status != 0 {
		e := errStatus(c.fault.status)
		e.retry = c.s.scale(e.retry)
		if e.retry > 0 && c.fault.penalty > 0 {
			e.retry = c.fault.penalty
		}
		return nil, e
	}
	if code := c.fault.code; code != "" {
		return nil, &apiError{status: refusals[code], code: code, message: "Refused on request"}
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.world = c.s.worldAgo(c.fault.age)
	if !c.op.open {
		if err := c.admit(); err != nil {
			return nil, err
		}
	}
	return c.op.do(c)
}

// admit checks in the vendor's order: token, rate, account, app permission, user permission.
func (c *call) admit() error {
	who, err := c.authenticate()
	if err != nil {
		return err
	}
	c.who = who
	if err := c.throttle(who.owner, who.client); err != nil {
		return err
	}
	if a := c.r.PathValue("accountId"); a != "" && a != "~" && a != c.s.opts.AccountID {
		return errNotFound("accountId")
	}
	if c.op.app != "" && !who.has(c.op.app) {
		return errAppPermission(c.op.app)
	}
	return c.permit(c.op.user)
}

// permit checks a permission of the caller, by the world as it is now. What is held for oneself only does not
// reach another extension, nor the whole account.
func (c *call) permit(permission string) error {
	if permission == "" {
		return nil
	}
	scopes := c.s.scopesOf(c.who.owner, permission)
	if len(scopes) == 0 {
		return errUserPermission(permission)
	}
	if c.target() != c.who.owner && !reaches(scopes) {
		return errReach(permission)
	}
	return nil
}

// target is the extension id in the path, ~ being the caller; empty where the path has none.
func (c *call) target() string {
	id := c.r.PathValue("extensionId")
	if id == "~" {
		return c.who.owner
	}
	return id
}

// extension is the one that the path names.
func (c *call) extension() (*Extension, error) {
	e := c.world.extensions[c.target()]
	if e == nil {
		return nil, errNotFound("extensionId")
	}
	return e, nil
}

func (c *call) unknown() (any, error) {
	return nil, &apiError{status: http.StatusNotFound, code: "CMN-120", message: "Invalid URI"}
}

func (c *call) decode(v any) error {
	if err := json.Unmarshal(c.body, v); err != nil {
		return &apiError{status: http.StatusBadRequest, code: "CMN-100", message: "Cannot parse request body"}
	}
	return nil
}

func (c *call) form() url.Values {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return url.Values{}
	}
	return form
}

// flag reads a boolean of the query. Anything but true and false is the default, as the vendor does.
func (c *call) flag(name string) bool { return strings.EqualFold(c.query.Get(name), "true") }

func (c *call) accountURI() string { return c.base + "/account/" + c.s.opts.AccountID }

func (c *call) extensionURI(id string) string { return c.accountURI() + "/extension/" + id }

func (c *call) reply(answer any, err error) {
	h := c.w.Header()
	if err != nil {
		e := asAPIError(err)
		c.status, answer = e.status, e.body(c.quirks.BareErrors)
		if e.retry > 0 && !c.quirks.NoRetryAfter {
			h.Set("Retry-After", wholeSeconds(e.retry))
		}
	}
	if answer == nil {
		c.w.WriteHeader(c.status)
		return
	}
	data, err := json.Marshal(answer)
	if err != nil {
		c.s.log.ErrorContext(c.r.Context(), "encode answer", "operation", c.op.id, "error", err)
	}
	h.Set("Content-Type", "application/json;charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(c.status)
	if c.fault.truncate {
		data = data[:len(data)/2]
	}
	if _, err := c.w.Write(data); err != nil {
		c.s.log.DebugContext(c.r.Context(), "write answer", "operation", c.op.id, "error", err)
	}
}
