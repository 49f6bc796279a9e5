package mural

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// The scopes that reading and polling need. Each is "resource:read"; whether
// "resource:write" includes it is not documented, so it does not.
const (
	scopeIdentity   = "identity:read"
	scopeWorkspaces = "workspaces:read"
	scopeRooms      = "rooms:read"
	scopeMurals     = "murals:read"
	scopeUsers      = "users:read"
)

// catalogue is the page public/docs/scopes of developers.mural.co, then the one
// that only the reference page of an operation knows (inviteuserstoworkspace).
var catalogue = []subscriptions.Scope{
	tabled(scopeIdentity), tabled(scopeWorkspaces), tabled(scopeRooms), tabled("rooms:write"),
	tabled(scopeUsers), tabled(scopeMurals), tabled("murals:write"),
	tabled("templates:read"), tabled("templates:write"),
	{Name: "workspaces:write", ID: "workspaces:write"},
}

func tabled(id string) subscriptions.Scope {
	return subscriptions.Scope{Name: id, ID: id, Tabled: true}
}

// Scopes lists what an app may hold at Mural. None includes another.
func Scopes() []subscriptions.Scope { return slices.Clone(catalogue) }

// Bounds of what is read of a token.
const (
	maxToken  = 16 << 10 // bytes
	maxScopes = 200
)

// claims are what a token says of itself (MuralDevKit/mural-integrations-sdk
// at 155f5f4). No key to check them with is published: they are believed as far
// as the endpoint that the token came from, and prove nothing.
type claims struct {
	Expires time.Time // zero: not told
	Scopes  []string  // in order; nil: not told
}

// readClaims reads the payload of a JWT. What is none, or not of that form,
// tells nothing.
func readClaims(token string) claims {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return claims{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return claims{}
	}
	var told struct {
		Exp    json.RawMessage `json:"exp"`
		Scopes json.RawMessage `json:"scopes"`
	}
	if json.Unmarshal(payload, &told) != nil {
		return claims{}
	}
	return claims{Expires: readExpiry(told.Exp), Scopes: readScopes(told.Scopes)}
}

// readExpiry reads seconds since 1970, if they are of our age.
func readExpiry(raw json.RawMessage) time.Time {
	var seconds float64
	if len(raw) == 0 || json.Unmarshal(raw, &seconds) != nil || seconds < 1 || seconds > 1<<33 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// readScopes reads the list. One that holds anything that is no grant's name
// tells nothing: part of it could be taken for the whole.
func readScopes(raw json.RawMessage) []string {
	var list []string
	if !bytes.HasPrefix(raw, []byte("[")) || json.Unmarshal(raw, &list) != nil || len(list) > maxScopes {
		return nil
	}
	for _, name := range list {
		if _, err := cache.ParseGrant(string(cache.NewGrant(cache.Scope, name))); err != nil {
			return nil
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// lacks names the scopes that a token surely lacks; none if it does not tell.
func lacks(held []string, needed ...string) (missing []string) {
	for _, s := range needed {
		if held != nil && !slices.Contains(held, s) {
			missing = append(missing, s)
		}
	}
	return missing
}
