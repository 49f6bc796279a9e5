package mural

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

const (
	// pageSize: the documents allow 100, somebody has measured that 100 is refused.
	pageSize = 99
	// maxPages bounds one list. What is behind it is not seen.
	maxPages = 40
	// maxWalks is how often a list is begun whose page token expired.
	maxWalks = 3
)

// errLong comes with what was read of a list that goes on behind it.
var errLong = errors.New("the list is longer than is read")

// caller makes calls as one user.
type caller struct {
	p      *Provider
	b      *client.Bearer
	user   string
	before func(context.Context) error // each call; nil: nothing
	// patience is how long a call waits for its turn, of itself.
	patience time.Duration
}

// get makes a call and reads the envelope's value into out. errNoGrant if the
// vendor refuses even a token that it has just issued.
func (c caller) get(ctx context.Context, op client.Op, path string, query url.Values, out any) error {
	if c.before != nil {
		if err := c.before(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	err := c.inTurn(ctx, func() error {
		return c.p.client.Call(ctx, c.b, client.Request{Op: op, Path: path, Query: query}, out)
	})
	if !hasCode(err, codeUnauthorized) {
		return err
	}
	if buried := c.p.bury(ctx, c.user, began); buried != nil {
		return buried
	}
	return fmt.Errorf("%w: %w", errNoGrant, err)
}

// inTurn waits for a call's turn if that comes soon enough.
func (c caller) inTurn(ctx context.Context, call func() error) error {
	for end := time.Now().Add(c.patience); ; {
		err := call()
		var later *subscriptions.Later
		if !errors.As(err, &later) || later.Until.After(end) || !pause(ctx, time.Until(later.Until)) {
			return err
		}
	}
}

// pause waits and says whether ctx is still going.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lacks names the scopes that the token in use surely lacks.
func (c caller) lacks(needed ...string) []string { return lacks(c.b.Scopes(), needed...) }

// list reads all pages of a list, from the first again if its page token
// expires on the way; errLong comes with those that were read.
func list[T any](ctx context.Context, c caller, op client.Op, path string) ([]T, error) {
	for walk := 1; ; walk++ {
		all, err := pages[T](ctx, c, op, path)
		if !hasCode(err, codeNextExpired) || walk == maxWalks {
			return all, err
		}
	}
}

func pages[T any](ctx context.Context, c caller, op client.Op, path string) (all []T, err error) {
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for range maxPages {
		var page struct {
			Value []T     `json:"value"`
			Next  *string `json:"next"`
		}
		if err := c.get(ctx, op, path, query, &page); err != nil {
			return nil, err
		}
		if page.Value == nil {
			return nil, fmt.Errorf("mural %s: %w: no value", op.Name, client.ErrMalformed)
		}
		all = append(all, page.Value...)
		if page.Next == nil || *page.Next == "" {
			return all, nil
		}
		query.Set("next", *page.Next) // with the limit, which each page wants
	}
	c.p.log.WarnContext(ctx, "list is longer than is read", "operation", op.Name, "read", len(all))
	return all, fmt.Errorf("mural %s: %w", op.Name, errLong)
}

// number is an id that the vendor writes as an integer.
type number string

// UnmarshalJSON reads digits, quoted or not; null is none.
func (n *number) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		text = ""
	}
	if strings.Trim(text, "0123456789") != "" || len(text) > 19 {
		return fmt.Errorf("id %.40q is no number", text)
	}
	*n = number(text)
	return nil
}

// The shapes, as far as they may decide anything (MuralDevKit/
// mural-integrations-sdk at 155f5f4, mickaelpham/mural-ruby at 740a138).
type (
	workspace struct {
		ID        string `json:"id"`
		Locked    bool   `json:"locked"`
		Suspended bool   `json:"suspended"`
	}
	room struct {
		ID           number `json:"id"`
		Type         string `json:"type"`
		Confidential bool   `json:"confidential"`
		WorkspaceID  string `json:"workspaceId"`
		// Sharing is there only if the caller owns the room.
		Sharing json.RawMessage `json:"sharingSettings"`
	}
	mural struct {
		ID          string `json:"id"`
		WorkspaceID string `json:"workspaceId"`
		RoomID      number `json:"roomId"`
		Status      string `json:"status"`
		Visitors    struct {
			Visitors         string  `json:"visitors"`
			WorkspaceMembers string  `json:"workspaceMembers"`
			ExpiresOn        float64 `json:"expiresOn"` // epoch ms; 0: never
		} `json:"visitorsSettings"`
	}
	person struct {
		ID          string `json:"id"`
		Type        string `json:"type"`
		Permissions *struct {
			Owner       bool `json:"owner"`
			Facilitator bool `json:"facilitator"`
		} `json:"permissions"` // of a mural's members only
	}
)

func (w workspace) closed() bool { return w.Suspended || w.Locked }

const (
	archived = "archived"
	write    = "write"
	none     = "none"
)

// expires is when the link for visitors ends; zero if never.
func (m mural) expires() time.Time {
	if ms := m.Visitors.ExpiresOn; ms > 0 && ms < 1<<53 {
		return time.UnixMilli(int64(ms)).UTC()
	}
	return time.Time{}
}

func (c caller) workspaces(ctx context.Context) ([]workspace, error) {
	return list[workspace](ctx, c, opWorkspaces, "/workspaces")
}

func (c caller) workspace(ctx context.Context, id string) (workspace, error) {
	var reply struct {
		Value workspace `json:"value"`
	}
	err := c.get(ctx, opWorkspace, "/workspaces/"+url.PathEscape(id), nil, &reply)
	if err == nil && reply.Value.ID != id {
		err = fmt.Errorf("mural %s: %w: another id", opWorkspace.Name, client.ErrMalformed)
	}
	return reply.Value, err
}

func (c caller) room(ctx context.Context, id string) (room, error) {
	var reply struct {
		Value room `json:"value"`
	}
	err := c.get(ctx, opRoom, "/rooms/"+url.PathEscape(id), nil, &reply)
	if err == nil && string(reply.Value.ID) != id {
		err = fmt.Errorf("mural %s: %w: another id", opRoom.Name, client.ErrMalformed)
	}
	return reply.Value, err
}

func (c caller) mural(ctx context.Context, id string) (mural, error) {
	var reply struct {
		Value mural `json:"value"`
	}
	err := c.get(ctx, opMural, "/murals/"+url.PathEscape(id), nil, &reply)
	if err == nil && reply.Value.ID != id {
		err = fmt.Errorf("mural %s: %w: another id", opMural.Name, client.ErrMalformed)
	}
	return reply.Value, err
}

// me is the owner of the token.
func (c caller) me(ctx context.Context) (person, error) {
	var reply struct {
		Value person `json:"value"`
	}
	err := c.get(ctx, opMe, "/users/me", nil, &reply)
	return reply.Value, err
}

func (c caller) roomMembers(ctx context.Context, id string) ([]person, error) {
	return people(list[person](ctx, c, opRoomMembers, "/rooms/"+url.PathEscape(id)+"/users"))
}

func (c caller) rooms(ctx context.Context, op client.Op, path string) ([]room, error) {
	return list[room](ctx, c, op, "/workspaces/"+url.PathEscape(string(c.p.home.Tenant))+path)
}

// roomMurals are those that are not archived.
func (c caller) roomMurals(ctx context.Context, id string) ([]mural, error) {
	return list[mural](ctx, c, opRoomMurals, "/rooms/"+url.PathEscape(id)+"/murals")
}

func (c caller) muralMembers(ctx context.Context, id string) ([]person, error) {
	return people(list[person](ctx, c, opMuralUsers, "/murals/"+url.PathEscape(id)+"/users"))
}

// people leaves out who has no usable id, such as somebody who was invited by
// email and has not accepted: such a one has no rights by an id yet.
func people(all []person, err error) ([]person, error) {
	var known []person
	for _, one := range all {
		if events.CheckID(one.ID) == nil {
			known = append(known, one)
		}
	}
	return known, err
}

// find is somebody's entry in a list; nil if there is none.
func find(all []person, user string) *person {
	for i := range all {
		if all[i].ID == user {
			return &all[i]
		}
	}
	return nil
}
