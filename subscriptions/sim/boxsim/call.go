package boxsim

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds what is read of a request.
const maxBody = 1 << 20

// obj is a JSON object.
type obj = map[string]any

// call is one request on its way through.
type call struct {
	s      *Box
	op     operation
	w      http.ResponseWriter
	r      *http.Request
	body   []byte
	query  url.Values
	world  *world // what reads answer from
	token  *token // nil where no bearer token is needed
	me     *User  // who calls: the token's user, or the one of As-User
	status int    // of a success
	fault  trouble
	quirks Quirks
}

// serve wraps an operation in what all have in common. Handlers run with the world locked, and what they
// return is theirs alone, so it is encoded unlocked.
func (s *Box) serve(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{s: s, op: op, w: w, r: r, query: r.URL.Query(), status: http.StatusOK}
		w.Header().Set("Box-Request-Id", "0"+strings.ToLower(rand.Text()))
		c.enter()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		c.body = body
		if err == nil {
			err = c.pause(c.fault.delay)
		}
		if c.fault.drop {
			panic(http.ErrAbortHandler) // the line is cut without an answer
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
	defer c.s.lock()()
	if c.op.id != "" {
		c.s.calls[c.op.id]++
		c.fault = c.s.trouble(c.op.id)
	}
	c.quirks = c.s.quirks
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
		return c.errStatus(http.StatusServiceUnavailable, 0)
	}
}

func (c *call) answer() (any, error) {
	if c.fault.status != 0 {
		return nil, c.errStatus(c.fault.status, c.fault.penalty)
	}
	defer c.s.lock()()
	c.world = c.s.worldAgo(c.fault.age)
	if c.op.scope != needNothing {
		if err := c.admit(); err != nil {
			return nil, err
		}
	}
	return c.op.do(c)
}

// admit checks token, impersonation, rate, scope, by the world as it is now.
func (c *call) admit() error {
	t, err := c.authenticate()
	if err != nil {
		return err
	}
	caller := c.s.world.users[t.user]
	c.token, c.me = t, caller
	if id := c.r.Header.Get("As-User"); id != "" {
		if c.me, err = c.impersonate(id); err != nil {
			return err
		}
	}
	counted := caller
	if c.quirks.LimitAsUser {
		counted = c.me
	}
	if err := c.throttle(counted.ID); err != nil {
		return err
	}
	if !c.allowed(c.op.scope) {
		return errScope()
	}
	return nil
}

// impersonate is the user that As-User names, if the app and the caller may.
func (c *call) impersonate(id string) (*User, error) {
	u := c.s.world.users[id]
	switch {
	case c.s.apps[c.token.client].NoAsUser, !c.me.senior():
		return nil, errDenied()
	case u == nil, u.Service, u.External, !u.live():
		return nil, errDenied()
	}
	return u, nil
}

// senior tells whether the caller has the rights of an administrator.
func (u *User) senior() bool { return u.Role == "admin" || u.Role == "coadmin" || u.Service }

func (c *call) unknown() (any, error) { return nil, errNotFound("url", c.r.URL.Path) }

func (c *call) decode(v any) error {
	if err := json.Unmarshal(c.body, v); err != nil {
		return errParameter("body", "The request body is no JSON of this kind")
	}
	return nil
}

// id is the one in the path.
func (c *call) id() string { return c.r.PathValue("id") }

// pick leaves of a whole object what fields asks for: the base, and what was named; without fields the given
// default. What is not there is left out.
func (c *call) pick(whole obj, standard []string) obj {
	names := standard
	if f := c.query.Get("fields"); f != "" {
		names = append(strings.Split(f, ","), "type", "id", "etag")
	}
	return only(whole, names)
}

func only(whole obj, names []string) obj {
	some := make(obj, len(names))
	for _, name := range names {
		if v, ok := whole[strings.TrimSpace(name)]; ok {
			some[strings.TrimSpace(name)] = v
		}
	}
	return some
}

// named tells whether fields asks for it.
func (c *call) named(field string) bool {
	return slices.Contains(strings.Split(c.query.Get("fields"), ","), field)
}

func (c *call) reply(answer any, err error) {
	h := c.w.Header()
	if err != nil {
		e := asAPIError(err)
		c.status, answer = e.status, e.body(strings.ToLower(rand.Text()[:12]))
		if e.bearer {
			h.Set("WWW-Authenticate", `Bearer realm="Service", error="`+e.code+`", error_description="`+e.message+`"`)
		}
		if e.retry > 0 {
			h.Set("Retry-After", strconv.Itoa(wholeSeconds(e.retry)))
		}
	}
	if answer == nil {
		c.w.WriteHeader(c.status)
		return
	}
	data, err := plain(answer)
	if err != nil {
		c.s.log.ErrorContext(c.r.Context(), "encode answer", "operation", c.op.id, "error", err)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(c.status)
	if c.fault.truncate {
		data = data[:len(data)/2]
	}
	if _, err := c.w.Write(data); err != nil {
		c.s.log.DebugContext(c.r.Context(), "write answer", "operation", c.op.id, "error", err)
	}
}

// plain is JSON as API answers have it.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// wholeSeconds rounds up: who waits that long has waited long enough.
func wholeSeconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

// stamp is the vendor's date-time, with a zone's offset.
func stamp(t time.Time) string {
	return t.In(time.FixedZone("", -7*60*60)).Format(time.RFC3339)
}

// stampOrNull is null for no time.
func stampOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}
