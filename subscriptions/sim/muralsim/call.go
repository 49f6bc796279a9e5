package muralsim

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// maxBody bounds what is read of a request.
const maxBody = 1 << 20

// call is one request on its way through.
type call struct {
	m      *Mural
	op     operation
	w      http.ResponseWriter
	r      *http.Request
	body   []byte
	query  url.Values
	world  *world // what reads answer from
	who    string // id of the user whose token it is
	client string // id of the app
	status int    // of a success
	fault  trouble
	quirks Quirks
}

// serve wraps an operation in what all have in common. Operations run with the world locked, and what they
// return is theirs alone, so it is encoded unlocked.
func (m *Mural) serve(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{m: m, op: op, w: w, r: r, query: r.URL.Query(), status: http.StatusOK}
		w.Header().Set("X-Request-Id", uuid.NewString())
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
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.quirks = c.m.quirks
	if c.op.name != "" {
		c.m.calls[c.op.name]++
		c.fault = c.m.trouble(c.op.name)
	}
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
	}
}

func (c *call) answer() (any, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.world = c.m.world
	if c.op.do == nil {
		return nil, &apiError{status: http.StatusNotFound, code: "NOT_FOUND", message: "Not found"}
	}
	if c.isRead() {
		c.world = c.m.worldAgo(c.fault.age)
	}
	if !c.op.isOAuth() {
		if err := c.admit(); err != nil {
			return nil, err
		}
	}
	switch {
	case c.fault.status == http.StatusTooManyRequests && !c.op.isOAuth():
		return nil, c.pretend(c.fault.penalty)
	case c.fault.status != 0:
		return nil, errStatus(c.fault.status, c.op.isOAuth(), c.quirks)
	}
	return c.op.do(c)
}

// isRead says whether a stale fault can meet it.
func (c *call) isRead() bool {
	return c.r.Method == http.MethodGet || c.op.name == "getMuralAccessInfo"
}

// admit checks token, rate and scope, in this order.
func (c *call) admit() error {
	token, err := c.authenticate()
	if err != nil {
		return err
	}
	c.who, c.client = token.grant.user, token.grant.client
	if c.world.users[c.who] == nil {
		c.world = c.m.world // a stale one is from before the user
	}
	if err := c.throttle(); err != nil {
		return err
	}
	if !slices.Contains(token.scopes, c.op.scope) {
		return errForbidden("Missing scope " + c.op.scope)
	}
	return nil
}

func (c *call) decode(v any) error {
	if err := json.Unmarshal(c.body, v); err != nil {
		return &apiError{status: http.StatusBadRequest, code: "BODY", message: "Invalid body",
			details: []detail{{Code: "BODY.JSON", Message: "not the JSON that was expected"}}}
	}
	return nil
}

// missing is errMissing, unless the quirk says that it looks forbidden.
func (c *call) missing(what string) error {
	if c.quirks.InvisibleForbidden {
		return errForbidden("Forbidden")
	}
	return errMissing(what)
}

// workspace is the one in the path, if the caller is in it.
func (c *call) workspace() (*Workspace, error) {
	ws := c.world.workspaces[c.r.PathValue("workspaceId")]
	if ws == nil || ws.Members[c.who] == "" {
		return nil, c.missing("Workspace")
	}
	return ws, nil
}

// room is the one in the path, if the caller sees it.
func (c *call) room() (*Room, error) {
	id, err := strconv.ParseInt(c.r.PathValue("roomId"), 10, 64)
	r := c.world.rooms[id]
	if err != nil || r == nil || !c.world.seesRoom(c.who, r) {
		return nil, c.missing("Room")
	}
	return r, nil
}

// ownRoom is room for its owners only.
func (c *call) ownRoom() (*Room, error) {
	r, err := c.room()
	if err == nil && !r.Members[c.who].Owner {
		err = errForbidden("Only an owner of the room may do this")
	}
	return r, err
}

// mural is the one in the path, if the caller sees it.
func (c *call) mural() (*Board, error) {
	b := c.world.murals[c.r.PathValue("muralId")]
	if b == nil || !c.world.seesMural(c.who, b) {
		return nil, c.missing("Mural")
	}
	return b, nil
}

// ownMural is mural for its owners only.
func (c *call) ownMural() (*Board, error) {
	b, err := c.mural()
	if err == nil && !b.Members[c.who].Owner {
		err = errForbidden("Only an owner of the mural may do this")
	}
	return b, err
}

func (c *call) reply(answer any, err error) {
	h := c.w.Header()
	if err != nil {
		e := asAPIError(err, c.op.isOAuth())
		c.status, answer = e.status, e.body()
		if c.quirks.RetryAfter && !e.reset.IsZero() {
			h.Set("Retry-After", strconv.Itoa(wholeSeconds(time.Until(e.reset))))
		}
	}
	if c.fault.drop {
		panic(http.ErrAbortHandler) // net/http cuts the line and says nothing
	}
	if answer == nil {
		c.w.WriteHeader(c.status)
		return
	}
	data, err := json.Marshal(answer)
	if err != nil {
		c.m.log.ErrorContext(c.r.Context(), "encode answer", "operation", c.op.name, "error", err)
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(c.status)
	if _, err := c.w.Write(data); err != nil {
		c.m.log.DebugContext(c.r.Context(), "write answer", "operation", c.op.name, "error", err)
	}
}
